//! Attention as nodes: queries, keys and values of every head are `[batch, heads, tokens, width]`.

use super::graph::{Content, Graph};
use super::nodes::{Walk, read_mask};
use super::proto::Attribute;
use crate::kernels::attention::{Distances, Reached, Rotary};
use crate::model::op::{Op, Positions, Value};

/// What is added to the scores of tokens that are not read. Not −∞: a row of padding may read none at all.
const UNREAD: f32 = -1e30;

/// One operation's heads.
#[derive(Clone, Copy)]
struct Heads {
    number: usize,
    /// Width of each.
    width: usize,
    /// Whether first tokens alone ask.
    first_only: bool,
}

impl Walk<'_> {
    /// The distances that texts of up to the base's positions have.
    pub(super) fn reached(&self) -> Reached {
        let buckets = self.encoder.program().buckets();
        buckets.expect("a program of distances has them").reached(self.positions())
    }

    /// Most tokens of a text.
    fn positions(&self) -> usize {
        self.encoder.config().positions
    }

    pub(super) fn attend(&mut self, at: usize, op: &Op) -> String {
        let Op::Attend { heads, positions, window, q, k, v, to, .. } = *op else {
            unreachable!("operation {at} attends")
        };
        let first_only = self.encoder.program().shape(to).single();
        let heads = Heads { number: heads, width: self.width(to) / heads, first_only };
        let terms = match positions {
            Positions::Disentangled { keys, queries } => {
                1 + usize::from(keys.is_some()) + usize::from(queries.is_some())
            }
            _ => 1,
        };
        let scale = 1.0 / ((heads.width * terms) as f32).sqrt();
        let [q, k, v] = self.operands([q, k, v], first_only);
        let (scale, graph) = (self.graph.float(scale), &mut self.graph);
        let q = heads.queries(graph, &q);
        let q = graph.node("Mul", &[&q, &scale]);
        let v = heads.split(graph, &v, [0, 2, 1, 3]);
        let (q, k) = match positions {
            Positions::Rotary(theta) => {
                let k = heads.split(graph, &k, [0, 2, 1, 3]);
                let angles = self.angles(theta, heads.width);
                // The first token turns by no angle.
                let q = if first_only { q } else { turn(&mut self.graph, &q, &angles) };
                let k = turn(&mut self.graph, &k, &angles);
                (q, self.graph.transpose(&k, &[0, 1, 3, 2]))
            }
            _ => (q, heads.split(graph, &k, [0, 2, 3, 1])),
        };
        let mut scores = self.graph.node("MatMul", &[&q, &k]);
        match positions {
            Positions::Embedded | Positions::Rotary(_) => {}
            Positions::Distances(table) => {
                let biases = self.biases(at, table, first_only);
                scores = self.graph.node("Add", &[&scores, &biases]);
            }
            Positions::Disentangled { keys, queries } => {
                let chosen = self.chosen(heads, &scores);
                if let Some(keys) = keys {
                    let keys = self.get(keys);
                    let keys = heads.distances(&mut self.graph, &keys, [1, 2, 0]);
                    let products = self.graph.node("MatMul", &[&q, &keys]);
                    scores = self.add_chosen(&scores, &products, &chosen, 3);
                }
                if let Some(queries) = queries {
                    let queries = self.get(queries);
                    let queries = heads.distances(&mut self.graph, &queries, [1, 0, 2]);
                    let queries = self.graph.node("Mul", &[&queries, &scale]);
                    let products = self.graph.node("MatMul", &[&queries, &k]);
                    scores = self.add_chosen(&scores, &products, &chosen, 2);
                }
            }
        }
        let unread = self.unread(window, first_only);
        let graph = &mut self.graph;
        let scores = graph.node("Add", &[&scores, &unread]);
        let shares = graph.node_with("Softmax", &[&scores], vec![Attribute::int("axis", -1)]);
        let context = graph.node("MatMul", &[&shares, &v]);
        heads.join(graph, &context)
    }

    /// Queries, keys and values by themselves; queries of first tokens `[batch, hidden]`.
    fn operands(&mut self, [q, k, v]: [Value; 3], first_only: bool) -> [String; 3] {
        let names = [q, k, v].map(|value| self.get(value));
        if q == k {
            let [mut q, k, v] = self.graph.split(&names[0]);
            if first_only {
                let first = self.graph.int(0);
                q = self.graph.gather(&q, &first, 1);
            }
            return [q, k, v];
        }
        match k == v {
            true => {
                let [k, v] = self.graph.split(&names[1]);
                let [q, ..] = names;
                [q, k, v]
            }
            false => names,
        }
    }

    /// How far from each other tokens are, of the one that asks less the one that is read: `[tokens,
    /// tokens]`, or `[1, tokens]`.
    fn distance(&mut self, first_only: bool) -> String {
        let places = self.places();
        self.graph.once(format!("distances, {first_only}"), |graph| {
            let read = graph.unsqueeze(&places, &[0]);
            if first_only {
                return graph.node("Neg", &[&read]);
            }
            let asking = graph.unsqueeze(&places, &[1]);
            graph.node("Sub", &[&asking, &read])
        })
    }

    /// What is added to scores for who may be read by whom.
    fn unread(&mut self, window: Option<usize>, first_only: bool) -> String {
        // Without a window all tokens read the same.
        let first_only = first_only && window.is_some();
        let distance = window.map(|_| self.distance(first_only));
        self.graph.once(format!("unread, {window:?}, {first_only}"), |graph| {
            let read = graph.once("read".into(), |graph| {
                let mask = read_mask(graph);
                graph.unsqueeze(&mask, &[1, 2])
            });
            let near = window.zip(distance).map(|(window, distance)| {
                let (far, window) = (graph.node("Abs", &[&distance]), graph.int(window as i64));
                graph.node("LessOrEqual", &[&far, &window])
            });
            let read = match near {
                None => read,
                Some(near) => graph.node("And", &[&read, &near]),
            };
            let (nothing, unread) = (graph.float(0.0), graph.float(UNREAD));
            graph.node("Where", &[&read, &nothing, &unread])
        })
    }

    /// Cosines and sines of the places of the tokens, `[tokens, width / 2]`.
    fn angles(&mut self, theta: f32, width: usize) -> [String; 2] {
        let (most, places) = (self.positions(), self.places());
        ["cos", "sin"].map(|function| {
            let name = format!("rotary.{theta}.{width}.{function}");
            self.graph.once(format!("places of {name}"), |graph| {
                let rotary = Rotary::new(theta, width, most);
                let (cosines, sines) = rotary.angles();
                let table = if function == "cos" { cosines } else { sines };
                let table = Content::Floats(table.to_vec());
                let table = graph.tensor(name, vec![most, width / 2], table);
                graph.gather(&table, &places, 0)
            })
        })
    }

    /// A bias of every head by the distance of two tokens, `[heads, tokens, tokens]` or `[heads, 1, tokens]`.
    fn biases(&mut self, at: usize, table: usize, first_only: bool) -> String {
        let (most, name) = (self.positions(), self.name_of(table));
        let (program, part) = (self.encoder.program(), &self.encoder.layout().parts()[table]);
        let (kept, entries) = (program.kept_heads(at), &self.weights[part.range.clone()]);
        let name = format!("{name}, by distance, heads {kept:?}");
        let distance = self.distance(first_only);
        self.graph.once(format!("{name}, {first_only}"), |graph| {
            let distances = Distances::new(entries, part.cols, kept, &[0, most]);
            let biases = distances.biases().to_vec();
            let dims = vec![biases.len() / (2 * most - 1), 2 * most - 1];
            let biases = graph.tensor(name, dims, Content::Floats(biases));
            // From the farthest before to the farthest behind.
            let last = graph.int(most as i64 - 1);
            let at = graph.node("Sub", &[&last, &distance]);
            graph.gather(&biases, &at, 1)
        })
    }

    /// Which row of distances each score chooses, in the shape of the scores.
    fn chosen(&mut self, heads: Heads, scores: &str) -> String {
        let (most, distance) = (self.positions(), self.distance(heads.first_only));
        let rows = self.reached().by_distance().iter().map(|&row| i64::from(row)).collect();
        let Heads { number, first_only, .. } = heads;
        self.graph.once(format!("chosen distances, {number}, {first_only}"), |graph| {
            let rows = Content::Ints(rows);
            let rows = graph.tensor("rows of distances".into(), vec![2 * most - 1], rows);
            let last = graph.int(most as i64 - 1);
            let at = graph.node("Add", &[&distance, &last]);
            let rows = graph.gather(&rows, &at, 0);
            let shape = graph.node("Shape", &[scores]);
            graph.node("Expand", &[&rows, &shape])
        })
    }

    /// Adds to each score the product that it chooses along an axis.
    fn add_chosen(&mut self, scores: &str, products: &str, chosen: &str, axis: i64) -> String {
        let axis = vec![Attribute::int("axis", axis)];
        let products = self.graph.node_with("GatherElements", &[products, chosen], axis);
        self.graph.node("Add", &[scores, &products])
    }
}

