//! An encoder as a program: operations in order, over numbered values.

use super::dropout::{DropoutPlace, Dropped};
use super::op::{Add, Ids, Norm, Op, Positions, Rows, Value};
use super::tensors::{Layout, Place};
use crate::checkpoint::{Canonical, Pooling, Role, Spelling};
use crate::kernels::activation::Activation;
use crate::kernels::attention::{Buckets, Rotaries};
use std::collections::HashMap;
use std::ops::Range;

/// A value's width, and what its rows stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Shape {
    pub(crate) width: usize,
    pub(crate) rows: Rows,
}

impl Shape {
    /// Whether there is one row a sequence.
    pub(crate) fn single(self) -> bool {
        self.rows == Rows::Sequences
    }
}

/// From tokens to the vector that the head reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Program {
    ops: Vec<Op>,
    shapes: Vec<Shape>,
    /// First operation of every stage, ascending. A stage begins with a matrix product or a norm; what
    /// its tensors are decides it at once for all its operations, so that a bank's tasks part there.
    stages: Vec<usize>,
    /// For every layer the operation after its last, and its hidden states.
    layer_ends: Vec<(usize, Value)>,
    /// The operation after the gathering of one row a sequence, and these rows.
    gathered: (usize, Value),
    /// For each part, the first operation that reads it.
    first_reads: HashMap<usize, usize>,
    /// For each value the operation that fills it, and the last one that reads it.
    spans: Vec<(usize, usize)>,
    /// Buffers that are enough where no value is needed after its last reader, one for each value.
    buffers: Vec<usize>,
    /// How many there are.
    buffer_count: usize,
    /// For each value, whether training makes it again.
    remade: Vec<bool>,
    /// Of operations that attend with fewer heads than the base, which they are.
    kept_heads: HashMap<usize, Vec<u32>>,
}

/// Where a program's stages begin, where its layers end with which states, and where its rows are
/// gathered.
type Marks = (Vec<usize>, Vec<(usize, Value)>, (usize, Value));

impl Program {
    /// The program of these operations over values of these shapes.
    fn new(ops: Vec<Op>, shapes: Vec<Shape>, (stages, layer_ends, gathered): Marks) -> Self {
        let mut first_reads = HashMap::new();
        let mut spans = vec![(0, 0); shapes.len()];
        for (at, op) in ops.iter().enumerate() {
            for part in op.parts() {
                first_reads.entry(part).or_insert(at);
            }
            for value in op.reads() {
                spans[value.0].1 = at;
            }
            spans[op.to().0] = (at, at);
        }
        let pooled = ops.last().expect("a program has operations").to();
        spans[pooled.0].1 = ops.len();
        let (buffers, buffer_count) = buffers(&shapes, &spans);
        let remade = (0..shapes.len()).map(|value| is_remade(&ops, Value(value), spans[value].0));
        let remade = remade.collect();
        Self {
            ops,
            shapes,
            stages,
            layer_ends,
            gathered,
            first_reads,
            spans,
            buffers,
            buffer_count,
            remade,
            kept_heads: HashMap::new(),
        }
    }

    /// The same program with operations and values of other widths; `kept_heads` are those of
    /// operations that attend with fewer heads.
    pub(super) fn narrowed(
        &self,
        ops: Vec<Op>,
        widths: &[usize],
        kept_heads: HashMap<usize, Vec<u32>>,
    ) -> Self {
        let shapes = self.shapes.iter().zip(widths);
        let shapes = shapes.map(|(shape, &width)| Shape { width, ..*shape }).collect();
        let marks = (self.stages.clone(), self.layer_ends.clone(), self.gathered);
        Self { kept_heads, ..Self::new(ops, shapes, marks) }
    }

    /// Which of the base's heads operation `at` attends with, where that is not all.
    pub(crate) fn kept_heads(&self, at: usize) -> Option<&[u32]> {
        self.kept_heads.get(&at).map(Vec::as_slice)
    }

