//! A tiny base, cuts of it, and a server on them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use linocut::bank::{Bank, Costs, Options};
use linocut::cut::{
    BaseId, Card, Cut, Edit, Head, Probe, StoreType, TensorEdit, TensorNote, Zeros,
};
use linocut::data::{Encoding, Metric, Problem};
use linocut::kernels::random::{normal, uniform};
use linocut::model::{self, Base, Pooling};
use linocut::store::{Store, Trusted};
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

use crate::batch::Worker;
use crate::{Cuts, Keys, Limits, Settings, State, app};

/// A folder with `base/` (3 layers of 36, 99 tokens, 40 positions) and `cuts/`.
pub(super) struct Place {
    pub(super) folder: TempDir,
}

/// An answer, read whole.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

/// What a cut for tests is like.
#[derive(Clone, Copy)]
pub(super) struct Like {
    /// Draws its zeros and head.
    pub(super) version: u64,
    pub(super) problem: Problem,
    pub(super) outputs: usize,
    pub(super) pairs: bool,
    pub(super) max_length: usize,
}

impl Like {
    /// One of three labels for single texts of up to 40 tokens.
    pub(super) fn version(version: u64) -> Self {
        let problem = Problem::SingleLabel;
        Self { version, problem, outputs: 3, pairs: false, max_length: 40 }
    }
}

impl Place {
    /// With a task of every kind: `topics`, `tags` (multi-label), `grade` (regression) and `same`
    /// (pairs).
    pub(super) fn new() -> Self {
        let place = Self::empty();
        place.add("topics", Like::version(1));
        place.add("tags", Like { problem: Problem::MultiLabel, outputs: 4, ..Like::version(2) });
        place.add("grade", Like { problem: Problem::Regression, outputs: 1, ..Like::version(3) });
        place.add("same", Like { pairs: true, outputs: 2, ..Like::version(4) });
        place
    }

    /// Without any task.
    pub(super) fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata");
        let base = folder.path().join("base");
        std::fs::create_dir(&base).unwrap();
        std::fs::create_dir(folder.path().join("cuts")).unwrap();
        for from in ["bert/base/config.json", "bert/base/model.safetensors", "tiny/tokenizer.json"]
        {
            let to = base.join(Path::new(from).file_name().unwrap());
            std::fs::write(to, std::fs::read(testdata.join(from)).unwrap()).unwrap();
        }
        Self { folder }
    }

    pub(super) fn cuts(&self) -> std::path::PathBuf {
        self.folder.path().join("cuts")
    }

    /// Names in the folder of cuts, without its lock.
    pub(super) fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.cuts()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name != ".linocut.lock");
        names.sort();
        names
    }

    pub(super) fn base(&self) -> Base {
        Base::open(&self.folder.path().join("base"), Some(Pooling::First)).unwrap()
    }

    /// Writes a cut into the folder.
    pub(super) fn add(&self, name: &str, like: Like) {
        let cut = cut(&self.base(), like);
        cut.write(self.cuts().join(format!("{name}.cut")), true).unwrap();
    }

    pub(super) fn bank(&self) -> Bank {
        self.small_bank(Options::default().task_memory)
    }

    /// A bank with so many bytes for tasks.
    pub(super) fn small_bank(&self, task_memory: usize) -> Bank {
        let costs = Costs {
            dense: 0.03,
            own: 0.2,
            make: 0.1,
            zero: 2.0,
            zero_row: 0.03,
            turn: 0.2,
            thin: 0.05,
        };
        let options = Options { costs: Some(costs), task_memory, ..Options::default() };
        Bank::new(self.base(), options).unwrap()
    }

    /// A server with its compute thread.
    pub(super) fn open(&self, limits: Limits) -> Arc<State> {
        self.open_with(Settings { limits, ..Settings::default() })
    }

    /// A server with other settings, too.
    pub(super) fn open_with(&self, settings: Settings) -> Arc<State> {
        State::open(self.bank(), self.cuts(), settings, |_, _| ()).unwrap()
    }

    /// A server with the keys in `keys.json` of this content.
    pub(super) fn locked(&self, keys: &Value) -> Arc<State> {
        let path = self.folder.path().join("keys.json");
        std::fs::write(&path, keys.to_string()).unwrap();
        let keys = Some(Keys::read(&path).unwrap());
        self.open_with(Settings { keys, ..Settings::default() })
    }

    /// The store, with every cut of the folder in it.
    pub(super) fn pushed(&self) -> Store {
        let store = self.store();
        for file in self.files() {
            let bytes = std::fs::read(self.cuts().join(&file)).unwrap();
            store.push(file.strip_suffix(".cut").unwrap(), &bytes, None).unwrap();
        }
        store
    }

    /// The store, as one more process sees it.
    pub(super) fn store(&self) -> Store {
        Store::create(self.folder.path().join("store").to_str().unwrap()).unwrap()
    }

    /// A server of the store with so many bytes for tasks.
    pub(super) fn fleet(&self, task_memory: usize, trusted: Option<Trusted>) -> Arc<State> {
        let cuts = Cuts::Store { store: self.store(), trusted };
        State::open(self.small_bank(task_memory), cuts, Settings::default(), |_, _| ()).unwrap()
    }

    /// A server that computes when told to.
    pub(super) fn idle(&self, limits: Limits) -> (Arc<State>, Worker) {
        let settings = Settings { limits, ..Settings::default() };
        State::idle(self.bank(), self.cuts(), settings, |_, _| ()).unwrap()
    }

    /// What the task `name` answers on its own, by the engine of training.
    pub(super) fn alone(&self, name: &str, text: &str, pair: Option<&str>) -> Vec<f32> {
        let base = self.base();
        let cut = Cut::read(self.cuts().join(format!("{name}.cut"))).unwrap();
        let encoding = base.tokenizer.encode(text, pair, cut.card().max_length).unwrap();
        logits_of(&base, cut.card().pooling, cut.head(), cut.edits(), &[encoding])
    }
}

