//! What a Parquet file declares, held against its length before anything is allocated by it.

use std::io::Read;

use ::parquet::basic::{Compression, Encoding};
use ::parquet::column::page::Page;
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::ColumnChunkMetaData;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;

use super::delta;
use super::thrift::{FALSE, I32, LIST, STRUCT, Thrift};

/// Why a file is not read.
pub(super) enum Fault {
    Encrypted,
    /// By this codec, which is not built in, and this column.
    Codec(&'static str, String),
    Damaged(String),
}

impl From<&str> for Fault {
    fn from(why: &str) -> Self {
        Fault::Damaged(why.to_string())
    }
}

/// Fields within fields of a schema.
const DEPTH: usize = 32;

/// The most that a file of `bytes` may come to when unpacked.
pub(super) fn most(bytes: usize) -> u64 {
    (4 << 20) + 200 * bytes as u64
}

/// The footer: no list longer than its bytes, no field with more children than there are fields.
pub(super) fn footer(file: &[u8]) -> Result<(), Fault> {
    if file.ends_with(b"PARE") {
        return Err(Fault::Encrypted);
    }
    if !(file.len() >= 12 && file.starts_with(b"PAR1") && file.ends_with(b"PAR1")) {
        return Err("it does not begin and end with PAR1: cut short, or something else".into());
    }
    let end = file.len() - 8;
    let length = u32::from_le_bytes([file[end], file[end + 1], file[end + 2], file[end + 3]]);
    let start = end.checked_sub(length as usize).filter(|start| *start >= 4);
    let start = start.ok_or("its footer is longer than the file")?;
    let mut children = Vec::new();
    let walked = Thrift::new(&file[start..end]).fields(&mut |thrift, number, kind| {
        if (number, kind) != (2, LIST) {
            return Some(false);
        }
        let (size, STRUCT) = thrift.list()? else { return None };
        for _ in 0..size {
            let mut own = 0;
            thrift.fields(&mut |thrift, number, kind| {
                Some(if (number, kind) == (5, I32) {
                    own = thrift.integer()?;
                    true
                } else {
                    false
                })
            })?;
            children.push(own);
        }
        Some(true)
    });
    walked.ok_or("its footer is damaged")?;
    Ok(schema(&children).ok_or("its schema is damaged")?)
}

/// Numbers of children in depth-first order must make one tree, not too deep.
fn schema(children: &[i64]) -> Option<()> {
    let mut open: Vec<i64> = vec![1];
    for &own in children {
        if !(0..children.len() as i64).contains(&own) || open.len() > DEPTH {
            return None;
        }
        *open.last_mut()? -= 1;
        open.push(own);
        while open.last() == Some(&0) {
            open.pop();
        }
    }
    open.is_empty().then_some(())
}

/// The pages of a column's chunk: sizes and numbers of values; adds up what they unpack to.
pub(super) fn pages(
    file: &[u8],
    chunk: &ColumnChunkMetaData,
    unpacked: &mut u64,
) -> Result<(), Fault> {
    codec(chunk)?;
    let damaged = || Fault::from("its pages are damaged");
    let (start, length) = chunk.byte_range();
    let end =
        start.checked_add(length).filter(|end| *end <= file.len() as u64).ok_or_else(damaged)?;
    let mut rest = &file[start as usize..end as usize];
    while !rest.is_empty() {
        let mut thrift = Thrift::new(rest);
        let (mut size, mut packed, mut values, mut is_dictionary) = (0, 0, 0, false);
        // Levels stand before what is packed, in pages of version 2.
        let (mut levels, mut is_packed) = (0, true);
        let walked = thrift.fields(&mut |thrift, number, kind| {
            match (number, kind) {
                (2, I32) => size = thrift.integer()?,
                (3, I32) => packed = thrift.integer()?,
                (5 | 7 | 8, STRUCT) => {
                    is_dictionary |= number == 7;
                    let is_second = number == 8;
                    thrift.fields(&mut |thrift, number, kind| {
                        match (number, kind) {
                            (1, I32) => values = thrift.integer()?,
                            (5 | 6, I32) if is_second => levels += thrift.integer()?.max(0),
                            (7, FALSE) if is_second => is_packed = false,
                            _ => return Some(false),
                        }
                        Some(true)
                    })?;
                }
                _ => return Some(false),
            }
            Some(true)
        });
        walked.ok_or_else(damaged)?;
        let left = (rest.len() - thrift.at) as i64;
        // An entry of a dictionary takes a byte at least.
        if size < 0 || values < 0 || !(0..=left).contains(&packed) || is_dictionary && values > size
        {
            return Err(damaged());
        }
        // A value of a dictionary is held as a reference of 32 bytes.
        let held = if is_dictionary { 32 } else { 0 };
        let bytes = (size as u64).saturating_add((values as u64).saturating_mul(held));
        add(unpacked, bytes.saturating_add(values as u64 / 8), file.len())?;
        let (page, behind) = rest[thrift.at..].split_at(packed as usize);
        if is_packed {
            let at = usize::try_from(levels).ok().filter(|_| levels <= size);
            let packed = at.and_then(|at| page.get(at..)).ok_or_else(damaged)?;
            inflated(chunk, packed, (size - levels) as u64)?;
        }
        rest = behind;
    }
    Ok(())
}

/// Checks that `page` comes to no more than the `size` bytes it declares, where the crate would find
/// that out only afterwards.
fn inflated(chunk: &ColumnChunkMetaData, page: &[u8], size: u64) -> Result<(), Fault> {
    /// That of LZ4's frames, which files of 2020 and before hold instead of blocks.
    const FRAME: &[u8] = &0x184d_2204_u32.to_le_bytes();
    match chunk.compression() {
        Compression::GZIP(_) => {
            let within = &mut MultiGzDecoder::new(page).take(size + 1);
            let found = std::io::copy(within, &mut std::io::sink());
            match found {
                Ok(found) if found <= size => Ok(()),
                Ok(_) => Err("a page comes to more bytes than it says".into()),
                Err(e) => Err(Fault::Damaged(format!("a page is no gzip: {e}"))),
            }
        }
        Compression::LZ4 if page.starts_with(FRAME) => {
            Err(Fault::Codec("LZ4 in frames", chunk.column_path().to_string()))
        }
        _ => Ok(()),
    }
}

fn codec(chunk: &ColumnChunkMetaData) -> Result<(), Fault> {
    let name = match chunk.compression() {
        Compression::BROTLI(_) => "Brotli",
        Compression::LZO => "LZO",
        _ => return Ok(()),
    };
    Err(Fault::Codec(name, chunk.column_path().to_string()))
}

/// Delta encodings say within their pages how many values there are and how long, and room is made for
/// as many; adds up what they unpack to.
pub(super) fn deltas(
    file: &[u8],
    reader: &SerializedFileReader<Bytes>,
    (group, column): (usize, usize),
    unpacked: &mut u64,
) -> Result<(), Fault> {
    let chunk = reader.metadata().row_group(group).column(column);
    let descr = chunk.column_descr();
    let group = reader.get_row_group(group).map_err(of_crate)?;
    for page in group.get_column_page_reader(column).map_err(of_crate)? {
        let page = page.map_err(of_crate)?;
        if !is_delta(page.encoding()) {
            continue;
        }
        let levels = match &page {
            Page::DataPageV2 { def_levels_byte_len, rep_levels_byte_len, .. } => {
                *def_levels_byte_len as usize + *rep_levels_byte_len as usize
            }
            Page::DataPage { buf, .. } => {
                let has = [descr.max_rep_level() > 0, descr.max_def_level() > 0];
                has.iter().filter(|has| **has).fold(0, |at, _| {
                    let length: Option<&[u8; 4]> = buf.get(at..).and_then(|b| b.first_chunk());
                    length.map_or(usize::MAX, |l| {
                        at.saturating_add(4 + u32::from_le_bytes(*l) as usize)
                    })
                })
            }
            Page::DictionaryPage { .. } => 0,
        };
        let most = u64::from(page.num_values());
        let held = page.buffer().get(levels..).and_then(|bytes| match page.encoding() {
            Encoding::DELTA_BYTE_ARRAY => {
                // Each text takes so many bytes of the one before it: they may grow without end.
                let prefixes = delta::packed(bytes, most)?;
                let suffixes = delta::packed(&bytes[prefixes.end..], most)?;
                Some(prefixes.sum + suffixes.sum)
            }
            Encoding::DELTA_LENGTH_BYTE_ARRAY => Some(delta::packed(bytes, most)?.sum),
            _ => {
                let mut header = Thrift::new(bytes);
                header.varint()?;
                header.varint()?;
                (header.varint()? <= most).then_some(0)
            }
        });
        add(unpacked, held.ok_or("its pages are damaged")?, file.len())?;
    }
    Ok(())
}

/// Adds up what is unpacked, within what a file of `length` bytes may come to.
fn add(unpacked: &mut u64, bytes: u64, length: usize) -> Result<(), Fault> {
    *unpacked = unpacked.saturating_add(bytes);
    if *unpacked <= most(length) {
        return Ok(());
    }
    let why = format!("its {length} bytes declare more than {} unpacked", most(length));
    Err(Fault::Damaged(why))
}

fn of_crate(error: ParquetError) -> Fault {
    Fault::Damaged(error.to_string())
}

pub(super) fn is_delta(encoding: Encoding) -> bool {
    matches!(
        encoding,
        Encoding::DELTA_BINARY_PACKED
            | Encoding::DELTA_LENGTH_BYTE_ARRAY
            | Encoding::DELTA_BYTE_ARRAY
    )
}
