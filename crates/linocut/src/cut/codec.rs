//! Lossless coding of the zero positions of one tensor.
//!
//! A stream is one byte naming its code, then:
//! - `0`, bitmap: `ceil(len / 8)` bytes; bit `i % 8` of byte `i / 8` is set where entry `i` is zero.
//! - `1`, Golomb gaps: the count of zeros and the parameter `m ≥ 1`, both LEB128, then one code
//!   word a zero for `gap = position − previous position − 1`: `gap / m` in unary (so many 0 bits,
//!   then a 1), and `gap % m` in truncated binary. Bits fill each byte from the lowest up; the bits
//!   left over in the last byte are 0.
//!
//! The encoder takes the smaller stream, the bitmap where they tie. `m` need not be a power of two:
//! Rice codes (which it would make) miss 1.02 × the entropy at many densities, Golomb codes with the
//! best `m` stay within it at every density up to 15%.
//!
//! The tensor's length is not in the stream; it comes from the card. Whatever the stream says, decoding
//! it never allocates more than 32 bytes for each of its own.

use crate::{Error, ErrorKind, Result};

const BITMAP: u8 = 0;
const GAPS: u8 = 1;

/// The code of `positions`, the sorted distinct zero positions of a tensor of `len` entries.
///
/// One set always gives the same bytes.
///
/// # Panics
/// If the positions are not strictly increasing and below `len`.
pub fn encode(len: usize, positions: &[u32]) -> Vec<u8> {
    assert!(positions.windows(2).all(|w| w[0] < w[1]), "positions must increase");
    assert!(positions.last().is_none_or(|&p| (p as usize) < len), "position past the end");
    let bitmap_size = 1 + len.div_ceil(8);
    let m = best_parameter(len, positions);
    let header = 1 + leb128_size(positions.len() as u64) + leb128_size(m as u64);
    let gaps_size = (coded_bits(positions, m).div_ceil(8)).saturating_add(header as u64);
    if gaps_size >= bitmap_size as u64 {
        return encode_bitmap(len, positions);
    }
    let mut out = Vec::with_capacity(gaps_size as usize + 8);
    out.push(GAPS);
    push_leb128(&mut out, positions.len() as u64);
    push_leb128(&mut out, m as u64);
    encode_gaps(&mut out, positions, m);
    debug_assert_eq!(out.len() as u64, gaps_size);
    out
}

/// The zero positions coded in `stream`, for a tensor of `len` entries.
///
/// # Errors
/// If the stream is truncated, has bytes or set bits left over, names an unknown code, holds a count
/// or a position that does not fit `len`, or is one that [`encode`] would not have chosen because the
/// bitmap is no larger.
pub fn decode(len: usize, stream: &[u8]) -> Result<Vec<u32>> {
    if len > u32::MAX as usize {
        return Err(malformed(format!("the tensor has {len} entries, at most {} fit", u32::MAX)));
    }
    match stream.split_first() {
        None => Err(malformed("it is empty")),
        Some((&BITMAP, body)) => decode_bitmap(len, body),
        Some((&GAPS, _)) if stream.len() > len.div_ceil(8) => Err(malformed(format!(
            "gaps in {} bytes, where a bitmap of {len} entries takes no more",
            stream.len()
        ))),
        Some((&GAPS, body)) => decode_gaps(len, body),
        Some((code, _)) => Err(malformed(format!("unknown code {code}, expected 0 or 1"))),
    }
}

fn malformed(what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Cut, format!("malformed stream of zero positions: {what}"))
}

// ---- bitmap ----

fn encode_bitmap(len: usize, positions: &[u32]) -> Vec<u8> {
    let mut out = vec![0; 1 + len.div_ceil(8)];
    out[0] = BITMAP;
    for &p in positions {
        out[1 + p as usize / 8] |= 1 << (p % 8);
    }
    out
}

fn decode_bitmap(len: usize, body: &[u8]) -> Result<Vec<u32>> {
    if body.len() != len.div_ceil(8) {
        return Err(malformed(format!(
            "a bitmap of {} bytes, expected {} for {len} entries",
            body.len(),
            len.div_ceil(8)
        )));
    }
    if !len.is_multiple_of(8) && body.last().is_some_and(|&last| last >> (len % 8) != 0) {
        return Err(malformed(format!("a set bit past the last of {len} entries")));
    }
    let count = body.iter().map(|b| b.count_ones() as usize).sum();
    let mut positions = Vec::with_capacity(count);
    for (i, &byte) in body.iter().enumerate() {
        let mut rest = byte;
        while rest != 0 {
            positions.push(i as u32 * 8 + rest.trailing_zeros());
            rest &= rest - 1;
        }
    }
    Ok(positions)
}

