//! What a cut changes: entries set to zero, tensors replaced, a head.

use std::borrow::Cow;

use half::{bf16, f16};
use safetensors::Dtype;
use serde::{Deserialize, Serialize};

use super::codec;
use super::delta::Delta;
use super::large::LargeZeros;
use super::lowrank::LowRank;
use super::sign::Sign;
use super::sparse::Sparse;
use crate::{Error, ErrorKind, Result};

/// The zero entries of one tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zeros {
    len: usize,
    positions: Vec<u32>,
}

impl Zeros {
    /// Zeros at `positions`, flat (row-major), of a tensor of `len` entries.
    ///
    /// # Errors
    /// If the positions are not strictly increasing and below `len`, or `len` is above `u32::MAX`.
    pub fn new(len: usize, positions: Vec<u32>) -> Result<Self> {
        check_positions(len, &positions)?;
        Ok(Self { len, positions })
    }

    /// Zeros wherever `keep` is false; `keep` has one value for each entry of the tensor.
    ///
    /// # Errors
    /// If there are more than `u32::MAX` entries.
    pub fn from_keep(keep: impl ExactSizeIterator<Item = bool>) -> Result<Self> {
        let len = keep.len();
        check_len(len)?;
        let positions =
            keep.enumerate().filter(|&(_, kept)| !kept).map(|(i, _)| i as u32).collect();
        Ok(Self { len, positions })
    }

    /// Entries of the whole tensor.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no entry is zero.
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// The zeros' flat positions, strictly increasing.
    pub fn positions(&self) -> &[u32] {
        &self.positions
    }

    /// The share of zeros, 0 to 1; 0 for a tensor without entries.
    pub fn density(&self) -> f64 {
        if self.len == 0 { 0.0 } else { self.positions.len() as f64 / self.len as f64 }
    }
}

/// Checks that positions among `len` are strictly increasing and below it.
pub(super) fn check_positions(len: usize, positions: &[u32]) -> Result<()> {
    check_len(len)?;
    if let Some(w) = positions.windows(2).find(|w| w[0] >= w[1]) {
        return Err(Error::new(
            ErrorKind::Cut,
            format!("positions must increase, found {} then {}", w[0], w[1]),
        ));
    }
    match positions.last() {
        Some(&last) if last as usize >= len => {
            Err(Error::new(ErrorKind::Cut, format!("position {last} among {len}")))
        }
        _ => Ok(()),
    }
}

/// Checks that an edit gives numbers.
pub(super) fn finite(values: &[f32]) -> Result<()> {
    match values.iter().position(|v| !v.is_finite()) {
        Some(i) => Err(Error::new(
            ErrorKind::Cut,
            format!("an edited entry comes out as {}, which is not finite", values[i]),
        )
        .with_hint("the cut is damaged, or was made for another base")),
        None => Ok(()),
    }
}

fn check_len(len: usize) -> Result<()> {
    if len > u32::MAX as usize {
        return Err(Error::new(
            ErrorKind::Cut,
            format!(
                "a tensor of {len} entries; positions are coded in tensors of at most {}",
                u32::MAX
            ),
        ));
    }
    Ok(())
}

/// The number format in which trained values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreType {
    /// 32 bits: every value as it is.
    F32,
    /// 16 bits, the range of `f32` with 8 significant bits.
    Bf16,
    /// 16 bits, magnitudes up to 65504 with 11 significant bits.
    F16,
}

