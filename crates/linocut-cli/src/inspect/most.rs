//! Where a cut's zeros are, in words.

use super::Sum;
use std::cmp::Reverse;

/// Where most zeros are, in words: the fewest layers that have over half of them, unless these are half of the layers,
/// and the kinds that have most, of all zeros and for their size.
pub(super) fn most(mut layers: Vec<(Option<usize>, u64)>, kinds: &[(&str, Sum)]) -> String {
    let all: u64 = layers.iter().map(|(_, zeros)| zeros).sum();
    // Of equals the first.
    let kind = kinds.iter().rev().max_by_key(|(_, sum)| sum.zeros);
    let density = |sum: &Sum| sum.zeros as f64 / sum.entries.max(1) as f64;
    let dense = kinds.iter().rev().max_by(|a, b| density(&a.1).total_cmp(&density(&b.1)));
    let (Some((kind, of_kind)), Some((dense, of_dense)), 1..) = (kind, dense, all) else {
        return String::new();
    };
    let percent = |zeros: u64| format!("{:.0}%", 100.0 * zeros as f64 / all as f64);
    let count = layers.len();
    layers.sort_by_key(|(_, zeros)| Reverse(*zeros));
    let mut sum = 0;
    let fewest = layers.iter().take_while(|(_, zeros)| {
        let before = sum;
        sum += zeros;
        2 * before <= all
    });
    let mut chosen: Vec<(Option<usize>, u64)> = fewest.copied().collect();
    let layers = if count == 1 {
        String::new()
    } else if 2 * chosen.len() < count {
        let share = percent(chosen.iter().map(|(_, zeros)| zeros).sum());
        chosen.sort_by_key(|(layer, _)| layer.unwrap_or(usize::MAX));
        let chosen: Vec<Option<usize>> = chosen.into_iter().map(|(layer, _)| layer).collect();
        format!("most zeros are in {} ({share}); ", layers_in_words(&chosen))
    } else {
        let [(most, zeros), .., (least, fewest)] = layers[..] else { return String::new() };
        let [most, least] = [most, least].map(|layer| layers_in_words(&[layer]));
        let (zeros, fewest) = (percent(zeros), percent(fewest));
        format!(
            "zeros are spread over the layers: {most} has most ({zeros}), {least} least ({fewest}); "
        )
    };
    let size = match kind == dense {
        true => format!("also for its size ({} of its entries)", of_kind.share()),
        false => format!("for its size {dense} ({} of its entries)", of_dense.share()),
    };
    format!("{layers}of the kinds {kind} has most ({}), {size}\n", percent(of_kind.zeros))
}

/// `layers 0, 3–5`, ascending; what belongs to none is at the end.
fn layers_in_words(layers: &[Option<usize>]) -> String {
    let numbers: Vec<usize> = layers.iter().flatten().copied().collect();
    let runs = numbers.chunk_by(|a, b| a + 1 == *b).map(|run| match run {
        [one] => one.to_string(),
        [first, .., last] => format!("{first}–{last}"),
        [] => String::new(),
    });
    let runs = runs.collect::<Vec<_>>().join(", ");
    let within = match numbers.len() {
        0 => return "no layer".into(),
        1 => format!("layer {runs}"),
        _ => format!("layers {runs}"),
    };
    if numbers.len() < layers.len() { format!("{within} and outside of layers") } else { within }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_most_zeros_are() {
        let sum = |zeros, entries| Sum { zeros, entries, bytes: 0 };
        let kinds =
            [("query", sum(10, 500)), ("intermediate", sum(48, 4000)), ("output", sum(42, 4000))];
        let kinds_said =
            "of the kinds intermediate has most (48%), for its size query (2.00% of its entries)\n";
        let said = |zeros: &[u64], expected: &str| {
            let layers = zeros.iter().enumerate().map(|(layer, zeros)| (Some(layer), *zeros));
            assert_eq!(most(layers.collect(), &kinds), format!("{expected}{kinds_said}"));
        };
        said(&[10, 10, 9, 9, 30, 32], "most zeros are in layers 4–5 (62%); ");
        said(&[25, 10, 10, 30, 25, 0], "most zeros are in layers 0, 3 (55%); ");
        let spread =
            "zeros are spread over the layers: layer 3 has most (18%), layer 5 least (16%); ";
        said(&[17, 17, 16, 18, 16, 16], spread);
        let spread =
            "zeros are spread over the layers: layer 0 has most (50%), layer 1 least (50%); ";
        said(&[50, 50], spread);
        said(&[100], "");
        // Exactly half is not most; a pooler belongs to no layer.
        let pooler = [(Some(0), 50), (Some(1), 5), (Some(2), 3), (Some(3), 2), (None, 40)];
        let found = most(pooler.to_vec(), &[("pooler", sum(40, 100))]);
        let expected = "most zeros are in layer 0 and outside of layers (90%); \
                        of the kinds pooler has most (40%), also for its size (40.00% of its entries)\n";
        assert_eq!(found, expected);
        assert_eq!(most(vec![(Some(0), 0), (Some(1), 0)], &[("query", sum(0, 10))]), "");
    }
}
