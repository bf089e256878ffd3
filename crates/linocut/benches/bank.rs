//! The bank beside one task alone, as lines of JSON: `cargo bench -p linocut --bench bank -- BASE`.
//! Arguments: folder of the base, then optionally which of `dense`, `tasks`, `low-rank`, `mixed`, `fan-out`,
//! `slim` and `memory`, threads, and a file of texts, one a line, for the first three (`bench/bank.py` runs
//! these beside others). Cuts are made here: each its own zeros at random, about 1% of every matrix, or for
//! `low-rank` factors of rank 8 of queries and values, and its own head; trained ones in the folder `LINOCUT_CUTS`, where it is set, take the places of the
//! first; with `LINOCUT_DTYPE=int8` the bank computes in int8. Texts are random common words where none are given.

use linocut::bank::{Bank, Costs, Dtype, Options, Request};
use linocut::cut::{self, BaseId, Card, Cut, Edit, LowRank, StoreType, TensorEdit, Zeros};
use linocut::data::{Encoding, Metric, Problem};
use linocut::kernels::random::{bits, normal, uniform};
use linocut::model::{self, Base, Encoder, Head, Kind, Pooling, Slim};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

const RUNS: usize = 15;
const DENSITY: f32 = 0.01;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let [folder, rest @ ..] = &args[..] else {
        eprintln!(
            "usage: bank -- BASE [dense|tasks|low-rank|mixed|fan-out|slim|memory|all] [THREADS] [TEXTS]"
        );
        return;
    };
    let what = rest.first().map_or("all", String::as_str);
    let threads = rest.get(1).map_or(2, |t| t.parse().expect("threads"));
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().expect("first pool");
    let folder = Path::new(folder);
    let base = || Base::open(folder, Some(Pooling::First)).expect("a base");
    let dtype = match std::env::var("LINOCUT_DTYPE").as_deref() {
        Ok("int8") => Dtype::Int8,
        _ => Dtype::F32,
    };
    let costs = Costs::measure(&base(), dtype);
    println!("{}", json!({"bench": "costs", "threads": threads, "ns": format!("{costs:?}")}));
    let options = Options { dtype, costs: Some(costs), ..Options::default() };
    let texts: Vec<String> = match rest.get(2) {
        Some(path) => std::fs::read_to_string(path)
            .expect("a file of texts")
            .lines()
            .map(String::from)
            .collect(),
        None => (0..128).map(|i| text(i, 4 + bits(1, i as u32) as usize % 60)).collect(),
    };
    for (name, tasks, edits) in [
        ("dense", 1, Edits::Nothing),
        ("tasks", 100, Edits::Zeros(DENSITY)),
        ("low-rank", 100, Edits::LowRank),
    ] {
        if ["all", name].contains(&what) {
            batches(name, &Bank::new(base(), options).expect("options"), &texts, tasks, edits);
        }
    }
    if ["all", "mixed"].contains(&what) {
        for pooling in [Pooling::First, Pooling::Mean] {
            mixed(&Bank::new(base(), options).expect("options"), pooling);
        }
    }
    if ["all", "fan-out"].contains(&what) {
        for pooling in [Pooling::First, Pooling::Mean] {
            fan_out(&Bank::new(base(), options).expect("options"), pooling);
        }
    }
    if ["all", "slim"].contains(&what) {
        slim(&base(), options, rest.get(2).map(|_| &texts));
    }
    if ["all", "memory"].contains(&what) {
        memory(&Bank::new(base(), options).expect("options"));
    }
}

/// What a cut does to matrices.
#[derive(Clone, Copy, PartialEq)]
enum Edits {
    Nothing,
    /// This share of the entries of all becomes zero.
    Zeros(f32),
    /// Queries and values move by factors of rank 8.
    LowRank,
}

