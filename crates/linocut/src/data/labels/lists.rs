//! Lists of labels, as formats and programs write them.

/// A text that is a list of labels: JSON's `["a", "b"]`, Python's `['a', "b"]`, `('a',)` and
/// `{'a'}`, or numpy's `['a' 'b']` and `[0 1]`. Items are texts or numbers.
pub(super) fn parse(text: &str) -> Option<Vec<String>> {
    let text = text.trim();
    if let Some(inner) = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
        // Quoted as in CSV, in a file that is not.
        return inner.starts_with('[').then(|| parse(&inner.replace("\"\"", "\""))).flatten();
    }
    let close = match text.chars().next()? {
        '[' => ']',
        '(' => ')',
        '{' => '}',
        _ => return None,
    };
    let mut rest = text[1..].strip_suffix(close)?.trim();
    let mut items = Vec::new();
    let mut quoted = true;
    while !rest.is_empty() {
        let (item, in_marks, after) = item(rest)?;
        quoted &= in_marks;
        items.push(item);
        let next = after.trim_start();
        rest = match next.strip_prefix(',') {
            Some(next) => next.trim_start(),
            // numpy separates by spaces.
            None if next.is_empty() || next.len() < after.len() => next,
            None => return None,
        };
    }
    // A number in parentheses is no list.
    (close == ']' || quoted && !items.is_empty()).then_some(items)
}

/// The first item, whether it stood in quotation marks, and what follows it.
fn item(text: &str) -> Option<(String, bool, &str)> {
    let mark = text.chars().next()?;
    if mark != '"' && mark != '\'' {
        let end = text.find([',', ' ', '\n', '\t']).unwrap_or(text.len());
        let (word, after) = text.split_at(end);
        let known = word.parse::<f64>().is_ok_and(f64::is_finite)
            || matches!(word, "True" | "False" | "true" | "false");
        return known.then(|| (word.to_string(), false, after));
    }
    let mut value = String::new();
    let mut chars = text[1..].char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => value.push(escaped(&mut chars)?),
            c if c == mark => return Some((value, true, &text[1 + at + c.len_utf8()..])),
            c => value.push(c),
        }
    }
    None
}

fn escaped(chars: &mut std::str::CharIndices<'_>) -> Option<char> {
    let digits = match chars.next()?.1 {
        'n' => return Some('\n'),
        't' => return Some('\t'),
        'r' => return Some('\r'),
        'b' => return Some('\u{8}'),
        'f' => return Some('\u{c}'),
        c @ ('\\' | '\'' | '"' | '/') => return Some(c),
        'x' => 2,
        'u' => 4,
        'U' => 8,
        _ => return None,
    };
    let mut code = 0;
    for _ in 0..digits {
        code = code * 16 + chars.next()?.1.to_digit(16)?;
    }
    // Half of a pair, as JSON writes what lies beyond 16 bits.
    if (0xd800..0xdc00).contains(&code) {
        let (Some((_, '\\')), Some((_, 'u'))) = (chars.next(), chars.next()) else { return None };
        let mut low = 0;
        for _ in 0..4 {
            low = low * 16 + chars.next()?.1.to_digit(16)?;
        }
        code =
            0x10000 + ((code - 0xd800) << 10) + low.checked_sub(0xdc00).filter(|l| *l < 0x400)?;
    }
    char::from_u32(code)
}

/// Whether an item of a list says yes or no for the label at its place.
pub(super) fn bit(item: &str) -> Option<bool> {
    match item.trim() {
        "0" | "0.0" | "0." | "False" | "false" => Some(false),
        "1" | "1.0" | "1." | "True" | "true" => Some(true),
        _ => None,
    }
}

const BETWEEN_BITS: [char; 4] = [',', ';', '|', ' '];

/// A text such as `1 0 0 1` or `0,1`: how many bits it has, two or more.
pub(super) fn bits(text: &str) -> Option<usize> {
    let mut count = 0;
    for part in text.trim().split(BETWEEN_BITS).filter(|part| !part.is_empty()) {
        bit(part)?;
        count += 1;
    }
    (count > 1).then_some(count)
}

/// The labels of a text that is no list: what stands between separators or, where none is said, between
/// commas, and bits in any way that [`bits`] knows.
pub(super) fn split(text: &str, separator: Option<&str>) -> Vec<String> {
    let parts: Vec<&str> = match separator {
        Some(separator) => text.split(separator).collect(),
        None if bits(text).is_some() => text.split(BETWEEN_BITS).collect(),
        None => text.split(',').collect(),
    };
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).map(String::from).collect()
}