impl Heads {
    /// `[batch, tokens, hidden]` as `[batch, tokens, heads, width]` with its axes in this order.
    fn split(self, graph: &mut Graph, value: &str, axes: [i64; 4]) -> String {
        let by_head = graph.reshape(value, &[0, 0, self.number as i64, self.width as i64]);
        graph.transpose(&by_head, &axes)
    }

    fn queries(self, graph: &mut Graph, value: &str) -> String {
        match self.first_only {
            true => graph.reshape(value, &[0, self.number as i64, 1, self.width as i64]),
            false => self.split(graph, value, [0, 2, 1, 3]),
        }
    }

    /// `[distances, hidden]` as `[distances, heads, width]` with its axes in this order.
    fn distances(self, graph: &mut Graph, value: &str, axes: [i64; 3]) -> String {
        let by_head = graph.reshape(value, &[0, self.number as i64, self.width as i64]);
        graph.transpose(&by_head, &axes)
    }

    /// `[batch, heads, tokens, width]` as `[batch, tokens, hidden]`, or of first tokens `[batch, hidden]`.
    fn join(self, graph: &mut Graph, value: &str) -> String {
        let hidden = (self.number * self.width) as i64;
        if self.first_only {
            return graph.reshape(value, &[0, hidden]);
        }
        let by_token = graph.transpose(value, &[0, 2, 1, 3]);
        graph.reshape(&by_token, &[0, 0, hidden])
    }
}

/// Entry c of every row and entry c + width/2 turned by the angles of its place.
fn turn(graph: &mut Graph, rows: &str, [cos, sin]: &[String; 2]) -> String {
    let [low, high] = graph.split(rows);
    let (low_cos, high_sin) = (graph.node("Mul", &[&low, cos]), graph.node("Mul", &[&high, sin]));
    let (high_cos, low_sin) = (graph.node("Mul", &[&high, cos]), graph.node("Mul", &[&low, sin]));
    let low = graph.node("Sub", &[&low_cos, &high_sin]);
    let high = graph.node("Add", &[&high_cos, &low_sin]);
    graph.node_with("Concat", &[&low, &high], vec![Attribute::int("axis", -1)])
}
