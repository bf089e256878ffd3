//! What a graph is made of. That a runtime computes the same with it is for reference/onnx_parity.py and the
//! Python tests to say.

use super::graph::{Content, Graph};
use super::proto::{EXTERNAL, GraphProto, INT64, Model, Tensor};
use super::{DATA, FILE, inputs_of, nodes, write};
use crate::model::{Encoder, Head, Pooling, Slim, Weights, family};
use prost::Message;
use std::collections::{BTreeSet, HashSet};
use std::fs;
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

/// Every operator that graphs are made of: those of version 17 and no others.
const OPERATORS: [&str; 35] = [
    "Abs",
    "Add",
    "And",
    "Cast",
    "Concat",
    "CumSum",
    "Div",
    "Equal",
    "Erf",
    "Expand",
    "Gather",
    "GatherElements",
    "LayerNormalization",
    "LessOrEqual",
    "MatMul",
    "Max",
    "Mul",
    "Neg",
    "Not",
    "Pad",
    "Range",
    "ReduceL2",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Shape",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Split",
    "Sub",
    "Tanh",
    "Transpose",
    "Unsqueeze",
    "Where",
];

fn open(family: &str) -> (Encoder, Weights) {
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata");
    let checkpoint = family::open(&testdata.join(family).join("base")).unwrap();
    let encoder = Encoder::open(&checkpoint, Some(Pooling::First)).unwrap();
    let weights = encoder.load(&checkpoint).unwrap();
    (encoder, weights)
}

fn head(encoder: &Encoder, unit: bool) -> Head {
    Head { unit, bias: vec![0.5, -1.0], ..Head::new(2, encoder.config().hidden, 7) }
}

/// All that a slim task may be: some heads and neurons of a layer left out, all of one, a layer.
fn slims(encoder: &Encoder) -> Vec<Slim> {
    let whole = Slim::whole(encoder.config());
    let mut some = whole.clone();
    some.layers[0].heads[0] = false;
    some.layers[0].groups[0] = false;
    let mut none = whole.clone();
    none.layers[0].heads.fill(false);
    none.layers[0].groups.fill(false);
    vec![some, none, whole.up_to(1, encoder.config())]
}

/// Each node reads what there is, and every tensor has the bytes that its dimensions say.
fn check(name: &str, graph: &Graph, typed: bool) {
    let mut known: HashSet<&str> = inputs_of(typed).into_iter().collect();
    for tensor in &graph.tensors {
        let entries: usize = tensor.dims.iter().product();
        let size = if tensor.data_type() == INT64 { 8 } else { 4 };
        assert_eq!(tensor.len(), entries * size, "{name}: {}", tensor.name);
        assert!(entries > 0, "{name}: {} is empty", tensor.name);
        assert!(known.insert(&tensor.name), "{name}: two called {}", tensor.name);
    }
    let mut read = HashSet::new();
    for node in &graph.nodes {
        let op = node.op_type.as_deref().unwrap();
        assert!(OPERATORS.contains(&op), "{name}: {op}");
        for input in &node.input {
            assert!(
                known.contains(&input[..]),
                "{name}: {op} reads {input}, which is not there yet"
            );
            read.insert(&input[..]);
        }
        for output in &node.output {
            assert!(known.insert(output), "{name}: two called {output}");
        }
    }
    assert!(known.contains(nodes::LOGITS), "{name}");
    for tensor in &graph.tensors {
        assert!(read.contains(&tensor.name[..]), "{name}: nothing reads {}", tensor.name);
    }
    for input in inputs_of(typed) {
        assert!(read.contains(input), "{name}: nothing reads {input}");
    }
}

#[test]
fn nodes_read_what_is_there_in_every_family_with_every_pooling() {
    let mut used = BTreeSet::new();
    for family in FAMILIES {
        let (whole, weights) = open(family);
        let typed = whole.config().token_types > 1;
        let mut encoders = vec![whole.clone()];
        encoders.extend(slims(&whole).iter().map(|slim| whole.slim(slim).unwrap()));
        for (number, encoder) in encoders.iter().enumerate() {
            for pooling in Pooling::ALL {
                let encoder = encoder.with_pooling(pooling);
                let name = format!("{family}, slim {number}, {}", pooling.name());
                let head = head(&encoder, pooling == Pooling::Mean);
                // The entries of a slim encoder's weights are of no matter here, their number is.
                let weights = &weights.data()[..encoder.layout().len()];
                let graph = nodes::of(&encoder, weights, &head, typed);
                check(&name, &graph, typed);
                used.extend(graph.nodes.iter().filter_map(|node| node.op_type.clone()));
                let without = nodes::of(&encoder, weights, &head, false);
                check(&name, &without, false);
            }
        }
    }
    assert_eq!(used.iter().map(String::as_str).collect::<Vec<_>>(), OPERATORS);
}

