//! How long the texts are that a run learns from.

use super::shared::Tokens;

/// Tokens of the training texts, or of the pairs of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lengths {
    /// Texts.
    pub rows: usize,
    /// Tokens of the one in the middle by length; of an even number of texts the longer of the two.
    pub median: usize,
    /// Tokens of the longest, as far as it is read.
    pub longest: usize,
    /// Texts longer than `max_length`, of which no more is read.
    pub cut: usize,
    /// The most tokens that are read of a text.
    pub max_length: usize,
}

impl Lengths {
    /// Those of `tokens`, cut at `max_length`.
    pub(super) fn of(tokens: &Tokens, max_length: usize) -> Self {
        let mut lengths: Vec<usize> = tokens.rows.iter().map(|row| row.ids.len()).collect();
        lengths.sort_unstable();
        let at = |i: usize| lengths.get(i).copied().unwrap_or_default();
        Self {
            rows: lengths.len(),
            median: at(lengths.len() / 2),
            longest: at(lengths.len().saturating_sub(1)),
            cut: tokens.texts_cut,
            max_length,
        }
    }

    /// For people.
    pub fn in_words(&self) -> String {
        let Self { rows, median, longest, cut, max_length } = *self;
        match cut {
            0 => format!("texts of {median} tokens (median), {longest} at most; none is cut"),
            _ => format!(
                "texts of {median} tokens (median); {cut} of {rows} rows ({:.1}%) {} longer than {max_length} tokens \
                 and will be cut",
                100.0 * cut as f64 / rows as f64,
                if cut == 1 { "is" } else { "are" }
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Encoding;

    #[test]
    fn lengths_in_words() {
        let of = |lengths: &[usize], texts_cut| {
            let row = |&n: &usize| Encoding { ids: vec![1; n], type_ids: vec![0; n], cut: false };
            Lengths::of(&Tokens { rows: lengths.iter().map(row).collect(), texts_cut }, 128)
        };
        assert_eq!(
            of(&[5, 31, 12], 0).in_words(),
            "texts of 12 tokens (median), 31 at most; none is cut"
        );
        let cut = "texts of 128 tokens (median); 3 of 4 rows (75.0%) are longer than 128 tokens and will be cut";
        assert_eq!(of(&[9, 128, 128, 128], 3).in_words(), cut);
        assert_eq!(of(&[], 0).median, 0);
    }
}