// ---- Golomb gaps ----

/// How `gap % m` is written: the first `short` remainders in `bits − 1` bits, the others in `bits`.
#[derive(Clone, Copy)]
struct Remainder {
    bits: u32,
    short: u32,
}

impl Remainder {
    fn new(m: u32) -> Self {
        // The least `bits` with 2^bits ≥ m: 0 for m = 1, where nothing is written.
        let bits = (m - 1).checked_ilog2().map_or(0, |b| b + 1);
        Self { bits, short: ((1u64 << bits) - u64::from(m)) as u32 }
    }

    /// Bits of the shortest remainder.
    fn fewest_bits(self) -> u32 {
        if self.short > 0 { self.bits - 1 } else { self.bits }
    }
}

fn gaps(positions: &[u32]) -> impl Iterator<Item = u32> + '_ {
    let mut next = 0;
    positions.iter().map(move |&p| {
        let gap = p - next;
        next = p.wrapping_add(1);
        gap
    })
}

/// Bits that all gaps take with parameter `m`.
fn coded_bits(positions: &[u32], m: u32) -> u64 {
    let code = Remainder::new(m);
    let mut bits = positions.len() as u64 * (1 + u64::from(code.bits));
    for gap in gaps(positions) {
        bits += u64::from(gap / m);
        bits -= u64::from(gap % m < code.short);
    }
    bits
}

/// The parameter that codes these gaps in the fewest bits, as far as a search from the one best for
/// gaps of a random mask finds it. Clustered masks want a smaller one than their density says.
fn best_parameter(len: usize, positions: &[u32]) -> u32 {
    if positions.is_empty() {
        return 1;
    }
    // ln 2 × the mean distance, near the best m for a random mask. In integers, as a logarithm's last
    // bit, and with it the stream, could differ from one platform to the next.
    let start = (len as u64 * 693 / (positions.len() as u64 * 1000)).max(1) as u32;
    let mut best = (coded_bits(positions, start), start);
    for down in [true, false] {
        let mut m = start;
        loop {
            // Steps of about an eighth: the size is flat around its least.
            let step = (m / 8).max(1);
            m = if down { m.saturating_sub(step).max(1) } else { m.saturating_add(step) };
            let bits = coded_bits(positions, m);
            if bits >= best.0 || m as usize > len {
                break;
            }
            best = (bits, m);
        }
    }
    best.1
}

fn encode_gaps(out: &mut Vec<u8>, positions: &[u32], m: u32) {
    let code = Remainder::new(m);
    let mut pending = 0u64;
    let mut filled = 0; // bits of `pending` in use, below 8 between two words
    let mut put = |word: u64, bits: u32| {
        pending |= word << filled;
        filled += bits;
        while filled >= 8 {
            out.push(pending as u8);
            pending >>= 8;
            filled -= 8;
        }
    };
    for gap in gaps(positions) {
        let mut quotient = gap / m;
        while quotient >= 32 {
            put(0, 32);
            quotient -= 32;
        }
        put(1 << quotient, quotient + 1);
        let remainder = gap % m;
        if remainder < code.short {
            put(u64::from(remainder), code.bits - 1);
        } else if code.bits > 0 {
            // All but the lowest bit come first, as in a short word; they are ≥ `short`, which tells.
            let long = u64::from(remainder) + u64::from(code.short);
            put(long >> 1, code.bits - 1);
            put(long & 1, 1);
        }
    }
    put(0, 7); // pads the last byte; at most 7 bits remain
}