    /// The operations, in order.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    pub(crate) fn shape(&self, value: Value) -> Shape {
        self.shapes[value.0]
    }

    pub(crate) fn values(&self) -> usize {
        self.shapes.len()
    }

    /// The operations of the stage that begins at `at`.
    pub(crate) fn stage_at(&self, at: usize) -> Option<Range<usize>> {
        let stage = self.stages.binary_search(&at).ok()?;
        Some(at..self.stages.get(stage + 1).copied().unwrap_or(self.ops.len()))
    }

    /// Where layer `number`'s hidden states are ready: the operation after its last, and their value.
    pub(crate) fn layer_end(&self, number: usize) -> (usize, Value) {
        self.layer_ends[number]
    }

    /// Where the one row a sequence is ready that pooling starts from: the operation after, and its
    /// value.
    pub(crate) fn gathered(&self) -> (usize, Value) {
        self.gathered
    }

    /// What the head reads, `[sequences, hidden]`.
    pub(crate) fn pooled(&self) -> Value {
        self.ops.last().expect("a program has operations").to()
    }

    /// The first operation that reads `part`; none where this pooling does not.
    pub(crate) fn first_read(&self, part: usize) -> Option<usize> {
        self.first_reads.get(&part).copied()
    }

    /// The operation that fills a value.
    pub(crate) fn producer(&self, value: Value) -> usize {
        self.spans[value.0].0
    }

    /// Values that were filled before operation `at` and are read from there on.
    pub(crate) fn live(&self, at: usize) -> impl Iterator<Item = Value> {
        let spans = self.spans.iter().enumerate();
        spans.filter(move |(_, (from, to))| *from < at && *to >= at).map(|(i, _)| Value(i))
    }

    /// The buffer that a value shares with others that are not needed at the same time.
    pub(crate) fn buffer(&self, value: Value) -> usize {
        self.buffers[value.0]
    }

    /// Number of buffers.
    pub(crate) fn buffer_count(&self) -> usize {
        self.buffer_count
    }

    /// Whether training makes a value again for its gradient, instead of keeping it: what an activation
    /// gives to a matrix.
    pub(crate) fn is_remade(&self, value: Value) -> bool {
        self.remade[value.0]
    }

    /// How distances choose rows, where the program makes anything of them.
    pub(crate) fn buckets(&self) -> Option<Buckets> {
        self.shapes.iter().find_map(|shape| match shape.rows {
            Rows::Distances(buckets) => Some(buckets),
            Rows::Tokens | Rows::Sequences => None,
        })
    }

    /// Makes the angles that attention turns by, for texts of up to `longest` tokens.
    pub(crate) fn prepare(&self, longest: usize, rotaries: &mut Rotaries) {
        for op in &self.ops {
            if let Op::Attend { positions: Positions::Rotary(theta), heads, to, .. } = *op
                && heads > 0
            {
                rotaries.prepare(theta, self.shape(to).width / heads, longest);
            }
        }
    }

    /// Operations before `at` that fill what is read from there on for distances, whatever the tokens are.
    pub(crate) fn of_distances(&self, at: usize) -> impl Iterator<Item = usize> {
        let of_distances = |value: &Value| matches!(self.shape(*value).rows, Rows::Distances(_));
        // Each reads what those before it fill.
        let last = self.live(at).filter(of_distances).map(|value| self.producer(value)).max();
        (0..last.map_or(0, |last| last + 1)).filter(move |&op| of_distances(&self.ops[op].to()))
    }
}

/// A program in the making, with the tensors that it names on the way.
pub(super) struct Builder {
    spelling: &'static Spelling,
    pooling: Pooling,
    reads_mean: bool,
    layout: Layout,
    place: Place,
    ops: Vec<Op>,
    shapes: Vec<Shape>,
    stages: Vec<usize>,
    layer_ends: Vec<(usize, Value)>,
    /// Places of dropout so far; the head's is the first.
    drops: usize,
    /// The part that begins with a tensor.
    named: HashMap<String, usize>,
}

impl Builder {
    /// `reads_mean` says whether the family's own classifier reads the mean of the tokens.
    pub(super) fn new(spelling: &'static Spelling, pooling: Pooling, reads_mean: bool) -> Self {
        Self {
            spelling,
            pooling,
            reads_mean: pooling == Pooling::Mean || pooling == Pooling::Cls && reads_mean,
            layout: Layout::default(),
            place: Place::Below,
            ops: vec![],
            shapes: vec![],
            stages: vec![],
            layer_ends: vec![],
            drops: 1,
            named: HashMap::new(),
        }
    }

    /// Tensors of this place come now.
    pub(super) fn at(&mut self, place: Place) {
        self.place = place;
    }

