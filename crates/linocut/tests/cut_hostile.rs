//! Files made to harm: every one is an error or a sound cut, never a panic, and never more memory than
//! the file's own size gives a right to.

#![allow(clippy::unwrap_used, reason = "in a test it says where it failed")]

mod cut_samples;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use cut_samples as samples;
use linocut::cut::{Cut, FORMAT, StoreType};
use serde_json::{Value, json};

thread_local! {
    /// Bytes that this thread holds, and the most it held since [`peak`] began.
    static HELD: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

/// The system's allocator, counting what each thread holds.
struct Counting;

fn count(more: usize, less: usize) {
    // Absent while a thread ends.
    let _ = HELD.try_with(|held| {
        let now = (held.get().0 + more).saturating_sub(less);
        held.set((now, held.get().1.max(now)));
    });
}

#[allow(unsafe_code, reason = "an allocator cannot be written without; it only forwards")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(0, layout.size());
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `f` returns, and the most memory it held at once beyond what was held before, in bytes.
fn peak<T>(f: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get().0;
    HELD.set((before, before));
    let out = f();
    (out, HELD.get().1 - before)
}

/// Reads a hostile file, checks what every reading must satisfy, and tells whether it was taken.
fn read(bytes: &[u8]) -> Result<Cut, String> {
    let (cut, held) = peak(|| Cut::from_bytes(bytes));
    assert!(held <= 64 * bytes.len() + 4096, "{held} bytes held for {} read", bytes.len());
    let cut = cut.map_err(|e| e.to_string())?;
    samples::assert_sound(&cut);
    Ok(cut)
}

/// With the digest that the bytes before it call for, so that what is behind it is put to the test.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some((before, digest)) = bytes.split_last_chunk_mut::<32>() {
        *digest = *blake3::hash(before).as_bytes();
    }
    bytes
}

/// The header as JSON text and the data with its digest.
fn parts(bytes: &[u8]) -> (String, Vec<u8>) {
    let size = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    let (header, data) = bytes[8..].split_at(size);
    (String::from_utf8(header.to_vec()).unwrap(), data.to_vec())
}

/// A sealed file of this header, padded, and this data.
fn assembled(header: &str, data: &[u8]) -> Vec<u8> {
    let mut header = header.trim_end().as_bytes().to_vec();
    header.resize(header.len().next_multiple_of(8), b' ');
    let size = (header.len() as u64).to_le_bytes();
    sealed([&size[..], &header, data].concat())
}

/// The sample's file with its card changed.
fn with_card(cut: &Cut, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let (header, data) = parts(&cut.to_bytes());
    let old = serde_json::to_string(cut.card()).unwrap();
    let mut card: Value = serde_json::from_str(&old).unwrap();
    change(&mut card);
    let [old, new] = [old, card.to_string()].map(|text| Value::String(text).to_string());
    assembled(&header.replacen(&old, &new, 1), &data)
}

/// The sample's file with `from` replaced in its header; the data may change too.
fn with_header(cut: &Cut, from: &str, to: &str, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let (header, mut data) = parts(&cut.to_bytes());
    assert!(header.contains(from), "{from} in {header}");
    change(&mut data);
    assembled(&header.replacen(from, to, 1), &data)
}

#[test]
fn truncation_anywhere_is_an_error() {
    for (_, cut) in samples::all() {
        let bytes = cut.to_bytes();
        for len in 0..bytes.len() {
            let error = read(&bytes[..len]).unwrap_err();
            assert!(error.contains("not a whole and unaltered cut"), "{len}: {error}");
            if let Ok(cut) = read(&sealed(bytes[..len].to_vec())) {
                panic!("cut short to {len} bytes and sealed, it was read as {cut:?}");
            }
        }
        for more in [1, 8, 32] {
            let longer = [&bytes[..], &vec![0; more]].concat();
            assert!(read(&longer).is_err());
            assert!(read(&sealed(longer)).is_err());
        }
    }
}

#[test]
fn every_flipped_bit_is_an_error() {
    for (_, cut) in samples::all() {
        let mut bytes = cut.to_bytes();
        for i in 0..bytes.len() * 8 {
            bytes[i / 8] ^= 1 << (i % 8);
            assert!(read(&bytes).is_err(), "bit {i}");
            bytes[i / 8] ^= 1 << (i % 8);
        }
    }
}