impl StoreType {
    /// The name used on the command line and in cards.
    pub fn name(self) -> &'static str {
        match self {
            StoreType::F32 => "f32",
            StoreType::Bf16 => "bf16",
            StoreType::F16 => "f16",
        }
    }

    /// Bytes of one value.
    pub fn size(self) -> usize {
        match self {
            StoreType::F32 => 4,
            StoreType::Bf16 | StoreType::F16 => 2,
        }
    }

    /// The bits of the nearest value that the format holds, ties to even; in the lowest 16 for the
    /// 16-bit formats.
    pub(super) fn bits(self, value: f32) -> u32 {
        match self {
            StoreType::F32 => value.to_bits(),
            StoreType::Bf16 => u32::from(bf16::from_f32(value).to_bits()),
            StoreType::F16 => u32::from(f16::from_f32(value).to_bits()),
        }
    }

    /// The value of these bits, as [`StoreType::bits`] gives them.
    pub(super) fn value(self, bits: u32) -> f32 {
        match self {
            StoreType::F32 => f32::from_bits(bits),
            StoreType::Bf16 => bf16::from_bits(bits as u16).to_f32(),
            StoreType::F16 => f16::from_bits(bits as u16).to_f32(),
        }
    }

    /// `value` as it will be read back: the nearest that the format holds, ties to even.
    fn nearest(self, value: f32) -> f32 {
        match self {
            StoreType::F32 => value,
            StoreType::Bf16 => bf16::from_f32(value).to_f32(),
            StoreType::F16 => f16::from_f32(value).to_f32(),
        }
    }

    /// Whether the format holds `value`, which is finite, exactly.
    pub(crate) fn holds(self, value: f32) -> bool {
        self.nearest(value).to_bits() == value.to_bits()
    }

    /// Rounds `values`, of the tensor `name`, to what will be stored, so that what is evaluated
    /// before writing is exactly what a reader gets.
    ///
    /// # Errors
    /// If a value is not finite, or too large for the format; `values` is then rounded in part.
    pub fn round(self, name: &str, values: &mut [f32]) -> Result<()> {
        for (i, value) in values.iter_mut().enumerate() {
            let stored = self.nearest(*value);
            if !stored.is_finite() {
                return Err(self.not_storable(name, i, *value));
            }
            *value = stored;
        }
        Ok(())
    }

    fn not_storable(self, name: &str, i: usize, value: f32) -> Error {
        let error = Error::new(
            ErrorKind::Cut,
            format!("{name}, entry {i}: {value} cannot be stored as {}", self.name()),
        );
        if value.is_finite() {
            error.with_hint("store as f32 (`store=f32`)")
        } else {
            error.with_hint("training diverged; a lower learning rate may help")
        }
    }

    /// Checks that `values` are what [`StoreType::round`] leaves: finite, and held exactly.
    pub(crate) fn check_rounded(self, name: &str, values: &[f32]) -> Result<()> {
        match values.iter().position(|&v| !(v.is_finite() && self.nearest(v) == v)) {
            Some(i) => Err(self.not_storable(name, i, values[i])),
            None => Ok(()),
        }
    }

    /// The element type in a safetensors file.
    pub fn dtype(self) -> Dtype {
        match self {
            StoreType::F32 => Dtype::F32,
            StoreType::Bf16 => Dtype::BF16,
            StoreType::F16 => Dtype::F16,
        }
    }

    /// The store type of this element type, if it is one.
    pub(crate) fn of(dtype: Dtype) -> Option<Self> {
        [StoreType::F32, StoreType::Bf16, StoreType::F16].into_iter().find(|s| s.dtype() == dtype)
    }

    /// The little-endian bytes of `values`, which are rounded already.
    pub(crate) fn to_bytes(self, values: &[f32]) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.put(&mut bytes, values);
        bytes
    }

    /// Appends the little-endian bytes of `values`, which are rounded already.
    pub(super) fn put(self, out: &mut Vec<u8>, values: &[f32]) {
        out.reserve(values.len() * self.size());
        for &v in values {
            match self {
                StoreType::F32 => out.extend_from_slice(&v.to_le_bytes()),
                StoreType::Bf16 => out.extend_from_slice(&bf16::from_f32(v).to_le_bytes()),
                StoreType::F16 => out.extend_from_slice(&f16::from_f32(v).to_le_bytes()),
            }
        }
    }

    /// The values in `bytes`, which are a whole number of them.
    pub(crate) fn take(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            StoreType::F32 => {
                bytes.as_chunks().0.iter().map(|&four| f32::from_le_bytes(four)).collect()
            }
            StoreType::Bf16 => {
                bytes.as_chunks().0.iter().map(|&two| bf16::from_le_bytes(two).to_f32()).collect()
            }
            StoreType::F16 => {
                bytes.as_chunks().0.iter().map(|&two| f16::from_le_bytes(two).to_f32()).collect()
            }
        }
    }
}

