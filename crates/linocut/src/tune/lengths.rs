//! How long the texts are that a run learns from.

use crate::data::{Extent, Long, Texts};

/// Tokens of the training texts, or of the pairs of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lengths {
    /// Texts.
    pub rows: usize,
    /// Tokens of the one in the middle by length, as far as it is read and, in windows, as often; of an even number of
    /// texts the longer of the two.
    pub median: usize,
    /// Tokens of the longest, as far as it is read.
    pub longest: usize,
    /// Texts longer than what is read.
    pub cut: usize,
    /// What is read of a text.
    pub extent: Extent,
}

impl Lengths {
    /// Those of `texts`, of which `extent` was read.
    pub(super) fn of(texts: &Texts, extent: Extent) -> Self {
        let mut lengths: Vec<usize> = texts.tokens().collect();
        lengths.sort_unstable();
        let at = |i: usize| lengths.get(i).copied().unwrap_or_default();
        Self {
            rows: lengths.len(),
            median: at(lengths.len() / 2),
            longest: at(lengths.len().saturating_sub(1)),
            cut: texts.cut,
            extent,
        }
    }

    /// For people.
    pub fn in_words(&self) -> String {
        let Self { rows, median, longest, cut, extent } = *self;
        let windows = match extent.long {
            Some(Long::Windows) if longest > extent.max_length => " in windows that overlap",
            _ => "",
        };
        // How long a text is that is not read to its end is not known.
        let more = if 2 * cut >= rows { " or more" } else { "" };
        match cut {
            0 => format!(
                "texts of {median} tokens (median), {longest} at most{windows}; none is cut"
            ),
            _ => format!(
                "texts of {median} tokens{more} (median){windows}; {cut} of {rows} rows ({:.1}%) {} longer than {extent} \
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
            let row = |(i, &n): (usize, &usize)| {
                vec![Encoding { ids: vec![1; n], type_ids: vec![0; n], cut: i < texts_cut }]
            };
            let texts = Texts::new(lengths.iter().enumerate().map(row).collect());
            Lengths::of(&texts, 128.into())
        };
        assert_eq!(
            of(&[5, 31, 12], 0).in_words(),
            "texts of 12 tokens (median), 31 at most; none is cut"
        );
        let cut = "texts of 128 tokens or more (median); 3 of 4 rows (75.0%) are longer than 128 tokens and will be cut";
        assert_eq!(of(&[9, 128, 128, 128], 3).in_words(), cut);
        assert_eq!(of(&[], 0).median, 0);
    }
}
