//! The exact difference between a tensor's bits and the base's.
//!
//! Where it pays, each row of the base is first multiplied by a number of its own, the one that brings
//! it nearest to the tuned row: weight decay shrinks the embeddings of words that no training text
//! had, and does nothing else to them. These numbers come first, as f32. Both tensors are then read as
//! the store type's bits, the base's values rounded to it (to nearest, ties to even) where they are
//! wider. Bits are put in the order of the numbers they stand for
//! (so that a small step is a small difference, across zero too), subtracted, and the difference
//! `d` written as `2d` or, below 0, `−2d − 1`. Then the most significant byte of every entry, the
//! next one of every entry and so on (byte planes), as one zstd frame. Entries come in the order of
//! their exponents in the base, equal ones in their own: the same movement is a larger difference in
//! a smaller number, and each stretch then has a code of its own.

use super::edit::{StoreType, finite};
use crate::{Error, ErrorKind, Result};

/// zstd's level, the lowest: there is nothing to find for higher ones, as what compresses here is the
/// distribution of single bytes (on a fine-tuned MiniLM level 9 gains 0.2%, level 3 loses as much).
const LEVEL: i32 = 1;

/// A tensor as its exact, compressed difference from the base's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    store: StoreType,
    len: usize,
    columns: usize,
    frame: Vec<u8>,
}

impl Delta {
    /// What turns `base` into `tuned`, of rows of `columns` entries; `store` is a format that holds
    /// every value of `tuned`.
    ///
    /// # Errors
    /// If `store` does not hold a value of `tuned`.
    ///
    /// # Panics
    /// If the tensors' lengths differ or are not whole rows, or `columns` is 0.
    pub fn between(base: &[f32], tuned: &[f32], columns: usize, store: StoreType) -> Result<Self> {
        assert_eq!(base.len(), tuned.len(), "tensors of one shape");
        assert!(base.len().is_multiple_of(columns), "whole rows");
        store.check_rounded("a tuned tensor", tuned)?;
        let plain = compress(&split(base, base, tuned, store))?;
        let scales = row_scales(base, tuned, columns);
        let mut scaled: Vec<u8> = scales.iter().flat_map(|s| s.to_le_bytes()).collect();
        scaled.extend(split(base, &scale_rows(base, &scales, columns), tuned, store));
        let scaled = compress(&scaled)?;
        let frame = if scaled.len() < plain.len() { scaled } else { plain };
        Ok(Self { store, len: base.len(), columns, frame })
    }

    /// A difference as a file holds it.
    ///
    /// # Errors
    /// If `columns` does not divide `len`, or `frame` is not one whole zstd frame of as many bytes as
    /// `len` entries have, with or without a number a row. What the frame says in detail only
    /// [`Delta::values`] finds out.
    pub(super) fn from_frame(
        store: StoreType,
        len: usize,
        columns: usize,
        frame: &[u8],
    ) -> Result<Self> {
        if columns == 0 || !len.is_multiple_of(columns) {
            return Err(malformed(format!("rows of {columns} in a tensor of {len} entries")));
        }
        let expected = len.checked_mul(store.size()).ok_or_else(|| malformed("its size"))?;
        let scaled = (len / columns).checked_mul(4).and_then(|n| n.checked_add(expected));
        let found = zstd::zstd_safe::get_frame_content_size(frame)
            .map_err(|_| malformed("it does not start with a zstd frame"))?;
        if found != Some(expected as u64) && (found.is_none() || found != scaled.map(|n| n as u64))
        {
            return Err(malformed(format!(
                "a zstd frame of {} bytes, expected {expected} for {len} entries of {}",
                found.map_or("unknown".into(), |n| n.to_string()),
                store.name()
            )));
        }
        match zstd::zstd_safe::find_frame_compressed_size(frame) {
            Ok(size) if size == frame.len() => {
                Ok(Self { store, len, columns, frame: frame.to_vec() })
            }
            Ok(size) => {
                Err(malformed(format!("{} bytes behind its zstd frame", frame.len() - size)))
            }
            Err(_) => Err(malformed("its zstd frame is not whole")),
        }
    }

    /// The format in which the tuned tensor was stored.
    pub fn store(&self) -> StoreType {
        self.store
    }