#[test]
fn every_changed_byte_behind_a_right_digest_is_an_error_or_a_sound_cut() {
    for (_, cut) in samples::all() {
        let bytes = cut.to_bytes();
        let (mut taken, mut refused) = (0, 0);
        for i in 0..bytes.len() - 32 {
            let old = bytes[i];
            let bits = (0..8).map(|bit| old ^ (1 << bit));
            for new in bits.chain(*b"\x00\xff\x7f \"\\{}[],:09-.eE") {
                let mut changed = bytes.clone();
                changed[i] = new;
                match read(&sealed(changed)) {
                    Ok(_) => taken += 1,
                    Err(_) => refused += 1,
                }
            }
        }
        assert!(taken > 0 && refused > 0, "{taken} taken, {refused} refused");
    }
}

#[test]
fn every_missing_or_doubled_byte_behind_a_right_digest_is_an_error_or_a_sound_cut() {
    for (_, cut) in samples::all() {
        let bytes = cut.to_bytes();
        for i in 0..bytes.len() - 32 {
            let missing = [&bytes[..i], &bytes[i + 1..]].concat();
            let doubled = [&bytes[..=i], &bytes[i..]].concat();
            let _ = read(&sealed(missing));
            let _ = read(&sealed(doubled));
        }
    }
}

#[test]
fn a_newer_format_asks_for_an_upgrade_whatever_else_its_card_says() {
    for format in [FORMAT + 1, 1000, u32::MAX] {
        let bytes = with_card(&samples::zeros(), |card| {
            *card = json!({"format": format, "unheard": ["of"]});
        });
        let error = read(&bytes).unwrap_err();
        assert!(error.contains(&format!("format {format}, written by a newer linocut")), "{error}");
        assert!(error.contains("hint: upgrade"), "{error}");
    }
}

#[test]
fn a_card_that_contradicts_the_tensors_is_refused() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 19] = [
        (|c| c["format"] = json!(0), "format 0"),
        (|c| c["format"] = json!(2), "it says that it is of format 2, what it holds is of 1"),
        (|c| c["format"] = json!(1u64 << 32), "no format version"),
        (|c| drop(c.as_object_mut().unwrap().remove("format")), "no format version"),
        (|c| drop(c.as_object_mut().unwrap().remove("task")), "missing field `task`"),
        (|c| c["extra"] = json!(1), "unknown field `extra`"),
        (|c| c["outputs"] = json!(4_000_000_000u32), "expected 3 of the head"),
        (|c| c["labels"] = json!(["a", "b"]), "2 labels, expected 3"),
        (|c| c["labels"][0] = json!("refund"), "twice"),
        (|c| c["problem"] = json!("ranking"), "unknown variant `ranking`"),
        (|c| c["metrics"]["f1"] = json!(null), "invalid type: null"),
        (|c| c["tensors"][samples::QUERY]["shape"] = json!([8, 4]), "malformed cut: zeros/"),
        (|c| c["tensors"][samples::QUERY]["shape"] = json!([16, 4]), "_"),
        (|c| c["tensors"][samples::QUERY]["shape"] = json!([u64::MAX, 2]), "impossible shape"),
        (|c| c["tensors"][samples::QUERY]["shape"] = json!([1u64 << 40]), "at most 4294967295"),
        (|c| c["tensors"][samples::QUERY]["zeros"] = json!(4), "the card says"),
        (|c| c["tensors"][samples::QUERY]["edit"] = json!("replace"), "no store type"),
        (
            |c| c["tensors"]["more"] = json!({"shape": [1], "edit": "zeros"}),
            "no tensor \"zeros/more\"",
        ),
        (
            |c| drop(c["tensors"].as_object_mut().unwrap().remove(samples::QUERY)),
            "which the card does not mention",
        ),
    ];
    for (change, said) in cases {
        match read(&with_card(&samples::zeros(), change)) {
            Err(error) => assert!(error.contains(said), "{said:?} in {error:?}"),
            // Another shape of as many entries: only applying it can tell.
            Ok(_) => assert_eq!(said, "_"),
        }
    }
}

