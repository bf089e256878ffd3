//! The encoder's program over streams of many tasks: every matrix is one product with the base's
//! weights over all rows, then what each task changes is put right on its own rows.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::base::{self, Matrices};
use super::batch::{Fork, Stream, Streams};
use super::plan::Planner;
use super::task::{Change, Task};
use crate::data::Encoding;
use crate::kernels::attention::{Attention, Distances};
use crate::kernels::layernorm::LayerNorm;
use crate::kernels::{activation, gather, sums};
use crate::model::op::{Add, Ids, Norm, Op, Value};
use crate::model::program::Shape;
use crate::model::{Base, Pooling, Program};

/// One batch on its way through the base.
pub(super) struct Pass<'a> {
    pub(super) base: &'a Base,
    pub(super) matrices: &'a Matrices,
    pub(super) planner: &'a Planner,
    pub(super) texts: &'a [&'a Encoding],
    pub(super) tasks: &'a [Arc<Task>],
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
}

impl Scratch {
    /// Bytes of memory it holds.
    pub(super) fn bytes(&self) -> usize {
        let others = [&self.log_sums, &self.stats, &self.shared, &self.spare];
        4 * self.values.iter().chain(others).map(Vec::capacity).sum::<usize>()
    }
}

/// Gives `x` the length `len` without touching what is there.
pub(super) fn fit(x: &mut Vec<f32>, len: usize) -> &mut [f32] {
    x.resize(len, 0.0);
    x
}

