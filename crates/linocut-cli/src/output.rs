//! Writing to standard output and standard error. What files say of themselves (names, labels, messages)
//! reaches the terminal only escaped; a closed pipe is no failure.

use crate::flags;
use linocut::{Error, ErrorKind, Result};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, ErrorKind as Io, IsTerminal, Write};

/// Writes text for people to standard output, escaped but for its line breaks.
pub(crate) fn print(text: &str) -> Result<()> {
    print_data(&escaped(text, &['\n']))
}

/// Writes data for programs to standard output, to the letter.
pub(crate) fn print_data(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(stdout_error)
}

/// Writes one JSON value and a line break to standard output.
pub(crate) fn print_json(value: &serde_json::Value) -> Result<()> {
    print_data(&json_line(value))
}

/// A JSON value as a line. What a terminal would obey is escaped within the strings, as JSON does it.
pub(crate) fn json_line(value: &serde_json::Value) -> String {
    let mut line = String::new();
    for c in value.to_string().chars() {
        if obeyed(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(line, "\\u{unit:04x}");
            }
        } else {
            line.push(c);
        }
    }
    line.push('\n');
    line
}

/// Prints a line to standard error, escaped.
pub(crate) fn say(line: &str) {
    // Where even standard error is closed there is nobody left to tell.
    let _ = writeln!(io::stderr().lock(), "{}", shown(&flags::in_message(line)));
}

/// `text` as it may stand within a line on a terminal: line breaks escaped, too.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    escaped(text, &[])
}

/// `text` with everything escaped that a terminal would obey, but for the characters in `kept`.
pub(crate) fn escaped<'a>(text: &'a str, kept: &[char]) -> Cow<'a, str> {
    let unsafe_here = |c: char| obeyed(c) && !kept.contains(&c);
    if !text.contains(unsafe_here) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' if unsafe_here(c) => out.extend(c.escape_default()),
            c if unsafe_here(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out.into()
}

/// Whether a terminal does something at `c` instead of showing it: control characters (colours, cursor,
/// titles), characters that turn the direction of writing, and those that nobody sees.
fn obeyed(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{feff}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// An error of writing to standard output.
pub(crate) fn stdout_error(source: io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot write to standard output: {source}"))
        .with_source(source)
}

/// Whether the reader of standard output went away, as `head` does: nothing to complain about.
pub(crate) fn is_closed_pipe(error: &Error) -> bool {
    std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<io::Error>())
        .is_some_and(|source| source.kind() == Io::BrokenPipe)
}

/// Prints an error and its hint to standard error, escaped, in colour on a terminal. Lines after the
/// first are indented: none passes for a message of its own.
pub(crate) fn print_error(error: &Error) {
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let (red, green, off) =
        if colour { ("\x1b[1;31m", "\x1b[1;32m", "\x1b[0m") } else { ("", "", "") };
    let text = |text: &str| escaped(&flags::in_message(text), &['\n']).replace('\n', "\n  ");
    let mut out = io::stderr().lock();
    // Where even standard error is closed there is nobody left to tell.
    let _ = writeln!(out, "{red}error:{off} {}", text(error.message()));
    if let Some(hint) = error.hint() {
        let _ = writeln!(out, "{green}hint:{off} {}", text(hint));
    }
}

/// Rows of cells as lines, columns aligned: the first to the left, the others to the right. Cells are
/// escaped.
pub(crate) fn aligned(rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<Cow<'_, str>>> =
        rows.iter().map(|row| row.iter().map(|cell| shown(cell)).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| {
        rows.iter().filter_map(|row| row.get(c)).map(|s| s.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (c, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[c].saturating_sub(cell.chars().count()));
            if c == 0 {
                line += cell;
                line += &pad;
            } else {
                line += "  ";
                line += &pad;
                line += cell;
            }
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// A number for people: four significant digits at most, no zeros at the end.
pub(crate) fn rounded(x: f64) -> String {
    let text = format!("{x:.3e}").parse::<f64>().unwrap_or(x);
    match text.abs() {
        0.0 => "0".into(),
        1e-4..1e9 => text.to_string(),
        _ => format!("{text:e}"),
    }
}

/// `text`, at most `most` characters of it.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_string();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey() {
        assert_eq!(shown("plain Ünïcode ✓ 漢字 👩‍💻 می‌خواهم"), "plain Ünïcode ✓ 漢字 👩‍💻 می‌خواهم");
        assert_eq!(
            shown(
                "\x1b[2J\x1b]0;owned\x07 a\nb\tc\r \u{9b}31m \u{7f} x\u{202e}y \u{2066} z\u{200b}"
            ),
            "\\u{1b}[2J\\u{1b}]0;owned\\u{7} a\\nb\\tc\\r \\u{9b}31m \\u{7f} x\\u{202e}y \\u{2066} z\\u{200b}"
        );
        assert_eq!(escaped("a\nb\x1b", &['\n']), "a\nb\\u{1b}");
        let table = aligned(&[vec!["a\nb".into(), "1".into()], vec!["c".into(), "22".into()]]);
        assert_eq!(table, "a\\nb   1\nc     22\n");
    }

    #[test]
    fn numbers_for_people() {
        for (x, text) in [
            (0.06978999999999999, "0.06979"),
            (0.30000000000000004, "0.3"),
            (0.001, "0.001"),
            (1e-12, "1e-12"),
            (12345.678, "12350"),
            (-2.5, "-2.5"),
            (0.0, "0"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(rounded(x), text);
        }
    }

    #[test]
    fn json_stays_the_same_value() {
        let value = serde_json::json!({"a\u{9b}": "\u{202e}x\u{e0041}\x1b\n é"});
        let line = json_line(&value);
        assert_eq!(line, "{\"a\\u009b\":\"\\u202ex\\udb40\\udc41\\u001b\\n é\"}\n");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap(), value);
    }
}
