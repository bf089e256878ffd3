//! The encoder forward: every operation in order, over the kernels.

use super::dropout::DropoutPlace;
use super::encoder::{Encoder, Input};
use super::op::{Add, Ids, Norm, Op, Value};
use super::program::Program;
use super::{DropoutStep, Weights};
use crate::data::Batch;
use crate::kernels::attention::{Attention, Distances};
use crate::kernels::gemm::{Mat, matmul};
use crate::kernels::layernorm::LayerNorm;
use crate::kernels::{activation, gather, layernorm, sums, table};

/// Everything a forward pass leaves for its backward, and the buffers both use; kept from step to
/// step so that nothing is allocated anew.
#[derive(Debug, Default)]
pub struct Tape {
    /// Values by number, where they are kept.
    kept: Vec<Vec<f32>>,
    /// Buffers that values share, where they are not.
    shared: Vec<Vec<f32>>,
    /// What an operation leaves for its own backward, by operation: statistics of norms, log-sums of
    /// attention.
    pub(super) notes: Vec<Vec<f32>>,
    keeps: bool,
    /// Gradients of values, in the buffers that the values share.
    pub(super) grads: Vec<Vec<f32>>,
    pub(super) spare: Vec<f32>,
}

/// Gives `x` the length `len` without touching what is there.
pub(super) fn fit(x: &mut Vec<f32>, len: usize) -> &mut [f32] {
    x.resize(len, 0.0);
    x
}

impl Tape {
    fn place(&mut self, program: &Program, value: Value) -> &mut Vec<f32> {
        match self.keeps && !program.is_remade(value) {
            true => &mut self.kept[value.0],
            false => &mut self.shared[program.buffer(value)],
        }
    }

    /// A value's rows, to be given back by [`Tape::put`].
    pub(super) fn take(&mut self, program: &Program, value: Value) -> Vec<f32> {
        std::mem::take(self.place(program, value))
    }

    pub(super) fn put(&mut self, program: &Program, value: Value, rows: Vec<f32>) {
        *self.place(program, value) = rows;
    }

    pub(super) fn get(&self, program: &Program, value: Value) -> &[f32] {
        match self.keeps && !program.is_remade(value) {
            true => &self.kept[value.0],
            false => &self.shared[program.buffer(value)],
        }
    }
}

/// One pass of one input.
#[derive(Clone, Copy)]
pub(super) struct Pass<'a> {
    pub(super) program: &'a Program,
    pub(super) weights: &'a Weights,
    /// Cumulative sequence lengths, `[sequences + 1]`.
    pub(super) offsets: &'a [usize],
    /// The tokens, where the pass begins with them.
    pub(super) batch: Option<&'a Batch>,
    pub(super) dropout: Option<DropoutStep>,
}

impl Encoder {
    /// Hidden states after the lowest `depth` layers, without dropout: `[tokens, hidden]`, or with
    /// all layers the one row a sequence that pooling starts from. Input for [`Input::States`].
    pub fn trunk<'t>(
        &self,
        weights: &Weights,
        batch: &Batch,
        depth: usize,
        tape: &'t mut Tape,
    ) -> &'t [f32] {
        let (end, value) = self.depth(self.program(), depth);
        self.run(weights, Input::Tokens(batch), end, None, false, tape);
        tape.get(self.program(), value)
    }

    /// The vectors that the head reads, `[sequences, hidden]`. With `keep`, the tape holds what
    /// [`Encoder::backward`] needs; without, values share their buffers.
    pub fn forward<'t>(
        &self,
        weights: &Weights,
        input: Input<'_>,
        dropout: Option<DropoutStep>,
        keep: bool,
        tape: &'t mut Tape,
    ) -> &'t [f32] {
        let program = self.program();
        self.run(weights, input, program.ops().len(), dropout, keep, tape);
        tape.get(program, program.pooled())
    }

    /// Hidden states after the last layer that the last forward pass, with `keep`, left: `[tokens,
    /// hidden]`, or `[sequences, hidden]` under first-token pooling.
    pub fn hidden_states<'t>(&self, tape: &'t Tape) -> &'t [f32] {
        tape.get(self.program(), self.program().layer_end(self.config().layers - 1).1)
    }

    pub(super) fn pass<'a>(
        &'a self,
        weights: &'a Weights,
        input: Input<'a>,
        dropout: Option<DropoutStep>,
    ) -> Pass<'a> {
        let batch = match input {
            Input::Tokens(batch) => Some(batch),
            Input::States { .. } => None,
        };
        Pass { program: self.program(), weights, offsets: input.offsets(), batch, dropout }
    }

    /// Runs the operations up to `end`.
    fn run(
        &self,
        weights: &Weights,
        input: Input<'_>,
        end: usize,
        dropout: Option<DropoutStep>,
        keep: bool,
        tape: &mut Tape,
    ) {
        let program = self.program();
        tape.keeps = keep;
        tape.kept.resize_with(program.values(), Vec::new);
        tape.shared.resize_with(program.values(), Vec::new);
        tape.grads.resize_with(program.values(), Vec::new);
        tape.notes.resize_with(program.ops().len(), Vec::new);
        let (start, given) = self.start(input);
        if let (Input::States { states, .. }, Some(value)) = (input, given) {
            let place = tape.place(program, value);
            place.clear();
            place.extend_from_slice(states);
        }
        let pass = self.pass(weights, input, dropout);
        for at in start..end {
            pass.forward(at, tape);
        }
    }
}

