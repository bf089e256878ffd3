//! Every tensor to the bit.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;
use serde_json::json;

use super::build::{Packing, Score, Story};
use super::ingest::Tuned;
use super::survey::Survey;
use crate::Result;
use crate::cut::{Cut, Delta, Edit, StoreType, TensorEdit, Zeros};
use crate::model::Base;

/// Packs `tuned` as a cut of `base` from which every tensor comes back bit for bit, in its own name
/// and element type. With `score`, the card has the scores before and after. `progress` hears how
/// many of the changed entries are done, and of how many.
///
/// # Errors
/// If the model is not of the base's architecture, was not fine-tuned from it, or holds values that
/// are not finite.
pub fn lossless(
    base: &mut Base,
    tuned: &Tuned,
    score: Option<Score<'_>>,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Cut> {
    let mut packing = Packing::new(base, tuned, score)?;
    let edits = exact_edits(packing.base, tuned, &packing.survey, progress)?;
    let (source, others) = (tuned.source(packing.base)?, tuned.others()?);
    let mut training = json!({
        "tensors": packing.survey.0.len(),
        "identical": packing.survey.0.len() - edits.len(),
    });
    if let Some(before) = &packing.before {
        training["metrics_before"] = json!(before);
    }
    let method = json!({"name": "pack", "fidelity": "lossless"});
    let story = Story { method, training, metrics: BTreeMap::new() };
    let cut = packing.cut(edits, story, score)?.with_source(source, others)?;
    tuned.tensors().check_unchanged()?;
    Ok(cut)
}

/// The smallest exact edit of every tensor that changed.
pub(super) fn exact_edits(
    base: &Base,
    tuned: &Tuned,
    survey: &Survey,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<BTreeMap<String, TensorEdit>> {
    let layout = base.weights.layout();
    let changed: Vec<usize> = survey.changed().map(|m| m.tensor).collect();
    let total = changed.iter().map(|&i| layout.tensors()[i].range.len()).sum();
    let done = AtomicUsize::new(0);
    changed
        .into_par_iter()
        .map(|i| {
            let spec = &layout.tensors()[i];
            let store = tuned.store(tuned.tensor(&spec.name).expect("surveyed"))?;
            let columns = spec.shape.last().copied().unwrap_or(1);
            let edit = exact(base.weights.at(i), tuned.values(&spec.name)?, columns, store)?;
            let entries = spec.range.len();
            progress(done.fetch_add(entries, Ordering::Relaxed) + entries, total);
            Ok((spec.name.clone(), TensorEdit { shape: spec.shape.clone(), edit }))
        })
        .collect()
}

/// The smallest edit that gives exactly `tuned`, of rows of `columns`, which is stored as `store` and differs from `base`.
fn exact(base: &[f32], tuned: Vec<f32>, columns: usize, store: StoreType) -> Result<Edit> {
    let same = |(b, t): (&f32, &f32)| b.to_bits() == t.to_bits();
    let pairs = || base.iter().zip(&tuned);
    // +0.0 alone: −0.0 has another bit set.
    if pairs().all(|(b, t)| same((b, t)) || t.to_bits() == 0) {
        return Ok(Edit::of_zeros(Zeros::from_keep(pairs().map(same))?, base));
    }
    // Values that a narrower format holds, as those of an exported bf16 cut, differ by less in it.
    let holds = |store: &StoreType| store.check_rounded("", &tuned).is_ok();
    let narrow = [StoreType::Bf16, StoreType::F16].into_iter().find(holds);
    let store = narrow.unwrap_or(store);
    let delta = Delta::between(base, &tuned, columns, store)?;
    if delta.size() < tuned.len() * store.size() {
        return Ok(Edit::Delta(delta));
    }
    Ok(Edit::Replace { store, values: tuned })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::random::normal;

    #[test]
    fn values_of_a_narrower_format_come_back_and_take_less() {
        let base: Vec<f32> = (0..4096).map(|i| 0.05 * normal(1, i)).collect();
        for narrow in [StoreType::Bf16, StoreType::F16] {
            let wide: Vec<f32> =
                (0..4096).map(|i| base[i as usize] + 1e-3 * normal(2, i)).collect();
            let mut tuned = wide.clone();
            narrow.round("tuned", &mut tuned).unwrap();
            tuned[7] = -0.0;
            let Edit::Delta(delta) = exact(&base, tuned.clone(), 64, StoreType::F32).unwrap()
            else {
                panic!()
            };
            assert_eq!(delta.store(), narrow);
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&delta.values(&base).unwrap()), bits(&tuned));
            assert!(
                delta.size() < Delta::between(&base, &tuned, 64, StoreType::F32).unwrap().size()
            );
        }
    }
}
