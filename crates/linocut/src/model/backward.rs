//! The encoder backward: the operations that lie above the lowest trained tensor, from the last to
//! the first.

use super::encoder::{Encoder, Input};
use super::forward::{Pass, Tape, fit};
use super::op::{Add, Ids, Norm, Op, Positions, Value};
use super::{DropoutStep, Grads, Weights};
use crate::kernels::attention::{self, OperandGrads};
use crate::kernels::gemm::{Mat, matmul};
use crate::kernels::{activation, gather, layernorm, sums, table};

impl Encoder {
    /// Gradients of the tensors that `grads` asks for, given `pooled_grad`, `[sequences, hidden]`,
    /// after a [`Encoder::forward`] of the same input and dropout with `keep`.
    pub fn backward(
        &self,
        weights: &Weights,
        input: Input<'_>,
        dropout: Option<DropoutStep>,
        pooled_grad: &[f32],
        tape: &mut Tape,
        grads: &mut Grads,
    ) {
        let Some(lowest) = self.first_of(|tensor| grads.wants(tensor)) else { return };
        let program = self.program();
        // What a matrix reads of an activation is made again by that.
        let lowest = match &program.ops()[lowest] {
            Op::Linear { from, .. } if program.is_remade(*from) => lowest - 1,
            _ => lowest,
        };
        let (start, _) = self.start(input);
        let reached = self.reached(input);
        let mut walk = Backward {
            pass: self.pass(weights, input, dropout, reached.as_ref()),
            lowest: lowest.max(start),
            given: vec![false; program.values()],
            begun: vec![false; self.layout().tensors().len()],
            tape,
            grads,
        };
        walk.give(program.pooled(), |grad| {
            grad.clear();
            grad.extend_from_slice(pooled_grad);
        });
        for at in (walk.lowest..program.ops().len()).rev() {
            walk.operation(at);
        }
    }
}

/// One pass from the last operation down.
struct Backward<'a> {
    pass: Pass<'a>,
    /// The lowest operation that is walked.
    lowest: usize,
    /// For every value, whether its gradient has a first part.
    given: Vec<bool>,
    /// For every tensor, whether its gradient has a part; of those that several operations read.
    begun: Vec<bool>,
    tape: &'a mut Tape,
    grads: &'a mut Grads,
}

