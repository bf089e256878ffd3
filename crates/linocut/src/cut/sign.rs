//! One bit an entry: rows that move by plus or minus one amount a row.
//!
//! For a row of differences δ the amount that leaves the least squared error is the mean of |δ|,
//! as in the binary weights of XNOR-Net (Rastegari et al. 2016, eq. 6) and the one-bit task vectors
//! of BitDelta (Liu et al. 2024, eq. 4).

use super::codec::{self, push_leb128};
use super::edit::{StoreType, check_positions, finite};
use super::sparse::{malformed, take_positions};
use crate::Result;

/// The amounts' format: they span more orders of magnitude than f16 has.
const STORE: StoreType = StoreType::Bf16;

/// Rows of one tensor that move, each by an amount of its own, every entry up or down.
#[derive(Debug, Clone, PartialEq)]
pub struct Sign {
    len: usize,
    columns: usize,
    rows: Vec<u32>,
    scales: Vec<f32>,
    bits: Vec<u8>,
}

impl Sign {
    /// The least squared error for `difference`, of rows of `columns` entries, on these `rows`; the
    /// others stay the base's.
    ///
    /// # Errors
    /// If the rows are not strictly increasing and within the tensor, or an amount is not finite.
    ///
    /// # Panics
    /// If `difference` is not a whole number of rows, or `columns` is 0.
    pub fn nearest(difference: &[f32], columns: usize, rows: Vec<u32>) -> Result<Self> {
        assert!(difference.len().is_multiple_of(columns), "whole rows");
        check_positions(difference.len() / columns, &rows)?;
        let row = |r: &u32| &difference[*r as usize * columns..][..columns];
        let mut scales: Vec<f32> = rows.iter().map(|r| scale(row(r))).collect();
        STORE.round("a scale", &mut scales)?;
        let mut bits = vec![0; (rows.len() * columns).div_ceil(8)];
        for (i, v) in rows.iter().flat_map(row).enumerate() {
            bits[i / 8] |= u8::from(v.is_sign_negative()) << (i % 8);
        }
        Ok(Self { len: difference.len(), columns, rows, scales, bits })
    }

    /// Entries of the whole tensor.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no row moves.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Entries of a row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The rows that move, strictly increasing.
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// How far the entries of each of [`Sign::rows`] move; not negative.
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// The moves of the entries of [`Sign::rows`], row after row.
    fn moves(&self) -> impl Iterator<Item = f32> + '_ {
        (0..self.rows.len() * self.columns).map(|i| {
            let scale = self.scales[i / self.columns];
            if self.bits[i / 8] >> (i % 8) & 1 == 1 { -scale } else { scale }
        })
    }

    /// The whole tensor after the move: base ± amount, in f32.
    ///
    /// # Errors
    /// If a value is not finite.
    ///
    /// # Panics
    /// If `base` has another length.
    pub(super) fn moved(&self, base: &[f32]) -> Result<Vec<f32>> {
        assert_eq!(base.len(), self.len, "the base's tensor has the edit's shape");
        let mut values = base.to_vec();
        let mut moves = self.moves();
        for &row in &self.rows {
            let row = &mut values[row as usize * self.columns..][..self.columns];
            row.iter_mut().zip(&mut moves).for_each(|(value, m)| *value += m);
        }
        finite(&values)?;
        Ok(values)
    }

    /// The length of the coded rows as LEB128, the coded rows, their amounts in bf16, and a bit an
    /// entry, from the lowest up, set where it moves down.
    pub(super) fn stream(&self) -> Vec<u8> {
        let rows = codec::encode(self.len / self.columns, &self.rows);
        let mut out = Vec::new();
        push_leb128(&mut out, rows.len() as u64);
        out.extend_from_slice(&rows);
        STORE.put(&mut out, &self.scales);
        out.extend_from_slice(&self.bits);
        out
    }

    /// Reads what [`Sign::stream`] wrote for a tensor of `len` entries in rows of `columns`;
    /// allocates at most 64 bytes for each of the stream's.
    pub(super) fn from_stream(len: usize, columns: usize, mut stream: &[u8]) -> Result<Self> {
        if columns == 0 || !len.is_multiple_of(columns) {
            return Err(malformed(format!("rows of {columns} in a tensor of {len} entries")));
        }
        let rows = take_positions(len / columns, &mut stream)?;
        let bits = rows.len() * columns; // at most `len`
        let Some((scales, rest)) = stream
            .split_at_checked(rows.len() * STORE.size())
            .filter(|(_, rest)| rest.len() == bits.div_ceil(8))
        else {
            return Err(malformed(format!(
                "{} bytes for {} rows of {columns} entries",
                stream.len(),
                rows.len()
            )));
        };
        if !bits.is_multiple_of(8) && rest[rest.len() - 1] >> (bits % 8) != 0 {
            return Err(malformed("set bits left over in the last byte"));
        }
        let scales = STORE.take(scales);
        if let Some(scale) = scales.iter().find(|s| !s.is_finite() || s.is_sign_negative()) {
            return Err(malformed(format!("a row moves by {scale}")));
        }
        Ok(Self { len, columns, rows, scales, bits: rest.to_vec() })
    }
}

