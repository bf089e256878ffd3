//! The text of a file, or the word for what it is instead.

use std::path::Path;

use super::table::data_error;
use crate::{Error, Result};

/// How the first bytes of files begin that only their names make texts.
const OTHERS: [(&[u8], &str, &str); 5] = [
    (b"\x1f\x8b", "compressed by gzip", "unpack it with: gunzip"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "unpack it with: zstd -d"),
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook", "unpack it, or save the sheet as CSV"),
    (b"PAR1", "Parquet", "give it a name ending in .parquet"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", "save the sheet as CSV in UTF-8"),
];

/// The text of a file without its byte-order mark; lines end in LF or CRLF.
pub(super) fn read_text(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, "read", e))?;
    let shown = path.display();
    if bytes.is_empty() {
        return Err(data_error(format!("{shown} is empty")));
    }
    if let Some((_, what, hint)) = OTHERS.iter().find(|(magic, ..)| bytes.starts_with(magic)) {
        return Err(data_error(format!("{shown} is {what}, expected text")).with_hint(*hint));
    }
    // Without a mark, every second byte of Latin text is 0.
    let zeros = |from: usize| bytes.len() >= 4 && bytes[from..4].iter().step_by(2).all(|&b| b == 0);
    let marked = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    if marked || zeros(0) || zeros(1) {
        let from = match (marked, zeros(0)) {
            (true, _) => "UTF-16",
            (false, true) => "UTF-16BE",
            (false, false) => "UTF-16LE",
        };
        return Err(data_error(format!("{shown} is UTF-16, expected UTF-8"))
            .with_hint(format!("convert it with: iconv -f {from} -t UTF-8")));
    }
    let mut text = String::from_utf8(bytes).map_err(|e| not_utf8(path, &e))?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    if !text.contains('\n') && text.trim_end_matches('\r').contains('\r') {
        return Err(data_error(format!("{shown}: lines end in CR alone, expected LF or CRLF"))
            .with_hint(format!("convert it with: tr '\\r' '\\n' < {shown}")));
    }
    Ok(text)
}

fn not_utf8(path: &Path, e: &std::string::FromUtf8Error) -> Error {
    let (bytes, at) = (e.as_bytes(), e.utf8_error().valid_up_to());
    let before = &bytes[..at];
    let line = 1 + before.iter().filter(|&&b| b == b'\n').count();
    let column = at - before.iter().rposition(|&b| b == b'\n').map_or(0, |n| n + 1) + 1;
    let found = bytes[at];
    let message = format!(
        "{}, line {line}: byte {column} is 0x{found:02x}, which is not UTF-8",
        path.display()
    );
    // Latin-1 has no letters there, Windows-1252 its quotation marks and the euro.
    let hint = if bytes[at..].iter().any(|b| (0x80..0xa0).contains(b)) {
        "if the file comes from Windows, convert it with: iconv -f WINDOWS-1252 -t UTF-8"
    } else {
        "if the file is Latin-1, convert it with: iconv -f LATIN1 -t UTF-8"
    };
    data_error(message).with_hint(hint)
}
