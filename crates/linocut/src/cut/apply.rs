//! Applying a cut to a base's weights, and taking it back bit for bit.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::content::Cut;
use crate::Result;
use crate::model::{Layout, Weights};

/// What a cut overwrote in some weights.
#[must_use = "without it the base's weights are lost"]
#[derive(Debug)]
pub struct Applied {
    layout: Arc<Layout>,
    overwritten: Vec<Overwritten>,
}

#[derive(Debug)]
struct Overwritten {
    /// Where the tensor starts in the weights.
    start: usize,
    /// Which of its entries; `None` for all.
    positions: Option<Vec<u32>>,
    /// The entries before; while the cut is not yet on, those after.
    values: Vec<f32>,
}

impl Cut {
    /// Applies the cut to `weights`, which must be the base's own: its zeros become +0.0, its
    /// replaced tensors are overwritten, its differences added. Whether the base is the right one is
    /// for [`Cut::check_base`] to say.
    ///
    /// # Errors
    /// If `weights` lack an edited tensor or have it in another shape, or an edit does not give
    /// finite values on them; nothing is then changed.
    pub fn apply(&self, weights: &mut Weights) -> Result<Applied> {
        let layout = Arc::clone(weights.layout());
        let mut found = Vec::with_capacity(self.edits().len());
        for (name, edit) in self.edits() {
            let i = edit.place(name, &layout)?;
            found.push((layout.tensors()[i].range.clone(), edit));
        }

        // In the order of the allocation, so that it splits into the edited tensors.
        found.sort_by_key(|(range, _)| range.start);
        let tensors = parts(weights.data_mut(), found.iter().map(|(range, _)| range.clone()));
        let edits = found.iter().map(|(range, edit)| (range.start, *edit));
        let changes: Vec<(&mut [f32], Overwritten)> = edits
            .zip(tensors)
            .collect::<Vec<_>>()
            .into_par_iter()
            .map(|((start, edit), tensor)| {
                let (positions, values) = edit.change(tensor)?;
                Ok((tensor, Overwritten { start, positions, values }))
            })
            .collect::<Result<_>>()?;
        // Nothing fails from here on.
        let overwritten = changes
            .into_par_iter()
            .map(|(tensor, mut change)| {
                change.swap(tensor);
                change
            })
            .collect();
        Ok(Applied { layout, overwritten })
    }
}

/// The disjoint parts of `data` at `ranges`, which increase.
fn parts(mut data: &mut [f32], ranges: impl Iterator<Item = Range<usize>>) -> Vec<&mut [f32]> {
    let mut at = 0;
    ranges
        .map(|range| {
            let rest = std::mem::take(&mut data).split_at_mut(range.start - at).1;
            let (part, rest) = rest.split_at_mut(range.len());
            (data, at) = (rest, range.end);
            part
        })
        .collect()
}

impl Overwritten {
    /// Exchanges the entries with those of `tensor`: from its start on, all that it names.
    fn swap(&mut self, tensor: &mut [f32]) {
        match &self.positions {
            Some(positions) => {
                for (&p, value) in positions.iter().zip(&mut self.values) {
                    std::mem::swap(&mut tensor[p as usize], value);
                }
            }
            None => tensor.swap_with_slice(&mut self.values),
        }
    }
}

impl Applied {
    /// Puts back what was overwritten, bit for bit. Of several cuts applied to the same weights the
    /// last comes off first.
    ///
    /// # Panics
    /// If `weights` have another layout than those that the cut was applied to.
    pub fn undo(self, weights: &mut Weights) {
        assert!(
            Arc::ptr_eq(&self.layout, weights.layout()) || self.layout == *weights.layout(),
            "undoing a cut on weights of another layout"
        );
        let range = |o: &Overwritten| {
            let len = match &o.positions {
                Some(positions) => positions.last().map_or(0, |&last| last as usize + 1),
                None => o.values.len(),
            };
            o.start..o.start + len
        };
        let tensors = parts(weights.data_mut(), self.overwritten.iter().map(range));
        let pairs: Vec<_> = self.overwritten.into_iter().zip(tensors).collect();
        pairs.into_par_iter().for_each(|(mut overwritten, tensor)| overwritten.swap(tensor));
    }
}