    /// Entries of the tensor.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the tensor has no entries.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that it takes in a file.
    pub fn size(&self) -> usize {
        self.frame.len()
    }

    /// The compressed difference.
    pub(super) fn frame(&self) -> &[u8] {
        &self.frame
    }

    /// Entries of a row.
    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// The tuned tensor, bit for bit. Takes the memory of the tensor three times over and no more,
    /// whatever the frame says.
    ///
    /// # Errors
    /// If the frame is malformed or a value comes out that is not finite.
    ///
    /// # Panics
    /// If `base` has another length.
    pub fn values(&self, base: &[f32]) -> Result<Vec<f32>> {
        assert_eq!(base.len(), self.len, "the base's tensor has the edit's shape");
        let plain = self.len * self.store.size();
        // Checked when the frame was read: it says one of the two sizes.
        let content = zstd::zstd_safe::get_frame_content_size(&self.frame).ok().flatten();
        let scaled = content != Some(plain as u64);
        let size = plain + if scaled { self.len / self.columns * 4 } else { 0 };
        let mut bytes = vec![0; size];
        let filled = zstd::bulk::decompress_to_buffer(&self.frame, &mut bytes[..])
            .map_err(|e| malformed(format!("zstd: {e}")))?;
        if filled != size {
            return Err(malformed(format!("{filled} bytes, expected {size}")));
        }
        let (scales, planes) = bytes.split_at(size - plain);
        let values = if scaled {
            let near = scale_rows(base, &StoreType::F32.take(scales), self.columns);
            join(base, &near, planes, self.store)
        } else {
            join(base, base, planes, self.store)
        };
        finite(&values)?;
        Ok(values)
    }
}

/// Calls `visit(place in the planes, entry)` for all entries, in the order of their exponents in
/// `base`.
fn by_exponent(base: &[f32], mut visit: impl FnMut(usize, usize)) {
    let exponent = |v: f32| (v.to_bits() >> 23 & 0xff) as usize;
    let mut next = [0usize; 257];
    base.iter().for_each(|&v| next[exponent(v) + 1] += 1);
    for e in 1..next.len() {
        next[e] += next[e - 1];
    }
    for (i, &v) in base.iter().enumerate() {
        let at = &mut next[exponent(v)];
        visit(*at, i);
        *at += 1;
    }
}

fn compress(bytes: &[u8]) -> Result<Vec<u8>> {
    zstd::bulk::compress(bytes, LEVEL)
        .map_err(|e| Error::new(ErrorKind::Io, format!("cannot compress: {e}")))
}

/// For each row the factor of the base's that leaves the least squared difference, summed in f64;
/// 1 for a row of zeros.
fn row_scales(base: &[f32], tuned: &[f32], columns: usize) -> Vec<f32> {
    let rows = base.chunks_exact(columns).zip(tuned.chunks_exact(columns));
    rows.map(|(base, tuned)| {
        let pairs = base.iter().zip(tuned).map(|(&b, &t)| (f64::from(b), f64::from(t)));
        let (bb, bt) = pairs.fold((0.0, 0.0), |sum, (b, t)| (sum.0 + b * b, sum.1 + b * t));
        let scale = (bt / bb) as f32;
        if scale.is_finite() { scale } else { 1.0 }
    })
    .collect()
}

/// Each row of `base` times its scale, in f32.
fn scale_rows(base: &[f32], scales: &[f32], columns: usize) -> Vec<f32> {
    let rows = base.chunks_exact(columns).zip(scales);
    rows.flat_map(|(row, scale)| row.iter().map(move |v| v * scale)).collect()
}

/// The byte planes of `tuned` minus `near`, in the order of the exponents of `base`.
fn split(base: &[f32], near: &[f32], tuned: &[f32], store: StoreType) -> Vec<u8> {
    fn planes<const BITS: u32>(base: &[f32], pair: impl Fn(usize) -> [u32; 2]) -> Vec<u8> {
        let n = base.len();
        let mut planes = vec![0; n * (BITS / 8) as usize];
        by_exponent(base, |at, i| {
            let [near, tuned] = pair(i).map(ordered::<BITS>);
            let bytes = zigzag::<BITS>(tuned.wrapping_sub(near)).to_le_bytes();
            for (plane, byte) in planes.chunks_exact_mut(n).rev().zip(bytes) {
                plane[at] = byte;
            }
        });
        planes
    }
    let pair = |i: usize| [near[i], tuned[i]].map(|v| store.bits(v));
    match store {
        StoreType::F32 => planes::<32>(base, pair),
        StoreType::Bf16 | StoreType::F16 => planes::<16>(base, pair),
    }
}