impl Backward<'_> {
    /// Whether anything that is walked fills the value.
    fn needs(&self, value: Value) -> bool {
        // One that a pass began with was filled by none of its operations.
        self.pass.program.producer(value) >= self.lowest
    }

    /// A value's gradient so far, to be given back by [`Backward::give`]: with `true` where it has a
    /// part, else of the right length and without meaning.
    fn take(&mut self, value: Value) -> (Vec<f32>, bool) {
        let mut grad = std::mem::take(&mut self.tape.grads[self.pass.program.buffer(value)]);
        fit(&mut grad, self.pass.rows(value) * self.pass.width(value));
        (grad, self.given[value.0])
    }

    /// Changes a value's gradient, which has a part then.
    fn give(&mut self, value: Value, change: impl FnOnce(&mut Vec<f32>)) {
        change(&mut self.tape.grads[self.pass.program.buffer(value)]);
        self.given[value.0] = true;
    }

    /// Adds a part to a value's gradient, which `grad` is swapped for where it is the first.
    fn add(&mut self, value: Value, grad: &mut Vec<f32>) {
        let given = self.given[value.0];
        self.give(value, |sum| match given {
            true => sum.iter_mut().zip(grad.iter()).for_each(|(sum, g)| *sum += g),
            false => std::mem::swap(sum, grad),
        });
    }

    fn operation(&mut self, at: usize) {
        let program = self.pass.program;
        let op = &program.ops()[at];
        let to = op.to();
        let (mut grad, given) = self.take(to);
        // Where nothing is kept of a value, nothing is learned through it.
        if given && !grad.is_empty() {
            self.through(at, op, &mut grad);
        } else if let Op::Norm { add: Some(add), from, .. } = *op
            && self.given[from.0]
        {
            // The sum is read further up, though nothing reads what is normed of it.
            grad.fill(0.0);
            self.through_sum(Some(add), from, &mut grad);
        }
        // The buffer is another value's from here on.
        self.tape.grads[program.buffer(to)] = grad;
    }

    /// Given the gradient of what `op` fills, in `grad`: those of its tensors and of what it reads.
    fn through(&mut self, at: usize, op: &Op, grad: &mut Vec<f32>) {
        let pass = self.pass;
        let program = pass.program;
        match *op {
            Op::Linear { weight, bias, from, .. } => {
                if let Some(bias) = bias {
                    self.bias_grad(bias, grad);
                }
                if !program.is_remade(from) {
                    let x = self.tape.take(program, from);
                    self.weight_grad(weight, grad, &x);
                    self.tape.put(program, from, x);
                }
                if self.needs(from) && pass.width(from) > 0 {
                    let (mut into, accumulate) = self.take(from);
                    let rows = pass.rows(from);
                    let grad = Mat::new(grad, rows, grad.len() / rows.max(1));
                    matmul(&mut into, grad, pass.matrix(weight), accumulate);
                    self.give(from, |place| *place = into);
                }
            }
            Op::Attend { positions, q, k, v, .. } => {
                let mut values = vec![q, k, v];
                values.dedup();
                let mut into: Vec<_> = values.iter().map(|value| self.take(*value).0).collect();
                let (by, table) = pass.attend(at, self.tape, |attention, operands| {
                    let grads = match &mut into[..] {
                        [qkv] => OperandGrads::Together(qkv),
                        [q, kv] => OperandGrads::Apart(q, kv),
                        [q, k, v] => OperandGrads::Each([q, k, v]),
                        _ => unreachable!("attention reads three values"),
                    };
                    let by = attention.backward(operands, &self.tape.notes[at], grad, grads);
                    let mut table = vec![];
                    if let attention::Positions::Distances(distances) = attention.positions {
                        table = distances.table_grad(&by.by_distance);
                    }
                    (by, table)
                });
                match positions {
                    Positions::Embedded | Positions::Rotary(_) => {}
                    Positions::Distances(part) => {
                        let tensor = self.tensor(part);
                        if self.grads.wants(tensor) {
                            let into = self.begin(tensor);
                            into.iter_mut().zip(&table).for_each(|(sum, g)| *sum += g);
                        }
                    }
                    Positions::Disentangled { keys, queries } => {
                        for (value, mut grad) in [(keys, by.keys), (queries, by.queries)] {
                            if let Some(value) = value.filter(|value| self.needs(*value)) {
                                self.add(value, &mut grad);
                            }
                        }
                    }
                }
                for (value, grad) in values.into_iter().zip(into) {
                    self.give(value, |place| *place = grad);
                }
            }
            Op::Distances { table, to } => {
                let tensor = self.tensor(table);
                if self.grads.wants(tensor) {
                    let first = pass.reached.map_or(0, |reached| reached.first) * pass.width(to);
                    let into = &mut self.begin(tensor)[first..first + grad.len()];
                    into.iter_mut().zip(&*grad).for_each(|(sum, g)| *sum += g);
                }
            }
            Op::Activate { activation, gated, bias, from, to } => {
                let pre = self.tape.take(program, from);
                let mut out = self.tape.take(program, to);
                fit(&mut out, grad.len());
                // The gradient of the sum with the bias.
                if gated {
                    let wide = fit(&mut self.tape.spare, pre.len());
                    let width = pass.width(to);
                    activation::gated_backward(activation, width, &pre, grad, wide, &mut out);
                    std::mem::swap(grad, &mut self.tape.spare);
                } else {
                    activation::backward(activation, &pre, grad, &mut out);
                }
                if let Some(Op::Linear { weight, to: product, .. }) = program.ops().get(at + 1)
                    && program.is_remade(to)
                {
                    let (product_grad, _) = self.take(*product);
                    self.weight_grad(*weight, &product_grad, &out);
                    self.give(*product, |place| *place = product_grad);
                }
                self.tape.put(program, from, pre);
                self.tape.put(program, to, out);
                if let Some(bias) = bias {
                    self.bias_grad(bias, grad);
                }
                if self.needs(from) {
                    self.add(from, grad);
                }
            }
            Op::Add { add, from, .. } => self.through_sum(Some(add), from, grad),
            Op::Drop { drop, from, .. } => {
                if let Some(dropout) = pass.dropout.and_then(|d| d.at(drop)) {
                    let dropped = fit(&mut self.tape.spare, grad.len());
                    layernorm::dropout(grad, pass.width(from), dropout, dropped);
                    std::mem::swap(grad, &mut self.tape.spare);
                }
                if self.needs(from) {
                    self.add(from, grad);
                }
            }
            Op::Around { size, from, .. } if self.needs(from) => {
                self.spread(from, |width, offsets, into| {
                    gather::around_backward(grad, width, size, offsets, into);
                });
            }
            Op::Norm { norm, add, drop, from, .. } => {
                let width = pass.width(from);
                if let Some(dropout) = drop.and_then(|drop| pass.dropout?.at(drop)) {
                    let dropped = fit(&mut self.tape.spare, grad.len());
                    layernorm::dropout(grad, width, dropout, dropped);
                    std::mem::swap(grad, &mut self.tape.spare);
                }
                let x = self.tape.take(program, from);
                let stats = std::mem::take(&mut self.tape.notes[at]);
                self.norm_grads(norm, &x, &stats, grad);
                let bias = add.and_then(|add| add.bias);
                if self.needs(from) || bias.is_some_and(|bias| self.wants(bias)) {
                    let shift = pass.vector(norm.shift, width);
                    pass.norm(norm, &shift).backward(&x, &stats, grad);
                    self.through_sum(add, from, grad);
                }
                self.tape.put(program, from, x);
                self.tape.notes[at] = stats;
            }
            Op::First { from, .. } if self.needs(from) => {
                self.spread(from, |width, offsets, into| {
                    gather::first_backward(grad, width, offsets, into);
                });
            }
            Op::Mean { from, .. } if self.needs(from) => {
                self.spread(from, |width, offsets, into| {
                    gather::mean_backward(grad, width, offsets, into);
                });
            }
            Op::Around { .. } | Op::First { .. } | Op::Mean { .. } => {}
            Op::Embed { ref tables, to } => {
                for &(table, ids) in tables {
                    let tensor = self.tensor(table);
                    if !self.grads.wants(tensor) {
                        continue;
                    }
                    let rows = pass.ids(ids);
                    match ids {
                        Ids::Words => self.grads.put_words(&rows, pass.width(to), grad),
                        _ => table::scatter(
                            self.grads.tensor_mut(tensor),
                            pass.width(to),
                            &rows,
                            grad,
                        ),
                    }
                }
            }
        }
    }

    /// The gradient of a sum of a residual and what a dropout and a bias were applied to, in `grad`, to
    /// both; the whole of it where nothing was added.
    fn through_sum(&mut self, add: Option<Add>, from: Value, grad: &mut Vec<f32>) {
        let pass = self.pass;
        let Some(Add { bias, drop, residual }) = add else {
            return self.add(from, grad);
        };
        let (mut branch, given) = self.take(from);
        if given {
            // The sum itself was read further up, as what goes around a block is.
            grad.iter_mut().zip(&branch).for_each(|(sum, g)| *sum += g);
        }
        match drop.and_then(|drop| pass.dropout?.at(drop)) {
            Some(dropout) => layernorm::dropout(grad, pass.width(from), dropout, &mut branch),
            None => branch.copy_from_slice(grad),
        }
        if let Some(bias) = bias {
            self.bias_grad(bias, &branch);
        }
        self.give(from, |place| *place = branch);
        if self.needs(residual) {
            self.add(residual, grad);
        }
    }

    /// The gradient of a tensor that several operations may read, 0 before its first part.
    fn begin(&mut self, tensor: usize) -> &mut [f32] {
        let begun = std::mem::replace(&mut self.begun[tensor], true);
        let into = self.grads.tensor_mut(tensor);
        if !begun {
            into.fill(0.0);
        }
        into
    }

    /// Adds to the gradient of `from`, which is 0 before its first part.
    fn spread(&mut self, from: Value, add: impl FnOnce(usize, &[usize], &mut [f32])) {
        let (mut into, given) = self.take(from);
        if !given {
            into.fill(0.0);
        }
        add(self.pass.width(from), self.pass.offsets, &mut into);
        self.give(from, |place| *place = into);
    }

    /// The one tensor of a part.
    fn tensor(&self, part: usize) -> usize {
        self.pass.weights.layout().parts()[part].tensors.start
    }

    /// Whether a tensor of the part is asked for.
    fn wants(&self, part: usize) -> bool {
        let mut tensors = self.pass.weights.layout().parts()[part].tensors.clone();
        tensors.any(|tensor| self.grads.wants(tensor))
    }

    /// Column sums of `grad`, `[rows, width]`, into the gradients of the part's biases that are asked
    /// for.
    fn bias_grad(&mut self, part: usize, grad: &[f32]) {
        let layout = self.pass.weights.layout();
        let part = &layout.parts()[part];
        for tensor in part.tensors.clone() {
            if !self.grads.wants(tensor) {
                continue;
            }
            let start = layout.tensors()[tensor].range.start - part.range.start;
            let into = self.begin(tensor);
            match into.len() == part.rows {
                true => sums::add_column_sums(into, grad),
                false => sums::add_column_sums_of(into, grad, part.rows, start),
            }
        }
    }

    /// gradᵀ·x into the gradients of the part's matrices, `[out, in]`, that are asked for; `grad` is
    /// `[rows, out of all]` and `x` `[rows, in]`.
    fn weight_grad(&mut self, part: usize, grad: &[f32], x: &[f32]) {
        let layout = self.pass.weights.layout();
        let part = &layout.parts()[part];
        let rows = grad.len() / part.rows;
        for tensor in part.tensors.clone() {
            if !self.grads.wants(tensor) {
                continue;
            }
            let spec = &layout.tensors()[tensor];
            let start = (spec.range.start - part.range.start) / part.cols;
            let mine = Mat::new(grad, rows, part.rows).columns(start, spec.range.len() / part.cols);
            let more = std::mem::replace(&mut self.begun[tensor], true);
            matmul(self.grads.tensor_mut(tensor), mine.t(), Mat::new(x, rows, part.cols), more);
        }
    }

    /// Gradients of scale and shift of a LayerNorm, those asked for.
    fn norm_grads(&mut self, norm: Norm, x: &[f32], stats: &[f32], grad: &[f32]) {
        let tensors = [Some(norm.scale), norm.shift].map(|part| Some(self.tensor(part?)));
        if !tensors.iter().flatten().any(|&tensor| self.grads.wants(tensor)) {
            return;
        }
        let width = self.pass.weights.part(norm.scale).len();
        let (mut scale, mut shift) = (vec![0.0; width], vec![0.0; width]);
        layernorm::add_parameter_grads(x, stats, grad, &mut scale, &mut shift);
        for (tensor, values) in tensors.into_iter().zip([scale, shift]) {
            if let Some(tensor) = tensor.filter(|&tensor| self.grads.wants(tensor)) {
                self.begin(tensor).iter_mut().zip(values).for_each(|(sum, g)| *sum += g);
            }
        }
    }
}
