//! Which tensor of a tuned model belongs to which of the base.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use super::place::{Part, place};
use crate::checkpoint::StoredTensor;
use crate::model::family::canonical;
use crate::{Error, ErrorKind, Result};

/// The names of a base's tensors without the prefix of a task model (`bert.`, `roberta.`), if
/// BERT's names show when it is taken away; in the tensors' order.
pub(super) fn display_names(tensors: &[&StoredTensor]) -> Vec<String> {
    let known = |prefix: &str| {
        tensors.iter().filter(|t| canonical(strip(&t.name, prefix)).is_some()).count()
    };
    // The first of the best, so that no prefix is taken away without need.
    let mut best = (0, String::new());
    for prefix in prefixes(tensors) {
        let count = known(&prefix);
        if count > best.0 {
            best = (count, prefix);
        }
    }
    tensors.iter().map(|t| plain(&t.name, &best.1)).collect()
}

/// For each tensor of `base` the index of its counterpart in `tuned`, by names without prefixes.
///
/// # Errors
/// If no tensor has a counterpart, or the two are of different architectures: a shape differs, or
/// one lacks parameters in a layer of the other. What lies outside the layers (heads, poolers) may
/// be in one alone.
pub(super) fn pair(
    (base_path, base, display): (&Path, &[&StoredTensor], &[String]),
    (tuned_path, tuned): (&Path, &[&StoredTensor]),
) -> Result<Vec<Option<usize>>> {
    let mut best: (usize, Vec<Option<usize>>) = (0, vec![None; base.len()]);
    for q in prefixes(tuned) {
        let Some(index) = names(tuned, &q) else { continue };
        for p in prefixes(base) {
            if names(base, &p).is_none() {
                continue;
            }
            let found: Vec<Option<usize>> =
                base.iter().map(|t| index.get(&plain(&t.name, &p)).copied()).collect();
            let count = found.iter().flatten().count();
            if count > best.0 {
                best = (count, found);
            }
        }
    }
    let pairs = best.1;
    let different = |what: String| {
        let (base, tuned) = (base_path.display(), tuned_path.display());
        Error::new(ErrorKind::Base, format!("{tuned} is no fine-tuned {base}: {what}"))
            .with_hint("both must be of one architecture and size; give the base it came from")
    };
    if best.0 == 0 {
        let first = |tensors: &[&StoredTensor]| list(tensors.iter().map(|t| t.name.as_str()));
        return Err(different(format!(
            "no tensor name is in both; the base has {}, the other {}",
            first(base),
            first(tuned)
        )));
    }
    let mut shapes = Vec::new();
    for (i, j) in pairs.iter().enumerate() {
        let Some(other) = j.map(|j| tuned[j]) else { continue };
        if base[i].shape != other.shape {
            shapes.push(format!("{} {:?} and {:?}", display[i], base[i].shape, other.shape));
        }
    }
    if !shapes.is_empty() {
        return Err(different(format!(
            "{} of {} shapes differ: {}",
            shapes.len(),
            best.0,
            list(shapes.iter().map(String::as_str))
        )));
    }
    // What a layer has must be in both; buffers come and go with the library's version.
    let parameter = |name: &str| name.ends_with(".weight") || name.ends_with(".bias");
    let lacking: Vec<&str> = (0..base.len())
        .filter(|&i| pairs[i].is_none() && parameter(&display[i]))
        .filter(|&i| matches!(place(&display[i]).0, Part::Layer(..)))
        .map(|i| display[i].as_str())
        .collect();
    if !lacking.is_empty() {
        let names = list(lacking.iter().copied());
        return Err(different(format!("it lacks {} tensors of layers: {names}", lacking.len())));
    }
    let stacks: BTreeSet<String> = tuned_stacks(base.iter().enumerate().filter_map(|(i, _)| {
        let j = pairs[i]?;
        Some(tuned[j].name.as_str())
    }));
    let used: BTreeSet<usize> = pairs.iter().flatten().copied().collect();
    let more: Vec<&str> = (0..tuned.len())
        .filter(|j| !used.contains(j))
        .map(|j| tuned[j].name.as_str())
        .filter(|name| parameter(name) && stack(name).is_some_and(|s| stacks.contains(&s)))
        .collect();
    if !more.is_empty() {
        let names = list(more.iter().copied());
        return Err(different(format!(
            "it has {} tensors in layers that the base lacks: {names}",
            more.len()
        )));
    }
    Ok(pairs)
}

fn stack(name: &str) -> Option<String> {
    match place(name).0 {
        Part::Layer(stack, _) => Some(stack),
        _ => None,
    }
}

fn tuned_stacks<'a>(names: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    names.filter_map(stack).collect()
}

/// The first three of some names.
pub(super) fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = names.take(4).collect();
    if names.len() == 4 {
        names[3] = "…";
    }
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

fn strip<'a>(name: &'a str, prefix: &str) -> &'a str {
    name.strip_prefix(prefix).unwrap_or(name)
}

/// A name without `prefix`, in BERT's spelling where it is BERT's.
fn plain(name: &str, prefix: &str) -> String {
    let name = strip(name, prefix);
    canonical(name).map_or_else(|| name.to_string(), |canonical| canonical.name)
}

/// Index by name without `prefix`; none where that makes two names one.
fn names(tensors: &[&StoredTensor], prefix: &str) -> Option<HashMap<String, usize>> {
    let index: HashMap<String, usize> =
        tensors.iter().enumerate().map(|(i, t)| (plain(&t.name, prefix), i)).collect();
    (index.len() == tensors.len()).then_some(index)
}

/// No prefix, and the most common first words of the names, each with its dot.
fn prefixes(tensors: &[&StoredTensor]) -> Vec<String> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for tensor in tensors {
        if let Some(dot) = tensor.name.find('.') {
            *counts.entry(&tensor.name[..=dot]).or_default() += 1;
        }
    }
    let mut words: Vec<(&str, usize)> = counts.into_iter().collect();
    words.sort_by_key(|&(word, count)| (std::cmp::Reverse(count), word));
    let words = words.into_iter().take(4).map(|(word, _)| word.to_string());
    std::iter::once(String::new()).chain(words).collect()
}
