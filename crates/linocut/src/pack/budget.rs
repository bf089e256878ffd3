//! As near to a fine-tuned model as a budget of bytes allows.
//!
//! Every changed tensor has several ways to be stored, each with its bytes and the squared error it
//! leaves. Of these the lower convex hull counts: along it every further byte removes less error than
//! those before. The steps of all hulls are taken in the order of error removed per byte until the
//! budget is spent, which is the best there is but for the last, broken step (the greedy solution of
//! the knapsack problem, as in rate–distortion allocation: Shoham & Gersho 1988).

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde_json::{Value, json};

use super::build::{Packing, Score, Scores, Story};
use super::candidates::{Candidate, Changed, How};
use super::ingest::Tuned;
use super::lossless::exact_edits;
use super::survey::Movement;
use crate::cut::{Cut, Sizes, TensorEdit};
use crate::model::Base;
use crate::{Error, ErrorKind, Result};

/// A number that takes as many characters as any.
const LONGEST_NUMBER: f64 = -2.2250738585072014e-308;

/// Packs `tuned` as a cut of `base` whose file has at most `budget` bytes. The head stays as it is.
/// The card tells the relative error left in every changed tensor (‖tuned − stored‖ over
/// ‖tuned − base‖, so 1 where the base's is kept), and with `score` the scores before and after.
///
/// # Errors
/// As [`lossless`](super::lossless()), and if the budget is below the size of a cut that has the head
/// alone.
pub fn to_budget(
    base: &mut Base,
    tuned: &Tuned,
    budget: u64,
    score: Option<Score<'_>>,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Cut> {
    let mut packing = Packing::new(base, tuned, score)?;
    let (survey, before) = (std::mem::take(&mut packing.survey), packing.before.take());
    let changed: Vec<&Movement> = survey.changed().collect();
    let names: Vec<String> = {
        let specs = packing.base.weights.layout().tensors();
        changed.iter().map(|m| specs[m.tensor].name.clone()).collect()
    };
    // Until the packed model is scored, the longest numbers there are stand in for its scores.
    let stand_ins: Scores =
        before.iter().flatten().map(|(name, _)| (name.clone(), LONGEST_NUMBER)).collect();
    let story = |budget: u64, left: &[f64]| {
        let left = names.iter().cloned().zip(left.iter().map(|&l| json!(rounded(l))));
        let mut training = json!({
            "tensors": survey.0.len(),
            "identical": survey.0.len() - changed.len(),
            "left": Value::Object(left.collect()),
        });
        if let Some(before) = &before {
            training["metrics_before"] = json!(before);
        }
        let method = json!({"name": "pack", "fidelity": "budget", "budget": budget});
        Story { method, training, metrics: stand_ins.clone() }
    };
    let untouched = vec![1.0; changed.len()];
    let mut least = packing.cut(BTreeMap::new(), story(budget, &untouched), None)?.sizes();
    if least.file > budget {
        // The card has the budget in it, whose digits count too: with those of what is told to give,
        // the file may be as many bytes longer as there are digits.
        let digits = story(least.file + 20, &untouched);
        least = packing.cut(BTreeMap::new(), digits, None)?.sizes();
        return Err(too_small(budget, &least));
    }

    let exact = exact_edits(packing.base, tuned, &survey, progress)?;
    let hulls = hulls(packing.base, tuned, &changed, &exact)?;
    let (mut allowance, mut times) = (budget - least.file, 1u64);
    // What names and offsets take is estimated. Each time that is too little, twice as much is given
    // up, until nothing is edited at all, which fits for sure.
    loop {
        let chosen = spend(&hulls, allowance);
        let mut edits = BTreeMap::new();
        let mut left = Vec::with_capacity(changed.len());
        for (((movement, name), hull), steps) in changed.iter().zip(&names).zip(&hulls).zip(chosen)
        {
            let point = &hull[steps];
            left.push(if movement.moved > 0.0 {
                (point.left / movement.moved).sqrt()
            } else {
                0.0
            });
            if let Some(how) = point.how {
                let edit = with_changed(packing.base, tuned, movement, &exact, |c| c.edit(how))?;
                edits.insert(name.clone(), edit);
            }
        }
        // Scored only once it fits.
        let mut cut = packing.cut(edits.clone(), story(budget, &left), None)?;
        if score.is_some() && cut.sizes().file <= budget {
            cut = packing.cut(edits, story(budget, &left), score)?;
        }
        let sizes = cut.sizes();
        if sizes.file <= budget {
            tuned.tensors().check_unchanged()?;
            return Ok(cut);
        }
        if allowance == 0 {
            // A score that the model as it came did not have.
            return Err(too_small(budget, &sizes));
        }
        allowance = allowance.saturating_sub((sizes.file - budget).saturating_mul(times));
        times = times.saturating_mul(2);
    }
}

