//! Files that were damaged or made to hurt: errors, in time and memory that their size allows.

use super::{file, table, write_parquet, write_parquet_as};
use linocut::data::{Cell, Columns, Dataset, Reading, Table, TaskSpec};
use parquet::basic::{Compression, Encoding};
use parquet::file::properties::{WriterProperties, WriterVersion};
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
    write_parquet(&plain, TEXT_AND_LABEL, &[&["rain", "snow", "sun"], &["wet", "wet", "dry"]]);
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

const TEXT_AND_LABEL: &str =
    "message rows { required binary text (UTF8); required binary label (UTF8); }";

/// Texts that share beginnings, as arrow-rs and Spark write them in version 2.
#[test]
fn texts_as_differences_from_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    for encoding in [Encoding::DELTA_BYTE_ARRAY, Encoding::DELTA_LENGTH_BYTE_ARRAY] {
        let how = || {
            WriterProperties::builder()
                .set_writer_version(WriterVersion::PARQUET_2_0)
                .set_dictionary_enabled(false)
                .set_encoding(encoding)
        };
        for rows in [1, 2, 33, 128, 129, 1000] {
            let texts: Vec<String> =
                (0..rows).map(|i| format!("order {} of {}", i / 7, "x".repeat(i % 31))).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            for compression in [Compression::UNCOMPRESSED, Compression::GZIP(Default::default())] {
                let how = how().set_compression(compression).build();
                write_parquet_as(how, &path, TEXT_AND_LABEL, &[&texts, &vec!["a"; rows]]);
                let found = Table::read(&path, &Reading::default()).unwrap();
                let found: Vec<_> = (0..rows).map(|row| found.cell(row, 0)).collect();
                assert!(found.iter().zip(&texts).all(|(a, b)| *a == Cell::Text(b)), "{rows}");
            }
        }
    }
    // Each a letter longer than the one before.
    let how = WriterProperties::builder()
        .set_dictionary_enabled(false)
        .set_encoding(Encoding::DELTA_BYTE_ARRAY)
        .build();
    let long = "x".repeat(10_000);
    let growing: Vec<&str> = (0..long.len()).map(|i| &long[..i]).collect();
    write_parquet_as(how, &path, TEXT_AND_LABEL, &[&growing, &vec!["a"; growing.len()]]);
    let length = fs::metadata(&path).unwrap().len();
    let error = Table::read(&path, &Reading::default()).unwrap_err().to_string();
    let declared = format!("its {length} bytes declare more than");
    assert!(length < 100_000 && error.contains(&declared), "{length}: {error}");
}

#[test]
fn a_page_of_more_bytes_than_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    let how = WriterProperties::builder()
        .set_compression(Compression::GZIP(Default::default()))
        .set_dictionary_enabled(false)
        .build();
    write_parquet_as(how, &path, TEXT_AND_LABEL, &[&["x".repeat(100_000).as_str()], &["a"]]);
    let mut bytes = fs::read(&path).unwrap();
    // A page header: its kind, 0, and its bytes unpacked, 4 more than the text, in zigzag varints.
    assert_eq!(bytes[4..10], [0x15, 0x00, 0x15, 0xc8, 0x9a, 0x0c]);
    bytes[9] = 0x02;
    let path = file(&dir, "less.parquet", bytes);
    let error = Table::read(&path, &Reading::default()).unwrap_err().to_string();
    assert!(error.contains("a page comes to more bytes than it says"), "{error}");
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
