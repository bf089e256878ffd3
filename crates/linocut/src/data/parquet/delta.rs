//! Delta-packed numbers, as far as it takes to know how many they are and what they come to.
//! (Parquet's DELTA_BINARY_PACKED: apache/parquet-format, `Encodings.md`.)

use super::thrift::Thrift;

/// What delta-packed numbers come to.
pub(super) struct Packed {
    /// Sum of them.
    pub(super) sum: u64,
    /// Where they end in the bytes.
    pub(super) end: usize,
}

/// Walks the delta-packed lengths, 32-bit numbers not below 0, that `bytes` begin with; `None` where
/// they are damaged or more than `most`.
pub(super) fn packed(bytes: &[u8], most: u64) -> Option<Packed> {
    let mut head = Thrift::new(bytes);
    let (block, minis, count) = (head.varint()?, head.varint()?, head.varint()?);
    let mut value = head.integer()? as i32;
    let each = block.checked_div(minis)?;
    if count > most || block > 1 << 20 || each * minis != block || each % 32 != 0 || each == 0 {
        return None;
    }
    let (mut sum, mut left, mut at) = (0, count, head.at);
    if left > 0 {
        sum = u64::try_from(value).ok()?;
        left -= 1;
    }
    while left > 0 {
        let mut block = Thrift::new(bytes.get(at..)?);
        let least = block.integer()? as i32;
        at += block.at;
        let widths = bytes.get(at..)?.get(..minis as usize)?;
        at += minis as usize;
        // Those of a last block that hold nothing are left out, whatever width they have.
        for &width in widths {
            if left == 0 {
                break;
            }
            let (width, mut bit) = (usize::from(width), 0);
            let packed = bytes.get(at..)?.get(..each as usize * width / 8)?;
            if width > 32 {
                return None;
            }
            at += packed.len();
            for _ in 0..left.min(each) {
                let delta = (0..width).fold(0_u32, |delta, i| {
                    let at = bit + i;
                    delta | u32::from(packed[at / 8] >> (at % 8) & 1) << i
                });
                bit += width;
                value = value.wrapping_add(least).wrapping_add(delta as i32);
                sum += u64::try_from(value).ok()?;
                left -= 1;
            }
        }
    }
    Some(Packed { sum, end: at })
}
