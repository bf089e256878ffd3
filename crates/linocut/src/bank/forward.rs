//! The encoder's program over streams of many tasks: every matrix is one product with the base's
//! weights over all rows, then what each task changes is put right on its own rows.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::base::Matrices;
use super::batch::{Stream, Streams};
use super::flow::{Flow, Forked};
use super::plan::Planner;
use super::task::{Change, Task};
use super::view::View;
use crate::data::Encoding;
use crate::kernels::attention::{self, Attention, Disentangled, Distances, Reached, Rotaries};
use crate::kernels::layernorm::LayerNorm;
use crate::kernels::quantized::Inputs;
use crate::kernels::{activation, gather, layernorm, sums};
use crate::model::op::{Add, Ids, Norm, Op, Positions, Rows, Value};
use crate::model::{Encoder, Pooling, Program, operands};
use std::borrow::Cow;

/// One batch on its way through the base.
#[derive(Clone, Copy)]
pub(super) struct Pass<'a> {
    /// The base as the tasks see it that go this way.
    pub(super) view: &'a View,
    pub(super) matrices: &'a Matrices,
    pub(super) planner: &'a Planner,
    pub(super) texts: &'a [&'a Encoding],
    pub(super) tasks: &'a [Arc<Task>],
    around: &'a Around,
}

/// What all ways through the base make of where tokens are.
pub(super) struct Around {
    /// The distances of the texts' tokens, where the base makes anything of them.
    reached: Option<Reached>,
    rotaries: Rotaries,
}

impl Around {
    pub(super) fn new(base: &Encoder, texts: &[&Encoding]) -> Self {
        let program = base.program();
        let longest = texts.iter().map(|text| text.ids.len()).max().unwrap_or(1);
        let reached = program.buckets().map(|buckets| buckets.reached(longest));
        let mut rotaries = Rotaries::default();
        program.prepare(longest, &mut rotaries);
        Self { reached, rotaries }
    }
}

/// A way through the base: what is seen of it, under one pooling.
type Way<'a> = (&'a View, Pooling);

fn is_same(a: Way<'_>, b: Way<'_>) -> bool {
    std::ptr::eq(a.0, b.0) && a.1 == b.1
}

fn program<'a>((view, pooling): Way<'a>) -> &'a Program {
    view.encoder().program_of(pooling)
}

