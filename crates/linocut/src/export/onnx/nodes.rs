//! The encoder's program as nodes: one arm an operation. Values of tokens are `[batch, tokens, width]`, those
//! of sequences `[batch, width]`, those of distances `[distances, width]`.

use super::graph::{Content, Graph};
use super::proto::{Attribute, BOOL, FLOAT, INT64};
use crate::kernels::activation::Activation;
use crate::model::op::{Add, Ids, Norm, Op, Value};
use crate::model::{Encoder, Head, Part};
use std::f32::consts::SQRT_2;

/// What a graph reads, each `[batch, tokens]` of i64.
pub(super) const IDS: &str = "input_ids";
pub(super) const MASK: &str = "attention_mask";
pub(super) const TYPES: &str = "token_type_ids";
/// What it gives, `[batch, outputs]` of f32.
pub(super) const LOGITS: &str = "logits";

/// A walk over a program.
pub(super) struct Walk<'a> {
    pub(super) encoder: &'a Encoder,
    /// Entries of its weights.
    pub(super) weights: &'a [f32],
    /// Whether token types are an input; else all are 0.
    pub(super) typed: bool,
    pub(super) graph: Graph,
    /// What a value is called, once it is filled.
    names: Vec<String>,
}

/// The graph of an encoder with a head. `typed` says whether token types are an input.
pub(super) fn of(encoder: &Encoder, weights: &[f32], head: &Head, typed: bool) -> Graph {
    let names = vec![String::new(); encoder.program().values()];
    let mut walk = Walk { encoder, weights, typed, graph: Graph::default(), names };
    for (at, op) in encoder.program().ops().iter().enumerate() {
        // Of a slim encoder, a value that nothing is left of has no node: what reads it says what comes
        // of that.
        if walk.width(op.to()) > 0 {
            let made = walk.op(at, op);
            walk.names[op.to().0] = made;
        }
    }
    walk.head(head);
    walk.graph.prune(LOGITS);
    walk.graph
}