/// A way to store a tensor on the lower convex hull of all.
struct Point {
    /// `None`: the base's tensor is kept.
    how: Option<How>,
    /// Bytes in the file, its names included.
    bytes: u64,
    /// Σ (tuned − stored)²
    left: f64,
}

/// For every changed tensor the lower convex hull of its candidates: bytes rise and errors fall from
/// point to point, from the base's own tensor on, ever more slowly.
fn hulls(
    base: &Base,
    tuned: &Tuned,
    changed: &[&Movement],
    exact: &BTreeMap<String, TensorEdit>,
) -> Result<Vec<Vec<Point>>> {
    changed
        .par_iter()
        .map(|movement| {
            let candidates = with_changed(base, tuned, movement, exact, |c| c.candidates())?;
            let name = &base.weights.layout().tensors()[movement.tensor].name;
            Ok(hull(movement.moved, &candidates, overhead(name)))
        })
        .collect()
}

fn hull(moved: f64, candidates: &[Candidate], overhead: usize) -> Vec<Point> {
    let mut sorted: Vec<&Candidate> = candidates.iter().collect();
    sorted.sort_by(|a, b| a.bytes.cmp(&b.bytes).then(a.left.total_cmp(&b.left)));
    let mut hull = vec![Point { how: None, bytes: 0, left: moved }];
    for candidate in sorted {
        let bytes = (candidate.bytes + overhead) as u64;
        let slope = |from: &Point| (from.left - candidate.left) / (bytes - from.bytes) as f64;
        if hull.last().is_none_or(|last| candidate.left >= last.left || bytes == last.bytes) {
            continue; // no better than one that is no larger
        }
        // Points that a straight line from their predecessor to this one passes below.
        while let [.., before, last] = &hull[..] {
            let to_last = (before.left - last.left) / (last.bytes - before.bytes) as f64;
            if to_last > slope(before) {
                break;
            }
            hull.pop();
        }
        hull.push(Point { how: Some(candidate.how), bytes, left: candidate.left });
    }
    hull
}

/// How many steps to take on each hull: in the order of error removed per byte, as long as they fit.
/// A tensor whose next step does not fit stays where it is. Equal steps go in the tensors' order.
fn spend(hulls: &[Vec<Point>], allowance: u64) -> Vec<usize> {
    let mut steps: Vec<(f64, usize, usize, u64)> = Vec::new();
    for (tensor, hull) in hulls.iter().enumerate() {
        for (i, pair) in hull.windows(2).enumerate() {
            let bytes = pair[1].bytes - pair[0].bytes;
            steps.push(((pair[0].left - pair[1].left) / bytes as f64, tensor, i + 1, bytes));
        }
    }
    steps.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
    let mut taken = vec![0; hulls.len()];
    let mut rest = allowance;
    for (_, tensor, step, bytes) in steps {
        if taken[tensor] + 1 == step && bytes <= rest {
            taken[tensor] = step;
            rest -= bytes;
        }
    }
    taken
}

