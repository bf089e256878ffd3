//! Writing files so that a reader sees the old one or the whole new one, never a part.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use safetensors::Dtype;
use serde_json::{Map, Value, json};

use crate::output::TemporaryFile;
use crate::{Error, ErrorKind, Result};

/// Writes `path` through a temporary file in the same folder: filled by `fill`, synced, renamed.
///
/// An existing file is replaced; refusing that is the caller's choice. On an error (a full disk,
/// say) the temporary file is removed and what was at `path` stays.
///
/// # Errors
/// Whatever I/O error occurs, naming `path`.
pub fn write_atomically(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    write_file(path, true, fill)
}

/// The same; without `overwrite`, a file that is there already is an error, and stays.
///
/// # Errors
/// As [`write_atomically`].
pub fn write_file(
    path: &Path,
    overwrite: bool,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    write_whole(path, overwrite, fill).map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => {
            Error::new(ErrorKind::Io, format!("{} exists already", path.display()))
                .with_hint("choose another name, or replace it with `force`")
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::io(path, "write", e).with_hint("the disk is full; nothing was changed")
        }
        _ => Error::io(path, "write", e),
    })
}

/// Writes `path` aside, syncs and renames it; without `overwrite` an existing file is an error of
/// kind `AlreadyExists`. Whatever fails, no temporary file stays.
fn write_whole(
    path: &Path,
    overwrite: bool,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let temporary = TemporaryFile::new(folder)?;
    let mut out = BufWriter::with_capacity(1 << 20, temporary.file());
    fill(&mut out)?;
    out.flush()?;
    drop(out);
    temporary.file().sync_all()?;
    temporary.persist(path, overwrite)?;
    // The rename itself survives a power cut only once the folder is synced.
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    Ok(())
}

/// Writes tensors of f32 as a safetensors file that `transformers` loads, atomically.
///
/// `tensors` yields (name, shape, row-major values); the file keeps that order.
///
/// # Errors
/// A name given twice, values that do not fill their shape, or any I/O error.
pub fn write_safetensors<'a>(
    path: &Path,
    tensors: impl IntoIterator<Item = (String, Vec<usize>, &'a [f32])>,
) -> Result<()> {
    write_with_metadata(path, json!({"format": "pt"}), tensors)
}

/// The same with other metadata: a JSON object of strings.
pub(crate) fn write_with_metadata<'a>(
    path: &Path,
    metadata: Value,
    tensors: impl IntoIterator<Item = (String, Vec<usize>, &'a [f32])>,
) -> Result<()> {
    let (infos, data): (Vec<_>, Vec<&[f32]>) = tensors
        .into_iter()
        .map(|(name, shape, values)| ((name, Dtype::F32, shape, values.len() * 4), values))
        .unzip();
    let header = header(path, metadata, infos)?;
    write_atomically(path, |out| {
        out.write_all(&header)?;
        let mut bytes = Vec::with_capacity(4 * 4096);
        for chunk in data.iter().flat_map(|values| values.chunks(4096)) {
            bytes.clear();
            bytes.extend(chunk.iter().flat_map(|v| v.to_le_bytes()));
            out.write_all(&bytes)?;
        }
        Ok(())
    })
}

/// Writes tensors of any types as a safetensors file that `transformers` loads, atomically. `bytes`
/// is asked for each in turn: row-major, little-endian.
///
/// # Errors
/// As [`write_safetensors`].
///
/// # Panics
/// If the bytes of a tensor do not fill its shape.
pub(crate) fn write_stored<'a>(
    path: &Path,
    tensors: impl IntoIterator<Item = (String, Dtype, Vec<usize>)>,
    bytes: impl Fn(usize) -> Cow<'a, [u8]>,
) -> Result<()> {
    let infos: Vec<_> = tensors
        .into_iter()
        .map(|(name, dtype, shape)| {
            let size = shape.iter().product::<usize>() * dtype.bitsize() / 8;
            (name, dtype, shape, size)
        })
        .collect();
    let sizes: Vec<usize> = infos.iter().map(|&(.., size)| size).collect();
    let header = header(path, json!({"format": "pt"}), infos)?;
    write_atomically(path, |out| {
        out.write_all(&header)?;
        for (i, &size) in sizes.iter().enumerate() {
            let bytes = bytes(i);
            assert_eq!(bytes.len(), size, "a tensor's bytes fill its shape");
            out.write_all(&bytes)?;
        }
        Ok(())
    })
}

/// The size of the header and the header of (name, type, shape, bytes of data), in their order.
fn header(
    path: &Path,
    metadata: Value,
    tensors: Vec<(String, Dtype, Vec<usize>, usize)>,
) -> Result<Vec<u8>> {
    let mut header = Map::new();
    header.insert("__metadata__".into(), metadata);
    let mut names = HashSet::new();
    let mut end = 0;
    for (name, dtype, shape, size) in tensors {
        let problem = if !names.insert(name.clone()) || name == "__metadata__" {
            "its name is taken".to_string()
        } else if shape.iter().product::<usize>() * dtype.bitsize() != size * 8 {
            format!("{size} bytes do not fill {dtype} {shape:?}")
        } else {
            String::new()
        };
        if !problem.is_empty() {
            let message = format!("cannot write tensor {name} to {}: {problem}", path.display());
            return Err(Error::new(ErrorKind::Base, message));
        }
        let start = end;
        end += size;
        let entry =
            json!({"dtype": dtype.to_string(), "shape": shape, "data_offsets": [start, end]});
        header.insert(name, entry);
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    // The format pads its header with spaces so that the data start at a multiple of 8.
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok([&(header.len() as u64).to_le_bytes()[..], &header].concat())
}
