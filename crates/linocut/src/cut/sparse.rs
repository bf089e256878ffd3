//! A few entries moved, each by an amount of its own.

use super::codec::{self, push_leb128, take_leb128};
use super::edit::{StoreType, check_positions, finite};
use crate::{Error, ErrorKind, Result};

/// Entries of one tensor and how far each moves from the base's.
#[derive(Debug, Clone, PartialEq)]
pub struct Sparse {
    len: usize,
    positions: Vec<u32>,
    store: StoreType,
    values: Vec<f32>,
}

impl Sparse {
    /// Moves the entries at `positions`, flat (row-major), of a tensor of `len` entries by
    /// `values`, each one that `store` holds exactly.
    ///
    /// # Errors
    /// If the positions are not strictly increasing and below `len`, `len` is above `u32::MAX`, there
    /// are not as many values, or `store` does not hold one.
    pub fn new(
        len: usize,
        positions: Vec<u32>,
        store: StoreType,
        values: Vec<f32>,
    ) -> Result<Self> {
        check_positions(len, &positions)?;
        if values.len() != positions.len() {
            return Err(malformed(format!(
                "{} values for {} positions",
                values.len(),
                positions.len()
            )));
        }
        store.check_rounded("a sparse difference", &values)?;
        Ok(Self { len, positions, store, values })
    }

    /// Entries of the whole tensor.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no entry moves.
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// The flat positions of the entries that move, strictly increasing.
    pub fn positions(&self) -> &[u32] {
        &self.positions
    }

    /// The format of the stored amounts.
    pub fn store(&self) -> StoreType {
        self.store
    }

    /// How far the entries move, in the order of [`Sparse::positions`].
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The entries at [`Sparse::positions`] after the move: base + amount, in f32.
    ///
    /// # Errors
    /// If one is not finite.
    ///
    /// # Panics
    /// If `base` has another length than the tensor.
    pub(super) fn moved(&self, base: &[f32]) -> Result<Vec<f32>> {
        assert_eq!(base.len(), self.len, "the base's tensor has the edit's shape");
        let pairs = self.positions.iter().zip(&self.values);
        let moved: Vec<f32> = pairs.map(|(&p, v)| base[p as usize] + v).collect();
        finite(&moved)?;
        Ok(moved)
    }

    /// The length of the coded positions as LEB128, the coded positions, the values.
    pub(super) fn stream(&self) -> Vec<u8> {
        let positions = codec::encode(self.len, &self.positions);
        let mut out = Vec::new();
        push_leb128(&mut out, positions.len() as u64);
        out.extend_from_slice(&positions);
        self.store.put(&mut out, &self.values);
        out
    }

    /// Reads what [`Sparse::stream`] wrote; allocates at most 64 bytes for each of the stream's.
    pub(super) fn from_stream(len: usize, store: StoreType, mut stream: &[u8]) -> Result<Self> {
        let positions = take_positions(len, &mut stream)?;
        if Some(stream.len()) != positions.len().checked_mul(store.size()) {
            return Err(malformed(format!(
                "{} bytes for {} values of {}",
                stream.len(),
                positions.len(),
                store.name()
            )));
        }
        Self::new(len, positions, store, store.take(stream))
    }
}

/// Takes a length as LEB128 and as many bytes of coded positions among `len` from `stream`.
pub(super) fn take_positions(len: usize, stream: &mut &[u8]) -> Result<Vec<u32>> {
    let size = take_leb128(stream)?;
    let Some((positions, rest)) =
        usize::try_from(size).ok().and_then(|size| stream.split_at_checked(size))
    else {
        return Err(malformed(format!("{size} bytes of positions in {}", stream.len())));
    };
    *stream = rest;
    codec::decode(len, positions)
}

pub(super) fn malformed(what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Cut, format!("malformed difference: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_difference_round_trips_and_moves_what_it_says(
            moves in prop::collection::btree_map(0u32..500, -1e3f32..1e3, 0..60),
            store in prop::sample::select(vec![StoreType::F32, StoreType::Bf16, StoreType::F16]),
        ) {
            let positions: Vec<u32> = moves.keys().copied().collect();
            let mut values: Vec<f32> = moves.values().copied().collect();
            store.round("t", &mut values).unwrap();
            let sparse = Sparse::new(500, positions.clone(), store, values.clone()).unwrap();
            prop_assert_eq!(&Sparse::from_stream(500, store, &sparse.stream()).unwrap(), &sparse);
            let base: Vec<f32> = (0..500).map(|i| i as f32 * 0.25).collect();
            let moved = sparse.moved(&base).unwrap();
            for ((&p, v), m) in positions.iter().zip(&values).zip(moved) {
                prop_assert_eq!(m.to_bits(), (base[p as usize] + v).to_bits());
            }
        }

        #[test]
        fn any_bytes_are_a_sound_difference_or_an_error(
            stream in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            for store in [StoreType::F32, StoreType::Bf16] {
                if let Ok(sparse) = Sparse::from_stream(300, store, &stream) {
                    prop_assert!(sparse.positions().iter().all(|&p| p < 300));
                    prop_assert_eq!(sparse.positions().len(), sparse.values().len());
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let new = |positions: &[u32], values: &[f32]| {
            Sparse::new(4, positions.into(), StoreType::Bf16, values.into())
                .unwrap_err()
                .to_string()
        };
        assert!(new(&[0, 4], &[1.0, 1.0]).contains("position 4"));
        assert!(new(&[1, 0], &[1.0, 1.0]).contains("increase"));
        assert!(new(&[1], &[1.0, 1.0]).contains("2 values for 1 positions"));
        assert!(new(&[1], &[0.1]).contains("cannot be stored as bf16"));
        let read = |stream: &[u8]| {
            Sparse::from_stream(4, StoreType::Bf16, stream).unwrap_err().to_string()
        };
        assert!(read(&[]).contains("truncated"));
        assert!(read(&[9, 0, 1]).contains("9 bytes of positions in 2"));
        assert!(read(&[2, 0, 1, 7]).contains("1 bytes for 1 values"));
        let large = Sparse::new(1, vec![0], StoreType::F32, vec![f32::MAX]).unwrap();
        assert!(large.moved(&[f32::MAX]).unwrap_err().to_string().contains("not finite"));
    }
}
