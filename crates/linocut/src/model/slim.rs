//! Slim encoders: some heads, neurons and upper layers of a base left out, so that they cost nothing.

use super::op::{Op, Positions, Rows, Value};
use super::program::Program;
use super::{Base, Encoder, Kind, Layout, ModelConfig, Part, Role, TensorSpec, Weights};
use crate::{Error, ErrorKind, Result};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::collections::HashMap;

/// Neurons of a feed-forward block that are kept or left out together: rows of one panel of
/// [`Packed`](crate::kernels::packed::Packed).
pub const GROUP: usize = 16;

/// The text that the compute of an encoder is counted for, in tokens.
pub const COMPUTE_TOKENS: usize = 64;

/// What a slim encoder keeps of its base.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slim {
    /// How many layers are computed: the lowest of the base's.
    pub depth: usize,
    /// For each of them that has tensors of its own, what it keeps.
    pub layers: Vec<SlimLayer>,
}

/// What a slim layer keeps.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlimLayer {
    /// For each attention head, whether it is kept.
    #[serde(serialize_with = "write_bits", deserialize_with = "read_bits")]
    pub heads: Vec<bool>,
    /// For each [`GROUP`] of neurons of the feed-forward block, whether it is kept.
    #[serde(serialize_with = "write_bits", deserialize_with = "read_bits")]
    pub groups: Vec<bool>,
}

/// Most bits that are read: those of any base have less.
const MOST_BITS: usize = 1 << 16;

/// How many there are, and the bits as hexadecimal digits, the first the highest: `12:fb0`.
fn write_bits<S: Serializer>(bits: &[bool], to: S) -> std::result::Result<S::Ok, S::Error> {
    let digit = |four: &[bool]| {
        let value = (0..4).fold(0, |sum, i| 2 * sum + u32::from(four.get(i) == Some(&true)));
        char::from_digit(value, 16).expect("four bits are a digit")
    };
    let digits: String = bits.chunks(4).map(digit).collect();
    to.serialize_str(&format!("{}:{digits}", bits.len()))
}

fn read_bits<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<Vec<bool>, D::Error> {
    let text = String::deserialize(from)?;
    let read = |text: &str| {
        let (count, digits) = text.split_once(':')?;
        let count: usize = count.parse().ok().filter(|&count| count <= MOST_BITS)?;
        let mut bits = Vec::with_capacity(count.next_multiple_of(4));
        for digit in digits.chars() {
            let value = digit.to_digit(16).filter(|_| !digit.is_ascii_uppercase())?;
            bits.extend((0..4).map(|i| value >> (3 - i) & 1 == 1));
        }
        let whole = bits.len() == count.next_multiple_of(4);
        let clean = whole && bits.drain(count..).all(|bit| !bit);
        clean.then_some(bits)
    };
    read(&text).ok_or_else(|| D::Error::custom(format!("bits like \"12:fb0\", found {text:?}")))
}

/// What a part of a slim encoder has of the base's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Chosen {
    /// The base's part.
    pub(crate) part: usize,
    /// Its rows, ascending, where not all.
    pub(crate) rows: Option<Vec<u32>>,
    /// Its columns, ascending, where not all.
    pub(crate) cols: Option<Vec<u32>>,
}

impl Slim {
    /// All of a base with these sizes.
    pub fn whole(config: &ModelConfig) -> Self {
        let layer = SlimLayer {
            heads: vec![true; config.heads],
            groups: vec![true; config.intermediate.div_ceil(GROUP)],
        };
        Self { depth: config.layers, layers: vec![layer; config.own_layers] }
    }

    /// The same without the layers from `depth` on.
    #[must_use]
    pub fn up_to(mut self, depth: usize, config: &ModelConfig) -> Self {
        self.depth = depth;
        self.layers.truncate(config.own_layer(depth - 1) + 1);
        self
    }

    /// Checks that a base with these sizes has what is kept.
    ///
    /// # Errors
    /// Layers, heads or groups of neurons in another number.
    pub fn check(&self, config: &ModelConfig) -> Result<()> {
        let wrong = |what: &str, found: usize, expected: String| {
            let message = format!("slim of {what} {found}, expected {expected}");
            Err(Error::new(ErrorKind::Cut, message))
        };
        if !(1..=config.layers).contains(&self.depth) {
            return wrong("a depth of", self.depth, format!("1 to {}", config.layers));
        }
        let own = config.own_layer(self.depth - 1) + 1;
        if self.layers.len() != own {
            return wrong("layers in the number of", self.layers.len(), own.to_string());
        }
        let groups = config.intermediate.div_ceil(GROUP);
        for layer in &self.layers {
            if layer.heads.len() != config.heads {
                return wrong("heads out of", layer.heads.len(), config.heads.to_string());
            }
            if layer.groups.len() != groups {
                return wrong("groups of neurons out of", layer.groups.len(), groups.to_string());
            }
        }
        Ok(())
    }

