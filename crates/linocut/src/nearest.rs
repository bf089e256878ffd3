//! What somebody may have meant by a name that is not known.

/// Characters of a name that are compared: a whole text, where a name is expected, takes long.
const COMPARED: usize = 64;

/// Insertions, deletions and replacements that make `a` into `b` (Levenshtein), without regard to
/// case, of their first 64 characters.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let letters = |text: &str| -> Vec<char> {
        text.chars().flat_map(char::to_lowercase).take(COMPARED).collect()
    };
    let (a, b) = (letters(a), letters(b));
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// The `most` of the known names that are nearest to `name`, the nearest first; those as near as each
/// other in their order.
pub(crate) fn nearest<'k>(
    name: &str,
    known: impl IntoIterator<Item = &'k str>,
    most: usize,
) -> Vec<&'k str> {
    let mut known: Vec<&str> = known.into_iter().collect();
    known.sort_by_cached_key(|known| distance(known, name));
    known.truncate(most);
    known
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn edits_are_counted() {
        for (a, b, edits) in [
            ("", "", 0),
            ("", "abc", 3),
            ("label", "lable", 2),
            ("Text", "text", 0),
            ("kitten", "sitting", 3),
            ("größe", "grösse", 2),
        ] {
            assert_eq!((distance(a, b), distance(b, a)), (edits, edits), "{a:?} {b:?}");
        }
        let long = "x".repeat(1 << 20);
        assert_eq!(distance(&long, &long[1..]), 0);
    }

    #[test]
    fn the_nearest_come_first() {
        let known = ["tone", "intent", "queue", "intents"];
        assert_eq!(nearest("Intnet", known, 2), ["intent", "intents"]);
        assert_eq!(nearest("queue", [], 2), [""; 0]);
    }
}