/// The mean of |δ|, summed in f64.
fn scale(row: &[f32]) -> f32 {
    (row.iter().map(|v| f64::from(v.abs())).sum::<f64>() / row.len() as f64) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn error(difference: &[f32], sign: &Sign) -> f64 {
        let moved = sign.moved(&vec![0.0; difference.len()]).unwrap();
        difference.iter().zip(moved).map(|(d, m)| f64::from(d - m).powi(2)).sum()
    }

    #[test]
    fn no_other_amount_leaves_less() {
        let difference: Vec<f32> = (0..64).map(|i| ((i * 37 % 64) as f32 - 30.0) * 1e-4).collect();
        let best = Sign::nearest(&difference, 16, vec![0, 1, 3]).unwrap();
        let left = error(&difference, &best);
        for row in 0..3 {
            for factor in [0.9, 0.99, 1.01, 1.1] {
                let mut other = best.clone();
                other.scales[row] *= factor;
                assert!(error(&difference, &other) > left);
            }
        }
        // The row left out stays where it was.
        let base: Vec<f32> = (0..64).map(|i| i as f32).collect();
        assert_eq!(best.moved(&base).unwrap()[32..48], base[32..48]);
    }

    proptest! {
        #[test]
        fn any_choice_of_rows_round_trips(
            columns in 1usize..20,
            chosen in prop::collection::vec(any::<bool>(), 1..12),
            seed in any::<u32>(),
        ) {
            let len = columns * chosen.len();
            let difference: Vec<f32> = (0..len as u32)
                .map(|i| (i.wrapping_mul(2_654_435_761) ^ seed) as i32 as f32 * 1e-12)
                .collect();
            let rows: Vec<u32> = (0..chosen.len()).filter(|&r| chosen[r]).map(|r| r as u32).collect();
            let sign = Sign::nearest(&difference, columns, rows).unwrap();
            prop_assert_eq!(&Sign::from_stream(len, columns, &sign.stream()).unwrap(), &sign);
            let before: f64 = difference.iter().map(|&d| f64::from(d).powi(2)).sum();
            prop_assert!(error(&difference, &sign) <= before * 1.0001);
        }

        #[test]
        fn any_bytes_are_a_sound_difference_or_an_error(
            stream in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            if let Ok(sign) = Sign::from_stream(60, 12, &stream) {
                prop_assert!(sign.rows().iter().all(|&r| r < 5));
                prop_assert!(sign.scales().iter().all(|&s| s >= 0.0 && s.is_finite()));
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let read = |stream: &[u8]| Sign::from_stream(12, 3, stream).unwrap_err().to_string();
        assert!(read(&[]).contains("truncated"));
        assert!(read(&[2, 0, 1, 0, 0]).contains("2 bytes for 1 rows of 3"));
        assert!(read(&[2, 0, 1, 0, 0, 0, 0]).contains("4 bytes for 1 rows of 3"));
        assert!(read(&[2, 0, 1, 0, 0, 8]).contains("set bits left over"));
        assert!(read(&[2, 0, 1, 0, 0xc0, 7]).contains("a row moves by -2"));
        assert!(read(&[2, 0, 1, 0xc0, 0x7f, 7]).contains("a row moves by NaN"));
        assert!(Sign::from_stream(12, 3, &[2, 0, 1, 0, 0, 7]).is_ok());
        assert!(Sign::from_stream(12, 5, &[2, 0, 1, 0, 0, 7]).is_err());
        assert!(Sign::nearest(&[1.0; 12], 3, vec![4]).is_err());
    }
}
