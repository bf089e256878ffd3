//! The encoder backward: the operations that lie above the lowest trained tensor, from the last to
//! the first.

use super::encoder::{Encoder, Input};
use super::forward::{Pass, Tape, fit};
use super::op::{Add, Ids, Op, Value};
use super::{DropoutStep, Grads, Weights};
use crate::kernels::attention::Distances;
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
        let mut walk = Backward {
            pass: self.pass(weights, input, dropout),
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
        if given {
            self.through(at, op, &mut grad);
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
                if self.needs(from) {
                    let (mut into, accumulate) = self.take(from);
                    let rows = pass.rows(from);
                    let grad = Mat::new(grad, rows, grad.len() / rows.max(1));
                    matmul(&mut into, grad, pass.matrix(weight), accumulate);
                    self.give(from, |place| *place = into);
                }
            }
            Op::Attend { heads, distances: table, q, kv, drop, .. } => {
                let (mut q_grad, _) = self.take(q);
                let (mut kv_grad, _) = self.take(kv);
                let (q_rows, kv_rows) = (self.tape.get(program, q), self.tape.get(program, kv));
                let log_sums = &self.tape.notes[at];
                let distances = pass.distances(table, heads);
                let attention = pass.attention(heads, distances.as_ref(), q, drop);
                let places = (&mut q_grad[..], &mut kv_grad[..]);
                let by_distance = attention.backward((q_rows, kv_rows), log_sums, grad, places);
                if let (Some(table), Some(distances)) = (table, &distances) {
                    self.distances_grad(table, distances, &by_distance);
                }
                self.give(q, |place| *place = q_grad);
                self.give(kv, |place| *place = kv_grad);
            }
            Op::Activate { activation, bias, from, to } => {
                let pre = self.tape.take(program, from);
                let mut out = self.tape.take(program, to);
                // In place: the gradient of the sum with the bias.
                activation::backward(activation, &pre, grad, fit(&mut out, pre.len()));
                if let Some(Op::Linear { weight, to: product, .. }) = program.ops().get(at + 1)
                    && program.is_remade(to)
                {
                    let (product_grad, _) = self.take(*product);
                    self.weight_grad(*weight, &product_grad, &out);
                    self.give(*product, |place| *place = product_grad);
                }
                self.tape.put(program, from, pre);
                self.tape.put(program, to, out);
                self.bias_grad(bias, grad);
                if self.needs(from) {
                    self.add(from, grad);
                }
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
                self.norm_grads((norm.scale, norm.shift), &x, &stats, grad);
                let bias = add.map(|add| add.bias);
                if self.needs(from) || bias.is_some_and(|bias| self.wants(bias)) {
                    pass.norm(norm).backward(&x, &stats, grad);
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
            Op::First { .. } | Op::Mean { .. } => {}
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
        let (mut branch, _) = self.take(from);
        match drop.and_then(|drop| pass.dropout?.at(drop)) {
            Some(dropout) => layernorm::dropout(grad, pass.width(from), dropout, &mut branch),
            None => branch.copy_from_slice(grad),
        }
        self.bias_grad(bias, &branch);
        self.give(from, |place| *place = branch);
        if self.needs(residual) {
            self.add(residual, grad);
        }
    }

    /// Adds the gradient of a table of biases by distance, which other layers may have added to.
    fn distances_grad(&mut self, table: usize, distances: &Distances, by_distance: &[f32]) {
        let tensor = self.tensor(table);
        if !self.grads.wants(tensor) {
            return;
        }
        let into = self.grads.tensor_mut(tensor);
        if !std::mem::replace(&mut self.begun[tensor], true) {
            into.fill(0.0);
        }
        distances.add_grads(by_distance, into);
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
            let into = self.grads.tensor_mut(tensor);
            into.fill(0.0);
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
            matmul(self.grads.tensor_mut(tensor), mine.t(), Mat::new(x, rows, part.cols), false);
        }
    }

    /// Gradients of scale and shift of a LayerNorm, those asked for.
    fn norm_grads(
        &mut self,
        (scale, shift): (usize, usize),
        x: &[f32],
        stats: &[f32],
        grad: &[f32],
    ) {
        let tensors = [self.tensor(scale), self.tensor(shift)];
        if !tensors.iter().any(|&tensor| self.grads.wants(tensor)) {
            return;
        }
        let width = self.pass.weights.part(scale).len();
        let (mut scale, mut shift) = (vec![0.0; width], vec![0.0; width]);
        layernorm::add_parameter_grads(x, stats, grad, &mut scale, &mut shift);
        for (tensor, values) in tensors.into_iter().zip([scale, shift]) {
            if self.grads.wants(tensor) {
                self.grads.tensor_mut(tensor).copy_from_slice(&values);
            }
        }
    }
}
