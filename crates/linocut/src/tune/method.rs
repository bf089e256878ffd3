//! What is trained beside the head.

use super::{Sampling, Selection, Target};
use crate::model::{Encoder, Place, Role, TensorSpec};
use crate::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// What is trained beside the head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase")]
pub enum Method {
    /// Every tensor that the output depends on.
    Full,
    /// The chosen tensors; the embeddings are frozen.
    Layers(Selection),
    /// Every bias and LayerNorm shift (BitFit, Ben Zaken et al. 2022).
    Bias,
    /// The head alone.
    Head,
    /// A mask of each chosen matrix of the encoder layers and, under `cls` pooling, the pooler.
    Mask {
        /// How a step turns scores into a mask.
        sampling: Sampling,
        /// Initial scores are ± this; `None` leaves it to the number of steps, see
        /// [`Method::settled`].
        init_scale: Option<f64>,
        /// Share of each matrix whose scores start below 0: the smallest in magnitude.
        init_sparsity: f64,
        /// Share of each matrix that may become zero: the largest in magnitude.
        #[serde(default = "all")]
        candidates: f64,
        /// A share of zeros to reach exactly.
        #[serde(flatten, skip_serializing_if = "Option::is_none")]
        target: Option<Target>,
        /// Which matrices.
        #[serde(flatten)]
        selection: Selection,
    },
    /// A product of two narrow matrices added to each chosen matrix of the encoder layers (LoRA,
    /// Hu et al. 2021), with α equal to the rank.
    #[serde(rename = "lora")]
    LowRank {
        /// Columns of one and rows of the other.
        rank: usize,
        /// Which matrices.
        #[serde(flatten)]
        selection: Selection,
    },
}

/// The share of zeros that masks come to by themselves, roughly (0.2% to 1.7%, `bench/LOG.md`). More
/// learned ones do not help; the smallest entries, where more zeros are asked for, harm least.
const LEARNED: f64 = 0.01;

/// The share of each matrix that learned zeros are chosen from: the largest quarter. Zeros fall on
/// large entries anyway, scores are no worse (`bench/LOG.md`), and a zero costs two bits less.
pub(super) const CANDIDATES: f64 = 0.25;

/// Cards from before there were candidates.
fn all() -> f64 {
    1.0
}

/// Rank of low-rank factors where nothing is said, PEFT's default.
const RANK: usize = 8;

impl Method {
    /// Names of all methods, the smallest cuts first.
    pub const NAMES: [&str; 6] = ["mask", "layers", "bias", "lora", "head", "full"];

    /// The method of a name, as it is where nothing more is said.
    pub fn plain(name: &str) -> Option<Self> {
        let all = Selection::default;
        Some(match name {
            "mask" => Method::mask(),
            "layers" => Method::Layers(all()),
            "bias" => Method::Bias,
            "lora" => Method::low_rank(RANK, all()),
            "head" => Method::Head,
            "full" => Method::Full,
            _ => return None,
        })
    }

    /// Masks of every matrix, by the recipe that `bench/LOG.md` arrived at.
    pub fn mask() -> Self {
        Method::Mask {
            sampling: Sampling::Stochastic,
            init_scale: None,
            init_sparsity: 0.0,
            candidates: Self::candidates(0.0),
            target: None,
            selection: Selection::default(),
        }
    }

    /// The share of each matrix that may become zero where nothing is said of it: all of it if a share
    /// starts below 0, which are the smallest entries, else the largest quarter.
    pub fn candidates(init_sparsity: f64) -> f64 {
        if init_sparsity > 0.0 { 1.0 } else { CANDIDATES }
    }

    /// Masks of the chosen matrices, as [`Method::mask`].
    pub fn mask_of(selection: Selection) -> Self {
        let mut method = Self::mask();
        if let Method::Mask { selection: chosen, .. } = &mut method {
            *chosen = selection;
        }
        method
    }

    /// Masks of the chosen matrices with exactly the `target`'s share of zeros: as
    /// [`Method::mask`], but of the share all above 1% starts below 0, the smallest entries, and any
    /// entry may then become zero.
    pub fn mask_to(target: Target, selection: Selection) -> Self {
        // As it is written: 0.1 − 0.01 is not quite 0.09.
        let beyond = (1e6 * (target.sparsity - LEARNED)).round() / 1e6;
        Method::Mask {
            sampling: Sampling::Stochastic,
            init_scale: None,
            init_sparsity: beyond.max(0.0),
            candidates: Self::candidates(beyond.max(0.0)),
            target: Some(target),
            selection,
        }
    }

