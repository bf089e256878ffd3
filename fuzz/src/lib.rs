//! One function a reader: an input is an error or sound, never a panic, a hang, or memory out of
//! proportion. `fuzz_targets/` hands them what libFuzzer makes; see README.md.

mod place;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use linocut::bank::{Bank, Costs, Options};
use linocut::cut::Cut;
use linocut::data::{Dataset, Reading, Table, TaskSpec, Tokenizer};
use linocut::pack::Tuned;
use linocut::store::{Signer, Store, Trusted};
use linocut::tune::{self, Method, Shared, Storage, TrainOptions};
use linocut::{Result, study};
use linocut_server::{Keys, Limits, Settings, State, app};
use peak_alloc::PeakAlloc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub use place::{CONFIG, PLACE, Place, TOKENIZER};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Bytes that reading may hold at once whatever is read: the tiny base, a reader's own tables.
const BASE: usize = 8 << 20;
/// Bytes beyond them for every byte read.
const A_BYTE: usize = 10;

/// Calls `read`, which reads `bytes` bytes, and checks the memory that it held at once.
fn within<T>(bytes: usize, read: impl FnOnce() -> T) -> T {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let out = read();
    let held = ALLOCATOR.peak_usage().saturating_sub(before);
    assert!(held <= BASE + A_BYTE * bytes, "{held} bytes held for {bytes} read");
    out
}

/// A bank on the tiny base, its costs given: measuring them takes longer than most inputs.
fn bank() -> Bank {
    let costs = Costs {
        dense: 0.03,
        own: 0.2,
        make: 0.1,
        zero: 2.0,
        zero_row: 0.03,
        turn: 0.2,
        thin: 0.05,
    };
    let options = Options { costs: Some(costs), ..Options::default() };
    Bank::new(PLACE.base().expect("the tiny base"), options).expect("a bank")
}

/// A cut with the digest that its bytes call for, so that what is behind it is put to the test.
pub fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some((before, digest)) = bytes.split_last_chunk_mut::<32>() {
        *digest = *blake3::hash(before).as_bytes();
    }
    bytes
}

/// A cut: read, prepared to be served, and written; what was written is read as the same cut.
pub fn cut(data: &[u8]) {
    static BANK: LazyLock<Bank> = LazyLock::new(bank);
    let bytes = sealed(data.to_vec());
    LazyLock::force(&BANK);
    let read = within(data.len(), || -> Result<Cut> {
        let cut = Cut::from_bytes(&bytes)?;
        let _ = BANK.prepare("task", &cut);
        Ok(cut)
    });
    if let Ok(cut) = read {
        let written = cut.to_bytes();
        let again = Cut::from_bytes(&written).expect("a cut that was written is read");
        assert_eq!(again.to_bytes(), written, "what was read is what was written");
    }
}

/// `model.safetensors` of a base.
pub fn weights(data: &[u8]) {
    PLACE.write("base/model.safetensors", data);
    let _ = within(data.len(), || PLACE.base());
}

/// `config.json` of a base, or its `1_Pooling/config.json`.
pub fn config(data: &[u8]) {
    PLACE.write("base/config.json", data);
    let _ = within(data.len(), || PLACE.base());
}

/// `tokenizer.json`: opened, and some texts put into tokens.
pub fn tokenizer(data: &[u8]) {
    PLACE.write("base/tokenizer.json", data);
    within(data.len(), || {
        let Ok(tokenizer) = Tokenizer::open(&PLACE.path("base")) else { return };
        for (text, pair) in
            [("go with no road ticket", None), ("\u{a3} e\u{301} \u{200c}", Some("no cook"))]
        {
            if let Ok(encoding) = tokenizer.encode(text, pair, 8) {
                assert!(encoding.ids.len() <= 8, "more tokens than asked for");
                assert_eq!(encoding.ids.len(), encoding.type_ids.len());
            }
        }
    });
}

/// A fine-tuned model's `config.json`, a zero byte, and its `model.safetensors`.
pub fn tuned(data: &[u8]) {
    let at = data.iter().position(|&b| b == 0).unwrap_or(data.len());
    PLACE.write("tuned/config.json", &data[..at]);
    PLACE.write("tuned/model.safetensors", data.get(at + 1..).unwrap_or_default());
    let _ = within(data.len(), || Tuned::open(&PLACE.path("tuned"), None));
}

fn table(name: &str, data: &[u8]) {
    let path = PLACE.write(name, data);
    let _ = within(data.len(), || -> Result<Dataset> {
        let spec = TaskSpec::default();
        let table = Table::read(&path, &Reading { columns: spec.columns(), ..Reading::default() })?;
        Dataset::train(&table, &spec, &mut Vec::new())
    });
}

/// Rows as CSV.
pub fn csv(data: &[u8]) {
    table("rows.csv", data);
}