    /// Ends a layer, whose hidden states are `states`.
    pub(super) fn end_layer(&mut self, states: Value) {
        self.layer_ends.push((self.ops.len(), states));
    }

    /// One part of tensors called `modules`, with the layer's number at `#`, and `parameter`.
    fn part(&mut self, modules: &[&str], parameter: &str, shape: &[usize]) -> usize {
        let number = match self.place {
            Place::Layer(number) => number.to_string(),
            _ => String::new(),
        };
        let spelling = self.spelling;
        let name = |module: &&str| {
            (format!("{}.{parameter}", module.replacen('#', &number, 1)), shape.to_vec())
        };
        let role = |name: &str| -> Role {
            let known: Option<Canonical> = spelling.canonical(name);
            known.unwrap_or_else(|| panic!("{name} stands in no table of {}", spelling.family)).role
        };
        let (first, _) = name(&modules[0]);
        if let Some(&part) = self.named.get(&first) {
            return part; // of a layer that shares another's tensors
        }
        let part = self.layout.add(modules.iter().map(name), role, self.place);
        self.named.insert(first, part);
        part
    }

    /// Tables, matrices `[out, in]` and biases `[out]` of these modules, side by side as one part.
    pub(super) fn weights(&mut self, modules: &[&str], shape: [usize; 2]) -> usize {
        self.part(modules, "weight", &shape)
    }

    /// The matrix of a convolution over tokens, `[out, in, size]`.
    pub(super) fn convolution(&mut self, module: &str, shape: [usize; 3]) -> usize {
        self.part(&[module], "weight", &shape)
    }

    pub(super) fn biases(&mut self, modules: &[&str], width: usize) -> usize {
        self.part(modules, "bias", &[width])
    }

    pub(super) fn norm(&mut self, module: &str, width: usize, eps: f32) -> Norm {
        self.norm_with(module, width, eps, true)
    }

    /// A norm that may have no shift.
    pub(super) fn norm_with(&mut self, module: &str, width: usize, eps: f32, shift: bool) -> Norm {
        let scale = self.part(&[module], "weight", &[width]);
        let shift = shift.then(|| self.part(&[module], "bias", &[width]));
        Norm { scale, shift, eps }
    }

    /// The next place of dropout.
    pub(super) fn drop(&mut self, of: Dropped) -> DropoutPlace {
        self.drops += 1;
        DropoutPlace { of, number: self.drops - 1 }
    }

    /// Whether the last layer is read at the first token of every sequence alone.
    pub(super) fn reads_first(&self) -> bool {
        !self.reads_mean
    }

    /// Whether texts are read through the tensors above the layers.
    pub(super) fn reads_pooler(&self) -> bool {
        self.pooling == Pooling::Cls
    }

    fn value(&mut self, width: usize, rows: Rows) -> Value {
        self.shapes.push(Shape { width, rows });
        Value(self.shapes.len() - 1)
    }

    fn like(&mut self, value: Value, width: usize) -> Value {
        self.shapes.push(Shape { width, ..self.shapes[value.0] });
        Value(self.shapes.len() - 1)
    }

    /// A stage begins with the next operation.
    pub(super) fn stage(&mut self) {
        self.stages.push(self.ops.len());
    }

    pub(super) fn embed(&mut self, tables: Vec<(usize, Ids)>) -> Value {
        let width = self.layout.parts()[tables[0].0].cols;
        let to = self.value(width, Rows::Tokens);
        self.ops.push(Op::Embed { tables, to });
        to
    }

    pub(super) fn linear(&mut self, weight: usize, bias: Option<usize>, from: Value) -> Value {
        let to = self.like(from, self.layout.parts()[weight].rows);
        self.ops.push(Op::Linear { weight, bias, from, to });
        to
    }

    /// The rows of a table that stand for the distances between tokens.
    pub(super) fn distances(&mut self, table: usize, buckets: Buckets) -> Value {
        let width = self.layout.parts()[table].cols;
        let to = self.value(width, Rows::Distances(buckets));
        self.ops.push(Op::Distances { table, to });
        to
    }