/// What happens to one tensor.
#[derive(Debug, Clone, PartialEq)]
pub enum Edit {
    /// Some entries become +0.0; the others stay the base's.
    Zeros(Zeros),
    /// The same, of entries that are large in the base.
    LargeZeros(LargeZeros),
    /// All entries are replaced.
    Replace {
        /// The format in which the values are stored.
        store: StoreType,
        /// The new entries, row-major, each one that `store` holds exactly.
        values: Vec<f32>,
    },
    /// All entries are replaced, stored as their exact difference from the base's.
    Delta(Delta),
    /// Some entries move, each by an amount of its own.
    Sparse(Sparse),
    /// Some rows move, their entries up or down by one amount a row.
    Sign(Sign),
    /// A matrix moves by a product of two narrow ones.
    LowRank(LowRank),
}

/// One edited tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorEdit {
    /// The tensor's dimensions in the base; none is 0.
    pub shape: Vec<usize>,
    /// What happens to it.
    pub edit: Edit,
}

impl TensorEdit {
    /// Checks that the edit fits `shape` and can be stored; `name` is for the message.
    pub(super) fn check(&self, name: &str) -> Result<()> {
        let expected = entries(&self.shape).filter(|&n| n > 0).ok_or_else(|| {
            Error::new(ErrorKind::Cut, format!("{name}: impossible shape {:?}", self.shape))
        })?;
        let found = match &self.edit {
            Edit::Zeros(zeros) => zeros.len(),
            Edit::LargeZeros(zeros) => zeros.len(),
            Edit::Replace { values, .. } => values.len(),
            Edit::Delta(delta) => delta.len(),
            Edit::Sparse(sparse) => sparse.len(),
            Edit::Sign(sign) => sign.len(),
            Edit::LowRank(low_rank) => low_rank.len(),
        };
        if found != expected {
            return Err(Error::new(
                ErrorKind::Cut,
                format!("{name}: {found} entries, expected {expected} of shape {:?}", self.shape),
            ));
        }
        match &self.edit {
            Edit::Replace { store, values } => store.check_rounded(name, values),
            // The rest was checked as it was made.
            Edit::Delta(delta) => self.check_columns(name, delta.columns()),
            Edit::Sign(sign) => self.check_columns(name, sign.columns()),
            Edit::LowRank(low_rank) => self.check_columns(name, low_rank.columns()),
            Edit::Zeros(_) | Edit::LargeZeros(_) | Edit::Sparse(_) => Ok(()),
        }
    }

    fn check_columns(&self, name: &str, columns: usize) -> Result<()> {
        if self.shape.last() == Some(&columns) {
            return Ok(());
        }
        let message = format!("{name}: rows of {columns}, expected those of {:?}", self.shape);
        Err(Error::new(ErrorKind::Cut, message))
    }

    /// Bytes of its data in a file. Codes zeros, sparse and one-bit differences to see.
    pub(crate) fn bytes(&self) -> usize {
        match &self.edit {
            Edit::Zeros(zeros) => codec::encode(zeros.len(), zeros.positions()).len(),
            Edit::LargeZeros(zeros) => zeros.stream().len(),
            Edit::Replace { store, values } => values.len() * store.size(),
            Edit::Delta(delta) => delta.size(),
            Edit::Sparse(sparse) => sparse.stream().len(),
            Edit::Sign(sign) => sign.stream().len(),
            Edit::LowRank(low_rank) => low_rank.factors().len() * low_rank.store().size(),
        }
    }

    /// Which entries of the base's tensor become zero, where that is what the edit does.
    ///
    /// # Errors
    /// If the edit was made for another base.
    ///
    /// # Panics
    /// If `base` has not as many entries as the edit's shape.
    pub(crate) fn zeros(&self, base: &[f32]) -> Result<Option<Cow<'_, Zeros>>> {
        Ok(match &self.edit {
            Edit::Zeros(zeros) => Some(Cow::Borrowed(zeros)),
            Edit::LargeZeros(zeros) => Some(Cow::Owned(zeros.zeros(base)?)),
            _ => None,
        })
    }

    /// How many entries become zero, where that is what the edit does.
    pub(crate) fn count_zeros(&self) -> Option<usize> {
        match &self.edit {
            Edit::Zeros(zeros) => Some(zeros.positions().len()),
            Edit::LargeZeros(zeros) => Some(zeros.count()),
            _ => None,
        }
    }

    /// What the edit makes of the base's tensor: the flat positions it changes, all where there are
    /// none given, and their new values.
    ///
    /// # Errors
    /// If the edit is malformed, or gives values that are not finite, on this base.
    ///
    /// # Panics
    /// If `base` has not as many entries as the edit's shape.
    pub(crate) fn change(&self, base: &[f32]) -> Result<(Option<Vec<u32>>, Vec<f32>)> {
        Ok(match &self.edit {
            Edit::Zeros(_) | Edit::LargeZeros(_) => {
                let positions = self.zeros(base)?.expect("zeros").into_owned().positions;
                let values = vec![0.0; positions.len()];
                (Some(positions), values)
            }
            Edit::Replace { values, .. } => (None, values.clone()),
            Edit::Delta(delta) => (None, delta.values(base)?),
            Edit::Sparse(sparse) => (Some(sparse.positions().to_vec()), sparse.moved(base)?),
            Edit::Sign(sign) => (None, sign.moved(base)?),
            Edit::LowRank(low_rank) => (None, low_rank.moved(base)?),
        })
    }
}