    /// The rows that the matrix of a layer keeps; none where all.
    fn rows(&self, spec: &TensorSpec, part: &Part, config: &ModelConfig) -> Option<Vec<u32>> {
        let layer = &self.layers[spec.layer()?];
        // A block for each of query, key and value, or for what is gated and what gates.
        let (kept, size, block) = match spec.role {
            Role::Matrix(Kind::Query | Kind::Key | Kind::Value | Kind::QueryKeyValue) => {
                (&layer.heads, config.hidden / config.heads, config.hidden)
            }
            Role::Matrix(Kind::Intermediate) => (&layer.groups, GROUP, config.intermediate),
            _ => return None,
        };
        let all = kept.iter().all(|kept| *kept);
        let rows = (0..part.rows).filter(|row| kept[row % block / size]).map(|row| row as u32);
        (!all).then(|| rows.collect())
    }
}

impl Encoder {
    /// The encoder that computes with what `slim` keeps alone.
    ///
    /// # Errors
    /// As [`Slim::check`].
    pub fn slim(&self, slim: &Slim) -> Result<Self> {
        slim.check(self.config())?;
        let (sizes, layout, programs) = self.family().programs(self.json(), Some(slim.depth))?;
        let mut chosen: Vec<Chosen> = vec![];
        for part in layout.parts() {
            let name = &layout.tensors()[part.tensors.start].name;
            let of_base = self.layout().index(name).expect("lower layers have the base's tensors");
            let mut parts = self.layout().parts().iter();
            let part = parts.position(|part| part.tensors.start == of_base).expect("whole parts");
            chosen.push(Chosen { part, ..Chosen::default() });
        }
        let programs = programs.map(|program| narrow(&program, &layout, slim, &sizes, &mut chosen));
        let mut narrow = Layout::default();
        for (part, chosen) in layout.parts().iter().zip(&chosen) {
            let specs = &layout.tensors()[part.tensors.clone()];
            let shape = |spec: &TensorSpec| {
                let mut shape = spec.shape.clone();
                if let Some(rows) = &chosen.rows {
                    let first = (spec.range.start - part.range.start) / part.cols;
                    let mine = first as u32..(first + shape[0]) as u32;
                    shape[0] = rows.iter().filter(|row| mine.contains(row)).count();
                }
                if let Some(cols) = &chosen.cols {
                    shape[1] = cols.len();
                }
                shape
            };
            let tensors = specs.iter().map(|spec| (spec.name.clone(), shape(spec)));
            let role = |name: &str| specs.iter().find(|spec| spec.name == name).map(|s| s.role);
            let role = |name: &str| role(name).expect("one of the part's tensors");
            narrow.add(tensors, role, specs[0].place);
        }
        Ok(self.narrowed((sizes, narrow, programs), slim.clone(), chosen))
    }
}

impl Encoder {
    /// The encoder of a task that keeps this of the base, or all of it.
    ///
    /// # Errors
    /// As [`Slim::check`], and where this one is slim in another way already.
    pub(crate) fn kept_by(&self, slim: Option<&Slim>) -> Result<Cow<'_, Self>> {
        match (slim, self.kept()) {
            (Some(slim), None) => Ok(Cow::Owned(self.slim(slim)?)),
            (slim, kept) if slim == kept => Ok(Cow::Borrowed(self)),
            _ => {
                let message = "the cut is of the whole base or keeps other parts, this one is slim";
                Err(Error::new(ErrorKind::Cut, message))
            }
        }
    }
}