/// A cut with its own edits in the layers from `lowest` on, and its own head.
fn cut(base: &Base, number: u64, pooling: Pooling, lowest: usize, wanted: Edits) -> Cut {
    let mut edits = BTreeMap::new();
    for (i, spec) in base.encoder.layout().tensors().iter().enumerate() {
        let pooler = spec.kind() == Kind::Pooler && pooling == Pooling::Cls;
        if spec.range.is_empty()
            || spec.shape.len() < 2
            || !(pooler || spec.layer().is_some_and(|layer| layer >= lowest))
        {
            continue;
        }
        let key = number << 16 | i as u64;
        let edit = match wanted {
            Edits::Zeros(density) => {
                let kept = (0..spec.range.len()).map(|j| uniform(key, j as u32) >= density);
                Edit::Zeros(Zeros::from_keep(kept).expect("a tensor of fewer than 2^32"))
            }
            Edits::LowRank if matches!(spec.kind(), Kind::Query | Kind::Value) => {
                let (rows, columns) = (spec.shape[0], spec.shape[1]);
                let factors = (0..8 * (rows + columns)).map(|j| 0.02 * normal(key, j as u32));
                let factors = LowRank::new((rows, columns), StoreType::F32, factors.collect());
                Edit::LowRank(factors.expect("factors of rank 8"))
            }
            Edits::LowRank | Edits::Nothing => continue,
        };
        edits.insert(spec.name.clone(), TensorEdit { shape: spec.shape.clone(), edit });
    }
    let (outputs, hidden) = (2 + (number % 5) as usize, base.config().hidden);
    let head = cut::Head {
        store: StoreType::F32,
        hidden,
        weight: (0..outputs * hidden).map(|i| 0.1 * normal(number, i as u32)).collect(),
        bias: vec![0.0; outputs],
    };
    let card = Card {
        format: cut::FORMAT,
        task: format!("task {number}"),
        problem: Problem::SingleLabel,
        labels: (0..outputs).map(|i| format!("label {i}")).collect(),
        outputs,
        pooling,
        max_length: 128,
        long: None,
        unit: false,
        pairs: false,
        base: BaseId { name: base.name.clone(), fingerprint: base.fingerprint.to_string() },
        tokenizer: base.tokenizer.fingerprint().to_string(),
        method: json!("random zeros"),
        training: json!(null),
        metric: Metric::Accuracy,
        metrics: BTreeMap::new(),
        tensors: BTreeMap::new(),
        slim: base.encoder.kept().cloned(),
        decision: None,
        source: None,
    };
    Cut::new(card, head, edits, vec![]).expect("a sound cut")
}

/// The trained cut that takes the place of this one, if there is one.
fn trained(number: u64) -> Option<Cut> {
    let folder = std::env::var_os("LINOCUT_CUTS")?;
    let files = std::fs::read_dir(folder).expect("a folder of cuts");
    let mut files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    files.sort();
    files.get(number as usize).map(|file| Cut::read(file).expect("a cut"))
}

/// A text of `words` short words.
fn text(key: u64, words: usize) -> String {
    let common = "time people way water day part sound work place year back thing name line right \
                  move live want air round land add act read ask last door home open form cross";
    let common: Vec<&str> = common.split_whitespace().collect();
    let word = |i| common[bits(key, i as u32) as usize % common.len()];
    (0..words).map(word).collect::<Vec<_>>().join(" ")
}

/// Medians of both in seconds, run in turns so that both meet the same machine.
fn medians(mut first: impl FnMut(), mut second: impl FnMut()) -> (f64, f64) {
    let time = |run: &mut dyn FnMut()| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    };
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for _ in 0..RUNS + 2 {
        a.push(time(&mut first));
        b.push(time(&mut second));
    }
    let median = |mut times: Vec<f64>| {
        times.drain(..2);
        times.sort_by(f64::total_cmp);
        times[RUNS / 2]
    };
    (median(a), median(b))
}

fn report(name: &str, pooling: Pooling, more: Value) {
    let mut line = json!({"bench": name, "pooling": pooling.name()});
    line.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    println!("{line}");
}

/// All `texts` in batches of 32, each text for one of `tasks` tasks.
fn batches(name: &str, bank: &Bank, texts: &[String], tasks: u64, edits: Edits) {
    for number in 0..tasks {
        let trained = if edits != Edits::Nothing { trained(number) } else { None };
        let cut = trained.unwrap_or_else(|| cut(bank.base(), number, Pooling::Mean, 0, edits));
        bank.add(&number.to_string(), &cut).expect("a new task");
    }
    let query = |(i, text): (usize, &String)| {
        let tasks = vec![(bits(3, i as u32) % tasks as u32).to_string()];
        bank.encode(&Request { text: text.clone(), pair: None, tasks }).expect("a query")
    };
    let queries: Vec<_> = texts.iter().enumerate().map(query).collect();
    let queries: Vec<_> = queries.iter().collect();
    let pass = || queries.chunks(32).for_each(|batch| drop(bank.answer(batch)));
    let (seconds, _) = medians(pass, || ());
    let tokens: usize = queries.iter().map(|query| query.tokens()).sum();
    println!("{}", json!({"bench": name, "tasks": tasks, "tokens": tokens, "ms": 1e3 * seconds}));
}

