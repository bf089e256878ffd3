//! Bases by their name on the hub, from a server on this machine.

use super::place::{Place, Shown};
use insta::assert_snapshot;
use serde_json::json;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::{fs, thread};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Serves the model `tiny/base` of these files as the hub does, until the process ends.
struct Hub {
    address: String,
    /// Paths asked for.
    log: Arc<Mutex<Vec<String>>>,
}

type Files = Vec<(String, Vec<u8>)>;

impl Hub {
    fn serve(files: Files) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let log = Arc::new(Mutex::new(Vec::new()));
        let hub = Self { address, log: log.clone() };
        thread::spawn(move || {
            for stream in listener.incoming() {
                let _ = answer(stream.unwrap(), &files, &log);
            }
        });
        hub
    }

    /// Runs a command with this hub and the cache `cache/` in `place`.
    fn run(&self, place: &Place, line: &str, token: Option<&str>) -> Shown {
        run(
            place,
            line,
            &[
                ("HF_ENDPOINT", &format!("http://{}", self.address)),
                ("HF_TOKEN", token.unwrap_or("")),
            ],
        )
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().unwrap())
    }
}

fn run(place: &Place, line: &str, environment: &[(&str, &str)]) -> Shown {
    let mut command = place.command();
    command.args(line.split_whitespace()).env("HF_HOME", place.path("cache"));
    for (name, value) in environment {
        command.env(name, value);
    }
    place.finish(command, b"")
}

fn answer(mut stream: TcpStream, files: &Files, log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().unwrap_or(Ok(String::new()))?;
    let path = first.split(' ').nth(1).unwrap_or_default().to_string();
    let (mut start, mut end, mut token) = (0, usize::MAX, String::new());
    for line in lines {
        let line = line?.to_lowercase();
        if let Some(range) = line.strip_prefix("range: bytes=") {
            let (from, to) = range.split_once('-').unwrap_or((range, ""));
            start = from.parse().unwrap_or(0);
            end = to.parse().map_or(usize::MAX, |to: usize| to + 1);
        }
        if let Some(given) = line.strip_prefix("authorization: ") {
            token = given.to_string();
        }
        if line.is_empty() {
            break;
        }
    }
    log.lock().unwrap().push(format!("{path} {token}").trim_end().to_string());
    let listing = "/api/models/tiny/base/revision/main";
    let resolve = format!("/tiny/base/resolve/{COMMIT}/");
    let file = path.strip_prefix(&resolve).and_then(|name| files.iter().find(|(n, _)| n == name));
    let (status, body, more) = if path == listing {
        let siblings: Vec<_> = files.iter().map(|(name, _)| json!({"rfilename": name})).collect();
        let body = json!({"sha": COMMIT, "siblings": siblings}).to_string().into_bytes();
        ("200 OK", body, "content-type: application/json\r\n".to_string())
    } else if let Some((name, content)) = file {
        let (all, end) = (content.len(), end.min(content.len()));
        let range = format!("content-range: bytes {start}-{}/{all}\r\n", end - 1);
        let more = format!(
            "{range}etag: \"etag-{}\"\r\nx-repo-commit: {COMMIT}\r\n",
            name.replace('/', "-")
        );
        ("206 Partial Content", content[start..end].to_vec(), more)
    } else {
        ("404 Not Found", Vec::new(), String::new())
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n{more}\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&body)
}

/// The files of `base/` in `place`.
fn files(place: &Place) -> Files {
    let names = ["config.json", "tokenizer.json", "model.safetensors"];
    names.iter().map(|name| (name.to_string(), place.read(&format!("base/{name}")))).collect()
}

const VERIFY: &str = "verify topics.cut --base tiny/base";