fn decode_gaps(len: usize, body: &[u8]) -> Result<Vec<u32>> {
    let mut bytes = body;
    let count = take_leb128(&mut bytes)?;
    let m = take_leb128(&mut bytes)?;
    if count > len as u64 {
        return Err(malformed(format!("{count} zeros in a tensor of {len} entries")));
    }
    if m == 0 || m > len as u64 {
        return Err(malformed(format!("Golomb parameter {m}, expected 1 to {len}")));
    }
    let m = m as u32; // at most `len`, which fits
    let code = Remainder::new(m);
    let total = bytes.len() as u64 * 8;
    if count * (1 + u64::from(code.fewest_bits())) > total {
        return Err(malformed(format!("{count} zeros do not fit in {} bytes", bytes.len())));
    }
    let most = len as u64 / u64::from(m); // no quotient is larger
    let high_bits = code.bits.saturating_sub(1);
    let high_mask = (1u64 << high_bits) - 1;
    let low_bit = u64::from(code.bits > 0); // nothing is read where m is 1
    let mut positions = Vec::with_capacity(count as usize);
    let mut at = 0u64; // bits read
    let (mut word, mut have) = (0u64, 0u64); // the bits from `at` on, and how many of them count
    let mut next = 0u64; // the lowest position that the next gap can mean
    for _ in 0..count {
        let mut quotient = u64::from(word.trailing_zeros());
        if quotient + 1 + u64::from(code.bits) > have {
            word = window(bytes, at);
            have = 57;
            quotient = u64::from(word.trailing_zeros());
        }
        if quotient + 1 + u64::from(code.bits) > have {
            quotient = unary(bytes, at)
                .filter(|&q| q <= most)
                .ok_or_else(|| malformed("a gap runs past the end"))?;
            word = window(bytes, at + quotient + 1);
        } else {
            word >>= quotient + 1;
            have -= quotient + 1;
        }
        at += quotient + 1;
        // Without a branch: which remainders are long is as good as random.
        let high = word & high_mask;
        let long = u64::from(high >= u64::from(code.short)) & low_bit;
        let low = word >> high_bits & long;
        let remainder = high + long * (high + low).wrapping_sub(u64::from(code.short) * long);
        let used = u64::from(high_bits) + long;
        word >>= used;
        have -= used;
        at += used;
        // No overflow: the quotient is below 2^32 (57, or at most `most`), so is m.
        let position = next + quotient * u64::from(m) + remainder;
        if position >= len as u64 {
            return Err(malformed(format!("position {position} in a tensor of {len} entries")));
        }
        positions.push(position as u32);
        next = position + 1;
    }
    if at > total {
        return Err(malformed("it is truncated"));
    }
    if at.div_ceil(8) != bytes.len() as u64 {
        return Err(malformed(format!("{} bytes left over", bytes.len() as u64 - at.div_ceil(8))));
    }
    if !at.is_multiple_of(8) && bytes[bytes.len() - 1] >> (at % 8) != 0 {
        return Err(malformed("set bits left over in the last byte"));
    }
    Ok(positions)
}

/// At least 57 bits from bit `at` on; zeros past the end.
#[inline]
fn window(bytes: &[u8], at: u64) -> u64 {
    let start = (at / 8) as usize;
    if let Some(eight) = bytes.get(start..).and_then(|rest| rest.first_chunk::<8>()) {
        return u64::from_le_bytes(*eight) >> (at % 8);
    }
    let rest = bytes.get(start..).unwrap_or(&[]);
    let mut eight = [0; 8];
    eight[..rest.len()].copy_from_slice(rest);
    u64::from_le_bytes(eight) >> (at % 8)
}

/// How many 0 bits lie before the next 1 from bit `at` on; `None` where no 1 follows.
fn unary(bytes: &[u8], at: u64) -> Option<u64> {
    let start = (at / 8) as usize;
    let first = bytes.get(start)? >> (at % 8);
    if first != 0 {
        return Some(u64::from(first.trailing_zeros()));
    }
    let skipped = bytes[start + 1..].iter().position(|&b| b != 0)?;
    let last = bytes[start + 1 + skipped];
    Some(8 - at % 8 + skipped as u64 * 8 + u64::from(last.trailing_zeros()))
}

// ---- LEB128 ----

fn leb128_size(value: u64) -> usize {
    (64 - value.leading_zeros()).div_ceil(7).max(1) as usize
}