    /// Attention of queries, keys and values, which may stand side by side in one value; of first tokens
    /// alone where `single` is set.
    pub(super) fn attend(
        &mut self,
        heads: usize,
        (positions, window): (Positions, Option<usize>),
        [q, k, v]: [Value; 3],
        single: bool,
        drop: DropoutPlace,
    ) -> Value {
        let beside = [q, k, v].iter().filter(|value| **value == q).count();
        let rows = if single { Rows::Sequences } else { Rows::Tokens };
        let to = self.value(self.shapes[q.0].width / beside, rows);
        self.ops.push(Op::Attend { heads, positions, window, q, k, v, drop, to });
        to
    }

    pub(super) fn activate(
        &mut self,
        activation: Activation,
        bias: Option<usize>,
        from: Value,
    ) -> Value {
        let to = self.like(from, self.shapes[from.0].width);
        self.ops.push(Op::Activate { activation, gated: false, bias, from, to });
        to
    }

    /// activation(first half of `from`) ∘ second half.
    pub(super) fn gate(
        &mut self,
        activation: Activation,
        bias: Option<usize>,
        from: Value,
    ) -> Value {
        let to = self.like(from, self.shapes[from.0].width / 2);
        self.ops.push(Op::Activate { activation, gated: true, bias, from, to });
        to
    }

    pub(super) fn add(&mut self, add: Add, from: Value) -> Value {
        let to = self.like(from, self.shapes[from.0].width);
        self.ops.push(Op::Add { add, from, to });
        to
    }

    pub(super) fn dropout(&mut self, of: Dropped, from: Value) -> Value {
        let drop = self.drop(of);
        let to = self.like(from, self.shapes[from.0].width);
        self.ops.push(Op::Drop { drop, from, to });
        to
    }

    pub(super) fn around(&mut self, size: usize, from: Value) -> Value {
        let to = self.like(from, self.shapes[from.0].width * size);
        self.ops.push(Op::Around { size, from, to });
        to
    }

    pub(super) fn add_and_norm(
        &mut self,
        add: Option<Add>,
        norm: Norm,
        from: Value,
        drop: Option<DropoutPlace>,
    ) -> Value {
        let to = self.like(from, self.shapes[from.0].width);
        self.ops.push(Op::Norm { norm, add, drop, from, to });
        to
    }

    pub(super) fn first(&mut self, from: Value) -> Value {
        let to = self.value(self.shapes[from.0].width, Rows::Sequences);
        self.ops.push(Op::First { from, to });
        to
    }

    /// What pooling starts from, given the states of the last layer.
    pub(super) fn gather(&mut self, states: Value) -> Value {
        if self.shapes[states.0].single() {
            return states;
        }
        self.stage();
        let to = self.value(self.shapes[states.0].width, Rows::Sequences);
        self.ops.push(Op::Mean { from: states, to });
        to
    }

    /// The program and its tensors; `gathered` is the operation after, and the value of,
    /// [`Builder::gather`].
    pub(super) fn finish(self, gathered: (usize, Value)) -> (Program, Layout) {
        let Self { layout, ops, shapes, stages, layer_ends, .. } = self;
        (Program::new(ops, shapes, (stages, layer_ends, gathered)), layout)
    }

    pub(super) fn len(&self) -> usize {
        self.ops.len()
    }

    /// Tensors of the layers so far.
    pub(super) fn tensors_of_layer(&self) -> usize {
        self.layout.tensors().iter().filter(|tensor| tensor.layer().is_some()).count()
    }
}

/// Whether what operation `producer` fills is an activation that the next one multiplies with a matrix.
fn is_remade(ops: &[Op], value: Value, producer: usize) -> bool {
    let into_matrix =
        matches!(ops.get(producer + 1), Some(Op::Linear { from, .. }) if *from == value);
    into_matrix && matches!(ops[producer], Op::Activate { .. })
}

/// A buffer for every value, one that a value of the same shape has left, and their number.
fn buffers(shapes: &[Shape], spans: &[(usize, usize)]) -> (Vec<usize>, usize) {
    // For each buffer its shape and the last operation that needs what it holds.
    let mut held: Vec<(Shape, usize)> = vec![];
    let mut buffers = Vec::with_capacity(shapes.len());
    for (shape, &(from, to)) in shapes.iter().zip(spans) {
        let free = held.iter().position(|(other, until)| other == shape && *until < from);
        let buffer = free.unwrap_or(held.len());
        if free.is_none() {
            held.push((*shape, to));
        }
        held[buffer].1 = to;
        buffers.push(buffer);
    }
    (buffers, held.len())
}
