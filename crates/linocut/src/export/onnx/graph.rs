//! A graph in the making: nodes, and the tensors that they read.

use super::proto::{self, Attribute, Node};
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// Nodes in an order in which each reads what those before it give, and their constants.
#[derive(Debug, Default)]
pub(super) struct Graph {
    pub(super) nodes: Vec<Node>,
    pub(super) tensors: Vec<Constant>,
    /// What was made once for all that ask for it, by what it is.
    known: HashMap<String, String>,
}

/// A tensor of the file.
#[derive(Debug)]
pub(super) struct Constant {
    pub(super) name: String,
    /// Its dimensions in the file.
    pub(super) dims: Vec<usize>,
    pub(super) content: Content,
}

/// Where the entries of a tensor come from, row-major.
#[derive(Debug)]
pub(super) enum Content {
    /// These of the encoder's weights; those of a matrix `[rows, columns]` transposed where the number of
    /// columns is given.
    Weights(Range<usize>, Option<usize>),
    Floats(Vec<f32>),
    Ints(Vec<i64>),
}

impl Constant {
    pub(super) fn data_type(&self) -> i32 {
        match self.content {
            Content::Weights(..) | Content::Floats(_) => proto::FLOAT,
            Content::Ints(_) => proto::INT64,
        }
    }

    /// Number of its bytes.
    pub(super) fn len(&self) -> usize {
        match &self.content {
            Content::Weights(range, _) => range.len() * 4,
            Content::Floats(values) => values.len() * 4,
            Content::Ints(values) => values.len() * 8,
        }
    }

    /// Its bytes, little-endian, given the encoder's weights.
    pub(super) fn bytes(&self, weights: &[f32]) -> Vec<u8> {
        let floats = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect();
        match &self.content {
            Content::Weights(range, None) => floats(&weights[range.clone()]),
            Content::Weights(range, Some(columns)) => {
                let values = &weights[range.clone()];
                let column = |c: usize| values[c..].iter().step_by(*columns);
                (0..*columns).flat_map(column).flat_map(|v| v.to_le_bytes()).collect()
            }
            Content::Floats(values) => floats(values),
            Content::Ints(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        }
    }
}

impl Graph {
    /// Adds a node of one output, and gives its name.
    pub(super) fn node(&mut self, op: &str, inputs: &[&str]) -> String {
        self.node_with(op, inputs, vec![])
    }

    /// The same with attributes.
    pub(super) fn node_with(
        &mut self,
        op: &str,
        inputs: &[&str],
        attributes: Vec<Attribute>,
    ) -> String {
        let name = self.name(op);
        self.push(op, inputs, vec![name.clone()], attributes);
        name
    }

    /// Splits the last axis into `N` of one size.
    pub(super) fn split<const N: usize>(&mut self, value: &str) -> [String; N] {
        let name = self.name("Split");
        let outputs = std::array::from_fn(|i| format!("{name}.{i}"));
        self.push("Split", &[value], outputs.to_vec(), vec![Attribute::int("axis", -1)]);
        outputs
    }

    /// Turns a value's axes.
    pub(super) fn transpose(&mut self, value: &str, axes: &[i64]) -> String {
        self.node_with("Transpose", &[value], vec![Attribute::ints("perm", axes)])
    }

    /// Gives a value another shape; 0 is a dimension that stays.
    pub(super) fn reshape(&mut self, value: &str, shape: &[i64]) -> String {
        let shape = self.ints(shape);
        self.node("Reshape", &[value, &shape])
    }

    /// The entries at `indices` of an axis.
    pub(super) fn gather(&mut self, value: &str, indices: &str, axis: i64) -> String {
        self.node_with("Gather", &[value, indices], vec![Attribute::int("axis", axis)])
    }

    /// Adds axes of one entry.
    pub(super) fn unsqueeze(&mut self, value: &str, axes: &[i64]) -> String {
        let axes = self.ints(axes);
        self.node("Unsqueeze", &[value, &axes])
    }

    /// What `make` gives, made where `what` is asked for the first time.
    pub(super) fn once(&mut self, what: String, make: impl FnOnce(&mut Self) -> String) -> String {
        if let Some(known) = self.known.get(&what) {
            return known.clone();
        }
        let made = make(self);
        self.known.insert(what, made.clone());
        made
    }

    /// A tensor of the file, once for each name.
    pub(super) fn tensor(&mut self, name: String, dims: Vec<usize>, content: Content) -> String {
        self.once(name.clone(), |graph| {
            graph.tensors.push(Constant { name: name.clone(), dims, content });
            name
        })
    }

    /// A list of whole numbers, such as a shape.
    pub(super) fn ints(&mut self, values: &[i64]) -> String {
        let words: Vec<String> = values.iter().map(i64::to_string).collect();
        let name = format!("ints.{}", words.join("."));
        self.tensor(name, vec![values.len()], Content::Ints(values.to_vec()))
    }

    /// One whole number.
    pub(super) fn int(&mut self, value: i64) -> String {
        self.tensor(format!("int.{value}"), vec![], Content::Ints(vec![value]))
    }

    /// One number.
    pub(super) fn float(&mut self, value: f32) -> String {
        self.tensor(format!("float.{value:?}"), vec![], Content::Floats(vec![value]))
    }

    /// Leaves out what `output` does not come from: of a slim encoder without heads, what was made for them.
    pub(super) fn prune(&mut self, output: &str) {
        let mut read = HashSet::from([output.to_string()]);
        for node in self.nodes.iter().rev() {
            if node.output.iter().any(|output| read.contains(output)) {
                read.extend(node.input.iter().cloned());
            }
        }
        self.nodes.retain(|node| node.output.iter().any(|output| read.contains(output)));
        self.tensors.retain(|tensor| read.contains(&tensor.name));
    }

    /// A name that no other node has.
    fn name(&self, op: &str) -> String {
        format!("{op}.{}", self.nodes.len())
    }

    /// Adds a node whose outputs have these names.
    pub(super) fn push(
        &mut self,
        op: &str,
        inputs: &[&str],
        output: Vec<String>,
        attribute: Vec<Attribute>,
    ) {
        let input = inputs.iter().map(|input| (*input).to_string()).collect();
        let (name, op_type) = (Some(self.name(op)), Some(op.into()));
        self.nodes.push(Node { input, output, name, op_type, attribute });
    }
}
