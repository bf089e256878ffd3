//! The encoder's program over streams of many tasks: every matrix is one product with the base's
//! weights over all rows, then what each task changes is put right on its own rows.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::base::{self, Matrices};
use super::batch::{Stream, Streams};
use super::flow::{Flow, Forked};
use super::plan::Planner;
use super::task::{Change, Task};
use crate::data::Encoding;
use crate::kernels::attention::{self, Attention, Disentangled, Distances, Reached, Rotaries};
use crate::kernels::layernorm::LayerNorm;
use crate::kernels::quantized::Inputs;
use crate::kernels::{activation, gather, layernorm, sums};
use crate::model::op::{Add, Ids, Norm, Op, Positions, Rows, Value};
use crate::model::{Base, Pooling, Program, operands};
use std::borrow::Cow;

/// One batch on its way through the base.
pub(super) struct Pass<'a> {
    pub(super) base: &'a Base,
    pub(super) matrices: &'a Matrices,
    pub(super) planner: &'a Planner,
    pub(super) texts: &'a [&'a Encoding],
    pub(super) tasks: &'a [Arc<Task>],
    /// The distances of the texts' tokens, where the base makes anything of them.
    reached: Option<Reached>,
    rotaries: Rotaries,
}

/// Logits of one task on one text.
pub(super) struct Row {
    pub(super) text: usize,
    pub(super) task: usize,
    pub(super) logits: Vec<f32>,
}

/// Activations, kept from stage to stage and from batch to batch.
#[derive(Default)]
pub(super) struct Scratch {
    /// The values of a program, in the buffers that they share.
    values: Vec<Vec<f32>>,
    log_sums: Vec<f32>,
    stats: Vec<f32>,
    /// The base's product over the rows before a fork.
    shared: Vec<f32>,
    spare: Vec<f32>,
    /// What a product multiplies, in whole numbers.
    inputs: Inputs,
}

impl Scratch {
    /// Bytes of memory it holds.
    pub(super) fn bytes(&self) -> usize {
        let others = [&self.log_sums, &self.stats, &self.shared, &self.spare];
        let floats = self.values.iter().chain(others).map(Vec::capacity).sum::<usize>();
        4 * floats + self.inputs.bytes()
    }
}

/// Gives `x` the length `len` without touching what is there.
pub(super) fn fit(x: &mut Vec<f32>, len: usize) -> &mut [f32] {
    x.resize(len, 0.0);
    x
}

