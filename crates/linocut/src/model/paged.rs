//! Floats in a file of their own: memory holds those that are used, and gives them back when it is short.

use std::fs::File;
use std::io::{self, Write};

use memmap2::{Mmap, UncheckedAdvice};
use pulp::bytemuck;

/// Floats written at a time. Systems keep what was written together in one piece, and bring all of it for one
/// entry: 1 MB at a time, vectors alone brought all matrices between them.
const WRITTEN: usize = 4096;

/// Floats, read only.
#[derive(Debug)]
pub(super) struct Paged(Mmap);

impl Paged {
    /// Writes them to a file without a name among the system's temporary ones.
    #[allow(unsafe_code)]
    pub(super) fn new(values: &[f32]) -> io::Result<Self> {
        let mut file: File = tempfile::tempfile()?;
        for some in values.chunks(WRITTEN) {
            file.write_all(bytemuck::cast_slice(some))?;
        }
        // SAFETY: the file has no name, so that nothing else can write to it or shorten it.
        Ok(Self(unsafe { Mmap::map(&file)? }))
    }

    /// All of them.
    pub(super) fn values(&self) -> &[f32] {
        bytemuck::cast_slice(&self.0) // a map begins where a page does
    }

    /// Gives back the memory that holds them; what is used again is read again.
    #[allow(unsafe_code)]
    pub(super) fn give_back(&self) {
        // SAFETY: what is mapped is a file and is not written to, so the same bytes come back. If the system
        // does not do it, memory is all that it costs.
        let _ = unsafe { self.0.unchecked_advise(UncheckedAdvice::DontNeed) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_back_is_read_again() {
        let values: Vec<f32> = (0..100_000u32).map(|i| f32::from_bits(i * 42_949)).collect();
        let paged = Paged::new(&values).unwrap();
        for _ in 0..2 {
            assert!(paged.values().iter().zip(&values).all(|(a, b)| a.to_bits() == b.to_bits()));
            paged.give_back();
        }
    }
}