#[test]
fn a_base_by_name() {
    let place = Place::trained();
    let hub = Hub::serve(files(&place));
    assert_snapshot!(hub.run(&place, VERIFY, Some("hf_secret")), @"
    exit 0
    --- stdout
    ok      topics.cut: topics, 4 probes equal, base restored
    ");
    let asked = hub.asked();
    assert!(asked.iter().all(|line| line.ends_with(" bearer hf_secret")), "{asked:#?}");
    assert!(asked.iter().any(|line| line.contains("model.safetensors")));

    // All of it is in the cache now: only the newest commit is asked for.
    hub.run(&place, VERIFY, None);
    assert_snapshot!(hub.asked().join("\n"), @"/api/models/tiny/base/revision/main");
    let offline = run(&place, VERIFY, &[("HF_HUB_OFFLINE", "1")]);
    assert!(offline.to_string().starts_with("exit 0"), "{offline}");
    let silent = run(&place, VERIFY, &[("HF_ENDPOINT", "http://127.0.0.1:1")]);
    assert_snapshot!(silent, @"
    exit 0
    --- stdout
    ok      topics.cut: topics, 4 probes equal, base restored
    --- stderr
    note: the hub does not answer; using the copy of tiny/base in the cache
    ");

    // A cut trained on the named base is one of the folder, too.
    let train = "train --base tiny/base --task topics --method head --epochs 1 --out t.cut -q";
    let shown = hub.run(&place, train, None);
    assert!(shown.to_string().starts_with("exit 0"), "{shown}");
    assert_eq!(place.run("inspect t.cut --json").json()["card"]["base"]["name"], "tiny/base");
    let shown = place.run("verify t.cut --base base");
    assert!(shown.stderr.is_empty(), "{shown}");
}

#[test]
fn a_base_in_shards_with_its_pooling() {
    let place = Place::trained();
    let mut files = files(&place);
    let weights = files.pop().unwrap().1;
    let index = json!({"weight_map": {"all": "model-00001-of-00001.safetensors"}}).to_string();
    files.push(("model.safetensors.index.json".into(), index.into_bytes()));
    files.push(("model-00001-of-00001.safetensors".into(), weights));
    files.push(("1_Pooling/config.json".into(), br#"{"pooling_mode_mean_tokens": true}"#.to_vec()));
    let hub = Hub::serve(files);
    let shown = hub.run(&place, VERIFY, None);
    assert!(shown.to_string().starts_with("exit 0"), "{shown}");
    let train = "train --base tiny/base --task topics --method head --epochs 1 --out t.cut -q";
    hub.run(&place, train, None);
    assert_eq!(place.run("inspect t.cut --json").json()["card"]["pooling"], "mean");
}

/// From before `tokenizer.json`; an export has one, and is a base of the same cuts.
#[test]
fn a_base_with_an_older_vocabulary() {
    let place = Place::trained();
    let mut files = files(&place);
    let (_, tokenizer) = files.remove(1);
    let none = Hub::serve(files.clone());
    let shown = none.run(&place, VERIFY, None);
    assert!(
        shown.stderr.contains("the model has no tokenizer.json, no vocab.txt, no vocab.json")
            && shown.stderr.contains("AutoTokenizer"),
        "{shown}"
    );
    let tokenizer: serde_json::Value = serde_json::from_slice(&tokenizer).unwrap();
    let words = tokenizer["model"]["vocab"].as_object().unwrap();
    let mut words: Vec<(u64, &String)> =
        words.iter().map(|(word, id)| (id.as_u64().unwrap(), word)).collect();
    words.sort();
    let words: Vec<&str> = words.into_iter().map(|(_, word)| word.as_str()).collect();
    files.push(("vocab.txt".into(), words.join("\n").into_bytes()));
    let hub = Hub::serve(files);
    let train = "train --base tiny/base --task topics --method head --epochs 1 --out t.cut -q";
    let shown = hub.run(&place, train, None);
    assert!(shown.to_string().starts_with("exit 0"), "{shown}");
    for line in ["verify t.cut --base tiny/base", "export t.cut --base tiny/base --out hf"] {
        let shown = hub.run(&place, line, None);
        assert!(shown.to_string().starts_with("exit 0"), "{shown}");
    }
    let shown = place.run("verify t.cut --base hf");
    assert!(shown.stderr.is_empty(), "{shown}");
}

/// A copy that another tool left may lack the pooling: a cut names its own, and training is told.
#[test]
fn a_copy_of_another_tool() {
    let place = Place::trained();
    let model = "cache/hub/models--tiny--base";
    for (name, content) in files(&place) {
        place.write(&format!("{model}/snapshots/{COMMIT}/{name}"), content);
    }
    place.write(&format!("{model}/refs/main"), COMMIT);
    let offline = |line: &str| run(&place, line, &[("HF_HUB_OFFLINE", "1")]);
    assert_snapshot!(offline(VERIFY), @"
    exit 0
    --- stdout
    ok      topics.cut: topics, 4 probes equal, base restored
    ");
    let train = "train --base tiny/base --task topics --method head --epochs 1 --out t.cut -q";
    assert_snapshot!(offline(train).stderr, @"note: the copy of tiny/base in the cache has no 1_Pooling/config.json; if the model has one, its pooling is another than what is taken now: give it as --pooling");
    // Once looked up it is known that there is none.
    let hub = Hub::serve(files(&place));
    hub.run(&place, VERIFY, None);
    assert_eq!(hub.asked().len(), 1, "nothing is fetched twice");
    let shown = offline(&format!("{train} --force"));
    assert!(shown.to_string().starts_with("exit 0") && shown.stderr.is_empty(), "{shown}");

    fs::remove_file(place.path(&format!("{model}/snapshots/{COMMIT}/tokenizer.json"))).unwrap();
    assert_snapshot!(offline(VERIFY).stderr.replace(&place.path("").display().to_string(), "[DIR]/"), @"
    error: --base tiny/base: its copy in [DIR]/cache/hub lacks tokenizer.json, and HF_HUB_OFFLINE is set
    hint: unset it for once to fetch the model, or give a folder that holds it
    ");
}

/// As the hub's own library reads it.
#[test]
fn what_counts_as_offline() {
    let place = Place::trained();
    let hub = Hub::serve(files(&place));
    let endpoint = format!("http://{}", hub.address);
    for value in ["1", "true", "ON", "Yes"] {
        let shown = run(&place, VERIFY, &[("HF_HUB_OFFLINE", value), ("HF_ENDPOINT", &endpoint)]);
        assert!(shown.stderr.contains("and HF_HUB_OFFLINE is set"), "{value}: {shown}");
        assert!(shown.stderr.contains("tiny/base: not in "), "{value}: {shown}");
    }
    for value in ["0", "False", "off", "no", ""] {
        let shown = run(&place, VERIFY, &[("HF_HUB_OFFLINE", value), ("HF_ENDPOINT", &endpoint)]);
        assert!(shown.to_string().starts_with("exit 0"), "{value}: {shown}");
    }
}

#[test]
fn names_that_lead_nowhere() {
    let place = Place::trained();
    let hub = Hub::serve(files(&place));
    assert_snapshot!(hub.run(&place, "verify topics.cut --base tiny/bass", None), @"
    exit 1
    --- stderr
    error: --base tiny/bass: no such folder here, and the hub does not show the model (status 404)
    hint: check the name; for a private or gated model set HF_TOKEN
    ");
    let nobody = [("HF_ENDPOINT", "http://127.0.0.1:1")];
    let shown = run(&place, VERIFY, &nobody);
    assert_snapshot!(shown.stderr.split(": io").next().unwrap(), @"error: --base tiny/base: no such folder here, and the hub does not answer: request error");
    assert_snapshot!(shown.stderr.lines().last().unwrap(), @"hint: without a network give a folder that holds the model");
    let bin = Hub::serve(vec![
        ("config.json".into(), b"{}".to_vec()),
        ("tokenizer.json".into(), b"{}".to_vec()),
        ("pytorch_model.bin".into(), b"".to_vec()),
    ]);
    assert_snapshot!(bin.run(&place, VERIFY, None), @"
    exit 1
    --- stderr
    error: --base tiny/base: the model has no model.safetensors and no model.safetensors.index.json
    hint: give a folder instead: config.json, model.safetensors and tokenizer.json of an encoder
    ");
    assert!(fs::read_dir(place.path("cache")).is_err(), "nothing was fetched");
}
