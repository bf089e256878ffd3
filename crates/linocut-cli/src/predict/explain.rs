//! What each word adds to a prediction, for people and for programs.

use super::format::shortest;
use crate::output::{aligned, escaped, say, shortened, shown};
use linocut::cut::{Explanation, Word};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// Words listed for one text, and in a line of several.
const LISTED: [usize; 2] = [10, 5];

/// What is green and what is red: these shares of the greatest change, the second in bold.
const COLOURED: [f32; 2] = [0.1, 0.5];

/// For programs: the label explained and all its words.
pub(super) fn add_to(object: &mut Map<String, Value>, found: &Explanation) {
    if let Some(label) = &found.label {
        object.insert("explained".into(), json!(label));
    }
    let words = found.words.iter().map(|word| {
        let mut about = json!(word);
        about["change"] = word.change.map_or(Value::Null, shortest);
        about
    });
    object.insert("explanation".into(), words.collect());
}

/// Says how many words were not tried.
pub(super) fn note_untried(untried: usize) {
    if let Some(note) = Explanation::note(untried) {
        say(&format!("note: {note}"));
    }
}

/// The words that change most and by how much: of a probability in points, of a number as it is.
fn listed(found: &Explanation, most: usize) -> Vec<[String; 2]> {
    let number = |change: f32| match found.label {
        Some(_) => format!("{:+.2}", 100.0 * change),
        None => format!("{change:+.4}"),
    };
    let changes = |text: &String| text.contains(|c: char| matches!(c, '1'..='9'));
    let words = found.strongest(most).into_iter();
    let rows = words.map(|word| [shortened(&word.word, 40), number(word.change.unwrap_or(0.0))]);
    rows.filter(|[_, number]| changes(number)).collect()
}

/// The strongest words in one cell: `apple (+31.20), and (-0.40)`.
pub(super) fn cell(found: &Explanation) -> String {
    let words = listed(found, LISTED[1]).into_iter();
    words.map(|[word, number]| format!("{word} ({number})")).collect::<Vec<_>>().join(", ")
}

/// The strongest words as a list.
pub(super) fn list(found: &Explanation) -> String {
    let rows = listed(found, LISTED[0]);
    if rows.is_empty() {
        return match found.words.iter().any(|word| word.change.is_some()) {
            true => "no word alone changes it\n".into(),
            false => "without its only word there is nothing left to read\n".into(),
        };
    }
    let what = match &found.label {
        Some(label) => format!("{}, in points of its probability", shortened(label, 40)),
        None => "the number".into(),
    };
    let rows: Vec<Vec<String>> = rows.into_iter().map(Vec::from).collect();
    format!("what each word adds to {what}\n{}", aligned(&rows))
}

/// The texts with their words in colours, escaped.
pub(super) fn coloured(found: &Explanation, text: &str, pair: Option<&str>) -> String {
    let change = |word: &Word| word.change.unwrap_or(0.0);
    let most = found.words.iter().map(|word| change(word).abs()).fold(0.0, f32::max);
    if listed(found, 1).is_empty() {
        return list(found);
    }
    let paint = |text: &str, share: f32| {
        let text = escaped(text, &['\n']);
        let bold = if share.abs() >= COLOURED[1] { "1;" } else { "" };
        match share {
            _ if share.abs() < COLOURED[0] => text.into_owned(),
            0.0.. => format!("\x1b[{bold}32m{text}\x1b[0m"),
            _ => format!("\x1b[{bold}4;31m{text}\x1b[0m"),
        }
    };
    let what = found.label.as_ref().map_or("a greater number".into(), |l| shortened(l, 40));
    let mut out =
        format!("{} and {} {}\n", paint("for", 0.3), paint("against", -0.3), shown(&what));
    for (text, place) in [(Some(text), "text"), (pair, "pair")] {
        let Some(text) = text else { continue };
        let mut end = 0;
        for word in found.words.iter().filter(|word| word.within.unwrap_or("text") == place) {
            out += &escaped(&text[end..word.start], &['\n']);
            out += &paint(&word.word, change(word) / most);
            end = word.end;
        }
        let _ = writeln!(out, "{}", escaped(&text[end..], &['\n']));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(word: &str, start: usize, within: Option<&'static str>, change: f32) -> Word {
        let end = start + word.len();
        Word { word: word.into(), start, end, within, change: Some(change) }
    }

    #[test]
    fn colours_and_nothing_that_a_terminal_obeys() {
        let words = vec![
            word("good", 0, None, 0.4),
            word("not", 5, None, -0.3),
            word("\x1b", 9, None, 0.1),
            word("it", 11, None, 0.01),
        ];
        let mut found = Explanation { label: Some("a\nb".into()), score: 0.9, words, untried: 0 };
        let text = coloured(&found, "good not \x1b it \u{202e}", None);
        let head = "\x1b[32mfor\x1b[0m and \x1b[4;31magainst\x1b[0m a\\nb\n";
        let body =
            "\x1b[1;32mgood\x1b[0m \x1b[1;4;31mnot\x1b[0m \x1b[32m\\u{1b}\x1b[0m it \\u{202e}\n";
        assert_eq!(text, format!("{head}{body}"));
        assert_eq!(cell(&found), "good (+40.00), not (-30.00), \x1b (+10.00), it (+1.00)");
        // The words of two texts, each where it stands.
        found.words = vec![word("a", 0, Some("text"), -0.5), word("b", 0, Some("pair"), 0.5)];
        let text = coloured(&found, "a x", Some("b y"));
        assert!(text.ends_with("\n\x1b[1;4;31ma\x1b[0m x\n\x1b[1;32mb\x1b[0m y\n"), "{text:?}");
        // Nothing to colour.
        found.words = vec![word("a", 0, None, 0.00001)];
        assert_eq!(coloured(&found, "a", None), "no word alone changes it\n");
        found.words[0].change = None;
        assert!(list(&found).starts_with("without its only word"));
    }
}