/// A cut with 10% zeros in the matrices of layers 1 and 2, a random head, and one probe.
pub(super) fn cut(base: &Base, like: Like) -> Cut {
    let Like { version, problem, outputs, pairs, max_length } = like;
    let mut edits = BTreeMap::new();
    for (i, spec) in base.encoder.layout().tensors().iter().enumerate() {
        if spec.shape.len() == 2 && spec.layer().is_some_and(|layer| layer > 0) {
            let key = version << 32 | i as u64;
            let kept = (0..spec.range.len()).map(|j| uniform(key, j as u32) >= 0.1);
            let edit = Edit::Zeros(Zeros::from_keep(kept).unwrap());
            edits.insert(spec.name.clone(), TensorEdit { shape: spec.shape.clone(), edit });
        }
    }
    let hidden = base.config().hidden;
    let draw = |key: u64, n: usize| (0..n as u32).map(|j| normal(version ^ key, j)).collect();
    let head = Head {
        store: StoreType::F32,
        hidden,
        weight: draw(99, outputs * hidden),
        bias: draw(55, outputs),
    };
    let labels = match problem {
        Problem::Regression => vec![],
        _ => (0..outputs).map(|i| format!("label {i}")).collect(),
    };
    let card = Card {
        format: 1,
        task: "sample".into(),
        problem,
        labels,
        outputs,
        pooling: Pooling::Mean,
        max_length,
        long: None,
        unit: false,
        pairs,
        base: BaseId { name: base.name.clone(), fingerprint: base.fingerprint.to_string() },
        tokenizer: base.tokenizer.fingerprint().to_string(),
        method: json!("mask"),
        training: json!(version),
        metric: Metric::Accuracy,
        metrics: BTreeMap::from([("accuracy".into(), 0.75)]),
        tensors: BTreeMap::<String, TensorNote>::new(),
        slim: None,
        decision: None,
        source: None,
    };
    let input = Encoding { ids: vec![2, 7, 9, 3], type_ids: vec![0; 4], cut: false };
    let expected = logits_of(base, card.pooling, &head, &edits, std::slice::from_ref(&input));
    let probe = Probe { input_ids: input.ids, token_type_ids: input.type_ids, logits: expected };
    Cut::new(card, head, edits, vec![probe]).unwrap()
}

