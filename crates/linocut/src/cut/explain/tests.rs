use std::path::Path;

use serde_json::json;

use super::*;
use crate::model::probabilities;

fn tokenizer() -> Tokenizer {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/tiny");
    Tokenizer::open(&folder).unwrap()
}

fn card(problem: &str, labels: &[&str], pairs: bool) -> Card {
    let card = json!({
        "format": 1, "task": "t", "problem": problem, "labels": labels, "outputs": labels.len().max(1),
        "pooling": "mean", "max_length": 40, "pairs": pairs, "base": {"name": "b", "fingerprint": ""},
        "tokenizer": "", "method": {}, "training": {}, "metric": "accuracy", "metrics": {}, "tensors": {},
    });
    serde_json::from_value(card).unwrap()
}

/// Logits of a task that reads `apple` (8) as food, twice as much in a second text, and `no` (37) as its opposite;
/// of the other labels 0.
fn food(texts: &[Encoding], outputs: usize) -> Vec<f32> {
    let row = |text: &Encoding| {
        let weight = |(&id, &of): (&u32, &u32)| match id {
            8 => 1.0 + of as f32,
            37 => -0.5,
            _ => 0.0,
        };
        let food: f32 = text.ids.iter().zip(&text.type_ids).map(weight).sum();
        [vec![food], vec![0.0; outputs - 1]].concat()
    };
    texts.iter().flat_map(row).collect()
}

fn explained(card: &Card, text: &str, pair: Option<&str>) -> (Explanation, usize) {
    let left_out = LeftOut::of(card, &tokenizer(), (text, pair), None).unwrap();
    let (logits, asked) = (food(left_out.sequences(), card.outputs), left_out.sequences().len());
    (left_out.explain(card, logits), asked)
}

#[test]
fn words_and_what_they_add() {
    let card = card("single-label", &["food", "travel"], false);
    let text = "Größe-apple, no  don't!";
    let (found, asked) = explained(&card, text, None);
    assert_eq!(found.label.as_deref(), Some("food"));
    let words: Vec<&str> = found.words.iter().map(|word| word.word.as_str()).collect();
    assert_eq!(words, ["Größe", "-", "apple", ",", "no", "don't", "!"]);
    for word in &found.words {
        assert_eq!(&text[word.start..word.end], word.word);
        assert_eq!(word.within, None);
    }
    assert_eq!(asked, 8);
    // What the same text without the word gets, asked for itself.
    let sure = |logit: f32| probabilities(Problem::SingleLabel, &[logit, 0.0], 2)[0];
    let change = |i: usize| found.words[i].change.unwrap();
    assert_eq!(change(2), sure(0.5) - sure(-0.5));
    assert_eq!(change(4), sure(0.5) - sure(1.0));
    assert!([0, 1, 3, 5, 6].into_iter().all(|i| change(i) == 0.0));
    let strongest: Vec<&str> = found.strongest(5).iter().map(|word| word.word.as_str()).collect();
    assert_eq!(strongest, ["apple", "no"]);
    assert_eq!(found.strongest(1).len(), 1);
}

#[test]
fn what_stood_beside_a_word_does_not_become_one() {
    assert_eq!(without("a,b", 1, 2), "a b");
    assert_eq!(without("one two  three", 4, 7), "one three");
    assert_eq!(without("one two", 0, 3), " two");
}

#[test]
fn the_most_probable_label_or_the_number() {
    // Neither is answered, since both are below ½; the first is the less improbable one.
    let several = card("multi-label", &["food", "cold"], false);
    let sure = |logit: f32| probabilities(Problem::MultiLabel, &[logit], 1)[0];
    let (found, _) = explained(&several, "apple soup", None);
    assert_eq!(found.label.as_deref(), Some("food"));
    assert_eq!(found.words[0].change, Some(sure(1.0) - sure(0.0)));
    // Another label by its name.
    let of = |label: &str| -> Result<Explanation> {
        let left_out = LeftOut::of(&several, &tokenizer(), ("apple soup", None), Some(label))?;
        let logits = food(left_out.sequences(), 2);
        Ok(left_out.explain(&several, logits))
    };
    assert_eq!(of("cold").unwrap().words[0].change, Some(0.0));
    let error = of("clod").unwrap_err();
    assert_eq!(
        error.message(),
        "to explain: label \"clod\" is not among the 2 labels of the task \"t\""
    );
    assert!(error.hint().unwrap().contains("\"cold\""));
    let number = card("regression", &[], false);
    let (found, _) = explained(&number, "no apple soup", None);
    let changes: Vec<f32> = found.words.iter().map(|word| word.change.unwrap()).collect();
    assert_eq!((found.label, changes), (None, vec![-0.5, 1.0, 0.0]));
}

#[test]
fn words_of_both_texts_of_a_pair() {
    let number = card("regression", &[], true);
    let (found, _) = explained(&number, "apple", Some("the apple"));
    let words: Vec<_> = found.words.iter().map(|w| (w.word.as_str(), w.within, w.change)).collect();
    let expected = [
        ("apple", Some("text"), None), // the first text would be empty
        ("the", Some("pair"), Some(0.0)),
        ("apple", Some("pair"), Some(2.0)),
    ];
    assert_eq!(words, expected);
}

#[test]
fn bounds() {
    let card = card("single-label", &["food", "travel"], false);
    let (found, asked) = explained(&card, "apple", None);
    assert_eq!((found.words[0].change, asked), (None, 1));
    // 38 words are read; without one of them the 39th is. What comes after never is.
    let (found, asked) = explained(&card, &"soup apple ".repeat(150), None);
    assert_eq!((found.words.len(), found.untried), (256, 44));
    assert_eq!(Explanation::note(44).unwrap(), "44 words beyond 256 of a text were not tried");
    assert_eq!(Explanation::note(0), None);
    assert!(found.words[38..].iter().all(|word| word.change == Some(0.0)));
    assert_eq!(asked, 1 + 38);
    // Of the tail the last words are tried, of both ends some of both.
    assert_eq!(tried(300, Some(Long::Tail)), [0..0, 44..300]);
    assert_eq!(tried(300, Some(Long::HeadTail)), [0..64, 108..300]);
    assert_eq!(tried(300, Some(Long::Windows)), [0..256, 300..300]);
    assert_eq!(tried(3, Some(Long::Tail)), [0..0, 0..3]);
    let tail = Card { long: Some(Long::Tail), ..card.clone() };
    let (found, _) = explained(&tail, &("soup ".repeat(400) + "apple"), None);
    let last = found.words.last().unwrap();
    assert_eq!((found.words.len(), found.untried, last.word.as_str()), (256, 145, "apple"));
    assert!(last.change.unwrap() > 0.0);
    let failed = LeftOut::of(&card, &tokenizer(), (" ", None), None);
    assert_eq!(failed.err().unwrap().kind(), ErrorKind::Data);
}