impl<'a> Pass<'a> {
    pub(super) fn new(
        base: &'a Base,
        matrices: &'a Matrices,
        planner: &'a Planner,
        texts: &'a [&'a Encoding],
        tasks: &'a [Arc<Task>],
    ) -> Self {
        let program = base.encoder.program();
        let longest = texts.iter().map(|text| text.ids.len()).max().unwrap_or(1);
        let reached = program.buckets().map(|buckets| buckets.reached(longest));
        let mut rotaries = Rotaries::default();
        program.prepare(longest, &mut rotaries);
        Self { base, matrices, planner, texts, tasks, reached, rotaries }
    }

    /// Logits of every task on every text that `streams` asks of it; `streams` has one stream a
    /// text.
    pub(super) fn run(&self, streams: Vec<Stream>, scratch: &mut Scratch) -> Vec<Row> {
        let tokens = Streams::new(streams, |stream| self.texts[stream.text].ids.len());
        let all = Stream { text: 0, tasks: (0..self.tasks.len()).collect() };
        let rows = self.reached.as_ref().map_or(0, |reached| reached.rows);
        let distances = Streams::new(vec![all], |_| rows);
        let asked = |pooling: &Pooling| self.tasks.iter().any(|t| t.card().pooling == *pooling);
        let poolings: Vec<Pooling> = Pooling::ALL.into_iter().filter(asked).collect();
        self.walk(0, &poolings, Flow { tokens, distances }, scratch)
    }

    /// The rest, from operation `from` on, of the programs of these poolings, which are one up to
    /// there.
    fn walk(
        &self,
        from: usize,
        poolings: &[Pooling],
        mut flow: Flow,
        scratch: &mut Scratch,
    ) -> Vec<Row> {
        let program = |pooling: &Pooling| self.base.encoder.program_of(*pooling);
        let stage_at = |pooling: &Pooling, at: usize| {
            let program = program(pooling);
            program.stage_at(at).map(|stage| &program.ops()[stage])
        };
        let first = program(&poolings[0]);
        let mut at = from;
        while let Some(stage) = first.stage_at(at) {
            let ops = Some(&first.ops()[stage.clone()]);
            if poolings[1..].iter().any(|pooling| stage_at(pooling, at) != ops) {
                break;
            }
            at = stage.end;
            flow = self.stage(first, stage, flow, scratch);
        }
        if let [_] = poolings {
            let pooled = &scratch.values[first.buffer(first.pooled())];
            return self.heads(&flow.tokens, pooled);
        }
        // Tasks of different poolings part here; those of one go on together.
        let mut groups: Vec<Vec<Pooling>> = vec![];
        for pooling in poolings {
            match groups.iter_mut().find(|group| stage_at(&group[0], at) == stage_at(pooling, at)) {
                Some(group) => group.push(*pooling),
                None => groups.push(vec![*pooling]),
            }
        }
        let mut rows = Vec::new();
        for group in groups {
            let forked = flow.only(|task| group.contains(&self.tasks[task].card().pooling));
            if forked.after.tokens.list.is_empty() {
                continue;
            }
            let program = program(&group[0]);
            let mut own = Scratch::default();
            own.values.resize_with(program.buffer_count(), Vec::new);
            for value in program.live(at) {
                let buffer = program.buffer(value);
                let place = &mut own.values[buffer];
                forked.copy(program.shape(value), &scratch.values[buffer], place);
            }
            rows.extend(self.walk(at, &group, forked.after, &mut own));
        }
        rows
    }

    /// The operations of one stage, at whose beginning streams part whose tasks change its tensors
    /// differently; gives the streams after.
    fn stage(&self, program: &Program, ops: Range<usize>, flow: Flow, s: &mut Scratch) -> Flow {
        s.values.resize_with(program.buffer_count(), Vec::new);
        let (range, ops) = (ops.clone(), &program.ops()[ops]);
        let of_distances = |op: &&Op| matches!(program.shape(op.to()).rows, Rows::Distances(_));
        let parts: Vec<usize> = ops.iter().flat_map(Op::parts).collect();
        let theirs: Vec<usize> = ops.iter().filter(of_distances).flat_map(Op::parts).collect();
        let fork = flow.fork(&parts, &theirs, self.tasks);
        // Values that still have the rows before the fork: products read these, so that what all tasks
        // share is computed once.
        let forked = |value: &Value| fork.before(program.shape(*value).rows).is_some();
        let mut waiting: Vec<Value> = program.live(range.start).filter(forked).collect();
        for op in ops {
            let passes = matches!(op, Op::First { .. } | Op::Drop { .. });
            let takes_earlier = passes || matches!(op, Op::Linear { .. });
            if !takes_earlier {
                for value in op.reads() {
                    self.expand(program, value, &fork, &mut waiting, s);
                }
            }
            let to = program.buffer(op.to());
            let mut out = std::mem::take(&mut s.values[to]);
            let is_late = op.reads().first().is_some_and(|from| waiting.contains(from));
            self.operation(program, op, (&fork, is_late), &mut out, s);
            s.values[to] = out;
            if passes && is_late {
                waiting.push(op.to());
            }
        }
        for value in program.live(range.end) {
            self.expand(program, value, &fork, &mut waiting, s);
        }
        fork.after
    }

    /// Gives a value the rows after the fork, if it still has those before.
    fn expand(
        &self,
        program: &Program,
        value: Value,
        fork: &Forked,
        waiting: &mut Vec<Value>,
        s: &mut Scratch,
    ) {
        if let Some(at) = waiting.iter().position(|other| *other == value) {
            waiting.swap_remove(at);
            let rows = &mut s.values[program.buffer(value)];
            fork.copy(program.shape(value), rows, &mut s.spare);
            std::mem::swap(rows, &mut s.spare);
        }
    }

    /// One operation into `out`; what it reads has the rows before the fork where it is `late`.
    fn operation(
        &self,
        program: &Program,
        op: &Op,
        (fork, late): (&Forked, bool),
        out: &mut Vec<f32>,
        s: &mut Scratch,
    ) {
        let shape = program.shape(op.to());
        let streams = fork.after.of(shape.rows);
        let (rows, width) = (streams.rows(), shape.width);
        let place = |value: &Value| program.buffer(*value);
        match op {
            Op::Embed { tables, .. } => self.embed(tables, width, &streams, out),
            Op::Distances { table, .. } => self.distances(*table, width, &streams, out),
            Op::Linear { weight, bias, from, .. } => {
                let before = if late { fork.before(shape.rows) } else { None };
                let before = before.as_ref().map(|(before, from)| (&**before, *from));
                let x = &s.values[place(from)];
                let room = (&mut s.shared, &mut s.inputs);
                self.product(*weight, x, (&streams, before), out, room);
                if let Some(bias) = bias {
                    self.add_bias(*bias, &streams, out);
                }
            }
            Op::First { from, .. } => {
                let streams = if late { fork.tokens_before() } else { &fork.after.tokens };
                let out = fit(out, streams.list.len() * width);
                gather::first(&s.values[place(from)], width, &streams.offsets, out);
            }
            Op::Mean { from, .. } => {
                let tokens = &fork.after.tokens;
                let out = fit(out, tokens.list.len() * width);
                gather::mean(&s.values[place(from)], width, &tokens.offsets, out);
            }
            Op::Around { size, from, .. } => {
                let narrow = program.shape(*from).width;
                let x = &s.values[place(from)];
                gather::around(x, narrow, *size, &streams.offsets, fit(out, rows * width));
            }
            Op::Drop { from, .. } => out.clone_from(&s.values[place(from)]),
            Op::Attend { heads, .. } => {
                let log_sums = fit(&mut s.log_sums, rows * heads);
                let values = |value| &s.values[program.buffer(value)][..];
                let places = (fit(out, rows * width), log_sums);
                self.attend(program, op, &fork.after, values, places);
            }
            Op::Activate { activation, gated, bias, from, .. } => {
                let wide = program.shape(*from).width;
                let pre = &mut s.values[place(from)];
                let out = fit(out, rows * width);
                for (rows, task) in streams.runs(bias.as_slice(), self.tasks) {
                    let pre = &mut pre[rows.start * wide..rows.end * wide];
                    let out = &mut out[rows.start * width..rows.end * width];
                    let bias = self.vector_or_zeros(task, *bias, wide);
                    match gated {
                        true => activation::gated_forward(*activation, pre, &bias, out),
                        false => activation::forward(*activation, pre, &bias, out),
                    }
                }
            }
            Op::Add { add, from, .. } => {
                let (x, residual) = (&s.values[place(from)], &s.values[place(&add.residual)]);
                let out = fit(out, rows * width);
                for (rows, task) in streams.runs(add.bias.as_slice(), self.tasks) {
                    let wide = rows.start * width..rows.end * width;
                    let bias = self.vector_or_zeros(task, add.bias, width);
                    let (x, residual) = (&x[wide.clone()], &residual[wide.clone()]);
                    layernorm::add_residual(x, &bias, None, residual, &mut out[wide]);
                }
            }
            Op::Norm { norm, add, from, .. } => {
                let mut x = std::mem::take(&mut s.values[place(from)]);
                let residual = add.map(|add| (add, &s.values[place(&add.residual)][..]));
                let stats = &mut s.stats;
                let places = (&mut x[..], fit(out, rows * width));
                self.norm(*norm, residual, &streams, places, fit(stats, rows * 2));
                s.values[place(from)] = x;
            }
        }
    }

    /// Attention, with what the tasks have in the place of tables and distances.
    fn attend<'s>(
        &self,
        program: &Program,
        op: &Op,
        flow: &Flow,
        values: impl Fn(Value) -> &'s [f32],
        (out, log_sums): (&mut [f32], &mut [f32]),
    ) {
        let Op::Attend { heads, positions, window, q, k, v, to, .. } = *op else {
            unreachable!("the operation attends")
        };
        let shape = program.shape(to);
        let (hidden, streams, single) = (shape.width, &flow.tokens, shape.single());
        let whole = streams.of(true);
        // Sequences whose tasks agree on what positions bring, each with one of the tasks.
        let runs = match positions {
            Positions::Distances(table) => whole.runs(&[table], self.tasks),
            Positions::Disentangled { .. } => flow.runs_of_distances(),
            Positions::Embedded | Positions::Rotary(_) => vec![(0..streams.list.len(), 0)],
        };
        for (mine, task) in runs {
            let tokens = streams.offsets[mine.start]..streams.offsets[mine.end];
            let rows = if single { mine.clone() } else { tokens.clone() };
            let offsets = &streams.offsets[mine.start..=mine.end];
            let offsets: Vec<usize> = offsets.iter().map(|at| at - tokens.start).collect();
            let distances;
            let positions = match positions {
                Positions::Embedded => attention::Positions::Embedded,
                Positions::Rotary(theta) => {
                    attention::Positions::Rotary(self.rotaries.get(theta, hidden / heads))
                }
                Positions::Distances(table) => {
                    distances = Distances::new(&self.table(task, table), heads, &offsets);
                    attention::Positions::Distances(&distances)
                }
                Positions::Disentangled { keys, queries } => {
                    let reached = self.reached.as_ref().expect("the base makes use of distances");
                    let of_task = |value: Value| {
                        let rows = flow.distances_of(task);
                        &values(value)[rows.start * hidden..rows.end * hidden]
                    };
                    let (keys, queries) = (keys.map(of_task), queries.map(of_task));
                    attention::Positions::Disentangled(Disentangled { keys, queries, reached })
                }
            };
            let attention = Attention {
                offsets: &offsets,
                heads,
                hidden,
                first_only: single,
                positions,
                window,
                dropout: None,
            };
            let part = |value: Value| {
                let shape = program.shape(value);
                let rows = if shape.single() { &mine } else { &tokens };
                &values(value)[rows.start * shape.width..rows.end * shape.width]
            };
            attention.forward(
                operands([q, k, v], part),
                &mut out[rows.start * hidden..rows.end * hidden],
                &mut log_sums[rows.start * heads..rows.end * heads],
            );
        }
    }

    /// The rows of a table that stand for distances, as each stream's tasks have them.
    fn distances(&self, table: usize, width: usize, streams: &Streams, out: &mut Vec<f32>) {
        let first = self.reached.as_ref().map_or(0, |reached| reached.first);
        let rows = fit(out, streams.rows() * width).chunks_exact_mut(width);
        let places = (0..streams.list.len())
            .flat_map(|i| streams.range(i).enumerate().map(move |(entry, _)| (i, first + entry)));
        for (row, (i, entry)) in rows.zip(places) {
            self.table_row(streams.list[i].tasks[0], table, entry, row);
        }
    }

    /// A small table as `task` has it.
    fn table(&self, task: usize, part: usize) -> Vec<f32> {
        let width = base::part(self.base, part).cols;
        let mut table = base::entries(self.base, part).to_vec();
        for (entry, row) in table.chunks_exact_mut(width).enumerate() {
            self.table_row(task, part, entry, row);
        }
        table
    }

    /// The entries of a vector as `task` has them.
    fn vector(&self, task: usize, part: usize) -> &[f32] {
        match self.tasks[task].change(part).map(|change| &**change) {
            Some(Change::Whole(whole)) => whole,
            _ => base::entries(self.base, part),
        }
    }

    /// The same, or as many zeros.
    fn vector_or_zeros(&self, task: usize, part: Option<usize>, width: usize) -> Cow<'_, [f32]> {
        part.map_or_else(|| vec![0.0; width].into(), |part| self.vector(task, part).into())
    }

    /// Sums of rows of the tables, `[rows, width]`.
    fn embed(&self, tables: &[(usize, Ids)], width: usize, streams: &Streams, out: &mut Vec<f32>) {
        let mut parts = Vec::with_capacity(streams.list.len());
        let mut rest = fit(out, streams.rows() * width);
        for (i, stream) in streams.list.iter().enumerate() {
            let (mine, others) = rest.split_at_mut(streams.range(i).len() * width);
            parts.push((stream, mine));
            rest = others;
        }
        parts.into_par_iter().for_each_init(Vec::new, |row, (stream, sum)| {
            let (text, task) = (self.texts[stream.text], stream.tasks[0]);
            let rows = |(table, ids): &(usize, Ids)| (*table, ids.rows(&text.ids, &text.type_ids));
            let tables: Vec<(usize, Vec<u32>)> = tables.iter().map(rows).collect();
            row.resize(width, 0.0);
            for (t, sum) in sum.chunks_exact_mut(width).enumerate() {
                sum.fill(0.0);
                for (table, ids) in &tables {
                    self.table_row(task, *table, ids[t] as usize, row);
                    sum.iter_mut().zip(&*row).for_each(|(s, v)| *s += v);
                }
            }
        });
    }

    /// Row `entry` of a table as `task` has it.
    fn table_row(&self, task: usize, part: usize, entry: usize, row: &mut [f32]) {
        let place = entry * row.len()..(entry + 1) * row.len();
        match self.tasks[task].change(part).map(|change| &**change) {
            // Factors and whole numbers are of matrices alone.
            None | Some(Change::LowRank(_) | Change::Quantized(_)) => {
                row.copy_from_slice(&base::entries(self.base, part)[place]);
            }
            Some(Change::Whole(whole)) => row.copy_from_slice(&whole[place]),
            Some(Change::Few(few)) => {
                row.copy_from_slice(&base::entries(self.base, part)[place]);
                few.put_row(entry, row);
            }
            Some(Change::Zeros(zeros)) => {
                row.copy_from_slice(&base::entries(self.base, part)[place]);
                zeros.pattern.clear_row(entry, row);
            }
        }
    }

    /// Logits of every task of every stream on its row of `pooled`, `[streams, hidden]`.
    fn heads(&self, streams: &Streams, pooled: &[f32]) -> Vec<Row> {
        let h = self.base.config().hidden;
        let asked: Vec<(&[f32], usize, usize)> = streams
            .list
            .iter()
            .zip(pooled.chunks_exact(h))
            .flat_map(|(stream, row)| stream.tasks.iter().map(move |&t| (row, stream.text, t)))
            .collect();
        asked
            .into_par_iter()
            .map(|(row, text, task)| Row {
                text,
                task,
                logits: self.tasks[task].head().forward(row),
            })
            .collect()
    }

    fn add_bias(&self, part: usize, streams: &Streams, y: &mut [f32]) {
        for (rows, task) in streams.runs(&[part], self.tasks) {
            let bias = self.vector(task, part);
            sums::add_bias(&mut y[rows.start * bias.len()..rows.end * bias.len()], bias);
        }
    }

    /// out = LayerNorm(x), after x ← residual + x + bias where there is one.
    fn norm(
        &self,
        norm: Norm,
        add: Option<(Add, &[f32])>,
        streams: &Streams,
        (x, out): (&mut [f32], &mut [f32]),
        stats: &mut [f32],
    ) {
        let bias = add.and_then(|(add, _)| add.bias);
        let parts: Vec<usize> = bias.into_iter().chain([norm.scale]).chain(norm.shift).collect();
        let width = base::part(self.base, norm.scale).rows;
        for (rows, task) in streams.runs(&parts, self.tasks) {
            let wide = rows.start * width..rows.end * width;
            let shift = &self.vector_or_zeros(task, norm.shift, width);
            let norm = LayerNorm { scale: self.vector(task, norm.scale), shift, eps: norm.eps };
            let (x, out) = (&mut x[wide.clone()], &mut out[wide.clone()]);
            let stats = &mut stats[rows.start * 2..rows.end * 2];
            match add {
                Some((add, residual)) => {
                    let bias = &self.vector_or_zeros(task, add.bias, width);
                    norm.forward_residual(x, bias, None, &residual[wide], out, stats);
                }
                None => norm.forward(x, out, stats),
            }
        }
    }
}
