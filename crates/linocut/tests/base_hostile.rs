//! Bases from strangers: whatever their files say, an error or a model that works, never a panic, and
//! memory in proportion to what was read.
//!
//! `LINOCUT_MUTATIONS=30000 cargo test -p linocut --test base_hostile -- --nocapture` tries more of
//! them than every run does.

#![allow(clippy::unwrap_used, unsafe_code, reason = "a test, and an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use linocut::data::Batch;
use linocut::model::{Base, Input, Tape};
use serde_json::{Value, json};

/// Counts what is allocated, and the most of it at one time.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        MOST.fetch_max(NOW.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// splitmix64: mutations by number, the same on every machine.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

const FILES: [&str; 7] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "1_Pooling/config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "special_tokens_map.json",
];

/// A tiny base with every file that a base may have.
fn original() -> Vec<(&'static str, Vec<u8>)> {
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata");
    FILES
        .into_iter()
        .map(|name| {
            let content = match name {
                "config.json" | "model.safetensors" => {
                    fs::read(testdata.join("bert/base").join(name)).unwrap()
                }
                "tokenizer.json" => fs::read(testdata.join("tiny/tokenizer.json")).unwrap(),
                "tokenizer_config.json" => json!({"tokenizer_class": "BertTokenizer",
                    "do_lower_case": true, "model_max_length": 40, "truncation_side": "right"})
                .to_string()
                .into(),
                "1_Pooling/config.json" => json!({"pooling_mode_mean_tokens": true,
                    "pooling_mode_cls_token": false, "word_embedding_dimension": 36})
                .to_string()
                .into(),
                "model.safetensors.index.json" => {
                    json!({"weight_map": {"all": "model.safetensors"}}).to_string().into()
                }
                _ => json!({"cls_token": "[CLS]"}).to_string().into(),
            };
            (name, content)
        })
        .collect()
}

/// A value that a stranger may write where another is expected.
fn hostile(draw: &mut Draw) -> Value {
    let numbers =
        [0u64, 1, 2, 3, 35, 36, 37, 98, 99, 100, 4096, 1 << 24, 1 << 31, 1 << 32, u64::MAX];
    match draw.below(12) {
        0..4 => json!(draw.one(&numbers)),
        4 => json!(-1),
        5 => json!(*draw.one(&[0.5, 1e-60, 1e300, -0.0, 1.0])),
        6 => Value::Null,
        7 => json!(draw.below(2) == 0),
        8 => json!(
            *draw.one(&["", "A", "B", "[SEP]", "mean", "left", "\u{0}", "é", "bert", "(", "##"])
        ),
        9 => json!([]),
        10 => json!({}),
        _ => json!([[1, "a"], {"type": "Sequence"}]),
    }
}

/// Changes something, somewhere in `json`; `budget` are changes left.
fn mutate_json(json: &mut Value, draw: &mut Draw) {
    let deeper = draw.below(8) != 0;
    match json {
        Value::Object(fields) if deeper && !fields.is_empty() => {
            let key = fields.keys().nth(draw.below(fields.len())).unwrap().clone();
            match draw.below(12) {
                0 => drop(fields.shift_remove(&key)),
                1 => {
                    let other = fields.values().nth(draw.below(fields.len())).unwrap().clone();
                    fields.insert(key, other);
                }
                2 => drop(fields.insert(format!("{key}x"), hostile(draw))),
                _ => mutate_json(&mut fields[&key], draw),
            }
        }
        Value::Array(items) if deeper && !items.is_empty() => {
            let i = draw.below(items.len());
            match draw.below(8) {
                0 => drop(items.remove(i)),
                1 => items.push(items[i].clone()),
                _ => mutate_json(&mut items[i], draw),
            }
        }
        other => *other = hostile(draw),
    }
}

/// Changes bytes, cuts off the end or doubles a part.
fn mutate_bytes(bytes: &mut Vec<u8>, draw: &mut Draw) {
    // Headers more often than data.
    let most = if draw.below(4) == 0 { bytes.len() } else { bytes.len().min(6000) };
    let at = draw.below(most);
    match draw.below(5) {
        0 => bytes.truncate(at),
        1 => bytes.insert(at, draw.next() as u8),
        2 if at < bytes.len() => bytes[at] ^= 1 << draw.below(8),
        3 if at < bytes.len() => bytes[at] = *draw.one(b"0123456789{}[]\",:-eE\x00\xff"),
        _ => {
            let part = bytes[at..bytes.len().min(at + 9)].to_vec();
            bytes.splice(at..at, part);
        }
    }
}