/// Calls `use_it` with the tensor of both models that moved.
fn with_changed<T>(
    base: &Base,
    tuned: &Tuned,
    movement: &Movement,
    exact: &BTreeMap<String, TensorEdit>,
    use_it: impl FnOnce(Changed<'_>) -> Result<T>,
) -> Result<T> {
    let spec = &base.weights.layout().tensors()[movement.tensor];
    use_it(Changed {
        shape: &spec.shape,
        base: base.weights.at(movement.tensor),
        tuned: &tuned.values(&spec.name)?,
        exact: &exact[&spec.name],
    })
}

/// Bytes that an edited tensor takes beside its data: its names and numbers in card and header.
fn overhead(name: &str) -> usize {
    2 * name.len() + 170
}

/// Four digits: the card is not the place for more.
fn rounded(share: f64) -> f64 {
    (share * 1e4).round() / 1e4
}

fn too_small(budget: u64, least: &Sizes) -> Error {
    let (file, head) = (least.file, least.head);
    let message = format!(
        "a budget of {budget} bytes, expected at least {file}: the head takes {head}, card, probes \
         and container {}",
        file - head
    );
    Error::new(ErrorKind::Config, message)
        .with_hint(format!("the head stays as it is; the least is `budget={file}`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn candidates(points: &[(usize, f64)]) -> Vec<Candidate> {
        let how = How::Replace;
        points.iter().map(|&(bytes, left)| Candidate { how, bytes, left }).collect()
    }

    fn shape(hull: &[Point]) -> Vec<(u64, f64)> {
        hull.iter().map(|p| (p.bytes, p.left)).collect()
    }

    #[test]
    fn hulls_drop_what_a_mixture_of_others_beats() {
        let given = candidates(&[(10, 90.0), (20, 40.0), (30, 39.0), (40, 0.0), (25, 60.0)]);
        assert_eq!(shape(&hull(100.0, &given, 0)), [(0, 100.0), (20, 40.0), (40, 0.0)]);
        assert_eq!(shape(&hull(0.0, &given, 0)), [(0, 0.0)]);
        // One straight line: its ends are enough.
        let line = candidates(&[(50, 50.0), (100, 0.0)]);
        assert_eq!(shape(&hull(100.0, &line, 0)), [(0, 100.0), (100, 0.0)]);
    }

    proptest! {
        #[test]
        fn spending_keeps_to_the_allowance_and_all_of_it_buys_the_best(
            tensors in prop::collection::vec(
                prop::collection::vec((1usize..1000, 0.0f64..100.0), 1..8), 1..6),
            allowance in 0u64..4000,
        ) {
            let hulls: Vec<Vec<Point>> =
                tensors.iter().map(|t| hull(100.0, &candidates(t), 5)).collect();
            for hull in &hulls {
                let slopes: Vec<f64> = hull
                    .windows(2)
                    .map(|w| (w[0].left - w[1].left) / (w[1].bytes - w[0].bytes) as f64)
                    .collect();
                prop_assert!(slopes.windows(2).all(|w| w[0] > w[1]), "{slopes:?}");
                prop_assert!(slopes.iter().all(|&s| s > 0.0));
            }
            let total = |allowance: u64| {
                let taken = spend(&hulls, allowance);
                let points = || hulls.iter().zip(&taken).map(|(hull, &i)| &hull[i]);
                (points().map(|p| p.bytes).sum::<u64>(), points().map(|p| p.left).sum::<f64>())
            };
            prop_assert!(total(allowance).0 <= allowance);
            let all: u64 = hulls.iter().map(|h| h.last().unwrap().bytes).sum();
            let least: f64 = hulls.iter().map(|h| h.last().unwrap().left).sum();
            prop_assert!((total(all).1 - least).abs() < 1e-9);
            prop_assert_eq!(total(0).0, 0);
        }
    }
}
