//! Zeros among the entries of a matrix that are largest in magnitude.

use super::codec::{self, push_leb128, take_leb128};
use super::content::Cut;
use super::edit::{Edit, TensorEdit, Zeros, check_positions};
use crate::checkpoint::Checkpoint;
use crate::kernels::select::kth_smallest;
use crate::{Error, ErrorKind, Result};

/// Zeros of one tensor, counted among its *candidates*: the entries with a magnitude of at least
/// `least` in the base.
///
/// Zeros that training finds lie among the large entries. Whoever has the base knows these, so that a
/// zero's place among the largest quarter takes two bits less than its place among all.
#[derive(Debug, Clone, PartialEq)]
pub struct LargeZeros {
    len: usize,
    least: f32,
    candidates: usize,
    ranks: Vec<u32>,
}

/// Which entries of a tensor are candidates, one bit each.
#[derive(Debug)]
pub(crate) struct Candidates {
    words: Vec<u64>,
    count: usize,
}

impl Candidates {
    /// The entries of `base` with a magnitude of at least `least`.
    pub(crate) fn of(base: &[f32], least: f32) -> Self {
        let word = |entries: &[f32]| {
            let bit = |(i, w): (usize, &f32)| u64::from(w.abs() >= least) << i;
            entries.iter().enumerate().map(bit).sum()
        };
        let words: Vec<u64> = base.chunks(64).map(word).collect();
        let count = words.iter().map(|word| word.count_ones() as usize).sum();
        Self { words, count }
    }
}

impl LargeZeros {
    /// The zeros of `zeros`, counted among the largest entries of `base`: half of them, a quarter, an
    /// eighth or a sixteenth, as few as have all zeros among them, else all. So the masks of one base
    /// have few kinds of candidates, which can be looked up.
    ///
    /// # Panics
    /// If `base` has another length than the tensor.
    pub fn new(zeros: &Zeros, base: &[f32]) -> Self {
        assert_eq!(base.len(), zeros.len(), "the base's tensor has the edit's shape");
        let magnitudes = zeros.positions().iter().map(|&p| base[p as usize].abs());
        let smallest = magnitudes.reduce(f32::min).unwrap_or(0.0);
        let all: Vec<f32> = base.iter().map(|w| w.abs()).collect();
        let largest = |share: usize| match all.len() - all.len() / share {
            // Half of one entry is none.
            others if others >= all.len() => f32::INFINITY,
            others => kth_smallest(&[&all], others).0,
        };
        let least = [16, 8, 4, 2].into_iter().map(largest).find(|least| *least <= smallest);
        let least = least.unwrap_or(0.0);
        let all = Candidates::of(base, least);
        let mut before = 0;
        let mut at = 0;
        let rank = |&position: &u32| {
            let (word, bit) = (position as usize / 64, position % 64);
            before += all.words[at..word].iter().map(|w| w.count_ones()).sum::<u32>();
            at = word;
            before + (all.words[word] & ((1 << bit) - 1)).count_ones()
        };
        let ranks = zeros.positions().iter().map(rank).collect();
        Self { len: zeros.len(), least, candidates: all.count, ranks }
    }

    /// Entries of the whole tensor.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no entry is zero.
    pub fn is_empty(&self) -> bool {
        self.ranks.is_empty()
    }

    /// How many entries are zero.
    pub fn count(&self) -> usize {
        self.ranks.len()
    }

    /// The same zeros by their flat positions.
    ///
    /// # Errors
    /// If `base` has another number of candidates than the cut was made with.
    ///
    /// # Panics
    /// If `base` has another length than the tensor.
    pub fn zeros(&self, base: &[f32]) -> Result<Zeros> {
        assert_eq!(base.len(), self.len, "the base's tensor has the edit's shape");
        self.zeros_among(&Candidates::of(base, self.least))
    }

    /// The least magnitude of a candidate.
    pub(crate) fn least(&self) -> f32 {
        self.least
    }

    /// The same zeros by their flat positions, for the candidates `all` of the base's tensor.
    ///
    /// # Errors
    /// If there are more or fewer of them than the cut was made with.
    pub(crate) fn zeros_among(&self, all: &Candidates) -> Result<Zeros> {
        if all.count != self.candidates {
            let message = format!(
                "{} entries of the base are {:e} or larger, expected {}",
                all.count, self.least, self.candidates
            );
            return Err(Error::new(ErrorKind::Cut, message)
                .with_hint("the cut is damaged, or was made for another base"));
        }
        let mut positions = Vec::with_capacity(self.ranks.len());
        let mut ranks = self.ranks.iter().copied().peekable();
        let mut before = 0;
        for (i, &word) in all.words.iter().enumerate() {
            let end = before + word.count_ones();
            // What is left of the word, and the rank of its lowest bit.
            let (mut rest, mut rank) = (word, before);
            while let Some(wanted) = ranks.next_if(|&r| r < end) {
                while rank < wanted {
                    rest &= rest - 1;
                    rank += 1;
                }
                positions.push(i as u32 * 64 + rest.trailing_zeros());
            }
            before = end;
        }
        Zeros::new(self.len, positions)
    }

    /// `least` as float32, the number of candidates as LEB128, the ranks as [`codec::encode`] codes
    /// positions among so many.
    pub(super) fn stream(&self) -> Vec<u8> {
        let mut out = self.least.to_le_bytes().to_vec();
        push_leb128(&mut out, self.candidates as u64);
        out.extend(codec::encode(self.candidates, &self.ranks));
        out
    }