/// The header of a safetensors file, changed as JSON; the data stay.
fn mutate_header(bytes: &mut Vec<u8>, draw: &mut Draw) {
    let size = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..8 + size]).unwrap();
    mutate_json(&mut header, draw);
    if draw.below(3) == 0 {
        // A dtype of the same width keeps the file whole.
        let fields = header.as_object_mut();
        let tensor = fields.and_then(|f| f.values_mut().nth(draw.below(50)));
        if let Some(tensor) = tensor.filter(|t| t["dtype"] == "F32") {
            tensor["dtype"] = json!(*draw.one(&["I32", "U32", "F8_E4M3", "F64", "F4", "BF16"]));
        }
    }
    let header = header.to_string().into_bytes();
    let start = (header.len() as u64).to_le_bytes();
    bytes.splice(..8 + size, start.into_iter().chain(header));
}

/// Opens the folder and, if it opens, uses it.
fn open_and_use(folder: &Path) -> linocut::Result<()> {
    let base = Base::open(folder, None)?;
    let most = base.config().positions.min(24);
    base.check_max_length(most)?;
    let mut tape = Tape::default();
    for (text, pair) in [
        ("the road to soup", None),
        ("Rain, [SEP] é\u{200b} and snow", Some("we go today")),
        ("", Some("x")),
        ("soup soup soup soup soup soup soup soup soup soup soup soup soup soup soup", None),
    ] {
        // An error names the text; the next one may work.
        let Ok(encoding) = base.tokenizer.encode(text, pair, most) else { continue };
        if encoding.ids.is_empty() {
            continue;
        }
        let batch = Batch::from_encodings(&[encoding]);
        base.encoder.forward(&base.weights, Input::Tokens(&batch), None, false, &mut tape);
    }
    Ok(())
}

#[test]
fn changed_bases_give_errors_and_no_panics() {
    let count = std::env::var("LINOCUT_MUTATIONS").map_or(2_000, |n| n.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("1_Pooling")).unwrap();
    let original = original();
    let (mut opened, mut refused, mut slowest) = (0, 0, Duration::ZERO);
    let (mut panics, mut largest) = (Vec::new(), 0);
    for number in 0..count {
        let mut draw = Draw(number);
        let mut files = original.clone();
        for _ in 0..1 + draw.below(3) {
            let which = *draw.one(&[0, 0, 0, 1, 1, 1, 1, 2, 3, 4, 4, 5, 6]);
            let content = &mut files[which].1;
            let json = serde_json::from_slice::<Value>(content);
            match (json, which) {
                (Ok(mut json), _) if draw.below(5) != 0 => {
                    mutate_json(&mut json, &mut draw);
                    *content = json.to_string().into();
                }
                (Err(_), 4) if draw.below(3) != 0 && content.len() > 8 => {
                    if content == &original[4].1 {
                        mutate_header(content, &mut draw);
                    }
                }
                _ => mutate_bytes(content, &mut draw),
            }
        }
        // A shard's index counts only where there is no single file.
        if draw.below(10) == 0 {
            let single = std::mem::replace(&mut files[4].0, "all.safetensors");
            assert_eq!(single, "model.safetensors");
            let _ = fs::remove_file(folder.path().join(single));
            if files[5].1 == original[5].1 {
                files[5].1 = json!({"weight_map": {"all": "all.safetensors"}}).to_string().into();
            }
        }
        let mut bytes = 0;
        for (name, content) in &files {
            bytes += content.len();
            fs::write(folder.path().join(name), content).unwrap();
        }
        let before = NOW.load(Relaxed);
        MOST.store(before, Relaxed);
        let start = Instant::now();
        match catch_unwind(AssertUnwindSafe(|| open_and_use(folder.path()))) {
            Ok(Ok(())) => opened += 1,
            Ok(Err(error)) => {
                refused += 1;
                assert!(!error.to_string().is_empty());
            }
            Err(_) => panics.push(number),
        }
        slowest = slowest.max(start.elapsed());
        let allocated = MOST.load(Relaxed).saturating_sub(before);
        largest = largest.max(allocated);
        assert!(
            allocated <= (1 << 20) + 10 * bytes,
            "mutation {number}: {allocated} bytes allocated for {bytes} read"
        );
    }
    println!(
        "{count} changed bases: {opened} work, {refused} refused, {} panics; the slowest took \
         {slowest:.1?}, the most memory was {:.1} MB",
        panics.len(),
        largest as f64 / 1e6
    );
    assert!(panics.is_empty(), "panics on mutations {panics:?}");
    assert!(opened > count / 20 && refused > count / 4, "{opened} work, {refused} refused");
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
}