/// Rows as TSV.
pub fn tsv(data: &[u8]) {
    table("rows.tsv", data);
}

/// Rows as JSON, one object a line.
pub fn jsonl(data: &[u8]) {
    table("rows.jsonl", data);
}

/// Rows as Parquet.
pub fn parquet(data: &[u8]) {
    table("rows.parquet", data);
}

/// The run whose state is read: eight rows, two steps, of which the state has one.
pub fn run(observe: &mut dyn FnMut(tune::Event) -> bool, resume: bool) -> Result<tune::Outcome> {
    static ROWS: LazyLock<Dataset> = LazyLock::new(|| {
        let rows = "text\tlabel\nno cook eat\ta\ngo with\tb\nno road\ta\nticket\tb\n";
        let table = Table::read(&PLACE.write("state.tsv", rows.as_bytes()), &Reading::default());
        let spec = TaskSpec::default();
        Dataset::train(&table.expect("rows"), &spec, &mut Vec::new()).expect("a task")
    });
    let options =
        TrainOptions { epochs: 1, batch: 2, max_length: 8, ..TrainOptions::new(Method::mask(), 4) };
    let storage = Storage {
        state: Some(PLACE.path("run.state")),
        resume,
        save_every: Some(1),
        trunk_memory: 1 << 20,
        scratch: PLACE.path(""),
        shared: Shared::default(),
    };
    tune::train(&PLACE.base()?, ROWS.clone(), None, None, &options, &storage, observe)
}

/// The state of an interrupted training.
pub fn state(data: &[u8]) {
    PLACE.write("run.state", data);
    let _ = within(data.len(), || run(&mut |_| true, true));
}

/// `study.json` on the first line, then the lines of `study.jsonl`.
pub fn study(data: &[u8]) {
    let at = data.iter().position(|&b| b == b'\n').unwrap_or(data.len());
    PLACE.write("study/study.json", &data[..at]);
    PLACE.write("study/study.jsonl", data.get(at + 1..).unwrap_or_default());
    let fingerprint = "0".repeat(64);
    within(data.len(), || {
        let _ = study::best_within(&PLACE.path("study"), &fingerprint, "a", (100_000, 1_000));
    });
}

/// A store with the task `a` of `bytes`, signed, and a key that is trusted.
pub fn store(bytes: &[u8]) -> Result<(Store, Trusted)> {
    let (secret, public) = (PLACE.path("key"), PLACE.path("key.pub"));
    Signer::generate(&secret, &public, None)?;
    let signer = Signer::read(&secret, || Ok(String::new()))?;
    let store = Store::create(&PLACE.path("store").to_string_lossy())?;
    store.push("a", bytes, Some(&signer))?;
    Ok((store, Trusted::read(&public)?))
}

/// A task's record in a store: read, followed to its cuts and signatures, and put back a version.
pub fn record(data: &[u8]) {
    static STORE: LazyLock<(Store, Trusted)> = LazyLock::new(|| {
        let cut = run(&mut |_| true, false).expect("a run of two steps").cut;
        store(&cut.to_bytes()).expect("a store")
    });
    let (store, trusted) = &*STORE;
    PLACE.write("store/tasks/a.json", data);
    within(data.len(), || {
        let _ = store.records();
        for version in store.record("a").iter().flat_map(|record| &record.versions) {
            let cut = store.read(version).unwrap_or_default();
            let _ = trusted.check("a", &cut, version.signature.as_deref());
        }
        let _ = store.roll_back("a", None);
    });
}

/// The file of API keys.
pub fn keys(data: &[u8]) {
    let path = PLACE.write("keys.json", data);
    let _ = within(data.len(), || Keys::read(&path));
}

/// What a client sends on one connection, requests one after the other.
pub fn http(data: &[u8]) {
    static STATE: LazyLock<Arc<State>> = LazyLock::new(|| {
        let limits = Limits { timeout: Duration::from_secs(5), ..Limits::default() };
        let settings = Settings { limits, ..Settings::default() };
        State::open(bank(), PLACE.path("cuts"), settings, |_, _| ()).expect("a server")
    });
    static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
    });
    let state = Arc::clone(&STATE);
    within(data.len(), || {
        RUNTIME.block_on(async {
            let (mut client, server) = tokio::io::duplex(1 << 16);
            let service = TowerToHyperService::new(app(state));
            let served = http1::Builder::new().serve_connection(TokioIo::new(server), service);
            let talk = async {
                let _ = client.write_all(data).await;
                let _ = client.shutdown().await;
                let _ = client.read_to_end(&mut Vec::new()).await;
            };
            let both = async { tokio::join!(served, talk) };
            let done = tokio::time::timeout(Duration::from_secs(10), both).await;
            assert!(done.is_ok(), "a connection that does not end");
        });
    });
}