impl Walk<'_> {
    pub(super) fn width(&self, value: Value) -> usize {
        self.encoder.program().shape(value).width
    }

    pub(super) fn get(&self, value: Value) -> String {
        self.names[value.0].clone()
    }

    fn part(&self, part: usize) -> &Part {
        &self.encoder.layout().parts()[part]
    }

    /// What a part is called: its tensors' names.
    pub(super) fn name_of(&self, part: usize) -> String {
        let tensors = &self.encoder.layout().tensors()[self.part(part).tensors.clone()];
        let names: Vec<&str> = tensors.iter().map(|tensor| &tensor.name[..]).collect();
        names.join("+")
    }

    /// A table, or the rows of it from `first` on.
    fn rows(&mut self, part: usize, first: usize, rows: usize) -> String {
        let (name, Part { range, cols, .. }) = (self.name_of(part), self.part(part).clone());
        let start = range.start + first * cols;
        let range = start..start + rows * cols;
        self.graph.tensor(name, vec![rows, cols], Content::Weights(range, None))
    }

    fn vector(&mut self, part: usize) -> String {
        let (name, Part { range, rows, .. }) = (self.name_of(part), self.part(part).clone());
        self.graph.tensor(name, vec![rows], Content::Weights(range, None))
    }

    /// A matrix as products from the left read it, `[in, out]`.
    fn matrix(&mut self, part: usize) -> String {
        let (name, Part { range, rows, cols, .. }) = (self.name_of(part), self.part(part).clone());
        self.graph.tensor(name, vec![cols, rows], Content::Weights(range, Some(cols)))
    }

    /// A value with a bias added, where there is one.
    fn biased(&mut self, value: &str, bias: Option<usize>) -> String {
        match bias {
            None => value.into(),
            Some(bias) => {
                let bias = self.vector(bias);
                self.graph.node("Add", &[value, &bias])
            }
        }
    }

    /// Which tokens are not padding, `[batch, tokens, 1]` of f32.
    fn mask(&mut self) -> String {
        self.graph.once("mask of tokens".into(), |graph| {
            let mask = graph.node_with("Cast", &[MASK], vec![cast_to(FLOAT)]);
            graph.unsqueeze(&mask, &[2])
        })
    }

    /// The places of the tokens, from 0: `[tokens]`.
    pub(super) fn places(&mut self) -> String {
        self.graph.once("places of tokens".into(), |graph| {
            let (shape, first) = (graph.node("Shape", &[IDS]), graph.int(1));
            let (tokens, zero) = (graph.gather(&shape, &first, 0), graph.int(0));
            graph.node("Range", &[&zero, &tokens, &first])
        })
    }

    /// Row `Ids::PositionsAfter(padding)` of every token, `[batch, tokens]`.
    fn places_after(&mut self, padding: u32) -> String {
        let graph = &mut self.graph;
        let (padding, one) = (graph.int(i64::from(padding)), graph.int(1));
        let is_padding = graph.node("Equal", &[IDS, &padding]);
        let is_text = graph.node("Not", &[&is_padding]);
        let is_text = graph.node_with("Cast", &[&is_text], vec![cast_to(INT64)]);
        let count = graph.node("CumSum", &[&is_text, &one]);
        let place = graph.node("Mul", &[&count, &is_text]);
        graph.node("Add", &[&place, &padding])
    }

    fn embed(&mut self, tables: &[(usize, Ids)]) -> String {
        let mut sum: Option<String> = None;
        for &(part, ids) in tables {
            let all = self.part(part).rows;
            let chosen = match ids {
                Ids::Words => IDS.into(),
                Ids::Types => TYPES.into(),
                Ids::Positions => self.places(),
                Ids::PositionsAfter(padding) => self.places_after(padding),
            };
            let rows = match ids == Ids::Types && !self.typed {
                true => self.rows(part, 0, 1),
                false => {
                    let table = self.rows(part, 0, all);
                    self.graph.gather(&table, &chosen, 0)
                }
            };
            sum = Some(match sum {
                None => rows,
                Some(sum) => self.graph.node("Add", &[&sum, &rows]),
            });
        }
        sum.expect("an embedding has a table")
    }

    fn activation(&mut self, activation: Activation, x: &str) -> String {
        let graph = &mut self.graph;
        match activation {
            Activation::Gelu => {
                // In the order in which runtimes look for it.
                let (root, one, half) = (graph.float(SQRT_2), graph.float(1.0), graph.float(0.5));
                let share = graph.node("Div", &[x, &root]);
                let share = graph.node("Erf", &[&share]);
                let share = graph.node("Add", &[&share, &one]);
                let twice = graph.node("Mul", &[x, &share]);
                graph.node("Mul", &[&twice, &half])
            }
            Activation::GeluTanh => {
                let (one, half) = (graph.float(1.0), graph.float(0.5));
                let (slope, cubic) = (graph.float(0.797_884_6), graph.float(0.044_715));
                let square = graph.node("Mul", &[x, x]);
                let cube = graph.node("Mul", &[&square, x]);
                let cube = graph.node("Mul", &[&cube, &cubic]);
                let sum = graph.node("Add", &[x, &cube]);
                let sum = graph.node("Mul", &[&sum, &slope]);
                let share = graph.node("Tanh", &[&sum]);
                let share = graph.node("Add", &[&share, &one]);
                let twice = graph.node("Mul", &[x, &share]);
                graph.node("Mul", &[&twice, &half])
            }
            Activation::Relu => graph.node("Relu", &[x]),
            Activation::Tanh => graph.node("Tanh", &[x]),
            Activation::Silu => {
                let share = graph.node("Sigmoid", &[x]);
                graph.node("Mul", &[x, &share])
            }
        }
    }

    /// from ← residual + (from + bias); gives the sum.
    fn add(&mut self, Add { bias, residual, .. }: Add, from: Value) -> String {
        let (from, residual) = (self.get(from), self.get(residual));
        let from = self.biased(&from, bias);
        self.graph.node("Add", &[&residual, &from])
    }

    fn norm(&mut self, Norm { scale, shift, eps }: Norm, x: &str) -> String {
        let scale = self.vector(scale);
        let shift = shift.map(|shift| self.vector(shift));
        let inputs = [Some(x), Some(&scale[..]), shift.as_deref()];
        let inputs: Vec<&str> = inputs.into_iter().flatten().collect();
        let attributes = vec![Attribute::int("axis", -1), Attribute::float("epsilon", eps)];
        self.graph.node_with("LayerNormalization", &inputs, attributes)
    }

    /// The rows of the `size` tokens around each side by side, 0 beyond the sequence.
    fn around(&mut self, size: usize, from: Value) -> String {
        let (mask, width, from) = (self.mask(), self.width(from), self.get(from));
        let (graph, reach) = (&mut self.graph, (size / 2) as i64);
        let x = graph.node("Mul", &[&from, &mask]);
        let pads = graph.ints(&[0, reach, 0, 0, reach, 0]);
        let x = graph.node("Pad", &[&x, &pads]);
        let (axis, entry) = (graph.ints(&[1]), graph.ints(&[3]));
        let mut rows = vec![];
        for k in 0..size as i64 {
            let end = k + 1 - size as i64;
            let starts = graph.ints(&[k]);
            let ends = graph.ints(&[if end == 0 { i64::MAX } else { end }]);
            let row = graph.node("Slice", &[&x, &starts, &ends, &axis]);
            rows.push(graph.node("Unsqueeze", &[&row, &entry]));
        }
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        let all = graph.node_with("Concat", &rows, vec![Attribute::int("axis", 3)]);
        graph.reshape(&all, &[0, 0, (width * size) as i64])
    }

    /// The nodes of operation `at`; gives what its value is called.
    fn op(&mut self, at: usize, op: &Op) -> String {
        match *op {
            Op::Embed { ref tables, .. } => self.embed(tables),
            Op::Linear { weight, bias, from, to } => {
                if self.width(from) == 0 {
                    return match bias {
                        Some(bias) => self.vector(bias),
                        None => self.zeros(self.width(to)),
                    };
                }
                let (x, weight) = (self.get(from), self.matrix(weight));
                let product = self.graph.node("MatMul", &[&x, &weight]);
                self.biased(&product, bias)
            }
            Op::Distances { table, .. } => {
                let reached = self.reached();
                self.rows(table, reached.first, reached.rows)
            }
            Op::Attend { .. } => self.attend(at, op),
            Op::Activate { activation, gated, bias, from, .. } => {
                let pre = self.get(from);
                let pre = self.biased(&pre, bias);
                self.names[from.0].clone_from(&pre);
                if !gated {
                    return self.activation(activation, &pre);
                }
                let [gate, wide] = self.graph.split(&pre);
                let gate = self.activation(activation, &gate);
                self.graph.node("Mul", &[&gate, &wide])
            }
            Op::Add { add, from, .. } => self.add(add, from),
            // In training alone.
            Op::Drop { from, .. } => self.get(from),
            Op::Around { size, from, .. } => self.around(size, from),
            Op::Norm { norm, add, from, .. } => {
                if let Some(add) = add {
                    // What reads `from` after this reads the sum.
                    self.names[from.0] = self.add(add, from);
                }
                let x = self.get(from);
                self.norm(norm, &x)
            }
            Op::First { from, .. } => {
                let (x, first) = (self.get(from), self.graph.int(0));
                self.graph.gather(&x, &first, 1)
            }
            Op::Mean { from, .. } => {
                let (x, mask) = (self.get(from), self.mask());
                let (graph, keep) = (&mut self.graph, Attribute::int("keepdims", 0));
                let (axis, x) = (graph.ints(&[1]), graph.node("Mul", &[&x, &mask]));
                let sum = graph.node_with("ReduceSum", &[&x, &axis], vec![keep.clone()]);
                let count = graph.node_with("ReduceSum", &[&mask, &axis], vec![keep]);
                graph.node("Div", &[&sum, &count])
            }
        }
    }

    fn zeros(&mut self, width: usize) -> String {
        let name = format!("zeros.{width}");
        self.graph.tensor(name, vec![width], Content::Floats(vec![0.0; width]))
    }

    /// logits = pooled·Wᵀ + b, pooled over its length where the head reads it so.
    fn head(&mut self, head: &Head) {
        let mut pooled = self.get(self.encoder.program().pooled());
        let (outputs, graph) = (head.outputs(), &mut self.graph);
        if head.unit {
            let axes = Attribute::ints("axes", &[-1]);
            let length = graph.node_with("ReduceL2", &[&pooled], vec![axes]);
            let least = graph.float(1e-12);
            let length = graph.node("Max", &[&length, &least]);
            pooled = graph.node("Div", &[&pooled, &length]);
        }
        let hidden = head.weight.len() / outputs;
        let columns =
            (0..hidden).flat_map(|c| head.weight[c..].iter().step_by(hidden)).copied().collect();
        let weight = Content::Floats(columns);
        let weight = graph.tensor("head.weight".into(), vec![hidden, outputs], weight);
        let bias = Content::Floats(head.bias.clone());
        let bias = graph.tensor("head.bias".into(), vec![outputs], bias);
        let product = graph.node("MatMul", &[&pooled, &weight]);
        graph.push("Add", &[&product, &bias], vec![LOGITS.into()], vec![]);
    }
}

pub(super) fn cast_to(data_type: i32) -> Attribute {
    Attribute::int("to", i64::from(data_type))
}

/// Which tokens may be read, `[batch, tokens]` of bool.
pub(super) fn read_mask(graph: &mut Graph) -> String {
    graph.node_with("Cast", &[MASK], vec![cast_to(BOOL)])
}