/// 32 texts, each for one of 100 tasks, beside the same texts for one task of the engine alone.
fn mixed(bank: &Bank, pooling: Pooling) {
    let base = bank.base();
    for number in 0..100 {
        let cut =
            trained(number).unwrap_or_else(|| cut(base, number, pooling, 0, Edits::Zeros(DENSITY)));
        bank.add(&number.to_string(), &cut).expect("a new task");
    }
    let encoder = encoder(base, pooling);
    for words in [12, 32, 64] {
        let texts: Vec<String> =
            (0..32).map(|i| text(7 + i, words / 2 + 2 + i as usize * words / 32)).collect();
        let requests: Vec<Request> = texts
            .iter()
            .enumerate()
            .map(|(i, text)| Request {
                text: text.clone(),
                pair: None,
                tasks: vec![(bits(3, i as u32) % 100).to_string()],
            })
            .collect();
        let queries: Vec<_> = requests.iter().map(|r| bank.encode(r).expect("a query")).collect();
        let queries: Vec<_> = queries.iter().collect();
        let encodings: Vec<Encoding> =
            texts.iter().map(|t| base.tokenizer.encode(t, None, 128).expect("tokens")).collect();
        let head = Head::new(2, base.config().hidden, 0);
        let (mixed, dense) = medians(
            || drop(bank.answer(&queries)),
            || drop(model::logits(&encoder, &base.weights, &head, &encodings, |_| {})),
        );
        let tokens: usize = encodings.iter().map(|e| e.ids.len()).sum();
        report(
            "100 tasks, batch of 32",
            pooling,
            json!({
                "tokens": tokens, "mixed_ms": 1e3 * mixed, "one_task_ms": 1e3 * dense,
                "speed_ratio": dense / mixed,
            }),
        );
    }
}

fn encoder(base: &Base, pooling: Pooling) -> Encoder {
    base.encoder.with_pooling(pooling)
}

/// One text for 32 tasks that cut layers 4 and 5 only, beside one task of the engine alone and one
/// of the bank.
fn fan_out(bank: &Bank, pooling: Pooling) {
    let base = bank.base();
    let names: Vec<String> = (0..32).map(|number: u64| number.to_string()).collect();
    for (number, name) in names.iter().enumerate() {
        let cut =
            cut(base, number as u64, pooling, base.config().layers - 2, Edits::Zeros(DENSITY));
        bank.add(name, &cut).expect("a new task");
    }
    let encoder = encoder(base, pooling);
    for words in [12, 30, 62] {
        let text = text(5, words + 2);
        let query = |tasks: &[String]| {
            let request = Request { text: text.clone(), pair: None, tasks: tasks.to_vec() };
            bank.encode(&request).expect("a query")
        };
        let (all, one) = (query(&names), query(&names[..1]));
        let (all_time, one_time) =
            medians(|| drop(bank.answer(&[&all])), || drop(bank.answer(&[&one])));
        let encoding = base.tokenizer.encode(&text, None, 128).expect("tokens");
        let (encodings, head) = ([encoding], Head::new(2, base.config().hidden, 0));
        let (_, dense) = medians(
            || (),
            || drop(model::logits(&encoder, &base.weights, &head, &encodings, |_| {})),
        );
        report(
            "one text, 32 tasks on the last 2 layers",
            pooling,
            json!({
                "tokens": encodings[0].ids.len(), "all_ms": 1e3 * all_time, "one_ms": 1e3 * one_time,
                "one_dense_ms": 1e3 * dense, "ratio": all_time / one_time,
                "ratio_to_dense": all_time / dense,
            }),
        );
    }
}