    /// Reads what [`LargeZeros::stream`] wrote for a tensor of `len` entries; allocates at most 32
    /// bytes for each of the stream's.
    pub(super) fn from_stream(len: usize, stream: &[u8]) -> Result<Self> {
        let malformed = |what: String| {
            Err(Error::new(ErrorKind::Cut, format!("malformed zeros of large entries: {what}")))
        };
        check_positions(len, &[])?;
        let Some((least, mut rest)) = stream.split_first_chunk() else {
            return malformed(format!("{} bytes", stream.len()));
        };
        let least = f32::from_le_bytes(*least);
        if !(least.is_finite() && least.is_sign_positive()) {
            return malformed(format!("a least magnitude of {least}"));
        }
        let candidates = take_leb128(&mut rest)? as usize;
        if candidates > len {
            return malformed(format!("{candidates} candidates among {len} entries"));
        }
        let ranks = codec::decode(candidates, rest)?;
        Ok(Self { len, least, candidates, ranks })
    }
}

impl Cut {
    /// The cut with the zeros of large entries of `base`, a model folder's, as plain zeros.
    ///
    /// # Errors
    /// A base that cannot be read, or for which the cut was not made.
    pub(crate) fn with_positions(&self, base: &Checkpoint) -> Result<Self> {
        let spelled_out = |(name, edit): (&String, &TensorEdit)| {
            let edit = match &edit.edit {
                Edit::LargeZeros(zeros) => {
                    let mut values = vec![0.0; zeros.len()];
                    base.read_f32(name, &mut values)?;
                    TensorEdit {
                        shape: edit.shape.clone(),
                        edit: Edit::Zeros(zeros.zeros(&values)?),
                    }
                }
                _ => edit.clone(),
            };
            Ok((name.clone(), edit))
        };
        let edits = self.edits().iter().map(spelled_out).collect::<Result<_>>()?;
        let (card, head, probes) =
            (self.card().clone(), self.head().clone(), self.probes().to_vec());
        Self::new(card, head, edits, probes)
    }
}

impl Edit {
    /// The edit that makes `zeros` of the entries of `base` zero, coded by rank among the large
    /// entries where that takes at least a tenth less: older readers know plain positions alone.
    pub(crate) fn of_zeros(zeros: Zeros, base: &[f32]) -> Self {
        let large = LargeZeros::new(&zeros, base);
        let plain = codec::encode(zeros.len(), zeros.positions()).len();
        if 10 * large.stream().len() <= 9 * plain {
            Self::LargeZeros(large)
        } else {
            Self::Zeros(zeros)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::random::{normal, uniform};
    use proptest::prelude::*;

    fn matrix(len: usize) -> Vec<f32> {
        (0..len as u32).map(|i| 0.05 * normal(1, i)).collect()
    }

    proptest! {
        #[test]
        fn any_zeros_come_back(
            values in prop::collection::vec(prop::sample::select(vec![0.0f32, -0.0, 0.5, -0.5, 1.0, 2.0]), 1..300),
            keep in prop::collection::vec(any::<bool>(), 300),
        ) {
            let zeros = Zeros::from_keep(values.iter().zip(&keep).map(|(_, keep)| *keep)).unwrap();
            let large = LargeZeros::new(&zeros, &values);
            prop_assert_eq!(large.zeros(&values).unwrap(), zeros);
            prop_assert_eq!(&LargeZeros::from_stream(values.len(), &large.stream()).unwrap(), &large);
        }

        #[test]
        fn any_stream_is_read_or_refused(len in 1usize..400, stream in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(large) = LargeZeros::from_stream(len, &stream) {
                prop_assert!(large.count() <= large.candidates && large.candidates <= len);
                prop_assert_eq!(large.stream(), stream);
            }
        }
    }

    #[test]
    fn zeros_of_large_entries_take_two_bits_less_and_others_stay_plain() {
        let base = matrix(100_000);
        let mut order: Vec<f32> = base.iter().map(|w| w.abs()).collect();
        order.sort_by(f32::total_cmp);
        let least = order[75_000];
        let kept = |i: usize| base[i].abs() < least || uniform(2, i as u32) > 0.04;
        let zeros = Zeros::from_keep((0..base.len()).map(kept)).unwrap();
        let Edit::LargeZeros(large) = Edit::of_zeros(zeros.clone(), &base) else { panic!() };
        let plain = codec::encode(zeros.len(), zeros.positions()).len();
        let bits = |bytes: usize| 8.0 * bytes as f64 / zeros.positions().len() as f64;
        let saved = bits(plain) - bits(large.stream().len());
        assert!((1.9..2.1).contains(&saved), "{saved}");

        let anywhere =
            Zeros::from_keep((0..base.len() as u32).map(|i| uniform(3, i) > 0.01)).unwrap();
        assert_eq!(Edit::of_zeros(anywhere.clone(), &base), Edit::Zeros(anywhere));
    }

    #[test]
    fn another_base_is_refused() {
        let base = matrix(1000);
        let largest = (0..1000).filter(|&i: &u32| base[i as usize].abs() > 0.12).collect();
        let large = LargeZeros::new(&Zeros::new(1000, largest).unwrap(), &base);
        let other: Vec<f32> = base.iter().map(|w| 0.9 * w).collect();
        let error = large.zeros(&other).unwrap_err();
        assert!(error.to_string().contains("entries of the base are"), "{error}");
        assert!(error.hint().unwrap().contains("another base"));
    }
}