/// The head's tensors in a file.
pub const HEAD_TENSORS: [&str; 2] = ["head.weight", "head.bias"];

/// The number of entries of `shape`; `None` where it overflows.
pub(super) fn entries(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
}

/// The linear layer from the pooled vector to the logits.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// The format in which both tensors are stored.
    pub store: StoreType,
    /// Length of the pooled vector.
    pub hidden: usize,
    /// `[outputs, hidden]`, row-major, each one that `store` holds exactly.
    pub weight: Vec<f32>,
    /// `[outputs]`, likewise.
    pub bias: Vec<f32>,
}

impl Head {
    /// How many logits the head gives.
    pub fn outputs(&self) -> usize {
        self.bias.len()
    }

    pub(super) fn check(&self) -> Result<()> {
        let expected = self.bias.len().checked_mul(self.hidden).filter(|&n| n > 0);
        if expected != Some(self.weight.len()) {
            return Err(Error::new(
                ErrorKind::Cut,
                format!(
                    "a head of {} outputs over {} inputs with {} weights",
                    self.bias.len(),
                    self.hidden,
                    self.weight.len()
                ),
            ));
        }
        self.store.check_rounded("head.weight", &self.weight)?;
        self.store.check_rounded("head.bias", &self.bias)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_reject_what_no_mask_gives() {
        for positions in [vec![1, 1], vec![2, 1], vec![0, 4]] {
            assert!(Zeros::new(4, positions).is_err());
        }
        let zeros = Zeros::from_keep([true, false, true, false].into_iter()).unwrap();
        assert_eq!((zeros.len(), zeros.positions(), zeros.density()), (4, &[1, 3][..], 0.5));
        assert_eq!(Zeros::new(0, vec![]).unwrap().density(), 0.0);
    }

    #[test]
    fn rounding_is_to_nearest_even_and_stays_put() {
        // Between 1 and its successor in each format: the tie goes to the even one, 1.
        for (store, step) in [(StoreType::Bf16, 2f32.powi(-7)), (StoreType::F16, 2f32.powi(-10))] {
            let mut values = [1.0 + step / 2.0, 1.0 + 1.5 * step, 1.0 + 0.51 * step, -0.0];
            store.round("t", &mut values).unwrap();
            assert_eq!(values, [1.0, 1.0 + 2.0 * step, 1.0 + step, 0.0]);
            assert!(values[3].is_sign_negative());
            store.check_rounded("t", &values).unwrap();
            let mut bytes = vec![];
            store.put(&mut bytes, &values);
            assert_eq!(bytes.len(), 4 * store.size());
            assert_eq!(bits(&store.take(&bytes)), bits(&values));
        }
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|v| v.to_bits()).collect()
    }

    #[test]
    fn what_a_format_cannot_hold_is_an_error_naming_the_tensor() {
        let message = StoreType::F16.round("head.bias", &mut [1.0, 65520.0]).unwrap_err();
        assert!(message.to_string().contains("head.bias, entry 1: 65520"), "{message}");
        assert!(message.hint().unwrap().contains("f32"));
        assert!(StoreType::F16.round("t", &mut [65519.0]).is_ok());
        assert!(StoreType::Bf16.round("t", &mut [f32::MAX]).is_err());
        assert!(StoreType::F32.round("t", &mut [f32::MAX]).is_ok());
        assert!(StoreType::F32.round("t", &mut [f32::NAN]).is_err());
    }
}