fn logits_of(
    base: &Base,
    pooling: Pooling,
    head: &Head,
    edits: &BTreeMap<String, TensorEdit>,
    texts: &[Encoding],
) -> Vec<f32> {
    let encoder = base.encoder.with_pooling(pooling);
    let mut weights = base.weights.clone();
    for (name, edit) in edits {
        let Edit::Zeros(zeros) = &edit.edit else { unreachable!("cuts here have zeros only") };
        let tensor = weights.tensor_mut(name).unwrap();
        zeros.positions().iter().for_each(|&p| tensor[p as usize] = 0.0);
    }
    let head = model::Head { weight: head.weight.clone(), bias: head.bias.clone(), unit: false };
    model::logits(&encoder, &weights, &head, texts, |_| {})
}

/// Calls the server without a port, by the name `localhost` where the request has none.
pub(super) async fn call(state: &Arc<State>, mut request: Request<Body>) -> Answered {
    request.headers_mut().entry("host").or_insert(HeaderValue::from_static("localhost"));
    let response = app(Arc::clone(state)).oneshot(request).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let body = match bytes.is_empty() {
        true => Value::Null,
        false => serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned())),
    };
    Answered { status, headers, body }
}

pub(super) fn request(method: Method, path: &str, body: impl Into<Body>) -> Request<Body> {
    let builder = Request::builder().method(method).uri(path);
    let builder = builder.header("host", "localhost");
    builder.header("content-type", "application/json").body(body.into()).unwrap()
}

pub(super) async fn get(state: &Arc<State>, path: &str) -> Answered {
    call(state, request(Method::GET, path, Body::empty())).await
}

pub(super) async fn post(state: &Arc<State>, path: &str, body: Value) -> Answered {
    call(state, request(Method::POST, path, body.to_string())).await
}

pub(super) async fn put(state: &Arc<State>, name: &str, bytes: Vec<u8>) -> Answered {
    call(state, request(Method::PUT, &format!("/v1/tasks/{name}"), bytes)).await
}

/// What a task answers to "warm rain", by its labels.
pub(super) async fn logits(state: &Arc<State>, task: &str) -> Vec<f32> {
    let body = json!({"inputs": "warm rain", "raw_scores": true});
    let found = post(state, &format!("/predict?task={task}"), body).await.ok();
    let mut pairs: Vec<(String, f32)> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|s| (s["label"].to_string(), s["score"].as_f64().unwrap() as f32))
        .collect();
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    pairs.into_iter().map(|(_, score)| score).collect()
}

impl Answered {
    /// The body of a success.
    #[track_caller]
    pub(super) fn ok(self) -> Value {
        assert!(self.status.is_success(), "{}: {}", self.status, self.body);
        self.body
    }

    /// Checks an error: its status, its type, and what its message and hint hold.
    #[track_caller]
    pub(super) fn refused(&self, status: u16, error_type: &str, says: &str) {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        assert_eq!(self.body["error_type"], error_type, "{}", self.body);
        let text = format!("{} {}", self.body["error"], self.body["hint"]).replace("\\\"", "\"");
        assert!(text.contains(says), "{says:?} is not in {text}");
    }
}

/// Within 1e-5·max(1, largest |expected|), the bank's promise.
#[track_caller]
pub(super) fn assert_near(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    let bound = 1e-5 * expected.iter().fold(1.0f32, |m, z| m.max(z.abs()));
    for (f, e) in found.iter().zip(expected) {
        assert!((f - e).abs() <= bound, "found {found:?}, expected {expected:?}");
    }
}
