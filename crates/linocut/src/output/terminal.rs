//! Text for people, as it may reach a terminal.

use std::borrow::Cow;

/// `text` as it may stand within a line on a terminal: line breaks escaped, too.
pub fn shown(text: &str) -> Cow<'_, str> {
    escaped(text, &[])
}

/// `text` with everything escaped that a terminal would obey, but for the characters in `kept`.
pub fn escaped<'a>(text: &'a str, kept: &[char]) -> Cow<'a, str> {
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
pub fn obeyed(c: char) -> bool {
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

/// Rows of cells as lines, columns aligned: the first to the left, the others to the right. Cells are
/// escaped.
pub fn aligned(rows: &[Vec<String>]) -> String {
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

/// `text`, at most `most` characters of it.
pub fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_string();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// The first five, and how many more.
///
/// ```
/// let all: Vec<String> = (1..8).map(|i| i.to_string()).collect();
/// assert_eq!(linocut::output::first_of(&all), "1, 2, 3, 4, 5 and 2 more");
/// assert_eq!(linocut::output::first_of(&all[..2]), "1, 2");
/// ```
pub fn first_of(all: &[String]) -> String {
    let more = all.len().saturating_sub(5);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    all[..all.len().min(5)].join(", ") + &more
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
}
