//! Applying a cut to a base's weights, and taking it back bit for bit.

use std::sync::Arc;

use super::content::Cut;
use super::edit::Edit;
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
    /// The entries before.
    values: Vec<f32>,
}

impl Cut {
    /// Applies the cut to `weights`: its zeros become +0.0, its replaced tensors are overwritten.
    /// Whether the base is the right one is for [`Cut::check_base`] to say.
    ///
    /// # Errors
    /// If `weights` lack an edited tensor or have it in another shape; nothing is then changed.
    pub fn apply(&self, weights: &mut Weights) -> Result<Applied> {
        let layout = Arc::clone(weights.layout());
        let mut found = Vec::with_capacity(self.edits().len());
        for (name, edit) in self.edits() {
            let i = edit.place(name, &layout)?;
            found.push((layout.tensors()[i].range.clone(), &edit.edit));
        }

        let mut overwritten = Vec::with_capacity(found.len());
        for (range, edit) in found {
            let start = range.start;
            let tensor = &mut weights.data_mut()[range];
            overwritten.push(match edit {
                Edit::Zeros(zeros) => {
                    let positions = zeros.positions();
                    let values = positions
                        .iter()
                        .map(|&p| std::mem::replace(&mut tensor[p as usize], 0.0))
                        .collect();
                    Overwritten { start, positions: Some(positions.to_vec()), values }
                }
                Edit::Replace { values, .. } => {
                    let before = tensor.to_vec();
                    tensor.copy_from_slice(values);
                    Overwritten { start, positions: None, values: before }
                }
            });
        }
        Ok(Applied { layout, overwritten })
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
        for Overwritten { start, positions, values } in self.overwritten {
            let rest = &mut weights.data_mut()[start..];
            match positions {
                Some(positions) => {
                    for (p, value) in positions.into_iter().zip(values) {
                        rest[p as usize] = value;
                    }
                }
                None => rest[..values.len()].copy_from_slice(&values),
            }
        }
    }
}
