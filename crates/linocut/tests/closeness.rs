//! Distances against exact arithmetic (`reference/closeness.py`), invariants, and bad files.

#![allow(clippy::unwrap_used, reason = "in a test it says where it failed")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use linocut::closeness::{Group, Model, Options, Report, measure};
use linocut::cut::{Cut, Edit, TensorEdit, Zeros};
use linocut::model::family;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;

mod cut_samples;

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata").join(name)
}

fn fixture(name: &str) -> PathBuf {
    testdata("closeness").join(format!("{name}.safetensors"))
}

fn run(base: &Path, tuned: &[&Path], options: &Options) -> linocut::Result<Report> {
    let tuned = tuned.iter().map(|path| Model::open(path)).collect::<linocut::Result<Vec<_>>>()?;
    measure(base, &tuned, options, |_, _| {})
}

fn plain(base: &Path, tuned: &[&Path]) -> Report {
    run(base, tuned, &Options::default()).unwrap()
}

/// Sums of a few thousand terms, each rounded to 2⁻⁵³ of the whole, and a root or two: well within
/// 1e-13. The angle divides two of them; where it is 1e-8 its sums are as exact. An angle θ that is
/// wrong by 1e-13·θ has a cosine that is wrong by sin θ times that, however near to 0 the cosine is.
fn assert_same(group: &Group, want: &Value, what: &str) {
    let found = serde_json::to_value(group).unwrap();
    let angle = std::f64::consts::PI * want["angular"].as_f64().unwrap_or(0.0);
    let of_cosine = 1e-13 * angle * angle.sin() + f64::EPSILON;
    for (figure, want) in want.as_object().unwrap() {
        match (found[figure].as_f64(), want.as_f64()) {
            (None, None) => {}
            (Some(found), Some(want)) => assert!(
                (found - want).abs()
                    <= if figure == "cosine" { of_cosine } else { 1e-13 * want.abs() },
                "{what}, {figure}: {found}, expected {want}"
            ),
            (found, want) => panic!("{what}, {figure}: {found:?}, expected {want:?}"),
        }
    }
}

#[test]
fn figures_agree_with_exact_arithmetic_in_every_number_format() {
    let want: Value =
        serde_json::from_slice(&fs::read(testdata("closeness/distances.json")).unwrap()).unwrap();
    for base in ["base", "half"] {
        let models = ["near", "far", "mixed"];
        let paths = models.map(fixture);
        let report = plain(&fixture(base), &paths.each_ref().map(PathBuf::as_path));
        for (name, model) in models.iter().zip(&report.models) {
            let what = format!("{base} {name}");
            let want = &want[&what];
            assert_eq!(model.tensors.len(), want["tensors"].as_object().unwrap().len());
            for tensor in &model.tensors {
                let what = format!("{what} {}", tensor.name);
                assert_same(&tensor.group, &want["tensors"][&tensor.name], &what);
            }
            let layer = model.layers.iter().find(|l| l.name == "1").unwrap();
            let kind = model.kinds.iter().find(|k| k.name == "query").unwrap();
            assert_same(&model.all, &want["all"], &what);
            assert_same(&layer.group, &want["layer 1"], &what);
            assert_same(&kind.group, &want["kind query"], &what);
            assert_eq!(model.only_in_tuned, ["classifier.weight"]);
            assert_eq!(model.unrelated, *name == "far", "{what}");
        }
        if base == "base" {
            let pair = report.pairs.iter().find(|p| (p.first, p.second) == (0, 2)).unwrap();
            let want = want["task vectors near mixed"].as_f64().unwrap();
            assert!((pair.angular.unwrap() / want - 1.0).abs() < 1e-13);
        }
    }
    let smallest = &want["base near"]["tensors"]["pooler.dense.weight"]["angular"];
    assert!(smallest.as_f64().unwrap() < 1e-8, "the fixture holds a tiny angle");
}

