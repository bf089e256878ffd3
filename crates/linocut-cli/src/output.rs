//! Writing to standard output and standard error. What files say of themselves (names, labels, messages)
//! reaches the terminal only escaped; a closed pipe is no failure.

use crate::flags;
use linocut::output::obeyed;
pub(crate) use linocut::output::{aligned, counted, escaped, shortened, shown};
use linocut::{Error, ErrorKind, Result};
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

/// Whether what is written there may have colours: to a terminal, unless NO_COLOR says otherwise.
pub(crate) fn coloured(to: &impl IsTerminal) -> bool {
    to.is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Prints an error and its hint to standard error, escaped, in colour on a terminal. Lines after the
/// first are indented: none passes for a message of its own.
pub(crate) fn print_error(error: &Error) {
    let (red, green, off) = if coloured(&io::stderr()) {
        ("\x1b[1;31m", "\x1b[1;32m", "\x1b[0m")
    } else {
        ("", "", "")
    };
    let text = |text: &str| escaped(&flags::in_message(text), &['\n']).replace('\n', "\n  ");
    let mut out = io::stderr().lock();
    // Where even standard error is closed there is nobody left to tell.
    let _ = writeln!(out, "{red}error:{off} {}", text(error.message()));
    if let Some(hint) = error.hint() {
        let _ = writeln!(out, "{green}hint:{off} {}", text(hint));
    }
}

/// The first characters of a digest or fingerprint, enough for people to compare.
pub(crate) fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
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

#[cfg(test)]
mod tests {
    use super::*;

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