/// Every part that the program reads is in the file once, shared or not.
#[test]
fn weights_are_written_once() {
    for family in FAMILIES {
        let (encoder, weights) = open(family);
        let program = encoder.program();
        let parts: BTreeSet<usize> = program.ops().iter().flat_map(|op| op.parts()).collect();
        let graph = nodes::of(&encoder, weights.data(), &head(&encoder, false), true);
        let ranges = graph.tensors.iter().filter_map(|tensor| match &tensor.content {
            Content::Weights(range, _) => Some(range.clone()),
            Content::Floats(_) | Content::Ints(_) => None,
        });
        let mut ranges: Vec<_> = ranges.collect();
        ranges.sort_by_key(|range| range.start);
        for pair in ranges.windows(2) {
            assert!(pair[0].end <= pair[1].start, "{family}: {pair:?}");
        }
        let layout = encoder.layout();
        for part in parts {
            let range = &layout.parts()[part].range;
            let name = &layout.tensors()[layout.parts()[part].tensors.start].name;
            // A bias by distance is written as what it makes of every distance.
            let inside =
                ranges.iter().any(|found| range.start <= found.start && found.end <= range.end);
            assert!(inside || name == "encoder.relative_attention_bias.weight", "{family}: {name}");
        }
    }
}

fn written(folder: &Path, most: usize) -> Model {
    let (encoder, weights) = open("bert");
    let graph = nodes::of(&encoder, weights.data(), &head(&encoder, false), true);
    let message = GraphProto { node: graph.nodes, ..GraphProto::default() };
    let about = Model { ir_version: Some(8), ..Model::default() };
    let tensors = (&graph.tensors[..], weights.data());
    write::write((folder, FILE, DATA), (&about, &message), tensors, most).unwrap();
    Model::decode(&fs::read(folder.join(FILE)).unwrap()[..]).unwrap()
}

fn initializers(model: &Model) -> &[Tensor] {
    &model.graph.as_ref().unwrap().initializer
}

#[test]
fn a_file_is_read_back_as_it_was_meant() {
    let folder = tempfile::tempdir().unwrap();
    let model = written(folder.path(), write::MOST);
    let bytes = fs::read(folder.path().join(FILE)).unwrap();
    assert_eq!(model.encoded_len(), bytes.len());
    assert!(!folder.path().join(DATA).exists());
    let (encoder, weights) = open("bert");
    let name = "encoder.layer.1.intermediate.dense.weight";
    let [out, into] = encoder.layout().tensors()[encoder.layout().index(name).unwrap()].shape[..]
    else {
        panic!("a matrix")
    };
    let stored = weights.tensor(name).unwrap();
    let found = initializers(&model).iter().find(|tensor| tensor.name.as_deref() == Some(name));
    let found = found.unwrap();
    assert_eq!(found.dims, [into as i64, out as i64]);
    let raw = found.raw_data.as_ref().unwrap();
    for (i, value) in raw.chunks_exact(4).enumerate() {
        let value = f32::from_le_bytes(value.try_into().unwrap());
        assert_eq!(value.to_bits(), stored[i % out * into + i / out].to_bits());
    }
    written(folder.path(), write::MOST);
    assert!(bytes == fs::read(folder.path().join(FILE)).unwrap(), "written again it is another");
}

#[test]
fn what_would_be_too_long_has_its_tensors_beside_it() {
    let [one, two] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let inside = written(one.path(), write::MOST);
    let len = inside.encoded_len();
    assert_eq!(written(one.path(), len), inside);
    let outside = written(two.path(), len - 1);
    let data = fs::read(two.path().join(DATA)).unwrap();
    assert!(outside.encoded_len() + data.len() < len + 10_000);
    assert!(outside.encoded_len() < len / 2);
    let (inside, outside) = (initializers(&inside), initializers(&outside));
    assert_eq!(inside.len(), outside.len());
    let mut moved = 0;
    for tensor in outside {
        let whole = inside.iter().find(|other| other.name == tensor.name).unwrap();
        assert_eq!((&whole.dims, whole.data_type), (&tensor.dims, tensor.data_type));
        let raw = match tensor.data_location {
            Some(EXTERNAL) => {
                moved += 1;
                let values: Vec<&str> =
                    tensor.external_data.iter().map(|e| e.value.as_deref().unwrap()).collect();
                assert_eq!(values[0], DATA);
                let [from, len] = [1, 2].map(|i| values[i].parse::<usize>().unwrap());
                &data[from..from + len]
            }
            _ => tensor.raw_data.as_deref().unwrap(),
        };
        assert!(raw == whole.raw_data.as_deref().unwrap(), "{:?}", tensor.name);
    }
    assert!(moved > 10, "{moved}");
}
