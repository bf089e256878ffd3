//! The encoder forward: every operation in order, over the kernels.

use super::encoder::{Encoder, Input};
use super::op::{Add, Ids, Norm, Op, Positions, Rows, Value};
use super::program::Program;
use super::{DropoutStep, Weights};
use crate::data::Batch;
use crate::kernels::attention::{
    self, Attention, Disentangled, Distances, Operands, Reached, Rotaries,
};
use crate::kernels::gemm::{Mat, matmul};
use crate::kernels::layernorm::LayerNorm;
use crate::kernels::{activation, gather, layernorm, sums, table};
use std::borrow::Cow;

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
    pub(super) rotaries: Rotaries,
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
    /// The distances of its tokens, where anything is made of them.
    pub(super) reached: Option<&'a Reached>,
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

    /// The distances of the input's tokens, where the program makes anything of them.
    pub(super) fn reached(&self, input: Input<'_>) -> Option<Reached> {
        let buckets = self.program().buckets()?;
        Some(buckets.reached(attention::longest(input.offsets())))
    }

    pub(super) fn pass<'a>(
        &'a self,
        weights: &'a Weights,
        input: Input<'a>,
        dropout: Option<DropoutStep>,
        reached: Option<&'a Reached>,
    ) -> Pass<'a> {
        let batch = match input {
            Input::Tokens(batch) => Some(batch),
            Input::States { .. } => None,
        };
        let (program, offsets) = (self.program(), input.offsets());
        Pass { program, weights, offsets, batch, dropout, reached }
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
        tape.shared.resize_with(program.buffer_count(), Vec::new);
        tape.grads.resize_with(program.buffer_count(), Vec::new);
        tape.notes.resize_with(program.ops().len(), Vec::new);
        let (start, given) = self.start(input);
        if let (Input::States { states, .. }, Some(value)) = (input, given) {
            let place = tape.place(program, value);
            place.clear();
            place.extend_from_slice(states);
        }
        program.prepare(attention::longest(input.offsets()), &mut tape.rotaries);
        let reached = self.reached(input);
        let pass = self.pass(weights, input, dropout, reached.as_ref());
        for at in program.of_distances(start).chain(start..end) {
            pass.forward(at, tape);
        }
    }
}

