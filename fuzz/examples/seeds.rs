//! Writes the inputs that fuzzing starts from into `corpus/`: `cargo run --release --example seeds`.

use std::fs;
use std::path::Path;

use linocut::tune::Event;
use linocut_fuzz::{CONFIG, PLACE, TOKENIZER};

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let testdata = corpus.join("../../testdata");
    let seed = |target: &str, name: &str, bytes: &[u8]| {
        fs::create_dir_all(corpus.join(target))?;
        fs::write(corpus.join(target).join(name), bytes)
    };
    let weights = fs::read(PLACE.path("base/model.safetensors"))?;
    seed("weights", "base", &weights)?;
    seed("config", "base", CONFIG)?;
    seed("tokenizer", "tiny", TOKENIZER)?;

    // A cut of the tiny base, the state half-way, and the base with a head as a fine-tuned model.
    let outcome = linocut_fuzz::run(&mut |_| true, false).expect("a run of two steps");
    let cut = outcome.cut.to_bytes();
    seed("cut", "mask", &cut)?;
    for file in fs::read_dir(testdata.join("cut"))? {
        let file = file?.path();
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        seed("cut", &name, &fs::read(&file)?)?;
    }
    let half = |event| !matches!(event, Event::Step { step: 1, .. });
    let stopped = linocut_fuzz::run(&mut { half }, false);
    assert!(stopped.is_err(), "stopped after a step");
    seed("state", "half", &fs::read(PLACE.path("run.state"))?)?;
    let tuned =
        String::from_utf8_lossy(CONFIG).replace("BertModel", "BertForSequenceClassification");
    seed("tuned", "base", &[tuned.as_bytes(), &[0], &weights].concat())?;

    let csv = "text,label\n\"no, cook\",a\r\ngo \"\"with,b\n\"a \"\"b\"\"\nc\",a\n";
    seed("csv", "quoted", csv.as_bytes())?;
    seed("csv", "numbers", b"text;label;x\nno cook;1.5;\ngo with;-2;y\n")?;
    seed("tsv", "plain", b"text\tlabel\nno cook\ta\ngo with\tb\n")?;
    seed("tsv", "pairs", b"sentence1\tsentence2\tlabel\na\tb\t0.5\nc\t\"d\"\t1\n")?;
    seed(
        "jsonl",
        "lists",
        b"{\"text\":\"a\",\"label\":[\"x\",\"y\"]}\n{\"text\":\"\\u00e9\",\"label\":[]}\n",
    )?;
    seed(
        "jsonl",
        "numbers",
        b"{\"text\":\"a\",\"label\":1}\n{\"text\":\"b\",\"label\":2,\"x\":{}}\n",
    )?;
    for file in fs::read_dir(testdata.join("data"))? {
        let file = file?.path();
        if file.extension().is_some_and(|e| e == "parquet") {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            seed("parquet", &name, &fs::read(&file)?)?;
        }
    }
    linocut_fuzz::store(&cut).expect("a store");
    seed("record", "one", &fs::read(PLACE.path("store/tasks/a.json"))?)?;
    seed("keys", "two", br#"[{"name":"a","key":"0123456789abcdef","rights":["predict"]},{"name":"b","key":"fedcba9876543210","tasks":["x"],"rights":["manage"]}]"#)?;
    seed("study", "two", STUDY.as_bytes())?;

    let body = r#"{"inputs": ["no cook", "go with"], "tasks": "all"}"#;
    let post = |path: &str, body: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    seed("http", "predict", post("/v1/predict", body).as_bytes())?;
    seed("http", "tei", post("/predict?task=a", r#"{"inputs": "no cook"}"#).as_bytes())?;
    for path in ["/v1/tasks", "/v1/tasks/a", "/info", "/health", "/metrics", "/openapi.json"] {
        let get = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        seed("http", &format!("get{}", path.replace('/', "-")), get.as_bytes())?;
    }
    let put = format!(
        "PUT /v1/tasks/a HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
        cut.len()
    );
    let delete = "DELETE /v1/tasks/a HTTP/1.1\r\nhost: localhost\r\n\r\n";
    seed(
        "http",
        "put",
        &[put.as_bytes(), &cut, post("/v1/predict", body).as_bytes(), delete.as_bytes()].concat(),
    )
}

/// A study of two runs.
const STUDY: &str = concat!(
    r#"{"format":1,"base":"b","fingerprint":"0000000000000000000000000000000000000000000000000000000000000000","pooling":"mean","epochs":1,"limit":null,"tasks":{"a":{"folder":"a","files":{"train.tsv":"00"}}}}"#,
    "\n",
    r#"{"task":"a","arm":"head","seed":0,"cut":"cuts/a~head~0.cut","options":{},"metric":"accuracy","score":0.5,"bytes":1000,"head_bytes":100,"zeros":0,"masked":0,"trained":0,"seconds":1.0,"work":1.0}"#,
    "\n",
    r#"{"task":"a","arm":"mask","seed":0,"cut":"cuts/a~mask~0.cut","options":{},"metric":"accuracy","score":0.6,"bytes":2000,"head_bytes":100,"zeros":10,"masked":1000,"trained":1000,"seconds":1.0,"work":1.0}"#,
    "\n",
);
