//! Outputs of a frozen trunk, computed once for all epochs.

use crate::data::{Batch, Encoding};
use crate::model::{Encoder, Tape, Weights};
use crate::{Error, ErrorKind, Result};
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// Hidden states of every training row after the frozen layers, in memory or in a temporary file.
#[derive(Debug)]
pub(super) struct Trunk {
    pub(super) depth: usize,
    hidden: usize,
    /// First state of every row, and one past the last, `[rows + 1]`.
    offsets: Vec<usize>,
    store: Store,
}

#[derive(Debug)]
enum Store {
    Memory(Vec<f32>),
    Disk(File),
}

/// Texts of one batch while the trunk is filled; fixed, so that the states never depend on how a
/// run was split.
const ROWS_PER_BATCH: usize = 64;

impl Trunk {
    /// Computes the lowest `depth` layers of every row. States beyond `memory` bytes go to a
    /// temporary file in `folder`. `progress` hears how many rows are done, and may stop by `false`.
    pub(super) fn new(
        encoder: &Encoder,
        weights: &Weights,
        rows: &[Encoding],
        depth: usize,
        (memory, folder): (usize, &Path),
        mut progress: impl FnMut(usize) -> bool,
    ) -> Result<Self> {
        let hidden = encoder.config().hidden;
        let offsets = offsets(encoder, rows, depth);
        let floats = offsets[rows.len()] * hidden;
        let full = |e| {
            Error::io(folder, "write the frozen layers' outputs to a temporary file in", e)
                .with_hint("free some disk space, use `limit`, or train all layers")
        };
        let mut store = if floats * 4 <= memory {
            Store::Memory(Vec::with_capacity(floats))
        } else {
            Store::Disk(tempfile::tempfile_in(folder).map_err(full)?)
        };
        progress(0);
        let mut tape = Tape::default();
        for (i, chunk) in rows.chunks(ROWS_PER_BATCH).enumerate() {
            let states = encoder.trunk(weights, &Batch::from_encodings(chunk), depth, &mut tape);
            match &mut store {
                Store::Memory(all) => all.extend_from_slice(states),
                Store::Disk(file) => {
                    let bytes: Vec<u8> = states.iter().flat_map(|v| v.to_le_bytes()).collect();
                    file.write_all(&bytes).map_err(full)?;
                }
            }
            if !progress(i * ROWS_PER_BATCH + chunk.len()) {
                return Err(Error::new(
                    ErrorKind::Interrupted,
                    "interrupted before the first step",
                ));
            }
        }
        Ok(Self { depth, hidden, offsets, store })
    }

    /// Bytes of the states of `rows`.
    pub(super) fn bytes_of(encoder: &Encoder, rows: &[Encoding], depth: usize) -> usize {
        offsets(encoder, rows, depth)[rows.len()] * encoder.config().hidden * 4
    }

    /// Bytes in memory.
    pub(super) fn bytes(&self) -> usize {
        match &self.store {
            Store::Memory(all) => all.len() * 4,
            Store::Disk(_) => 0,
        }
    }

    /// States of the given rows back to back into `states`, and where each begins into `offsets`.
    pub(super) fn read(
        &self,
        rows: &[u32],
        states: &mut Vec<f32>,
        offsets: &mut Vec<usize>,
    ) -> Result<()> {
        states.clear();
        offsets.clear();
        offsets.push(0);
        for &row in rows {
            let (from, to) = (self.offsets[row as usize], self.offsets[row as usize + 1]);
            offsets.push(offsets[offsets.len() - 1] + to - from);
            let range = from * self.hidden..to * self.hidden;
            match &self.store {
                Store::Memory(all) => states.extend_from_slice(&all[range]),
                Store::Disk(file) => {
                    let mut bytes = vec![0; range.len() * 4];
                    read_exact_at(file, &mut bytes, range.start as u64 * 4).map_err(|e| {
                        Error::new(
                            ErrorKind::Io,
                            format!("cannot read back the frozen layers' outputs: {e}"),
                        )
                    })?;
                    states.extend(
                        bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)),
                    );
                }
            }
        }
        Ok(())
    }
}

/// First state of every row, and one past the last, `[rows + 1]`.
fn offsets(encoder: &Encoder, rows: &[Encoding], depth: usize) -> Vec<usize> {
    let pooled = depth == encoder.config().layers;
    let mut offsets = vec![0];
    for row in rows {
        offsets.push(offsets[offsets.len() - 1] + if pooled { 1 } else { row.ids.len() });
    }
    offsets
}

#[cfg(unix)]
fn read_exact_at(file: &File, bytes: &mut [u8], at: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, at)
}

#[cfg(not(unix))]
fn read_exact_at(mut file: &File, bytes: &mut [u8], at: u64) -> std::io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(bytes)
}