pub(super) fn push_leb128(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes one number of at most five bytes (35 bits) in its shortest form.
pub(super) fn take_leb128(bytes: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for i in 0..5 {
        let (&byte, rest) = bytes.split_first().ok_or_else(|| malformed("it is truncated"))?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            if byte == 0 && i > 0 {
                return Err(malformed("a number is not in its shortest form"));
            }
            return Ok(value);
        }
    }
    Err(malformed("a number of more than five bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `zeros` of `len` positions at random (splitmix64), sorted.
    fn random(len: usize, zeros: usize, seed: u64) -> Vec<u32> {
        let mut state = seed;
        let mut next = move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        let mut picked = Vec::with_capacity(zeros);
        for i in 0..len {
            // Selection sampling: exactly `zeros` of them, each subset as likely as any other.
            if next() % ((len - i) as u64) < (zeros - picked.len()) as u64 {
                picked.push(i as u32);
            }
        }
        picked
    }

    fn entropy_bytes(len: usize, zeros: usize) -> f64 {
        let h = |p: f64| if p > 0.0 { -p * p.log2() } else { 0.0 };
        let p = zeros as f64 / len as f64;
        len as f64 * (h(p) + h(1.0 - p)) / 8.0
    }

    #[test]
    fn random_masks_stay_within_the_entropy_bound() {
        let densities = (0..=56).map(|i| 1e-4 * 2f64.powf(f64::from(i) * 0.19)).chain([0.15]);
        let mut worst = (0.0, 0.0);
        for (d, density) in densities.enumerate() {
            for len in [147_456, 589_824] {
                let zeros = (len as f64 * density.min(0.15)).round() as usize;
                let size = encode(len, &random(len, zeros, d as u64)).len() as f64;
                let entropy = entropy_bytes(len, zeros);
                assert!(size <= 1.02 * entropy + 64.0, "{len} {density}: {size} over {entropy}");
                if entropy > 2000.0 && size / entropy > worst.0 {
                    worst = (size / entropy, density);
                }
            }
        }
        println!("worst size over entropy {:.4} at density {:.5}", worst.0, worst.1);
    }

    #[test]
    fn no_mask_is_larger_than_its_bitmap() {
        for density in [0.0, 0.2, 0.3, 0.4, 0.5, 0.9, 1.0] {
            let len = 10_000;
            let positions = random(len, (len as f64 * density) as usize, 1);
            let stream = encode(len, &positions);
            assert!(stream.len() <= 1 + len / 8);
            assert_eq!(decode(len, &stream).unwrap(), positions);
        }
    }

    #[test]
    fn long_gaps_and_the_largest_tensor_round_trip() {
        for len in [1 << 20, u32::MAX as usize] {
            let last = len as u32 - 1;
            for positions in [vec![], vec![0], vec![last], vec![0, 1, 2, 3, 4, 5, last]] {
                let stream = encode(len, &positions);
                assert!(stream.len() < 64 + len / 1000);
                assert_eq!(decode(len, &stream).unwrap(), positions);
            }
        }
    }

    #[test]
    fn absurd_streams_are_refused_before_anything_is_allocated() {
        let len = u32::MAX as usize;
        for (stream, said) in [
            (&[][..], "empty"),
            (&[7, 0], "unknown code 7"),
            (&[GAPS], "truncated"),
            (&[GAPS, 0xff, 0xff, 0xff, 0xff, 0x0f, 1, 0xff], "do not fit"),
            (&[GAPS, 0xff, 0xff, 0xff, 0xff, 0x7f, 1, 0xff], "zeros in a tensor"),
            (&[GAPS, 0xff, 0xff, 0xff, 0xff, 0xff, 1], "more than five bytes"),
            (&[GAPS, 0x80, 0x00, 1], "shortest"),
            (&[GAPS, 1, 0, 1], "Golomb parameter 0"),
            (&[GAPS, 1, 0xff, 0xff, 0xff, 0xff, 0x7f, 1], "Golomb parameter"),
            (&[GAPS, 1, 1, 0], "past the end"),
            (&[GAPS, 0, 1, 0], "left over"),
            (&[GAPS, 1, 1, 3], "set bits left over"),
            (&[BITMAP, 0], "bitmap of 1 bytes"),
        ] {
            let message = decode(len, stream).unwrap_err().to_string();
            assert!(message.contains(said), "{stream:?}: {message}");
        }
        assert!(decode(12, &[BITMAP, 0, 0x10]).unwrap_err().to_string().contains("past the last"));
        assert!(decode(8, &[GAPS, 0, 1]).unwrap_err().to_string().contains("bitmap"));
    }

    proptest! {
        #[test]
        fn any_mask_round_trips(len in 0usize..3000, density in 0.0f64..=1.0, seed: u64) {
            let positions = random(len, (len as f64 * density).round() as usize, seed);
            let stream = encode(len, &positions);
            prop_assert!(stream.len() <= 1 + len.div_ceil(8));
            prop_assert_eq!(decode(len, &stream).unwrap(), positions);
        }

        #[test]
        fn clustered_masks_round_trip(runs in prop::collection::vec((0u32..500, 1u32..40), 0..40)) {
            let mut positions = vec![];
            let mut at = 0;
            for (gap, run) in runs {
                at += gap + 1;
                positions.extend(at..at + run);
                at += run;
            }
            let stream = encode(at as usize, &positions);
            prop_assert_eq!(decode(at as usize, &stream).unwrap(), positions);
        }

        #[test]
        fn any_bytes_decode_to_a_valid_set_or_an_error(
            len in 0usize..5000,
            code in 0u8..3,
            body in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let stream = [&[code][..], &body].concat();
            if let Ok(positions) = decode(len, &stream) {
                prop_assert!(positions.windows(2).all(|w| w[0] < w[1]));
                prop_assert!(positions.last().is_none_or(|&p| (p as usize) < len));
                prop_assert!(positions.capacity() * 4 <= 32 * stream.len());
            }
        }
    }
}