/// Whole and slim tasks of half the compute, each with heads and neurons of its own, in f32 and in int8: one
/// text, 32 texts of one task, and 32 texts of 100 tasks, or the texts given, in batches of 32 of one task; all in
/// turns.
fn slim(base: &Base, options: Options, texts: Option<&Vec<String>>) {
    let halves = |number: u64| {
        let mut slim = Slim::whole(base.config());
        for (layer, kept) in slim.layers.iter_mut().enumerate() {
            for (of, bits) in [&mut kept.heads, &mut kept.groups].into_iter().enumerate() {
                let key = number << 8 | (2 * layer + of) as u64;
                let mut order: Vec<usize> = (0..bits.len()).collect();
                order.sort_by(|a, b| uniform(key, *a as u32).total_cmp(&uniform(key, *b as u32)));
                order[..bits.len() / 2].iter().for_each(|&i| bits[i] = false);
            }
        }
        base.slim(&slim).expect("a base of these layers")
    };
    let banks = [Dtype::F32, Dtype::Int8].map(|dtype| {
        let options = Options { dtype, costs: None, ..options };
        let bank = Bank::new(base.clone(), options).expect("options");
        for number in 0..100 {
            let zeros = Edits::Zeros(DENSITY);
            for (name, base) in [("whole", base), ("slim", &halves(number))] {
                let cut = cut(base, number, Pooling::Mean, 0, zeros);
                bank.add(&format!("{name} {number}"), &cut).expect("a new task");
            }
        }
        bank
    });
    let one = vec![text(5, 30)];
    let many: Vec<String> = (0..32).map(|i| text(7 + i, 4 + 2 * i as usize)).collect();
    let own =
        [("one text", &one, 1), ("32 texts", &many, 1), ("32 texts of 100 tasks", &many, 100)];
    let works = texts.map_or(own.to_vec(), |texts| vec![("texts", texts, 1)]);
    for (what, texts, tasks) in works {
        let ways = [("whole", 0), ("slim", 0), ("whole", 1), ("slim", 1)];
        let queries = ways.map(|(kind, bank)| {
            let query = |(i, text): (usize, &String)| {
                let tasks = vec![format!("{kind} {}", bits(3, i as u32) % tasks)];
                let request = Request { text: text.clone(), pair: None, tasks };
                banks[bank].encode(&request).expect("a query")
            };
            texts.iter().enumerate().map(query).collect::<Vec<_>>()
        });
        let mut times = ways.map(|_| Vec::new());
        for _ in 0..2 * RUNS + 2 {
            for (((_, bank), queries), times) in ways.iter().zip(&queries).zip(&mut times) {
                let start = Instant::now();
                for batch in queries.chunks(32) {
                    drop(banks[*bank].answer(&batch.iter().collect::<Vec<_>>()));
                }
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
        }
        let [whole, slim, whole8, slim8] = times.map(|mut times| {
            times.drain(..2);
            times.sort_by(f64::total_cmp);
            times[RUNS]
        });
        let tokens: usize = queries[0].iter().map(|query| query.tokens()).sum();
        println!(
            "{}",
            json!({
                "bench": "slim", "work": what, "tokens": tokens, "whole_ms": whole, "slim_ms": slim,
                "whole_int8_ms": whole8, "slim_int8_ms": slim8, "slim_ratio": slim / whole,
                "int8_speed": whole / whole8, "both_speed": whole / slim8,
            })
        );
    }
}

/// 1,000 cuts: memory, and times to add and to answer first.
fn memory(bank: &Bank) {
    let base = bank.base();
    let before = resident();
    let (mut adds, mut firsts) = (Vec::new(), Vec::new());
    for number in 0..1000 {
        let cut = trained(number)
            .unwrap_or_else(|| cut(base, number, Pooling::Mean, 0, Edits::Zeros(DENSITY)));
        let name = number.to_string();
        let start = Instant::now();
        bank.add(&name, &cut).expect("a new task");
        adds.push(start.elapsed().as_secs_f64() * 1e3);
        if number % 100 == 99 {
            let text = text(number, 32);
            let answers = bank.predict(&[Request { text, pair: None, tasks: vec![name] }]);
            assert!(answers[0].is_ok());
            firsts.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    let median = |times: &[f64]| {
        let mut times = times.to_vec();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let zeros: usize = bank.tasks().iter().map(|task| task.zeros()).sum();
    println!(
        "{}",
        json!({
            "bench": "1000 tasks",
            "resident_mb": resident().map(|r| r / 1e6),
            "resident_before_mb": before.map(|r| r / 1e6),
            "tasks_mb": bank.bytes().0 as f64 / 1e6,
            "bytes_a_zero": bank.bytes().0 as f64 / zeros as f64,
            // The first fill memory that loading the base left behind: no pages to ask for.
            "first_20_adds_ms": median(&adds[..20]),
            "adds_51_to_100_ms": median(&adds[50..100]),
            "last_20_adds_ms": median(&adds[980..]),
            "add_and_first_answer_ms": median(&firsts),
        })
    );
}

/// Bytes of this process in memory, where the system says so.
fn resident() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? * 1024.0)
}