impl Pass<'_> {
    /// Logits of every task on every text that `streams` asks of it; `streams` has one stream a
    /// text.
    pub(super) fn run(&self, streams: Vec<Stream>, scratch: &mut Scratch) -> Vec<Row> {
        let streams = Streams::new(streams, |stream| self.texts[stream.text].ids.len());
        let asked = |pooling: &Pooling| self.tasks.iter().any(|t| t.card().pooling == *pooling);
        let poolings: Vec<Pooling> = Pooling::ALL.into_iter().filter(asked).collect();
        self.walk(0, &poolings, streams, scratch)
    }

    /// The rest, from operation `from` on, of the programs of these poolings, which are one up to
    /// there.
    fn walk(
        &self,
        from: usize,
        poolings: &[Pooling],
        mut streams: Streams,
        scratch: &mut Scratch,
    ) -> Vec<Row> {
        let program = |pooling: &Pooling| self.base.encoder.program_of(*pooling);
        let first = program(&poolings[0]);
        let next = |pooling: &Pooling, at: usize| {
            let program = program(pooling);
            let stage = program.stages().find(|stage| stage.start == at);
            stage.map(|stage| &program.ops()[stage])
        };
        let mut at = from;
        while let Some(stage) = first.stages().find(|stage| stage.start == at) {
            if !poolings
                .iter()
                .all(|pooling| next(pooling, at) == Some(&first.ops()[stage.clone()]))
            {
                break;
            }
            at = stage.end;
            streams = self.stage(first, stage, streams, scratch);
        }
        if let [_] = poolings {
            let pooled = &scratch.values[first.buffer(first.pooled())];
            return self.heads(&streams, pooled);
        }
        // Tasks of different poolings part here; those of one go on together.
        let mut groups: Vec<Vec<Pooling>> = vec![];
        for pooling in poolings {
            match groups.iter_mut().find(|group| next(&group[0], at) == next(pooling, at)) {
                Some(group) => group.push(*pooling),
                None => groups.push(vec![*pooling]),
            }
        }
        let mut rows = Vec::new();
        for group in groups {
            let fork = streams.only(|task| group.contains(&self.tasks[task].card().pooling));
            if fork.streams.list.is_empty() {
                continue;
            }
            let forked = Forked { after: fork.streams, before: Some((streams.clone(), fork.from)) };
            let program = program(&group[0]);
            let mut own = Scratch::default();
            own.values.resize_with(scratch.values.len(), Vec::new);
            for value in program.live(at) {
                let buffer = program.buffer(value);
                let shape = program.shape(value);
                own.values[buffer].clone_from(&scratch.values[buffer]);
                forked.expand(shape.single, shape.width, &mut own.values[buffer], &mut own.spare);
            }
            rows.extend(self.walk(at, &group, forked.after, &mut own));
        }
        rows
    }

    /// The operations of one stage, at whose beginning streams part whose tasks change its tensors
    /// differently; gives the streams after.
    fn stage(
        &self,
        program: &Program,
        ops: Range<usize>,
        streams: Streams,
        s: &mut Scratch,
    ) -> Streams {
        s.values.resize_with(program.values(), Vec::new);
        let parts: Vec<usize> = program.ops()[ops.clone()].iter().flat_map(Op::parts).collect();
        let fork = self.fork(streams, &parts);
        // Values that still have the rows before the fork: products read these, so that what all tasks
        // share is computed once.
        let mut waiting = match fork.before {
            Some(_) => program.live(ops.start).collect(),
            None => vec![],
        };
        for op in &program.ops()[ops.clone()] {
            let takes_earlier = matches!(op, Op::Linear { .. } | Op::First { .. });
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
            if matches!(op, Op::First { .. }) && is_late {
                waiting.push(op.to());
            }
        }
        for value in program.live(ops.end) {
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
            let shape = program.shape(value);
            let rows = &mut s.values[program.buffer(value)];
            fork.expand(shape.single, shape.width, rows, &mut s.spare);
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
        let streams = fork.after.of(shape.single);
        let place = |value: &Value| program.buffer(*value);
        match op {
            Op::Embed { tables, .. } => self.embed(tables, shape.width, &streams, out),
            Op::Linear { weight, bias, from, .. } => {
                let before = fork.before.as_ref().filter(|_| late);
                let before = before.map(|(before, from)| (before.of(shape.single), &from[..]));
                let before = before.as_ref().map(|(before, from)| (&**before, *from));
                let x = &s.values[place(from)];
                self.product(*weight, x, (&streams, before), out, &mut s.shared);
                if let Some(bias) = bias {
                    self.add_bias(*bias, &streams, out);
                }
            }
            Op::First { from, .. } => {
                let streams = if late { fork.before() } else { &fork.after };
                let out = fit(out, streams.list.len() * shape.width);
                gather::first(&s.values[place(from)], shape.width, &streams.offsets, out);
            }
            Op::Mean { from, .. } => {
                let out = fit(out, fork.after.list.len() * shape.width);
                gather::mean(&s.values[place(from)], shape.width, &fork.after.offsets, out);
            }
            Op::Attend { heads, distances, q, kv, .. } => {
                let rows = streams.rows();
                let log_sums = fit(&mut s.log_sums, rows * heads);
                let (q, kv) = (&s.values[place(q)], &s.values[place(kv)]);
                let places = (fit(out, rows * shape.width), log_sums);
                self.attend(*heads, *distances, (shape, &fork.after), (q, kv), places);
            }
            Op::Activate { activation, bias, from, .. } => {
                let pre = &mut s.values[place(from)];
                let out = fit(out, pre.len());
                for (rows, task) in streams.runs(&[*bias], self.tasks) {
                    let wide = rows.start * shape.width..rows.end * shape.width;
                    let (pre, out) = (&mut pre[wide.clone()], &mut out[wide]);
                    activation::forward(*activation, pre, self.vector(task, *bias), out);
                }
            }
            Op::Norm { norm, add, from, .. } => {
                let mut x = std::mem::take(&mut s.values[place(from)]);
                let residual = add.map(|add| (add, &s.values[place(&add.residual)][..]));
                let (rows, stats) = (streams.rows(), &mut s.stats);
                let places = (&mut x[..], fit(out, rows * shape.width));
                self.norm(*norm, residual, &streams, places, fit(stats, rows * 2));
                s.values[place(from)] = x;
            }
        }
    }

    /// Attention, with the tables of biases that the tasks have.
    fn attend(
        &self,
        heads: usize,
        table: Option<usize>,
        (shape, streams): (Shape, &Streams),
        (q, kv): (&[f32], &[f32]),
        (out, log_sums): (&mut [f32], &mut [f32]),
    ) {
        let (hidden, single) = (shape.width, shape.single);
        let runs = match table {
            Some(table) => streams.of(true).runs(&[table], self.tasks),
            None => vec![(0..streams.list.len(), 0)],
        };
        for (mine, task) in runs {
            let tokens = streams.offsets[mine.start]..streams.offsets[mine.end];
            let rows = if single { mine.clone() } else { tokens.clone() };
            let offsets = &streams.offsets[mine.start..=mine.end];
            let offsets: Vec<usize> = offsets.iter().map(|at| at - tokens.start).collect();
            let distances =
                table.map(|table| Distances::new(&self.table(task, table), heads, &offsets));
            let attention = Attention {
                offsets: &offsets,
                heads,
                hidden,
                first_only: single,
                distances: distances.as_ref(),
                dropout: None,
            };
            attention.forward(
                &q[rows.start * hidden..rows.end * hidden],
                &kv[tokens.start * 2 * hidden..tokens.end * 2 * hidden],
                &mut out[rows.start * hidden..rows.end * hidden],
                &mut log_sums[rows.start * heads..rows.end * heads],
            );
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

    /// The fork at `parts`, as streams and what [`Streams::pieces`] needs of those before.
    fn fork(&self, streams: Streams, parts: &[usize]) -> Forked {
        match streams.fork(parts, self.tasks) {
            Some(Fork { streams: after, from }) => Forked { after, before: Some((streams, from)) },
            None => Forked { after: streams, before: None },
        }
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
            // Factors are of matrices alone.
            None | Some(Change::LowRank(_)) => {
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
        let bias = add.iter().map(|(add, _)| add.bias);
        let parts: Vec<usize> = bias.chain([norm.scale, norm.shift]).collect();
        let width = base::part(self.base, norm.scale).rows;
        for (rows, task) in streams.runs(&parts, self.tasks) {
            let wide = rows.start * width..rows.end * width;
            let (scale, shift) = (self.vector(task, norm.scale), self.vector(task, norm.shift));
            let norm = LayerNorm { scale, shift, eps: norm.eps };
            let (x, out) = (&mut x[wide.clone()], &mut out[wide.clone()]);
            let stats = &mut stats[rows.start * 2..rows.end * 2];
            match add {
                Some((add, residual)) => {
                    let bias = self.vector(task, add.bias);
                    norm.forward_residual(x, bias, None, &residual[wide], out, stats);
                }
                None => norm.forward(x, out, stats),
            }
        }
    }
}

/// Streams after a place where they may have forked.
pub(super) struct Forked {
    pub(super) after: Streams,
    /// Those before and which one each came from; `None` where nothing forked.
    pub(super) before: Option<(Streams, Vec<usize>)>,
}

impl Forked {
    fn before(&self) -> &Streams {
        self.before.as_ref().map_or(&self.after, |(before, _)| before)
    }

    /// Gives `x`, `[rows before, width]` or with `single` `[streams before, width]`, the rows after.
    fn expand(&self, single: bool, width: usize, x: &mut Vec<f32>, spare: &mut Vec<f32>) {
        let Some((before, from)) = &self.before else { return };
        spare.clear();
        for &i in from {
            let rows = if single { i..i + 1 } else { before.range(i) };
            spare.extend_from_slice(&x[rows.start * width..rows.end * width]);
        }
        std::mem::swap(x, spare);
    }
}