/// Whether the stage that begins at operation `at` is one for both ways.
fn parts_at(at: usize, a: Way<'_>, b: Way<'_>) -> bool {
    let (one, other) = (program(a), program(b));
    let (Some(stage), Some(theirs)) = (one.stage_at(at), other.stage_at(at)) else {
        return true;
    };
    let same_op = |(x, y): (&Op, &Op)| {
        let same_part = |part: usize| {
            std::ptr::eq(a.0, b.0)
                || a.0.of_base(part) == b.0.of_base(part) && a.0.taken(part) == b.0.taken(part)
        };
        x == y && one.shape(x.to()) == other.shape(y.to()) && x.parts().into_iter().all(same_part)
    };
    let (ops, others) = (&one.ops()[stage], &other.ops()[theirs]);
    ops.len() != others.len() || !ops.iter().zip(others).all(same_op)
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
        (matrices, planner): (&'a Matrices, &'a Planner),
        around: &'a Around,
        texts: &'a [&'a Encoding],
        tasks: &'a [Arc<Task>],
    ) -> Self {
        Self { view: tasks[0].view(), matrices, planner, texts, tasks, around }
    }

    /// The way that a task goes.
    fn way(&self, task: usize) -> Way<'a> {
        (self.tasks[task].view(), self.tasks[task].card().pooling)
    }

    /// Logits of every task on every text that `streams` asks of it; `streams` has one stream a
    /// text.
    pub(super) fn run(&self, streams: Vec<Stream>, scratch: &mut Scratch) -> Vec<Row> {
        let tokens = Streams::new(streams, |stream| self.texts[stream.text].ids.len());
        let all = Stream { text: 0, tasks: (0..self.tasks.len()).collect() };
        let rows = self.around.reached.as_ref().map_or(0, |reached| reached.rows);
        let distances = Streams::new(vec![all], |_| rows);
        let mut ways: Vec<Way<'a>> = vec![];
        for way in (0..self.tasks.len()).map(|task| self.way(task)) {
            if !ways.iter().any(|other| is_same(*other, way)) {
                ways.push(way);
            }
        }
        self.walk(0, &ways, Flow { tokens, distances }, scratch)
    }

    /// The rest, from operation `from` on, of these ways, which are one up to there.
    fn walk(
        &self,
        from: usize,
        ways: &[Way<'a>],
        mut flow: Flow,
        scratch: &mut Scratch,
    ) -> Vec<Row> {
        let pass = Self { view: ways[0].0, ..*self };
        let first = program(ways[0]);
        let mut at = from;
        while let Some(stage) = first.stage_at(at) {
            if ways[1..].iter().any(|way| parts_at(at, ways[0], *way)) {
                break;
            }
            at = stage.end;
            flow = pass.stage(first, stage, flow, scratch);
        }
        if let [_] = ways {
            let pooled = &scratch.values[first.buffer(first.pooled())];
            return self.heads(&flow.tokens, pooled);
        }
        // Tasks of different ways part here; those of one go on together.
        let mut groups: Vec<Vec<Way<'a>>> = vec![];
        for way in ways {
            match groups.iter_mut().find(|group| !parts_at(at, group[0], *way)) {
                Some(group) => group.push(*way),
                None => groups.push(vec![*way]),
            }
        }
        let (flow, before) = (&flow, &*scratch);
        let go_on = |group: Vec<Way<'a>>| {
            let mine = |task: usize| group.iter().any(|way| is_same(*way, self.way(task)));
            let forked = flow.only(mine);
            if forked.after.tokens.list.is_empty() {
                return vec![];
            }
            let program = program(group[0]);
            let mut own = Scratch::default();
            own.values.resize_with(program.buffer_count(), Vec::new);
            for value in program.live(at) {
                let buffer = program.buffer(value);
                let place = &mut own.values[buffer];
                forked.copy(program.shape(value), &before.values[buffer], place);
            }
            self.walk(at, &group, forked.after, &mut own)
        };
        let rows: Vec<Vec<Row>> = groups.into_par_iter().with_max_len(1).map(go_on).collect();
        rows.into_iter().flatten().collect()
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
        for (at, op) in range.clone().zip(ops) {
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
            self.operation((program, at), (&fork, is_late), &mut out, s);
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
        (program, at): (&Program, usize),
        (fork, late): (&Forked, bool),
        out: &mut Vec<f32>,
        s: &mut Scratch,
    ) {
        let op = &program.ops()[at];
        let shape = program.shape(op.to());
        let streams = fork.after.of(shape.rows);
        let (rows, width) = (streams.rows(), shape.width);
        if width == 0 {
            return out.clear(); // nothing of it is kept
        }
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
                self.attend((program, at), &fork.after, values, places);
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
        (program, at): (&Program, usize),
        flow: &Flow,
        values: impl Fn(Value) -> &'s [f32],
        (out, log_sums): (&mut [f32], &mut [f32]),
    ) {
        let Op::Attend { heads, positions, window, q, k, v, to, .. } = program.ops()[at] else {
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
                    attention::Positions::Rotary(self.around.rotaries.get(theta, hidden / heads))
                }
                Positions::Distances(table) => {
                    let (all, kept) = (self.view.part(table).cols, program.kept_heads(at));
                    distances = Distances::new(&self.table(task, table), all, kept, &offsets);
                    attention::Positions::Distances(&distances)
                }
                Positions::Disentangled { keys, queries } => {
                    let reached =
                        self.around.reached.as_ref().expect("the base makes use of distances");
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
        let first = self.around.reached.as_ref().map_or(0, |reached| reached.first);
        let rows = fit(out, streams.rows() * width).chunks_exact_mut(width);
        let places = (0..streams.list.len())
            .flat_map(|i| streams.range(i).enumerate().map(move |(entry, _)| (i, first + entry)));
        for (row, (i, entry)) in rows.zip(places) {
            self.table_row(streams.list[i].tasks[0], table, entry, row);
        }
    }

    /// A small table as `task` has it.
    fn table(&self, task: usize, part: usize) -> Vec<f32> {
        let width = self.view.part(part).cols;
        let mut table = self.view.vector(part).to_vec();
        for (entry, row) in table.chunks_exact_mut(width).enumerate() {
            self.table_row(task, part, entry, row);
        }
        table
    }

    /// The entries of a vector as `task` has them.
    fn vector(&self, task: usize, part: usize) -> &[f32] {
        match self.tasks[task].change(part).map(|change| &**change) {
            Some(Change::Whole(whole)) => whole,
            _ => self.view.vector(part),
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
                row.copy_from_slice(&self.view.vector(part)[place]);
            }
            Some(Change::Whole(whole)) => row.copy_from_slice(&whole[place]),
            Some(Change::Few(few)) => {
                row.copy_from_slice(&self.view.vector(part)[place]);
                few.put_row(entry, row);
            }
            Some(Change::Zeros(zeros)) => {
                row.copy_from_slice(&self.view.vector(part)[place]);
                zeros.pattern.clear_row(entry, row);
            }
        }
    }

    /// Logits of every task of every stream on its row of `pooled`, `[streams, hidden]`.
    fn heads(&self, streams: &Streams, pooled: &[f32]) -> Vec<Row> {
        let h = self.view.encoder().config().hidden;
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
        let width = self.view.part(norm.scale).rows;
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
