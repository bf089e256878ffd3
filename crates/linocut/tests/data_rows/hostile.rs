//! Files that were damaged or made to hurt: errors, in time and memory that their size allows.

use super::{file, table, write_parquet};
use linocut::data::{Columns, Dataset, Reading, Table, TaskSpec};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Numbers from a seed.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    /// A few bytes changed, or a part dropped or written twice.
    fn damage(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..1 + self.below(4) {
            let at = self.below(bytes.len());
            match self.below(8) {
                0 => bytes.truncate(at.max(1)),
                1 => {
                    let end = (at + 1 + self.below(40)).min(bytes.len());
                    let part = bytes[at..end].to_vec();
                    bytes.splice(at..at, part);
                }
                2 => bytes[at] = [0, 0xff, 0x7f, 0x80][self.below(4)],
                // Often in the footer, which says what all else is.
                3..=5 => {
                    let at = bytes.len() - 1 - self.below(bytes.len().min(600));
                    bytes[at] = self.below(256) as u8;
                }
                _ => bytes[at] ^= 1 << self.below(8),
            }
        }
        bytes
    }
}

fn read(path: &Path) {
    let spec = TaskSpec::default();
    let reading = Reading { columns: spec.columns(), ..Reading::default() };
    for reading in [reading, Reading::default()] {
        let table = Table::read(path, &reading);
        let _ = table.and_then(|table| Dataset::train(&table, &spec, &mut Vec::new()));
    }
}

#[test]
fn damaged_parquet_is_an_error_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let plain = dir.path().join("plain.parquet");
    let schema = "message rows { required binary text (UTF8); required binary label (UTF8); }";
    write_parquet(&plain, schema, &[&["rain", "snow", "sun"], &["wet", "wet", "dry"]]);
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/data");
    let mut seeded = Seeded(1);
    for (source, times) in [
        (plain.clone(), 1500),
        (data.join("columns-snappy.parquet"), 400),
        (data.join("columns-zstd.parquet"), 200),
        (data.join("columns-gzip.parquet"), 100),
        (data.join("columns-lz4.parquet"), 100),
    ] {
        let whole = fs::read(source).unwrap();
        for _ in 0..times {
            let path = file(&dir, "damaged.parquet", seeded.damage(&whole));
            let start = Instant::now();
            read(&path);
            assert!(start.elapsed() < Duration::from_secs(5), "{:?}", keep(&path));
        }
    }
}

/// Where a file that showed a fault can be looked at.
fn keep(path: &Path) -> std::path::PathBuf {
    let kept = std::env::temp_dir().join("linocut-damaged.parquet");
    fs::copy(path, &kept).unwrap();
    kept
}

#[test]
fn damaged_text_is_an_error_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut seeded = Seeded(2);
    for (name, content) in [
        ("a.csv", "text,label\n\"a, \"\"b\"\"\nc\",x\nd,\"y\"\n"),
        ("a.tsv", "text\tlabel\n\"a\tb\"\tx\r\nc\ty\r\n"),
        (
            "a.jsonl",
            "{\"text\": \"a\\u00e9\", \"label\": [\"x\"]}\n{\"text\": \"b\", \"label\": []}\n",
        ),
    ] {
        for _ in 0..500 {
            read(&file(&dir, name, seeded.damage(content.as_bytes())));
        }
    }
}

#[test]
fn hundreds_of_thousands_of_columns_take_their_time_once() {
    let start = Instant::now();
    let names: Vec<String> = (0..300_000).map(|i| format!("c{i}")).collect();
    let row = vec!["1"; names.len()].join(",");
    let t = table("a.csv", format!("text,label,{}\na,x,{row}\nb,y,{row}\n", names.join(",")));
    assert_eq!((t.columns().len(), t.rows()), (300_002, 2));
    // A key of its own in every row: a dense table would have 4·10¹⁰ cells.
    let rows: String = (0..200_000).map(|i| format!("{{\"k{i}\": 1}}\n")).collect();
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir, "a.jsonl", rows);
    for columns in [Columns::All, TaskSpec::default().columns()] {
        let t = Table::read(&path, &Reading { columns, ..Reading::default() }).unwrap();
        assert_eq!((t.columns().len(), t.rows()), (200_000, 200_000));
    }
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}
