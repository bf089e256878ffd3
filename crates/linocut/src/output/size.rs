//! Sizes and numbers, in words.

use serde::Deserialize;
use std::str::FromStr;

/// 12,345 bytes as `12.3 KB`.
pub fn in_words(bytes: u64) -> String {
    match bytes {
        0..1000 => format!("{bytes} B"),
        1000..1_000_000 => format!("{:.1} KB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

/// `1 row`, `2 rows`: for nouns that take an s.
pub fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// A number of bytes, or a share of a model's: `2MB`, `500KB`, `123456` or `0.5%`.
///
/// ```
/// use linocut::output::Budget;
///
/// assert_eq!("1.5 kb".parse::<Budget>()?.of(90_000_000), 1_500);
/// assert_eq!("0.5%".parse::<Budget>()?.of(90_000_000), 450_000);
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub enum Budget {
    /// So many bytes.
    Bytes(f64),
    /// Such a share, 0 to 1.
    Share(f64),
}

impl TryFrom<String> for Budget {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Budget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("{text:?} is no size: expected one such as 2MB, 500KB or 0.5%");
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '%');
        let number: f64 = digits.trim().parse().map_err(|_| expected())?;
        if !(number.is_finite() && number > 0.0) {
            return Err(expected());
        }
        let unit = match text[digits.len()..].to_ascii_uppercase().as_str() {
            "%" if number <= 100.0 => return Ok(Budget::Share(number / 100.0)),
            "" | "B" => 1.0,
            "K" | "KB" => 1e3,
            "M" | "MB" => 1e6,
            "G" | "GB" => 1e9,
            _ => return Err(expected()),
        };
        Ok(Budget::Bytes(number * unit))
    }
}

impl Budget {
    /// In bytes, rounded down, of a model of `whole` bytes.
    pub fn of(self, whole: u64) -> u64 {
        match self {
            Budget::Bytes(n) => n as u64,
            Budget::Share(share) => (share * whole as f64) as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let of = |text: &str| text.parse::<Budget>().map(|b| b.of(90_000_000));
        assert_eq!(of("200000"), Ok(200_000));
        assert_eq!(of("2MB"), Ok(2_000_000));
        assert_eq!(of("1.5 kb"), Ok(1_500));
        assert_eq!(of("0.5%"), Ok(450_000));
        for wrong in ["", "MB", "-1", "0", "2XB", "nan", "inf", "200%", "1e999"] {
            assert!(of(wrong).unwrap_err().contains("expected"), "{wrong}");
        }
    }

    #[test]
    fn words() {
        let shown = [0, 999, 1000, 12_345, 1_234_567].map(in_words);
        assert_eq!(shown, ["0 B", "999 B", "1.0 KB", "12.3 KB", "1.2 MB"]);
    }
}
