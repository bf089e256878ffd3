//! The encoder over streams of many tasks: every matrix is one product with the base's weights over
//! all rows, then what each task changes is put right on its own rows.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::base::{self, Matrices, Site};
use super::batch::{Fork, Stream, Streams};
use super::plan::Planner;
use super::task::{Change, Task};
use crate::data::Encoding;
use crate::kernels::attention::Attention;
use crate::kernels::layernorm::LayerNorm;
use crate::kernels::{gelu, sums};
use crate::model::layout::{embedding, layer_tensor, slot};
use crate::model::{Base, Pooling};

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

/// Activations, kept from layer to layer and from batch to batch.
#[derive(Default)]
pub(super) struct Scratch {
    /// Rows of the first tokens, `[streams, hidden]`.
    first: Vec<f32>,
    q: Vec<f32>,
    /// Keys beside values, `[rows, 2·hidden]`.
    kv: Vec<f32>,
    context: Vec<f32>,
    log_sums: Vec<f32>,
    sum: Vec<f32>,
    middle: Vec<f32>,
    wide: Vec<f32>,
    active: Vec<f32>,
    stats: Vec<f32>,
    /// The base's product over the rows before a fork.
    shared: Vec<f32>,
    spare: Vec<f32>,
}

impl Scratch {
    /// Bytes of memory it holds.
    pub(super) fn bytes(&self) -> usize {
        let Self { first, q, kv, context, log_sums, sum, middle, wide, active, .. } = self;
        let all = [first, q, kv, context, log_sums, sum, middle, wide, active];
        let rest = [&self.stats, &self.shared, &self.spare];
        4 * all.into_iter().chain(rest).map(Vec::capacity).sum::<usize>()
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
        let layers = self.base.config().layers;
        let streams = Streams::new(streams, |stream| self.texts[stream.text].ids.len());
        let (mut streams, mut x) = self.embeddings(streams, scratch);
        for layer in 0..layers - 1 {
            streams = self.layer(layer, streams, &mut x, false, scratch);
        }
        // The last layer computes first tokens alone for the tasks that read no other.
        let mut rows = Vec::new();
        for first_only in [true, false] {
            let mine = |task: usize| (self.pooling(task) != Pooling::Mean) == first_only;
            let part = streams.only(mine);
            if part.streams.list.is_empty() {
                continue;
            }
            let mut x = expanded(&x, self.base.config().hidden, &streams, &part);
            let streams = self.layer(layers - 1, part.streams, &mut x, first_only, scratch);
            if first_only {
                let plain = streams.only(|task| self.pooling(task) == Pooling::First);
                let pooled = expanded(&x, self.base.config().hidden, &streams, &plain);
                rows.extend(self.heads(&plain.streams, &pooled));
                let pooler = streams.only(|task| self.pooling(task) == Pooling::Cls);
                if !pooler.streams.list.is_empty() {
                    let read = expanded(&x, self.base.config().hidden, &streams, &pooler);
                    let (streams, pooled) = self.pooler(pooler.streams, read, scratch);
                    rows.extend(self.heads(&streams, &pooled));
                }
            } else {
                rows.extend(self.heads(&streams, &self.means(&streams, &x)));
            }
        }
        rows
    }

    fn pooling(&self, task: usize) -> Pooling {
        self.tasks[task].card().pooling
    }

    /// The entries of the vector at `tensor` as `task` has them.
    fn vector(&self, task: usize, tensor: usize) -> &[f32] {
        match self.tasks[task].change(tensor).map(|change| &**change) {
            Some(Change::Whole(whole)) => whole,
            _ => base::entries(self.base, tensor),
        }
    }