/// The inverse of [`split`].
fn join(base: &[f32], near: &[f32], planes: &[u8], store: StoreType) -> Vec<f32> {
    fn values<const BITS: u32>(
        base: &[f32],
        planes: &[u8],
        bits: impl Fn(usize) -> u32,
        value: impl Fn(u32) -> f32,
    ) -> Vec<f32> {
        let n = base.len();
        let mut values = vec![0.0; n];
        by_exponent(base, |at, i| {
            let mut bytes = [0; 4];
            for (byte, plane) in bytes.iter_mut().zip(planes.chunks_exact(n).rev()) {
                *byte = plane[at];
            }
            let step = unzigzag(u32::from_le_bytes(bytes));
            let found = ordered::<BITS>(bits(i)).wrapping_add(step) & mask::<BITS>();
            values[i] = value(unordered::<BITS>(found));
        });
        values
    }
    let (bits, value) = (|i: usize| store.bits(near[i]), |b| store.value(b));
    match store {
        StoreType::F32 => values::<32>(base, planes, bits, value),
        StoreType::Bf16 | StoreType::F16 => values::<16>(base, planes, bits, value),
    }
}

const fn mask<const BITS: u32>() -> u32 {
    u32::MAX >> (32 - BITS)
}

/// The place of a number's bits in the order of the numbers: those below 0 have their sign bit set
/// and grow downwards.
fn ordered<const BITS: u32>(bits: u32) -> u32 {
    let sign = 1 << (BITS - 1);
    if bits & sign == 0 { bits | sign } else { !bits & mask::<BITS>() }
}

/// The inverse of [`ordered`].
fn unordered<const BITS: u32>(place: u32) -> u32 {
    let sign = 1 << (BITS - 1);
    if place & sign == 0 { !place & mask::<BITS>() } else { place & !sign }
}

/// The lowest `BITS` bits of `step`, a signed number, with its sign in the lowest bit.
fn zigzag<const BITS: u32>(step: u32) -> u32 {
    let step = (step << (32 - BITS)) as i32 >> (32 - BITS); // its sign drawn out
    (step << 1 ^ step >> 31) as u32 & mask::<BITS>()
}

fn unzigzag(coded: u32) -> u32 {
    coded >> 1 ^ (coded & 1).wrapping_neg()
}