#[test]
fn tensors_that_are_doubled_overlapping_absurd_or_of_another_type_are_refused() {
    let cut = samples::regression(); // head.bias [0,2], head.weight [2,18], digest [18,50]
    let bias = r#""head.bias":{"dtype":"F16","shape":[1],"data_offsets":[0,2]}"#;
    let weight = r#""head.weight":{"dtype":"F16","shape":[1,8],"data_offsets":[2,18]}"#;
    let changed = |from: &str, to: &str| with_header(&cut, from, to, |_| ());
    assert!(read(&changed(bias, bias)).is_ok(), "the way these files are made is right");
    for (from, to, said) in [
        (bias, format!("{bias},{bias}"), "not laid out"),
        (bias, format!(r#""__metadata__":{{"linocut":"{{}}"}},{bias}"#), "duplicate field"),
        (bias, bias.replace("[0,2]", "[0,18]"), "no valid safetensors"),
        (weight, weight.replace("[2,18]", "[0,16]"), "no valid safetensors"),
        (weight, weight.replace("[2,18]", "[2,18446744073709551615]"), "no valid safetensors"),
        (weight, weight.replace("[1,8]", "[4294967296,4294967296]"), "no valid safetensors"),
        (weight, weight.replace("[1,8]", "[18446744073709551615,2]"), "no valid safetensors"),
        (weight, weight.replace("[1,8]", "[8]"), "two dimensions"),
        (weight, weight.replace("[1,8]", "[2,4]"), "head.bias is F16 [1], expected F16 [2]"),
        (weight, weight.replace("F16", "I16"), "is I16"),
        (weight, weight.replace("F16", "BF16"), "not in the order"),
        (weight, weight.replace("[1,8]", "[1, 8]"), "not laid out"),
        (weight, weight.replace("head.weight", "head.weights"), "no tensor \"head.weight\""),
        ("\"digest\"", "\"digests\"".into(), "no tensor \"digest\""),
        ("{\"__metadata__\":{\"linocut\"", "{\"__metadata__\":{\"lino\"".into(), "no card"),
        ("{\"__metadata__\":{", "{\"__metadata__\":{\"a\":\"b\",".into(), "not laid out"),
        ("{\"__metadata__\"", " {\"__metadata__\"".into(), "not laid out"),
    ] {
        let error = read(&changed(from, &to)).unwrap_err();
        assert!(error.contains(said), "{said:?} in {error:?}");
    }
    for size in [0, 7, 1 << 22, (1 << 22) + 1, u64::MAX - 8, u64::MAX] {
        let mut bytes = cut.to_bytes();
        bytes[..8].copy_from_slice(&size.to_le_bytes());
        assert!(read(&sealed(bytes)).is_err());
    }
}

#[test]
fn values_that_are_not_numbers_are_refused() {
    for (name, cut, at) in [
        ("head.bias, entry 0", samples::regression(), 0),
        ("head.weight, entry 2", samples::regression(), 2 + 2 * 2),
    ] {
        for bits in [0x7c00u16, 0xfc00, 0x7e01] {
            let bytes = with_header(&cut, "{", "{", |data| {
                data[at..at + 2].copy_from_slice(&bits.to_le_bytes());
            });
            let error = read(&bytes).unwrap_err();
            assert!(error.contains(name), "{error}");
        }
    }
    // The first tensor of the zeros sample are its probes' logits, of the other its f32 bias.
    for (cut, said) in [(samples::zeros(), "logit NaN"), (samples::replaced(), "NaN cannot be")] {
        let bytes = with_header(&cut, "{", "{", |data| {
            let at = if said.starts_with("logit") { 0 } else { 8 };
            data[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
        });
        let error = read(&bytes).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn absurd_probe_lengths_are_refused() {
    let cut = samples::zeros(); // logits [0,24], input_ids [24,44], lengths [44,52]
    for lengths in [[0u32, 5], [5, 0], [u32::MAX, 6], [u32::MAX, u32::MAX], [1, 1]] {
        let bytes = with_header(&cut, "{", "{", |data| {
            data[44..48].copy_from_slice(&lengths[0].to_le_bytes());
            data[48..52].copy_from_slice(&lengths[1].to_le_bytes());
        });
        let error = read(&bytes).unwrap_err();
        assert!(error.contains("probe"), "{error}");
    }
}

#[test]
fn a_stream_that_claims_billions_of_zeros_allocates_nothing_for_them() {
    // A tensor of 2^32 − 1 entries, and in place of its stream: 2^32 − 1 zeros.
    let edits =
        [("big".to_string(), samples::zeros_edit(vec![u32::MAX as usize], vec![77, 1 << 20]))];
    let card = linocut::cut::Card { labels: vec!["a".into()], ..samples::card(1) };
    let cut = Cut::new(card, samples::head(StoreType::F32, 1, 4), edits.into(), vec![]).unwrap();
    assert!(read(&cut.to_bytes()).is_ok());
    let stream = cut.sizes().zeros as usize;
    let mut bytes = cut.to_bytes();
    let at = bytes.len() - 32 - stream;
    bytes[at..at + 7].copy_from_slice(&[1, 0xff, 0xff, 0xff, 0xff, 0x0f, 1]);
    let error = read(&sealed(bytes)).unwrap_err();
    assert!(error.contains("4294967295 zeros do not fit in"), "{error}");
}

#[test]
fn nested_and_swollen_cards_stay_within_their_means() {
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let bytes = with_card(&samples::zeros(), |card| card["method"] = json!("DEEP"));
    let (header, data) = parts(&bytes);
    let error = read(&assembled(&header.replace("\\\"DEEP\\\"", &deep), &data)).unwrap_err();
    assert!(error.contains("recursion limit"), "{error}");
    let error = read(&assembled(&format!("{{\"a\":{deep}}}"), &data)).unwrap_err();
    assert!(error.contains("recursion limit"), "{error}");

    // The worst JSON there is: three bytes for an empty list each, in a card near the limit.
    let wide = format!("[{}[]]", "[],".repeat(1_000_000));
    let bytes = assembled(&header.replace("\\\"DEEP\\\"", &wide), &data);
    let (cut, held) = peak(|| Cut::from_bytes(&bytes));
    assert!(cut.is_ok());
    assert!(held < 100 * bytes.len(), "{held} bytes held for {} read", bytes.len());
    let too_wide = format!("[{}[]]", "[],".repeat(1_400_000));
    let error = read(&assembled(&header.replace("\\\"DEEP\\\"", &too_wide), &data)).unwrap_err();
    assert!(error.contains("at most 4194304 are read"), "{error}");
}

#[test]
fn differences_that_claim_more_than_they_hold_are_refused() {
    let cut = samples::differences();
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 7] = [
        (
            |c| c["tensors"][samples::QUERY]["shape"] = json!([1u64 << 20, 1u64 << 20]),
            "a zstd frame of",
        ),
        (|c| c["tensors"][samples::QUERY]["store"] = json!("bf16"), "expected 128 for 64 entries"),
        (
            |c| drop(c["tensors"][samples::QUERY].as_object_mut().unwrap().remove("store")),
            "no store type",
        ),
        (|c| c["tensors"][samples::OUTPUT]["shape"] = json!([12, 8]), "malformed"),
        (|c| c["tensors"][samples::OUTPUT]["moved"] = json!(48), "the card says"),
        (|c| c["tensors"][samples::BIAS]["store"] = json!("f32"), "4 bytes for 2 values of f32"),
        (|c| c["source"]["prefix"] = json!("../"), "no tensor name"),
    ];
    for (change, said) in cases {
        let error = read(&with_card(&cut, change)).unwrap_err();
        assert!(error.contains(said), "{said:?} in {error:?}");
    }
    // A frame of other content than it says: only applying can tell, and does.
    let (header, mut data) = parts(&cut.to_bytes());
    let frame = data.len()
        - 32
        - cut.sizes().tensors[samples::QUERY] as usize
        - cut.sizes().tensors[samples::OUTPUT] as usize;
    let (mut applied, mut refused) = (0, 0);
    for at in frame + 6..data.len() - 32 - cut.sizes().tensors[samples::OUTPUT] as usize {
        let old = data[at];
        data[at] ^= 0x55;
        if let Ok(cut) = read(&assembled(&header, &data)) {
            let mut weights = samples::weights();
            let before = weights.clone();
            match cut.apply(&mut weights) {
                Ok(on) => {
                    assert!(weights.data().iter().all(|v| v.is_finite()));
                    on.undo(&mut weights);
                    applied += 1;
                }
                Err(_) => refused += 1,
            }
            assert_eq!(weights.data(), before.data());
        }
        data[at] = old;
    }
    assert!(applied > 0 && refused > 0, "{applied} applied, {refused} refused");
}