    fn norm(&self, task: usize, scale: usize) -> LayerNorm<'_> {
        LayerNorm {
            scale: self.vector(task, scale),
            shift: self.vector(task, scale + 1),
            eps: self.base.config().eps,
        }
    }

    /// The fork at `site`, as streams and what [`Streams::pieces`] needs of those before.
    fn fork(&self, streams: Streams, site: Site) -> Forked {
        match streams.fork(site, self.tasks) {
            Some(Fork { streams: after, from }) => Forked { after, before: Some((streams, from)) },
            None => Forked { after: streams, before: None },
        }
    }

    /// Hidden states before the first layer, `[rows, hidden]`.
    fn embeddings(&self, streams: Streams, scratch: &mut Scratch) -> (Streams, Vec<f32>) {
        let h = self.base.config().hidden;
        let streams = self.fork(streams, base::EMBEDDINGS).after;
        let sum = fit(&mut scratch.sum, streams.rows() * h);
        let mut parts = Vec::with_capacity(streams.list.len());
        let mut rest = &mut *sum;
        for (i, stream) in streams.list.iter().enumerate() {
            let (mine, others) = rest.split_at_mut(streams.range(i).len() * h);
            parts.push((stream, mine));
            rest = others;
        }
        parts.into_par_iter().for_each_init(Vec::new, |row, (stream, sum)| {
            let (text, task) = (self.texts[stream.text], stream.tasks[0]);
            row.resize(h, 0.0);
            for (t, sum) in sum.chunks_exact_mut(h).enumerate() {
                sum.fill(0.0);
                for (tensor, entry) in [
                    (embedding::WORD, text.ids[t] as usize),
                    (embedding::TOKEN_TYPE, text.type_ids[t] as usize),
                    (embedding::POSITION, t),
                ] {
                    self.embedding(task, tensor, entry, row);
                    sum.iter_mut().zip(&*row).for_each(|(s, v)| *s += v);
                }
            }
        });
        let mut x = vec![0.0; streams.rows() * h];
        let stats = fit(&mut scratch.stats, streams.rows() * 2);
        let norm = [embedding::NORM_WEIGHT, embedding::NORM_BIAS];
        for (rows, task) in streams.runs(&norm, self.tasks) {
            let wide = rows.start * h..rows.end * h;
            let norm = self.norm(task, embedding::NORM_WEIGHT);
            norm.forward(&sum[wide.clone()], &mut x[wide], &mut stats[pairs(&rows)]);
        }
        (streams, x)
    }

    /// Row `entry` of the table at `tensor` as `task` has it.
    fn embedding(&self, task: usize, tensor: usize, entry: usize, row: &mut [f32]) {
        let place = entry * row.len()..(entry + 1) * row.len();
        match self.tasks[task].change(tensor).map(|change| &**change) {
            None => row.copy_from_slice(&base::entries(self.base, tensor)[place]),
            Some(Change::Whole(whole)) => row.copy_from_slice(&whole[place]),
            Some(Change::Few(few)) => {
                row.copy_from_slice(&base::entries(self.base, tensor)[place]);
                few.put_row(entry, row);
            }
            Some(Change::Zeros(zeros)) => {
                row.copy_from_slice(&base::entries(self.base, tensor)[place]);
                zeros.pattern.clear_row(entry, row);
            }
        }
    }

    /// One layer: `x`, `[rows, hidden]`, becomes the hidden states after it, with `first_only` of
    /// the first tokens alone.
    fn layer(
        &self,
        number: usize,
        streams: Streams,
        x: &mut Vec<f32>,
        first_only: bool,
        s: &mut Scratch,
    ) -> Streams {
        let config = self.base.config();
        let (h, f) = (config.hidden, config.intermediate);
        let tensor = |slot| layer_tensor(number, slot);

        let mut fork = self.fork(streams, base::attention_input(number));
        self.product(tensor(slot::KEY), x, &fork, &mut s.kv, &mut s.shared);
        self.add_bias(tensor(slot::KEY_BIAS), &fork.after, &mut s.kv);
        let offsets = fork.after.offsets.clone();
        if first_only {
            first_rows(x, h, fork.before(), &mut s.first);
            std::mem::swap(x, &mut s.first);
            fork = fork.single_rows();
        }
        self.product(tensor(slot::QUERY), x, &fork, &mut s.q, &mut s.shared);
        self.add_bias(tensor(slot::QUERY_BIAS), &fork.after, &mut s.q);
        fork.expand(x, h, &mut s.spare);
        let rows = fork.after.rows();
        let attention = Attention {
            offsets: &offsets,
            heads: config.heads,
            hidden: h,
            first_only,
            dropout: None,
        };
        let log_sums = fit(&mut s.log_sums, rows * config.heads);
        attention.forward(&s.q, &s.kv, fit(&mut s.context, rows * h), log_sums);

        let fork = self.fork(fork.after, base::attention_output(number));
        self.product(tensor(slot::ATTENTION_OUTPUT), &s.context, &fork, &mut s.sum, &mut s.shared);
        fork.expand(x, h, &mut s.spare);
        let bias = tensor(slot::ATTENTION_OUTPUT_BIAS);
        self.add_and_norm(bias, &fork.after, (&mut s.sum, x), &mut s.middle, &mut s.stats);

        let fork = self.fork(fork.after, base::intermediate(number));
        self.product(tensor(slot::INTERMEDIATE), &s.middle, &fork, &mut s.wide, &mut s.shared);
        fork.expand(&mut s.middle, h, &mut s.spare);
        let active = fit(&mut s.active, fork.after.rows() * f);
        let bias = tensor(slot::INTERMEDIATE_BIAS);
        for (rows, task) in fork.after.runs(&[bias], self.tasks) {
            let wide = rows.start * f..rows.end * f;
            let (pre, active) = (&mut s.wide[wide.clone()], &mut active[wide]);
            gelu::forward(config.activation, pre, self.vector(task, bias), active);
        }

        let fork = self.fork(fork.after, base::output(number));
        self.product(tensor(slot::OUTPUT), &s.active, &fork, &mut s.sum, &mut s.shared);
        fork.expand(&mut s.middle, h, &mut s.spare);
        let bias = tensor(slot::OUTPUT_BIAS);
        self.add_and_norm(bias, &fork.after, (&mut s.sum, &s.middle), x, &mut s.stats);
        fork.after
    }

    /// The pooler's output, `[streams, hidden]`, of first tokens.
    fn pooler(&self, streams: Streams, read: Vec<f32>, s: &mut Scratch) -> (Streams, Vec<f32>) {
        let site = base::pooler(self.base.config());
        let tensor = site.start;
        let fork = self.fork(streams, site);
        let mut pooled = Vec::new();
        self.product(tensor, &read, &fork, &mut pooled, &mut s.shared);
        self.add_bias(tensor + 1, &fork.after, &mut pooled);
        pooled.iter_mut().for_each(|v| *v = v.tanh());
        (fork.after, pooled)
    }

    /// Means over the rows of every stream, `[streams, hidden]`.
    fn means(&self, streams: &Streams, x: &[f32]) -> Vec<f32> {
        let h = self.base.config().hidden;
        let mut means = vec![0.0; streams.list.len() * h];
        for (i, mean) in means.chunks_exact_mut(h).enumerate() {
            let rows = streams.range(i);
            for row in x[rows.start * h..rows.end * h].chunks_exact(h) {
                mean.iter_mut().zip(row).for_each(|(m, v)| *m += v);
            }
            let share = 1.0 / rows.len() as f32;
            mean.iter_mut().for_each(|m| *m *= share);
        }
        means
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

    fn add_bias(&self, tensor: usize, streams: &Streams, y: &mut [f32]) {
        for (rows, task) in streams.runs(&[tensor], self.tasks) {
            let bias = self.vector(task, tensor);
            sums::add_bias(&mut y[rows.start * bias.len()..rows.end * bias.len()], bias);
        }
    }

    /// out = LayerNorm(sum + bias + residual); the norm's tensors follow the `bias`.
    fn add_and_norm(
        &self,
        bias: usize,
        streams: &Streams,
        (sum, residual): (&mut [f32], &[f32]),
        out: &mut Vec<f32>,
        stats: &mut Vec<f32>,
    ) {
        let h = self.base.config().hidden;
        let (out, stats) = (fit(out, streams.rows() * h), fit(stats, streams.rows() * 2));
        for (rows, task) in streams.runs(&[bias, bias + 1, bias + 2], self.tasks) {
            let wide = rows.start * h..rows.end * h;
            self.norm(task, bias + 1).forward_residual(
                &mut sum[wide.clone()],
                self.vector(task, bias),
                None,
                &residual[wide.clone()],
                &mut out[wide],
                &mut stats[pairs(&rows)],
            );
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

    /// The same fork of streams of one row each.
    fn single_rows(self) -> Self {
        let after = self.after.single_rows();
        Self { after, before: self.before.map(|(before, from)| (before.single_rows(), from)) }
    }

    /// Gives `x`, `[rows before, width]`, the rows after.
    fn expand(&self, x: &mut Vec<f32>, width: usize, spare: &mut Vec<f32>) {
        let Some((before, from)) = &self.before else { return };
        copy_rows(x, width, before, from, spare);
        std::mem::swap(x, spare);
    }
}

/// `x`, `[rows before, width]`, with the rows after `fork`.
fn expanded(x: &[f32], width: usize, before: &Streams, fork: &Fork) -> Vec<f32> {
    let mut out = Vec::new();
    copy_rows(x, width, before, &fork.from, &mut out);
    out
}

fn copy_rows(x: &[f32], width: usize, before: &Streams, from: &[usize], out: &mut Vec<f32>) {
    out.clear();
    for &i in from {
        let rows = before.range(i);
        out.extend_from_slice(&x[rows.start * width..rows.end * width]);
    }
}

/// First rows of every stream, `[streams, width]`.
fn first_rows(x: &[f32], width: usize, streams: &Streams, out: &mut Vec<f32>) {
    out.clear();
    for &start in &streams.offsets[..streams.list.len()] {
        out.extend_from_slice(&x[start * width..(start + 1) * width]);
    }
}

/// Where the two statistics a row stand.
fn pairs(rows: &Range<usize>) -> Range<usize> {
    rows.start * 2..rows.end * 2
}