impl Program {
    /// Multiply-adds that it takes for one text of so many tokens: those of matrix products and of
    /// attention. Embeddings, norms and activations are none.
    fn multiply_adds(&self, layout: &Layout, tokens: usize) -> u64 {
        let reached = self.buckets().map(|buckets| buckets.reached(tokens).rows);
        let rows = |value: Value| match self.shape(value).rows {
            Rows::Tokens => tokens,
            Rows::Sequences => 1,
            Rows::Distances(_) => reached.unwrap_or(0),
        };
        let of_op = |op: &Op| match *op {
            Op::Linear { weight, to, .. } => {
                let part = &layout.parts()[weight];
                rows(to) * part.rows * part.cols
            }
            Op::Attend { positions, window, to, .. } => {
                let keys = window.map_or(tokens, |window| tokens.min(2 * window + 1));
                let of_distances = match positions {
                    Positions::Disentangled { keys, queries } => {
                        let reached = reached.unwrap_or(0);
                        let by_keys = keys.map_or(0, |_| rows(to) * reached);
                        by_keys + queries.map_or(0, |_| tokens * reached)
                    }
                    Positions::Embedded | Positions::Distances(_) | Positions::Rotary(_) => 0,
                };
                (2 * rows(to) * keys + of_distances) * self.shape(to).width
            }
            _ => 0,
        };
        self.ops().iter().map(|op| of_op(op) as u64).sum()
    }
}

impl Encoder {
    /// Multiply-adds of the encoder for one text of [`COMPUTE_TOKENS`] tokens: those of matrix products
    /// and of attention; embeddings and head are not counted.
    pub fn multiply_adds(&self) -> u64 {
        self.program().multiply_adds(self.layout(), COMPUTE_TOKENS)
    }

    /// The share of the multiply-adds that is left with what `slim` keeps; see
    /// [`Encoder::multiply_adds`].
    ///
    /// # Errors
    /// As [`Slim::check`].
    pub fn compute_of(&self, slim: &Slim) -> Result<f64> {
        Ok(self.slim(slim)?.multiply_adds() as f64 / self.multiply_adds() as f64)
    }
}

impl Base {
    /// The base with what `slim` keeps alone.
    ///
    /// # Errors
    /// As [`Slim::check`].
    pub fn slim(&self, slim: &Slim) -> Result<Self> {
        let encoder = self.encoder.slim(slim)?;
        let mut data = Vec::with_capacity(encoder.layout().len());
        for chosen in encoder.chosen() {
            let part = &self.encoder.layout().parts()[chosen.part];
            chosen.gather(self.weights.part(chosen.part), part, &mut data);
        }
        let weights = Weights::new(encoder.layout().clone(), data);
        let (name, folder) = (self.name.clone(), self.folder.clone());
        let (fingerprint, tokenizer) = (self.fingerprint, self.tokenizer.clone());
        Ok(Self { name, folder, fingerprint, encoder, weights, tokenizer })
    }
}

impl Chosen {
    /// Appends what is chosen of `entries`, those of `part`.
    pub(crate) fn gather(&self, entries: &[f32], part: &Part, to: &mut Vec<f32>) {
        let rows: Box<dyn Iterator<Item = usize>> = match &self.rows {
            Some(rows) => Box::new(rows.iter().map(|&row| row as usize)),
            None => Box::new(0..part.rows),
        };
        for row in rows {
            let row = &entries[row * part.cols..(row + 1) * part.cols];
            match &self.cols {
                Some(cols) => to.extend(cols.iter().map(|&col| row[col as usize])),
                None => to.extend_from_slice(row),
            }
        }
    }
}

