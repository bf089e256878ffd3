//! Writing to standard output and files: data only, and a closed pipe is no failure.

use linocut::{Error, ErrorKind, Result};
use std::io::{self, ErrorKind as Io, IsTerminal, Write};
use std::path::Path;

/// Writes `text` to standard output.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(stdout_error)
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

/// Prints an error and its hint to standard error, in colour on a terminal.
pub(crate) fn print_error(error: &Error) {
    let message = error.to_string();
    let hint = error.hint();
    let message = match hint {
        Some(hint) => message.strip_suffix(&format!("\nhint: {hint}")).unwrap_or(&message),
        None => &message,
    };
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let (red, green, off) =
        if colour { ("\x1b[1;31m", "\x1b[1;32m", "\x1b[0m") } else { ("", "", "") };
    let mut out = io::stderr().lock();
    // Where even standard error is closed there is nobody left to tell.
    let _ = writeln!(out, "{red}error:{off} {message}");
    if let Some(hint) = hint {
        let _ = writeln!(out, "{green}hint:{off} {hint}");
    }
}

/// Refuses to replace what exists, and to write into a folder that does not.
pub(crate) fn check_free(path: &Path, force: bool) -> Result<()> {
    if path.symlink_metadata().is_ok() && !force {
        return Err(Error::new(ErrorKind::Io, format!("{} exists already", path.display()))
            .with_hint("give another --out, or --force to replace it"));
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    match folder.filter(|f| !f.is_dir()) {
        Some(folder) => {
            Err(Error::new(ErrorKind::Io, format!("{}: no such folder", folder.display()))
                .with_hint(format!("mkdir -p {}", folder.display())))
        }
        None => Ok(()),
    }
}

/// Rows of cells as lines, columns aligned: the first to the left, the others to the right.
pub(crate) fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| {
        rows.iter().filter_map(|row| row.get(c)).map(|s| s.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
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

/// `text`, at most `most` characters of it.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_string();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}