impl Pass<'_> {
    /// Rows of a value.
    pub(super) fn rows(&self, value: Value) -> usize {
        let sequences = self.offsets.len() - 1;
        match self.program.shape(value).rows {
            Rows::Tokens => self.offsets[sequences],
            Rows::Sequences => sequences,
            Rows::Distances(_) => self.reached.map_or(0, |reached| reached.rows),
        }
    }

    pub(super) fn width(&self, value: Value) -> usize {
        self.program.shape(value).width
    }

    /// Runs `with` the attention of operation `at` and its operands.
    pub(super) fn attend<R>(
        &self,
        at: usize,
        tape: &Tape,
        with: impl FnOnce(&Attention<'_>, Operands<'_>) -> R,
    ) -> R {
        let program = self.program;
        let Op::Attend { heads, positions, window, q, k, v, drop, to } = program.ops()[at] else {
            unreachable!("operation {at} attends")
        };
        let get = |value: Value| tape.get(program, value);
        let hidden = self.width(to);
        let distances;
        let positions = match positions {
            Positions::Embedded => attention::Positions::Embedded,
            Positions::Distances(table) => {
                let all = self.weights.layout().parts()[table].cols;
                let (table, kept) = (self.weights.part(table), program.kept_heads(at));
                distances = Distances::new(table, all, kept, self.offsets);
                attention::Positions::Distances(&distances)
            }
            Positions::Rotary(theta) => {
                attention::Positions::Rotary(tape.rotaries.get(theta, hidden / heads))
            }
            Positions::Disentangled { keys, queries } => {
                let reached = self.reached.expect("a program of distances has them");
                let (keys, queries) = (keys.map(get), queries.map(get));
                attention::Positions::Disentangled(Disentangled { keys, queries, reached })
            }
        };
        let attention = Attention {
            offsets: self.offsets,
            heads,
            hidden,
            first_only: program.shape(to).single(),
            positions,
            window,
            dropout: self.dropout.and_then(|d| d.at(drop)),
        };
        with(&attention, operands([q, k, v], get))
    }

    /// A vector, or as many zeros.
    pub(super) fn vector(&self, part: Option<usize>, width: usize) -> Cow<'_, [f32]> {
        part.map_or_else(|| vec![0.0; width].into(), |part| self.weights.part(part).into())
    }

    /// A norm, given its shift.
    pub(super) fn norm<'s>(&'s self, norm: Norm, shift: &'s [f32]) -> LayerNorm<'s> {
        LayerNorm { scale: self.weights.part(norm.scale), shift, eps: norm.eps }
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
        if rows * width == 0 {
            // Nothing of it is kept.
            return tape.put(program, op.to(), to);
        }
        match *op {
            Op::Embed { ref tables, .. } => {
                let ids: Vec<Vec<u32>> = tables.iter().map(|(_, ids)| self.ids(*ids)).collect();
                let entries = tables.iter().map(|(part, _)| self.weights.part(*part));
                let tables: Vec<_> = entries.zip(ids.iter().map(Vec::as_slice)).collect();
                table::sum(&tables, width, &mut to);
            }
            Op::Linear { weight, bias, from, .. } => {
                match self.width(from) {
                    0 => to.fill(0.0),
                    width => {
                        let x = Mat::new(tape.get(program, from), rows, width);
                        matmul(&mut to, x, self.matrix(weight).t(), false);
                    }
                }
                if let Some(bias) = bias {
                    sums::add_bias(&mut to, self.weights.part(bias));
                }
            }
            Op::Distances { table, .. } => {
                let first = self.reached.map_or(0, |reached| reached.first) * width;
                to.copy_from_slice(&self.weights.part(table)[first..first + rows * width]);
            }
            Op::Attend { heads, .. } => {
                let mut log_sums = std::mem::take(&mut tape.notes[at]);
                let sums = fit(&mut log_sums, rows * heads);
                self.attend(at, tape, |attention, operands| {
                    attention.forward(operands, &mut to, sums);
                });
                tape.notes[at] = log_sums;
            }
            Op::Activate { activation, gated, bias, from, .. } => {
                let mut pre = tape.take(program, from);
                let bias = self.vector(bias, self.width(from));
                match gated {
                    true => activation::gated_forward(activation, &mut pre, &bias, &mut to),
                    false => activation::forward(activation, &mut pre, &bias, &mut to),
                }
                tape.put(program, from, pre);
            }
            Op::Add { add: Add { bias, drop, residual }, from, .. } => {
                let bias = self.vector(bias, width);
                let dropout = drop.and_then(|drop| self.dropout?.at(drop));
                let (x, residual) = (tape.get(program, from), tape.get(program, residual));
                layernorm::add_residual(x, &bias, dropout, residual, &mut to);
            }
            Op::Drop { drop, from, .. } => {
                let x = tape.get(program, from);
                match self.dropout.and_then(|d| d.at(drop)) {
                    Some(dropout) => layernorm::dropout(x, width, dropout, &mut to),
                    None => to.copy_from_slice(x),
                }
            }
            Op::Around { size, from, .. } => {
                let x = tape.get(program, from);
                gather::around(x, self.width(from), size, self.offsets, &mut to);
            }
            Op::Norm { norm, add, drop, from, .. } => {
                let mut x = tape.take(program, from);
                let mut stats = std::mem::take(&mut tape.notes[at]);
                fit(&mut stats, rows * 2);
                let shift = self.vector(norm.shift, width);
                let norm = self.norm(norm, &shift);
                match add {
                    Some(Add { bias, drop, residual }) => norm.forward_residual(
                        &mut x,
                        &self.vector(bias, width),
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

/// Queries, keys and values as they stand beside each other.
pub(crate) fn operands<'a>(
    [q, k, v]: [Value; 3],
    get: impl Fn(Value) -> &'a [f32],
) -> Operands<'a> {
    if q == k {
        Operands::Together(get(q))
    } else if k == v {
        Operands::Apart(get(q), get(k))
    } else {
        Operands::Each([get(q), get(k), get(v)])
    }
}
