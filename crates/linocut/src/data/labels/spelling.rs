//! When two labels are one, and when they may be.

use std::collections::{BTreeMap, HashMap, HashSet};

use unicode_normalization::UnicodeNormalization;

use crate::nearest::distance;

/// What is left of a label when all is gone that a reader cannot see: composed (NFC), without
/// characters of no width, every run of white space one space, none at the ends.
pub(super) fn key(label: &str) -> String {
    if label.is_ascii() && !label.contains(|c: char| c.is_ascii_whitespace() || c.is_control()) {
        return label.to_string();
    }
    let seen: String = label.nfc().filter(|c| !has_no_width(*c)).collect();
    seen.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn has_no_width(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
}

/// A label without white space and characters of no width at its ends.
pub(super) fn trimmed(label: &str) -> &str {
    label.trim_matches(|c: char| c.is_whitespace() || has_no_width(c))
}

/// The whole number that a label writes as `7`, `-7` or `7.0`, without leading zeros.
pub(super) fn whole(label: &str) -> Option<&str> {
    let digits = label.strip_suffix(".0").unwrap_or(label);
    let bare = digits.strip_prefix('-').unwrap_or(digits);
    let plain = !bare.is_empty() && bare.bytes().all(|b| b.is_ascii_digit());
    (plain && (bare == "0" || !bare.starts_with('0'))).then_some(digits)
}

/// Labels that differ by case alone, each with the one it is nearest to in rows.
pub(super) fn by_case(rows: &BTreeMap<String, usize>) -> Vec<(&str, &str)> {
    let mut groups: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for label in rows.keys() {
        groups.entry(label.to_lowercase()).or_default().push(label);
    }
    let several = groups.into_values().filter(|group| group.len() > 1);
    several.map(|group| (group[0], group[1])).collect()
}

/// Labels of one row that are one letter away from a label of at least this many.
const FREQUENT: usize = 5;

/// (rare, frequent) labels that differ by one letter: dropped, added, or another. Digits are no
/// letters here: numbered labels differ so. In time linear in the labels.
pub(super) fn slips(rows: &BTreeMap<String, usize>) -> Vec<(&str, &str)> {
    let fits = |label: &str| (4..=48).contains(&label.chars().count());
    // Two texts are one edit apart if dropping at most one letter of each makes them equal.
    let mut frequent: HashMap<String, &str> = HashMap::new();
    for (label, _) in rows.iter().filter(|(label, n)| **n >= FREQUENT && fits(label)) {
        for shorter in shorter(label) {
            frequent.entry(shorter).or_insert(label);
        }
    }
    let mut found = Vec::new();
    for (label, _) in rows.iter().filter(|(label, n)| **n == 1 && fits(label)) {
        let near = shorter(label).find_map(|shorter| frequent.get(&shorter).copied());
        let near = near.filter(|near| distance(near, label) == 1 && !differ_by_digit(near, label));
        found.extend(near.map(|near| (label.as_str(), near)));
    }
    found
}

/// The label and what is left of it without each of its letters, in lower case.
fn shorter(label: &str) -> impl Iterator<Item = String> {
    let letters: Vec<char> = label.to_lowercase().chars().collect();
    let whole = letters.iter().collect();
    let drop = move |at: usize| {
        letters.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, c)| *c).collect()
    };
    let count = label.to_lowercase().chars().count();
    std::iter::once(whole).chain((0..count).map(drop))
}

fn differ_by_digit(a: &str, b: &str) -> bool {
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    digits(a) != digits(b)
}

/// Labels that hold others joined by a comma, a semicolon or a pipe: (label, separator).
pub(super) fn joined(labels: &[String]) -> Option<(&str, char)> {
    let known: HashSet<&str> = labels.iter().map(String::as_str).collect();
    [',', ';', '|'].into_iter().find_map(|by| {
        let made_of_others = |label: &&String| {
            label.contains(by) && label.split(by).all(|part| known.contains(part.trim()))
        };
        labels.iter().find(made_of_others).map(|label| (label.as_str(), by))
    })
}