#[test]
fn a_model_is_not_apart_from_itself() {
    let report = plain(&fixture("base"), &[&fixture("base")]);
    for tensor in &report.models[0].tensors {
        let figures = &tensor.group.figures;
        assert_eq!(
            (figures.l1, figures.l2, figures.max_abs, figures.changed),
            (0.0, 0.0, 0.0, 0.0)
        );
        assert!(figures.angular.is_none_or(|angular| angular == 0.0));
    }
    assert!(report.models[0].far.is_empty());
}

#[test]
fn the_same_figures_at_any_number_of_threads() {
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let options = Options { sample_baseline: Some(3), ..Options::default() };
        let (a, b) = (fixture("near"), fixture("mixed"));
        pool.install(|| run(&fixture("base"), &[&a, &b], &options)).unwrap()
    };
    assert_eq!(with(1), with(3));
}

/// Tensors to write: name, type, shape, bytes.
type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn read(path: &Path) -> Tensors {
    let bytes = fs::read(path).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let view = |(name, view): (String, TensorView<'_>)| {
        (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec()))
    };
    tensors.tensors().into_iter().map(view).collect()
}

fn bytes(tensors: &Tensors) -> Vec<u8> {
    let views = tensors.iter().map(|(name, (dtype, shape, data))| {
        (name.clone(), TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// Measures the fixture's base against `near` changed by `change`.
fn changed(change: impl Fn(&mut Tensors), options: &Options) -> linocut::Result<Report> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tuned.safetensors");
    let mut tensors = read(&fixture("near"));
    change(&mut tensors);
    fs::write(&path, bytes(&tensors)).unwrap();
    run(&fixture("base"), &[&path], options)
}

fn message(result: linocut::Result<Report>) -> String {
    result.unwrap_err().to_string()
}

const QUERY: &str = "bert.encoder.layer.0.attention.self.query.weight";

#[test]
fn other_architectures_are_refused_by_name() {
    let options = Options::default();
    let text = message(changed(
        |tensors| {
            let query = tensors.get_mut(QUERY).unwrap();
            (query.1, query.2) = (vec![24, 12], query.2[..24 * 12 * 4].to_vec());
        },
        &options,
    ));
    let shapes =
        "1 of 12 shapes differ: encoder.layer.0.attention.self.query.weight [24, 24] and [24, 12]";
    assert!(text.contains(shapes) && text.contains("hint:"), "{text}");
    let text = message(changed(|tensors| drop(tensors.remove(QUERY)), &options));
    assert!(
        text.contains("it lacks 1 tensors of layers: encoder.layer.0.attention.self.query.weight"),
        "{text}"
    );
    let text = message(changed(
        |tensors| {
            let more = tensors[QUERY].clone();
            tensors.insert(QUERY.replace(".0.", ".2."), more);
        },
        &options,
    ));
    assert!(
        text.contains("it has 1 tensors in layers that the base lacks: bert.encoder.layer.2."),
        "{text}"
    );
    let text = message(changed(
        |tensors| *tensors = BTreeMap::from([("x".into(), (Dtype::F32, vec![1], floats(&[1.0])))]),
        &options,
    ));
    assert!(text.contains("no tensor name is in both"), "{text}");
    let text = message(changed(
        |tensors| {
            let query = tensors.get_mut(QUERY).unwrap();
            (query.0, query.1) = (Dtype::F64, vec![24, 12]);
        },
        &options,
    ));
    assert!(text.contains(QUERY) && text.contains("F64, expected F32, F16 or BF16"), "{text}");
}

#[test]
fn a_pooler_or_head_may_be_missing_and_whole_numbers_are_no_weights() {
    let report = changed(
        |tensors| {
            tensors.remove("bert.pooler.dense.weight").unwrap();
            let ids = (Dtype::I64, vec![2], vec![0; 16]);
            tensors.insert("bert.embeddings.position_ids".into(), ids);
        },
        &Options::default(),
    )
    .unwrap();
    let model = &report.models[0];
    assert_eq!(model.only_in_base, ["pooler.dense.weight"]);
    assert_eq!(model.only_in_tuned, ["classifier.weight"]);
    assert_eq!(model.not_weights, ["bert.embeddings.position_ids"]);
    assert!(model.layers.iter().all(|l| l.name != "pooler"));
}

#[test]
fn what_is_not_finite_is_named_and_left_out_only_when_allowed() {
    let spoil = |tensors: &mut Tensors| {
        let query = &mut tensors.get_mut(QUERY).unwrap().2;
        query[..4].copy_from_slice(&f32::NAN.to_le_bytes());
        query[8..12].copy_from_slice(&f32::INFINITY.to_le_bytes());
    };
    let text = message(changed(spoil, &Options::default()));
    let named = "2 values are not finite (NaN or infinite), 0 of them in the base";
    assert!(text.contains(named) && text.contains("query.weight (2)"), "{text}");
    assert!(text.contains("`allow_nan`"), "{text}");
    let allow = Options { allow_nan: true, ..Options::default() };
    let report = changed(spoil, &allow).unwrap();
    // As if those two entries did not exist.
    let zero = |tensors: &mut Tensors, base: &Tensors| {
        let query = &mut tensors.get_mut(QUERY).unwrap().2;
        let base = &base[QUERY.trim_start_matches("bert.")].2;
        query[..4].copy_from_slice(&base[..4]);
        query[8..12].copy_from_slice(&base[8..12]);
    };
    let base = read(&fixture("base"));
    let equal = changed(|tensors| zero(tensors, &base), &allow).unwrap();
    let figures = |report: &Report| report.models[0].all.figures;
    assert_eq!(figures(&report).non_finite, 2);
    assert_eq!(figures(&report).entries + 2, figures(&equal).entries);
    assert_eq!(figures(&report).l1, figures(&equal).l1);
    assert_eq!(figures(&report).max_abs, figures(&equal).max_abs);
}

#[test]
fn a_tensor_initialised_anew_is_named() {
    let far = read(&fixture("far"));
    let report = changed(
        |tensors| {
            let pooler = "bert.pooler.dense.weight".to_string();
            tensors.insert(pooler.clone(), far[&pooler].clone());
        },
        &Options::default(),
    )
    .unwrap();
    assert_eq!(report.models[0].far, ["pooler.dense.weight"]);
    assert!(!report.models[0].unrelated);
}

#[test]
fn damaged_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tuned.safetensors");
    let whole = fs::read(fixture("near")).unwrap();
    let attempt = |content: &[u8]| {
        fs::write(&path, content).unwrap();
        message(run(&fixture("base"), &[&path], &Options::default()))
    };
    for content in [&whole[..whole.len() - 1], &whole[..100], &[], b"version https://git-lfs"] {
        assert!(attempt(content).contains("is not a whole safetensors file"));
    }
    // Two tensors over the same bytes.
    let header = br#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#;
    let overlapping = [&(header.len() as u64).to_le_bytes()[..], header, &[0; 12]].concat();
    assert!(attempt(&overlapping).contains("is not a whole safetensors file"));
    let bin = folder.path().join("pytorch_model.bin");
    fs::write(&bin, b"PK\x03\x04").unwrap();
    for path in [&bin, &folder.path().to_path_buf()] {
        fs::rename(folder.path().join("tuned.safetensors"), folder.path().join("aside")).ok();
        let text = message(run(&fixture("base"), &[path], &Options::default()));
        assert!(
            text.contains("hint:") && text.contains("torch.load('pytorch_model.bin'"),
            "{text}"
        );
    }
}

#[test]
fn shards_measure_as_one_file_does_and_a_missing_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let all = read(&fixture("near"));
    let names: Vec<&String> = all.keys().collect();
    let mut map = serde_json::Map::new();
    for (i, part) in names.chunks(5).enumerate() {
        let file = format!("model-{i}.safetensors");
        let part: Tensors = part.iter().map(|n| ((*n).clone(), all[*n].clone())).collect();
        part.keys().for_each(|n| drop(map.insert(n.clone(), file.clone().into())));
        fs::write(folder.path().join(file), bytes(&part)).unwrap();
    }
    let index = serde_json::json!({ "weight_map": map });
    fs::write(folder.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
    let (one, sharded) =
        (plain(&fixture("base"), &[&fixture("near")]), plain(&fixture("base"), &[folder.path()]));
    assert_eq!(one.models[0].tensors, sharded.models[0].tensors);
    fs::remove_file(folder.path().join("model-1.safetensors")).unwrap();
    let text = message(run(&fixture("base"), &[folder.path()], &Options::default()));
    assert!(text.contains("model-1.safetensors is missing"), "{text}");
}

/// A cut of testdata/bert/base with these edits.
fn cut(folder: &Path, name: &str, edits: BTreeMap<String, TensorEdit>) -> PathBuf {
    let base = family::open(&testdata("bert/base")).unwrap();
    let sample = cut_samples::zeros();
    let mut card = sample.card().clone();
    card.base.fingerprint = base.fingerprint().to_string();
    let path = folder.join(name);
    Cut::new(card, sample.head().clone(), edits, vec![]).unwrap().write(&path, false).unwrap();
    path
}

#[test]
fn cuts_are_measured_as_the_base_with_them_on() {
    let (base, folder) = (testdata("bert/base"), tempfile::tempdir().unwrap());
    let checkpoint = family::open(&base).unwrap();
    let query = "encoder.layer.0.attention.self.query.weight";
    let shape = checkpoint.tensor(query).unwrap().shape.clone();
    let len: usize = shape.iter().product();
    let mut before = vec![0.0; len];
    checkpoint.read_f32(query, &mut before).unwrap();
    let edit = |positions: &[u32]| {
        let edit = Edit::Zeros(Zeros::new(len, positions.to_vec()).unwrap());
        BTreeMap::from([(query.to_string(), TensorEdit { shape: shape.clone(), edit })])
    };
    let a = cut(folder.path(), "a.cut", edit(&[1, 2, 3, 700]));
    let b = cut(folder.path(), "b.cut", edit(&[2, 3, 900, 901, 1000]));
    let report = plain(&base, &[&a, &b]);
    let found = &report.models[0].tensors.iter().find(|t| t.name == query).unwrap().group;
    let l1: f64 = [1, 2, 3, 700].iter().map(|&i: &usize| f64::from(before[i].abs())).sum();
    assert!((found.figures.l1 / l1 - 1.0).abs() < 1e-15);
    assert_eq!((found.zeros, report.models[0].all.zeros), (Some(4), Some(4)));
    let others = report.models[0].tensors.iter().filter(|t| t.name != query);
    assert!(others.map(|t| t.group.figures.l1).sum::<f64>() == 0.0);
    // Two of seven zeros in common; by chance n·p·q over n·(p + q − p·q).
    let mask = report.pairs[0].mask.unwrap();
    assert_eq!((mask.first, mask.second, mask.both), (4, 5, 2));
    assert_eq!(mask.jaccard, Some(2.0 / 7.0));
    let both = 20.0 / len as f64;
    assert!((mask.chance.unwrap() / (both / (9.0 - both)) - 1.0).abs() < 1e-14);
    // A cut of another base is refused.
    let other = folder.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::copy(base.join("config.json"), other.join("config.json")).unwrap();
    let mut tensors = read(&base.join("model.safetensors"));
    tensors.values_mut().next().unwrap().2[0] ^= 1;
    fs::write(other.join("model.safetensors"), bytes(&tensors)).unwrap();
    let text = message(run(&other, &[&a], &Options::default()));
    assert!(text.contains("belongs to the base"), "{text}");
}