fn malformed(what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Cut, format!("malformed difference: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn small_steps_are_small_numbers_across_zero_too() {
        let step = |a: f32, b: f32| {
            zigzag::<32>(ordered::<32>(b.to_bits()).wrapping_sub(ordered::<32>(a.to_bits())))
        };
        let next = |v: f32| f32::from_bits(v.to_bits() + 1);
        assert_eq!(step(0.5, 0.5), 0);
        assert_eq!(step(0.5, next(0.5)), 2);
        assert_eq!(step(next(0.5), 0.5), 1);
        assert_eq!(step(0.0, -0.0), 1);
        assert_eq!(step(-0.0, 0.0), 2);
        assert_eq!(step(-f32::from_bits(1), f32::from_bits(1)), 6);
    }

    #[test]
    fn every_number_of_16_bits_comes_back_from_any_other() {
        for a in (0..=u16::MAX).map(u32::from) {
            assert_eq!(unordered::<16>(ordered::<16>(a)), a);
            for b in [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff, 0x3c00, a] {
                let (from, to) = (ordered::<16>(b), ordered::<16>(a));
                let coded = zigzag::<16>(to.wrapping_sub(from));
                assert!(coded <= 0xffff);
                assert_eq!(from.wrapping_add(unzigzag(coded)) & 0xffff, to);
            }
        }
    }

    fn finite_f32() -> impl Strategy<Value = f32> {
        any::<u32>().prop_map(f32::from_bits).prop_filter("finite", |v| v.is_finite())
    }

    proptest! {
        /// Whatever the base's bits, also of values that the store type would round or overflow.
        #[test]
        fn every_tensor_comes_back_bit_for_bit(
            pairs in prop::collection::vec((finite_f32(), finite_f32(), any::<bool>()), 9..200),
            store in prop::sample::select(vec![StoreType::F32, StoreType::Bf16, StoreType::F16]),
            columns in 1usize..9,
            near: bool,
        ) {
            let pairs = &pairs[..pairs.len() / columns * columns];
            let base: Vec<f32> = pairs.iter().map(|p| p.0).collect();
            let tuned: Vec<f32> = pairs
                .iter()
                .map(|&(a, b, own)| store.value(store.bits(if near && own { a * 1.01 } else { b })))
                .map(|v| if v.is_finite() { v } else { -0.0 })
                .collect();
            let delta = Delta::between(&base, &tuned, columns, store).unwrap();
            let back =
                Delta::from_frame(store, base.len(), columns, delta.frame()).unwrap();
            prop_assert_eq!(&back, &delta);
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&back.values(&base).unwrap()), bits(&tuned));
        }

        #[test]
        fn any_bytes_are_refused_or_give_finite_values(
            bytes in prop::collection::vec(any::<u8>(), 0..60),
            at in 0usize..60,
        ) {
            // A real frame with some bytes changed.
            let base: Vec<f32> = (0..300).map(|i| i as f32).collect();
            let tuned: Vec<f32> = (0..300).map(|i| i as f32 * 1.5).collect();
            let mut frame = Delta::between(&base, &tuned, 10, StoreType::F32).unwrap().frame;
            let at = at.min(frame.len());
            let end = (at + bytes.len()).min(frame.len());
            frame[at..end].copy_from_slice(&bytes[..end - at]);
            for frame in [&frame, &bytes] {
                if let Ok(delta) = Delta::from_frame(StoreType::F32, 300, 10, frame)
                    && let Ok(values) = delta.values(&base)
                {
                    prop_assert!(values.iter().all(|v| v.is_finite()));
                }
            }
        }
    }

    #[test]
    fn rows_that_only_shrank_cost_next_to_nothing() {
        let base: Vec<f32> = (0..6400).map(|i| ((i * 7919 % 6400) as f32 - 3200.0) / 1e5).collect();
        let shrunk = |row: usize| 0.999 - row as f32 * 1e-5;
        let tuned: Vec<f32> = base.iter().enumerate().map(|(i, v)| v * shrunk(i / 64)).collect();
        let delta = Delta::between(&base, &tuned, 64, StoreType::F32).unwrap();
        // A factor a row, and at most a few last bits.
        assert!(delta.size() < 100 * 4 + 6400, "{}", delta.size());
        assert_eq!(delta.values(&base).unwrap(), tuned);
    }

    #[test]
    fn frames_of_another_size_or_with_more_behind_them_are_refused() {
        let delta = Delta::between(&[1.0; 64], &[2.0; 64], 64, StoreType::F32).unwrap();
        let said = |len: usize, frame: &[u8]| {
            Delta::from_frame(StoreType::F32, len, len.max(1), frame).unwrap_err().to_string()
        };
        let content = |d: &Delta| zstd::zstd_safe::get_frame_content_size(&d.frame).unwrap();
        assert!(matches!(content(&delta), Some(256 | 260)));
        assert!(said(66, &delta.frame).contains("expected 264 for 66 entries"));
        assert!(said(64, &[&delta.frame[..], &[0]].concat()).contains("behind"));
        assert!(said(64, &delta.frame[..delta.frame.len() - 1]).contains("not whole"));
        assert!(said(64, &[]).contains("does not start"));
        assert!(said(usize::MAX, &delta.frame).contains("size"));
        // A claim of 16 GB in a frame of a few bytes: refused, or nothing allocated before `values`.
        let bomb = zstd::bulk::compress(&vec![0; 1 << 20], 1).unwrap();
        assert!(said(64, &bomb).contains("1048576 bytes, expected 256"));
    }
}
