//! Records of delimited text, as RFC 4180 has them, with their lines.

/// What a file's cells look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dialect {
    pub(super) delimiter: char,
    /// Whether a cell may stand in quotation marks; if not, a mark is a letter like others.
    pub(super) quotes: bool,
}

/// A cell, as a part of the file's text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span<'a> {
    /// Without the quotation marks around it.
    pub(super) raw: &'a str,
    pub(super) quoted: bool,
    /// Whether marks in it are doubled.
    pub(super) doubled: bool,
    /// The line where it begins, from 1.
    pub(super) line: usize,
}

/// Why there is no record. Lines count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The mark that opens a cell here is not closed.
    Unclosed { line: usize },
    /// A cell's closing mark is followed by text, not by a delimiter or the end of the line.
    AfterClosing { opened: usize, closed: usize },
    /// A mark in a cell that does not begin with one.
    Bare { line: usize },
    /// A carriage return without a line feed.
    Return { line: usize },
}

pub(super) struct Records<'a> {
    text: &'a str,
    dialect: Dialect,
    at: usize,
    /// The line at `at`.
    line: usize,
}

impl<'a> Records<'a> {
    /// Line breaks at the end of `text` are no rows.
    pub(super) fn new(text: &'a str, dialect: Dialect) -> Self {
        let trimmed = text.trim_end_matches(['\n', '\r']);
        // A quoted cell may end in line breaks that belong to it, but then a mark follows them.
        Self { text: trimmed, dialect, at: 0, line: 1 }
    }

    /// The next record's cells into `cells`; the line where it begins, `None` at the end.
    pub(super) fn next(&mut self, cells: &mut Vec<Span<'a>>) -> Result<Option<usize>, Fault> {
        cells.clear();
        if self.dialect.quotes {
            self.skip_blank();
        }
        if self.at > self.text.len() || self.text.is_empty() {
            return Ok(None);
        }
        let first = self.line;
        loop {
            let quoted = self.dialect.quotes && self.text[self.at..].starts_with('"');
            let span = if quoted { self.quoted()? } else { self.plain()? };
            cells.push(span);
            let rest = &self.text[self.at..];
            if rest.starts_with(self.dialect.delimiter) {
                self.at += self.dialect.delimiter.len_utf8();
                continue;
            }
            self.at += match rest.find('\n') {
                Some(end) => end + 1,
                None => rest.len() + 1, // past the end: no empty record there
            };
            self.line += 1;
            return Ok(Some(first));
        }
    }

    /// Where cells may be quoted, a blank line is no row: writers of CRLF through a text file that
    /// makes CRLF of LF leave one after each row.
    fn skip_blank(&mut self) {
        while let Some(end) = self.text.get(self.at..).and_then(|rest| rest.find('\n')) {
            if !self.text[self.at..self.at + end].bytes().all(|b| b == b'\r') {
                return;
            }
            self.at += end + 1;
            self.line += 1;
        }
    }

    fn plain(&mut self) -> Result<Span<'a>, Fault> {
        let Dialect { delimiter, quotes } = self.dialect;
        let rest = &self.text[self.at..];
        let end = rest.find([delimiter, '\n']).unwrap_or(rest.len());
        let ends_line = !rest[end..].starts_with(delimiter);
        let mut raw = &rest[..end];
        if ends_line {
            raw = if quotes {
                raw.trim_end_matches('\r')
            } else {
                raw.strip_suffix('\r').unwrap_or(raw)
            };
        }
        if quotes {
            if raw.contains('"') {
                return Err(Fault::Bare { line: self.line });
            }
            if raw.contains('\r') {
                return Err(Fault::Return { line: self.line });
            }
        }
        self.at += end;
        Ok(Span { raw, quoted: false, doubled: false, line: self.line })
    }

    fn quoted(&mut self) -> Result<Span<'a>, Fault> {
        let opened = self.line;
        let start = self.at + 1;
        let mut end = start;
        let mut doubled = false;
        loop {
            match self.text[end..].find('"') {
                None => return Err(Fault::Unclosed { line: opened }),
                Some(found) => end += found,
            }
            if !self.text[end + 1..].starts_with('"') {
                break;
            }
            doubled = true;
            end += 2;
        }
        let raw = &self.text[start..end];
        self.line += raw.bytes().filter(|&b| b == b'\n').count();
        self.at = end + 1;
        let after = self.text[self.at..].trim_start_matches('\r');
        if !(after.is_empty()
            || after.starts_with('\n')
            || self.text[self.at..].starts_with(self.dialect.delimiter))
        {
            return Err(Fault::AfterClosing { opened, closed: self.line });
        }
        Ok(Span { raw, quoted: true, doubled, line: opened })
    }
}