    /// Low-rank factors of the chosen matrices; where nothing is said of kinds, of query and value
    /// as in the paper and in PEFT.
    pub fn low_rank(rank: usize, selection: Selection) -> Self {
        let usual = || ["query", "value"].map(String::from).to_vec();
        let only = Some(selection.only.unwrap_or_else(usual));
        Method::LowRank { rank, selection: Selection { only, ..selection } }
    }

    /// The same for a run of `steps`, with what was left to their number: masks' scores start at
    /// ±6·√(steps / 1300), but at least ±6 and at most ±8. What noise moves a score by grows with
    /// the root of the steps, and no score should cross 0 by noise alone; `bench/LOG.md` has the
    /// runs.
    #[must_use]
    pub fn settled(&self, steps: usize) -> Self {
        let mut settled = self.clone();
        if let Method::Mask { init_scale, .. } = &mut settled {
            let by_steps = 6.0 * (steps as f64 / 1300.0).sqrt();
            init_scale.get_or_insert(by_steps.clamp(6.0, 8.0));
        }
        settled
    }

    /// The name used on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Method::Full => "full",
            Method::Layers(_) => "layers",
            Method::Bias => "bias",
            Method::Head => "head",
            Method::Mask { .. } => "mask",
            Method::LowRank { .. } => "lora",
        }
    }

    /// One flag a tensor: trained or masked.
    ///
    /// # Errors
    /// A selection with an entry that matches nothing, or that chooses no tensor at all.
    pub fn marks(&self, encoder: &Encoder) -> Result<Vec<bool>> {
        let (all, layout) = (Selection::default(), encoder.layout());
        let is_bias = |tensor: &TensorSpec| matches!(tensor.role, Role::Bias | Role::Shift);
        let marks = match self {
            Method::Full => all.marks(encoder, |_| true),
            Method::Bias => all.marks(encoder, is_bias),
            Method::Head => return Ok(vec![false; layout.tensors().len()]),
            Method::Layers(selection) => {
                selection.check(layout)?;
                selection.marks(encoder, |tensor| tensor.place != Place::Below)
            }
            Method::Mask { selection, .. } | Method::LowRank { selection, .. } => {
                selection.check(layout)?;
                selection.marks(encoder, |tensor| {
                    tensor.role.is_matrix() && tensor.place != Place::Below
                })
            }
        };
        if !marks.contains(&true) {
            return Err(Error::new(
                ErrorKind::Config,
                format!("method {} with these choices trains no tensor", self.name()),
            )
            .with_hint("widen `layers` or `only`, or use `method=head`"));
        }
        if let Method::LowRank { rank, .. } = self {
            let chosen = layout.tensors().iter().zip(&marks).filter(|(_, mark)| **mark);
            let narrowest = chosen.flat_map(|(t, _)| &t.shape).copied().min().unwrap_or(0);
            if !(1..=narrowest).contains(rank) {
                let message =
                    format!("`rank` is {rank}, expected 1 to {narrowest}, the narrowest matrix");
                return Err(Error::new(ErrorKind::Config, message));
            }
        }
        Ok(marks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_scores_start_follows_the_steps() {
        let scale = |method: Method, steps| match method.settled(steps) {
            Method::Mask { init_scale, .. } => init_scale.unwrap(),
            _ => unreachable!(),
        };
        for (steps, want) in [(1, 6.0), (800, 6.0), (1300, 6.0), (2000, 7.4421), (9000, 8.0)] {
            assert!((scale(Method::mask(), steps) - want).abs() < 1e-4, "{steps}");
        }
        // What was chosen stays.
        let chosen = Method::mask().settled(1300);
        assert_eq!(scale(chosen, 9000), 6.0);
        assert_eq!(Method::Full.settled(1300), Method::Full);
    }

    #[test]
    fn zeros_beyond_those_learned_start_as_zeros() {
        let start = |sparsity| {
            let target = Target { sparsity, scope: crate::tune::Scope::Matrix };
            match Method::mask_to(target, Selection::default()) {
                Method::Mask { init_sparsity, .. } => init_sparsity,
                _ => unreachable!(),
            }
        };
        assert_eq!((start(0.002), start(0.01)), (0.0, 0.0));
        assert!((start(0.3) - 0.29).abs() < 1e-12);
    }
}