/// The program with the widths of what is kept, noting in `chosen` what it reads of each part.
fn narrow(
    program: &Program,
    layout: &Layout,
    slim: &Slim,
    config: &ModelConfig,
    chosen: &mut [Chosen],
) -> Program {
    // Of every value the entries of a row that are kept, where not all.
    let mut kept: Vec<Option<Vec<u32>>> = vec![None; program.values()];
    let mut heads_of = HashMap::new();
    let below = |rows: &Option<Vec<u32>>, width: usize| {
        let rows = rows.iter().flatten().copied().filter(|&row| (row as usize) < width);
        Some(rows.collect::<Vec<u32>>())
    };
    let mut ops = program.ops().to_vec();
    for (at, op) in ops.iter_mut().enumerate() {
        let to = op.to();
        let width = program.shape(to).width;
        match op {
            Op::Linear { weight, bias, from, .. } => {
                let part = &layout.parts()[*weight];
                let rows = slim.rows(&layout.tensors()[part.tensors.start], part, config);
                chosen[*weight].rows.clone_from(&rows);
                chosen[*weight].cols.clone_from(&kept[from.0]);
                if let Some(bias) = bias {
                    chosen[*bias].rows.clone_from(&rows);
                }
                kept[to.0] = rows;
            }
            Op::Attend { heads, q, .. } if kept[q.0].is_some() => {
                let channels = below(&kept[q.0], width);
                let size = width / *heads;
                let first =
                    channels.iter().flatten().filter(|&&at| (at as usize).is_multiple_of(size));
                let mine: Vec<u32> = first.map(|at| at / size as u32).collect();
                *heads = mine.len();
                heads_of.insert(at, mine);
                kept[to.0] = channels;
            }
            Op::Activate { bias, from, .. } if kept[from.0].is_some() => {
                if let Some(bias) = bias {
                    chosen[*bias].rows.clone_from(&kept[from.0]);
                }
                kept[to.0] = below(&kept[from.0], width);
            }
            Op::Drop { from, .. } => kept[to.0] = kept[from.0].clone(),
            _ => {}
        }
    }
    let widths = kept.iter().enumerate().map(|(value, kept)| {
        let all = program.shape(Value(value)).width;
        kept.as_ref().map_or(all, Vec::len)
    });
    program.narrowed(ops, &widths.collect::<Vec<_>>(), heads_of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Batch;
    use crate::kernels::random::normal;
    use crate::model::{Grads, Input, Pooling, Tape, family};
    use std::path::Path;

    const FAMILIES: [&str; 11] = [
        "bert",
        "roberta",
        "distilbert",
        "electra",
        "mpnet",
        "albert",
        "modernbert",
        "modernbert-biased",
        "deberta-v2",
        "deberta-v3",
        "nomic",
    ];

    fn open(family: &str, pooling: Pooling) -> (Encoder, Weights) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata").join(family);
        let checkpoint = family::open(&folder.join("base")).unwrap();
        let encoder = Encoder::open(&checkpoint, Some(pooling)).unwrap();
        let weights = encoder.load(&checkpoint).unwrap();
        (encoder, weights)
    }

    fn gathered(encoder: &Encoder, weights: &Weights, narrow: &Encoder) -> Weights {
        let mut data = vec![];
        for chosen in narrow.chosen() {
            let part = &encoder.layout().parts()[chosen.part];
            chosen.gather(weights.part(chosen.part), part, &mut data);
        }
        Weights::new(narrow.layout().clone(), data)
    }

    /// Vectors that the head reads, and every tensor's gradient given some of theirs.
    fn run(encoder: &Encoder, weights: &Weights) -> (Vec<f32>, Grads) {
        let batch = Batch {
            ids: vec![2, 7, 9, 11, 3, 2, 8, 3],
            type_ids: vec![0; 8],
            offsets: vec![0, 5, 8],
        };
        let marks: Vec<bool> = (0..encoder.layout().tensors().len())
            .map(|i| i != encoder.words() && encoder.reads(i) && !weights.at(i).is_empty())
            .collect();
        let (mut tape, mut grads) = (Tape::default(), Grads::new(encoder, &marks));
        let input = Input::Tokens(&batch);
        let pooled = encoder.forward(weights, input, None, true, &mut tape).to_vec();
        let given: Vec<f32> = (0..pooled.len() as u32).map(|i| normal(9, i)).collect();
        encoder.backward(weights, input, None, &given, &mut tape, &mut grads);
        (pooled, grads)
    }

    fn close(a: &[f32], b: &[f32], what: &str) {
        // Gradients of key biases are 0 in theory: of them the absolute part of the bound is left.
        let largest = b.iter().fold(1e-1f32, |most, v| most.max(v.abs()));
        assert_eq!(a.len(), b.len(), "{what}");
        for (a, b) in a.iter().zip(b) {
            assert!((a - b).abs() <= 2e-5 * largest, "{what}: {a} {b}");
        }
    }

    /// Some heads and groups of every layer, no head in the first and no group in the last.
    fn some(config: &ModelConfig) -> Slim {
        let mut slim = Slim::whole(config);
        let last = slim.layers.len() - 1;
        for (number, layer) in slim.layers.iter_mut().enumerate() {
            layer.heads[number % config.heads] = false;
            layer.groups[(number + 1) % config.intermediate.div_ceil(GROUP)] = false;
            if number == 0 {
                layer.heads.fill(false);
            }
            if number == last {
                layer.groups.fill(false);
            }
        }
        slim
    }

    /// What is left out has no part in the result: as if its columns in the next matrix were 0.
    #[test]
    fn a_slim_encoder_computes_what_zeros_in_place_compute() {
        for family in FAMILIES {
            for pooling in Pooling::ALL {
                let (encoder, mut weights) = open(family, pooling);
                let narrow = encoder.slim(&some(encoder.config())).unwrap();
                let slim_weights = gathered(&encoder, &weights, &narrow);
                for chosen in narrow.chosen() {
                    let Some(cols) = &chosen.cols else { continue };
                    let part = encoder.layout().parts()[chosen.part].clone();
                    let entries = &mut weights.data_mut()[part.range.clone()];
                    for (i, entry) in entries.iter_mut().enumerate() {
                        if !cols.contains(&((i % part.cols) as u32)) {
                            *entry = 0.0;
                        }
                    }
                }
                let (found, grads) = run(&narrow, &slim_weights);
                let (expected, whole) = run(&encoder, &weights);
                let what = format!("{family} {pooling:?}");
                close(&found, &expected, &what);
                for (number, chosen) in narrow.chosen().iter().enumerate() {
                    let (mine, theirs) =
                        (&narrow.layout().parts()[number], &encoder.layout().parts()[chosen.part]);
                    let of = |grads: &Grads, part: &Part| -> Vec<f32> {
                        part.tensors.clone().flat_map(|i| grads.tensor(i).to_vec()).collect()
                    };
                    let (found, whole) = (of(&grads, mine), of(&whole, theirs));
                    if whole.is_empty() {
                        continue; // the words
                    }
                    let mut expected = vec![];
                    chosen.gather(&whole, theirs, &mut expected);
                    let name = &narrow.layout().tensors()[mine.tensors.start].name;
                    close(&found, &expected, &format!("{what} {name}"));
                }
            }
        }
    }

    /// Fewer layers are what `config.json` would make of fewer.
    #[test]
    fn upper_layers_are_left_out() {
        for family in ["bert", "mpnet", "modernbert", "deberta-v3"] {
            for pooling in Pooling::ALL {
                let (encoder, weights) = open(family, pooling);
                let depth = encoder.config().layers - 1;
                let slim = Slim::whole(encoder.config()).up_to(depth, encoder.config());
                let narrow = encoder.slim(&slim).unwrap();
                let mut config = encoder.json().clone();
                config["num_hidden_layers"] = depth.into();
                let fewer = Encoder::new(&config, true, pooling).unwrap();
                assert_eq!(fewer.layout(), narrow.layout(), "{family}");
                let weights = gathered(&encoder, &weights, &narrow);
                assert_eq!(run(&narrow, &weights).0, run(&fewer, &weights).0, "{family}");
            }
        }
    }

    #[test]
    fn it_is_written_in_few_characters_and_read_back() {
        let (encoder, _) = open("bert", Pooling::Mean);
        let slim = some(encoder.config());
        let json = serde_json::to_string(&slim.layers[0]).unwrap();
        assert_eq!(json, r#"{"heads":"3:0","groups":"4:b"}"#);
        let text = serde_json::to_string(&slim).unwrap();
        assert_eq!(serde_json::from_str::<Slim>(&text).unwrap(), slim);
        for wrong in ["3:1", "3:00", "3", "4:B", "5:f", "99999999:0", "-1:0", "4:g", ""] {
            let text = format!(r#"{{"heads":"{wrong}","groups":"4:b"}}"#);
            assert!(serde_json::from_str::<SlimLayer>(&text).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_the_base_does_not_have_is_refused() {
        let (encoder, _) = open("albert", Pooling::Mean);
        let whole = Slim::whole(encoder.config());
        assert!(encoder.slim(&whole).is_ok());
        let wrong = |change: fn(&mut Slim)| {
            let mut slim = whole.clone();
            change(&mut slim);
            encoder.slim(&slim).unwrap_err().to_string()
        };
        assert!(wrong(|slim| slim.depth = 0).contains("a depth of 0, expected 1 to 4"));
        assert!(wrong(|slim| slim.depth = 5).contains("a depth of 5"));
        assert!(wrong(|slim| slim.depth = 2).contains("in the number of 2, expected 1"));
        assert!(wrong(|slim| slim.layers[1].heads.push(true)).contains("heads out of 4"));
        assert!(wrong(|slim| slim.layers[0].groups.clear()).contains("neurons out of 0"));
    }
}