impl Pass<'_> {
    /// Rows of a value.
    pub(super) fn rows(&self, value: Value) -> usize {
        let sequences = self.offsets.len() - 1;
        if self.program.shape(value).single { sequences } else { self.offsets[sequences] }
    }

    pub(super) fn width(&self, value: Value) -> usize {
        self.program.shape(value).width
    }

    pub(super) fn attention<'a>(
        &'a self,
        heads: usize,
        distances: Option<&'a Distances>,
        q: Value,
        drop: DropoutPlace,
    ) -> Attention<'a> {
        Attention {
            offsets: self.offsets,
            heads,
            hidden: self.width(q),
            first_only: self.program.shape(q).single,
            distances,
            dropout: self.dropout.and_then(|d| d.at(drop)),
        }
    }

    /// The biases by distance of attention, if it has them.
    pub(super) fn distances(&self, table: Option<usize>, heads: usize) -> Option<Distances> {
        table.map(|table| Distances::new(self.weights.part(table), heads, self.offsets))
    }

    pub(super) fn norm(&self, norm: Norm) -> LayerNorm<'_> {
        let (scale, shift) = (self.weights.part(norm.scale), self.weights.part(norm.shift));
        LayerNorm { scale, shift, eps: norm.eps }
    }

    /// A part as a matrix, `[out, in]`.
    pub(super) fn matrix(&self, part: usize) -> Mat<'_> {
        let place = &self.weights.layout().parts()[part];
        Mat::new(self.weights.part(part), place.rows, place.cols)
    }

    /// What chooses the rows of a table, a token each.
    pub(super) fn ids(&self, ids: Ids) -> Vec<u32> {
        let batch = self.batch.expect("embeddings are read where a pass begins with tokens");
        let of = |span: &[usize]| {
            ids.rows(&batch.ids[span[0]..span[1]], &batch.type_ids[span[0]..span[1]])
        };
        batch.offsets.windows(2).flat_map(of).collect()
    }

    fn forward(&self, at: usize, tape: &mut Tape) {
        let program = self.program;
        let op = &program.ops()[at];
        let (rows, width) = (self.rows(op.to()), self.width(op.to()));
        let mut to = tape.take(program, op.to());
        fit(&mut to, rows * width);
        match *op {
            Op::Embed { ref tables, .. } => {
                let ids: Vec<Vec<u32>> = tables.iter().map(|(_, ids)| self.ids(*ids)).collect();
                let entries = tables.iter().map(|(part, _)| self.weights.part(*part));
                let tables: Vec<_> = entries.zip(ids.iter().map(Vec::as_slice)).collect();
                table::sum(&tables, width, &mut to);
            }
            Op::Linear { weight, bias, from, .. } => {
                let x = Mat::new(tape.get(program, from), rows, self.width(from));
                matmul(&mut to, x, self.matrix(weight).t(), false);
                if let Some(bias) = bias {
                    sums::add_bias(&mut to, self.weights.part(bias));
                }
            }
            Op::Attend { heads, distances, q, kv, drop, .. } => {
                let mut log_sums = std::mem::take(&mut tape.notes[at]);
                let (q_rows, kv) = (tape.get(program, q), tape.get(program, kv));
                let distances = self.distances(distances, heads);
                let attention = self.attention(heads, distances.as_ref(), q, drop);
                attention.forward(q_rows, kv, &mut to, fit(&mut log_sums, rows * heads));
                tape.notes[at] = log_sums;
            }
            Op::Activate { activation, bias, from, .. } => {
                let mut pre = tape.take(program, from);
                activation::forward(activation, &mut pre, self.weights.part(bias), &mut to);
                tape.put(program, from, pre);
            }
            Op::Norm { norm, add, drop, from, .. } => {
                let mut x = tape.take(program, from);
                let mut stats = std::mem::take(&mut tape.notes[at]);
                fit(&mut stats, rows * 2);
                let norm = self.norm(norm);
                match add {
                    Some(Add { bias, drop, residual }) => norm.forward_residual(
                        &mut x,
                        self.weights.part(bias),
                        drop.and_then(|drop| self.dropout?.at(drop)),
                        tape.get(program, residual),
                        &mut to,
                        &mut stats,
                    ),
                    None => norm.forward(&x, &mut to, &mut stats),
                }
                if let Some(dropout) = drop.and_then(|drop| self.dropout?.at(drop)) {
                    let dropped = fit(&mut tape.spare, rows * width);
                    layernorm::dropout(&to, width, dropout, dropped);
                    std::mem::swap(&mut to, &mut tape.spare);
                }
                tape.notes[at] = stats;
                tape.put(program, from, x);
            }
            Op::First { from, .. } => {
                gather::first(tape.get(program, from), width, self.offsets, &mut to);
            }
            Op::Mean { from, .. } => {
                gather::mean(tape.get(program, from), width, self.offsets, &mut to);
            }
        }
        tape.put(program, op.to(), to);
    }
}
