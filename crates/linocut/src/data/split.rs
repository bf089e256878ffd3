//! Rows held out of a training file, and folds of it.

use std::collections::HashMap;

use super::dataset::{Dataset, Targets};
use super::table::data_error;
use crate::{Error, ErrorKind, Result};

/// Rows with equal texts: they go to one side together.
struct Group {
    hash: [u8; 32],
    rows: Vec<usize>,
    /// The rarest label that any of them has; 0 where there are none.
    label: u32,
}

/// Splits rows into (training, held out), about `share` (between 0 and 1, both excluded) of them
/// held out.
///
/// Of every label about that share is held out, of several labels a row the rarest counting, and
/// never the last different text of a label. Which rows depends on their texts, their labels and
/// `seed` alone, not on their order or the number of threads; rows with equal texts go to the same
/// side, so that no held-out text was learned by heart. Both parts keep the order of the file.
///
/// # Errors
/// A share out of range, or too few different texts to have one on each side.
pub fn split_holdout(dataset: &Dataset, share: f64, seed: u64) -> Result<(Dataset, Dataset)> {
    if !(share > 0.0 && share < 1.0) {
        let message = format!("the share to hold out must be between 0 and 1, found {share}");
        return Err(Error::new(ErrorKind::Config, message));
    }
    let mut strata = strata(dataset, seed);
    // Labels by what is left of their share when whole rows are taken; equal ones by their first hash.
    let rows = |groups: &[Group]| groups.iter().map(|group| group.rows.len()).sum::<usize>();
    let wanted = |groups: &[Group]| rows(groups) as f64 * share;
    strata.sort_by(|(_, a), (_, b)| {
        wanted(b).fract().total_cmp(&wanted(a).fract()).then_with(|| a[0].hash.cmp(&b[0].hash))
    });
    let total = ((dataset.rows() as f64 * share).round() as usize).max(1);
    let whole: usize = strata.iter().map(|(_, groups)| wanted(groups) as usize).sum();
    let mut spare = total.saturating_sub(whole);
    let mut held = Vec::new();
    for (_, groups) in &strata {
        let mut room = wanted(groups) as usize;
        if spare > 0 && groups.len() > 1 {
            room += 1;
            spare -= 1;
        }
        for group in &groups[..groups.len() - 1] {
            if room == 0 {
                break;
            }
            room = room.saturating_sub(group.rows.len());
            held.extend_from_slice(&group.rows);
        }
    }
    if held.is_empty() {
        let (rows, name) = (dataset.rows(), &dataset.name);
        let one_text = matches!(&strata[..], [(_, groups)] if groups.len() == 1);
        return Err(match (rows, one_text) {
            (0 | 1, _) => data_error(format!("{name} has {rows} rows, so none can be held out"))
                .with_hint("give more rows, or a file of rows to evaluate on"),
            (_, true) => data_error(format!(
                "all {rows} rows of {name} have the same text, so none can be held out"
            ))
            .with_hint("give rows of other texts, or a file of rows to evaluate on"),
            _ => data_error(format!(
                "{rows} rows of {name} are too few to hold {share} of them out and keep a text of \
                 every label"
            ))
            .with_hint("give more rows, a smaller share, or a file of rows to evaluate on"),
        });
    }
    held.sort_unstable();
    let mut is_held = vec![false; dataset.rows()];
    held.iter().for_each(|&row| is_held[row] = true);
    let kept: Vec<usize> = (0..dataset.rows()).filter(|&row| !is_held[row]).collect();
    Ok((dataset.select(&kept), dataset.select(&held)))
}

/// The rows of each of `folds` parts, ascending; every row is in one of them.
///
/// Of every label each part has about the same share, of several labels a row the rarest counting. As in
/// [`split_holdout`], rows with equal texts are in the same part, and which part does not depend on the rows' order.
///
/// # Errors
/// Folds out of 2 to 20, or more than there are different texts.
pub fn split_folds(dataset: &Dataset, folds: usize, seed: u64) -> Result<Vec<Vec<usize>>> {
    if !(2..=20).contains(&folds) {
        let message = format!("`folds` is {folds}, expected 2 to 20");
        return Err(Error::new(ErrorKind::Config, message));
    }
    let mut strata = strata(dataset, seed);
    strata.sort_by_key(|(label, _)| *label);
    let groups: Vec<Group> = strata.into_iter().flat_map(|(_, groups)| groups).collect();
    if groups.len() < folds {
        let (name, texts) = (&dataset.name, groups.len());
        return Err(data_error(format!(
            "{name} has {texts} different texts, expected at least {folds}: one a fold"
        ))
        .with_hint("give more rows, or fewer folds"));
    }
    let mut parts = vec![vec![]; folds];
    for (i, group) in groups.into_iter().enumerate() {
        parts[i % folds].extend(group.rows);
    }
    parts.iter_mut().for_each(|part| part.sort_unstable());
    Ok(parts)
}

/// Rows with equal texts by their rarest label, each label's in an order that `seed` decides.
fn strata(dataset: &Dataset, seed: u64) -> Vec<(u32, Vec<Group>)> {
    let mut strata: HashMap<u32, Vec<Group>> = HashMap::new();
    for group in groups(dataset, seed) {
        strata.entry(group.label).or_default().push(group);
    }
    let mut strata: Vec<(u32, Vec<Group>)> = strata.into_iter().collect();
    strata.iter_mut().for_each(|(_, groups)| groups.sort_unstable_by_key(|group| group.hash));
    strata
}

fn groups(dataset: &Dataset, seed: u64) -> Vec<Group> {
    let mut counts = vec![0usize; dataset.labels.len()];
    let labels = |row: usize| match &dataset.targets {
        Targets::Classes(all) => &all[row..=row],
        Targets::MultiHot(all) => &all[row][..],
        Targets::Values(_) => &[],
    };
    (0..dataset.rows()).flat_map(labels).for_each(|&label| counts[label as usize] += 1);
    let mut groups: HashMap<[u8; 32], Group> = HashMap::new();
    for row in 0..dataset.rows() {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        hasher.update(&(dataset.texts[row].len() as u64).to_le_bytes());
        hasher.update(dataset.texts[row].as_bytes());
        if let Some(pairs) = &dataset.pairs {
            hasher.update(pairs[row].as_bytes());
        }
        let hash = *hasher.finalize().as_bytes();
        groups
            .entry(hash)
            .or_insert_with(|| Group { hash, rows: Vec::new(), label: 0 })
            .rows
            .push(row);
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    for group in &mut groups {
        let all = group.rows.iter().flat_map(|&row| labels(row)).copied();
        let rarest = all.min_by_key(|&label| (counts[label as usize], label));
        group.label = rarest.map_or(0, |label| label + 1);
    }
    groups
}
