//! Where a text may be cut before it is tokenised.

use tokenizers::{Model, ModelWrapper, NormalizerWrapper, PreTokenizerWrapper};
use unicode_categories::UnicodeCategories;

/// Places of a text at which a tokenizer surely splits, whatever stands around them: the tokens of
/// the whole are those of the parts one after the other. Known for the tokenizers of BERT; why it
/// is so, step by step of such a tokenizer, for a cut just before white space or a character that is
/// a word of its own, or just after such a character:
/// - added tokens are found first, in the text and again after it was normalised. They are of
///   visible ASCII here, so none holds white space; a word of its own counts only where every added
///   token that holds it starts with it (for a cut before it) or ends with it (after it). So no
///   added token reaches across the cut. Those that must be whole words look at their neighbours: a
///   tokenizer with one of them has no sure places. Those that take white space along take what
///   becomes no token.
/// - normalising goes character by character, but for canonical order (NFD), in which marks move
///   within an unbroken row of marks; a cut has white space or a word of its own on one side, which
///   is no mark.
/// - white space is dropped, and a word of its own parted from what stands around it.
/// - every word becomes tokens by itself.
pub(super) struct SurePlaces {
    /// Whether ideographs are words of their own.
    ideographs: bool,
    /// Of every ASCII character, whether an added token has it elsewhere than at its start.
    within: [bool; 128],
    /// … elsewhere than at its end.
    before_end: [bool; 128],
}

impl SurePlaces {
    /// Those of `tokenizer`, if it is one of which they are known.
    pub(super) fn of(tokenizer: &tokenizers::Tokenizer) -> Option<Self> {
        let Some(NormalizerWrapper::BertNormalizer(normalizer)) = tokenizer.get_normalizer() else {
            return None;
        };
        let splits =
            matches!(tokenizer.get_pre_tokenizer(), Some(PreTokenizerWrapper::BertPreTokenizer(_)));
        let ModelWrapper::WordPiece(model) = tokenizer.get_model() else { return None };
        // Without it a word beyond a cut may be an error, and one of no tokens.
        if !splits || model.token_to_id(&model.unk_token).is_none() {
            return None;
        }
        let mut places = Self {
            ideographs: normalizer.handle_chinese_chars,
            within: [false; 128],
            before_end: [false; 128],
        };
        for token in tokenizer.get_added_tokens_decoder().values() {
            let content = token.content.as_bytes();
            if content.is_empty() || !content.iter().all(u8::is_ascii_graphic) || token.single_word
            {
                return None;
            }
            for &c in &content[1..] {
                places.within[usize::from(c)] = true;
            }
            for &c in &content[..content.len() - 1] {
                places.before_end[usize::from(c)] = true;
            }
        }
        Some(places)
    }

    /// The first place at or after byte `from` of `text`; its end where there is none.
    pub(super) fn next(&self, text: &str, from: usize) -> usize {
        let from = (from..text.len()).find(|&i| text.is_char_boundary(i)).unwrap_or(text.len());
        let mut before = text[..from].chars().next_back();
        for (i, after) in text[from..].char_indices() {
            if before.is_some_and(|before| self.parts(before, after)) {
                return from + i;
            }
            before = Some(after);
        }
        text.len()
    }

    /// The last place at or before byte `to` of `text`; its start where there is none.
    pub(super) fn last(&self, text: &str, to: usize) -> usize {
        let to = (0..=to).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
        let mut after = text[to..].chars().next();
        for (i, before) in text[..to].char_indices().rev() {
            if after.is_some_and(|after| self.parts(before, after)) {
                return i + before.len_utf8();
            }
            after = Some(before);
        }
        0
    }

    /// Whether a cut between these two neighbours is sure.
    fn parts(&self, before: char, after: char) -> bool {
        let inside =
            |table: &[bool; 128], c: char| table.get(c as usize).is_some_and(|&known| known);
        is_space(after)
            || self.is_word(after) && !inside(&self.within, after)
            || self.is_word(before) && !inside(&self.before_end, before)
    }

    /// Whether the character is a word of its own wherever it stands.
    fn is_word(&self, c: char) -> bool {
        // U+037E is punctuation and becomes a semicolon, which an added token may hold.
        c.is_ascii_punctuation()
            || c.is_punctuation() && c != '\u{37e}'
            || self.ideographs && is_ideograph(c)
    }
}

/// White space that stays white space, unlike the control characters among it that are dropped.
fn is_space(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r') || c.is_whitespace() && !c.is_control()
}

/// An ideograph as BERT knows them, but for those that normalising makes another of.
fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{20000}'..='\u{2a6df}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenizer() -> tokenizers::Tokenizer {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/tiny/tokenizer.json");
        tokenizers::Tokenizer::from_file(path).unwrap()
    }

    /// Every character that makes a sure place, beside letters, marks and itself.
    #[test]
    fn the_tokens_of_parts_are_those_of_the_whole() {
        let tokenizer = tokenizer();
        let places = SurePlaces::of(&tokenizer).unwrap();
        let ids = |text: &str| tokenizer.encode_fast(text, false).unwrap().get_ids().to_vec();
        let mut sure = 0;
        for c in '\0'..=char::MAX {
            let before = places.parts('b', c);
            let after = places.parts(c, 'b');
            if !before && !after || is_ideograph(c) && !(c as u32).is_multiple_of(61) {
                continue;
            }
            sure += 1;
            for (left, right) in [("ab", "cd"), ("a\u{301}", "\u{323}b"), ("", ""), ("\u{b}", "é")]
            {
                let (left_c, c_right) = (format!("{left}{c}"), format!("{c}{right}"));
                let whole = ids(&format!("{left}{c}{right}"));
                if before {
                    assert_eq!([ids(left), ids(&c_right)].concat(), whole, "before {c:?}");
                }
                if after {
                    assert_eq!([ids(&left_c), ids(right)].concat(), whole, "after {c:?}");
                }
            }
        }
        assert!(sure > 1000, "{sure}");
    }

    #[test]
    fn places_are_found_from_both_ends() {
        let places = SurePlaces::of(&tokenizer()).unwrap();
        let text = "réal word, é";
        assert_eq!((places.next(text, 2), places.last(text, 4)), (5, 0));
        assert_eq!((places.next(text, 6), places.last(text, 9)), (10, 5));
        assert_eq!((places.next(text, 13), places.last(text, 13)), (14, 11));
        // The special tokens stay whole.
        assert_eq!((places.next("a[MASK]b", 2), places.last("a[MASK]b", 6)), (7, 1));
        assert_eq!((places.next("", 0), places.last("", 0)), (0, 0));
    }
}
