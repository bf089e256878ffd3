//! What was measured, by tensor, layer, kind and in all.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::baseline;
use super::distance::{Figures, angle};
use super::overlap::Overlap;
use super::place::{Part, kind_name, kind_order, place};
use super::scan::Options;
use super::source::{Content, Model};
use crate::cut::TensorEdit;
use crate::kernels::difference::{Differences, Pair};

/// From this angular distance on a tensor counts as far as random: half of what two random
/// initialisations are apart (cosine 0.71). Fine-tuning stays one to three orders below.
pub const FAR: f64 = 0.25;

/// Everything that one run measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The base's path, as given.
    pub base: String,
    /// Standard deviation of the random baseline.
    pub initializer_range: f64,
    /// The seed that the baseline was drawn with; none where it is an expectation.
    pub baseline_seed: Option<u64>,
    /// An entry counts as changed if it differs by more.
    pub tolerance: f64,
    /// The models, in the order given.
    pub models: Vec<ModelReport>,
    /// Every two models.
    pub pairs: Vec<PairReport>,
}

/// How far one model lies from the base.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ModelReport {
    /// Its name: the last part of its path.
    pub name: String,
    /// Its path, as given.
    pub path: String,
    /// `checkpoint` or `cut`.
    pub format: &'static str,
    /// Whether all matrices together lie as far from the base's as random ones: [`FAR`]. Never of
    /// a cut, whose base is known.
    pub unrelated: bool,
    /// Tensors initialised at random and that far from the base's.
    pub far: Vec<String>,
    /// All tensors together.
    pub all: Group,
    /// By layer, in the network's order.
    pub layers: Vec<Named>,
    /// By kind.
    pub kinds: Vec<Named>,
    /// By layer and kind.
    pub cells: Vec<Cell>,
    /// By tensor, sorted by name.
    pub tensors: Vec<TensorReport>,
    /// Weights of the base that the model lacks.
    pub only_in_base: Vec<String>,
    /// Weights of the model that the base lacks: its head, as a rule.
    pub only_in_tuned: Vec<String>,
    /// Tensors of whole numbers in either, which are not compared.
    pub not_weights: Vec<String>,
}

/// Figures of some tensors, taken as one vector.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Group {
    /// How far they moved.
    #[serde(flatten)]
    pub figures: Figures,
    /// The same between two random initialisations of those that are drawn at random; none
    /// where all are initialised to constants.
    pub baseline: Option<Figures>,
    /// Entries that a cut sets to zero; none for checkpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zeros: Option<u64>,
}

/// A group under a name.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Named {
    /// Layer or kind.
    pub name: String,
    /// Its figures.
    #[serde(flatten)]
    pub group: Group,
}

/// The tensors of one kind in one layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Cell {
    /// Layer, as in [`ModelReport::layers`].
    pub layer: String,
    /// Kind, as in [`ModelReport::kinds`].
    pub kind: String,
    /// Their figures.
    #[serde(flatten)]
    pub group: Group,
}

/// One tensor.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TensorReport {
    /// Its name in the base, without the prefix of a task model.
    pub name: String,
    /// Layer, as in [`ModelReport::layers`].
    pub layer: String,
    /// Kind, as in [`ModelReport::kinds`].
    pub kind: String,
    /// Dimensions.
    pub shape: Vec<usize>,
    /// Its figures.
    #[serde(flatten)]
    pub group: Group,
}

/// Two models compared by their task vectors: what each adds to the base, over all tensors that
/// both have.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PairReport {
    /// Index of one model in [`Report::models`].
    pub first: usize,
    /// Index of the other, larger.
    pub second: usize,
    /// Angle between the task vectors over π, 0 to 1; none where one of them is zero.
    pub angular: Option<f64>,
    /// Its cosine.
    pub cosine: Option<f64>,
    /// The masks compared; none unless both are cuts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask: Option<Overlap>,
}

impl PairReport {
    pub(super) fn of(first: usize, second: usize, sums: &Pair, mask: Option<Overlap>) -> Self {
        let angle = angle(sums.first, sums.second, sums.squares, sums.cross);
        let angular = angle.map(|angle| angle / std::f64::consts::PI);
        Self { first, second, angular, cosine: angle.map(f64::cos), mask }
    }
}

/// What the pass found, before it is grouped.
pub(super) struct Measured<'a> {
    /// The base's tensors.
    pub(super) names: Vec<String>,
    pub(super) shapes: Vec<Vec<usize>>,
    pub(super) sigma: f64,
    /// Drawn baselines by tensor; none for expectations.
    pub(super) sampled: Option<Vec<Differences>>,
    pub(super) models: Vec<MeasuredModel<'a>>,
}

pub(super) struct MeasuredModel<'a> {
    pub(super) model: &'a Model,
    /// By tensor of the base; none where the model lacks it.
    pub(super) sums: Vec<Option<Differences>>,
    pub(super) only_in_tuned: Vec<String>,
    pub(super) not_weights: Vec<String>,
}

/// Sums over the tensors of one group.
#[derive(Clone, Default)]
struct Sums {
    moved: Differences,
    /// Of those drawn at random: their own movement, and their baseline if it was drawn.
    drawn: Differences,
    sampled: Differences,
    zeros: u64,
}

impl Sums {
    fn add(&mut self, other: &Sums) {
        self.moved.add(&other.moved);
        self.drawn.add(&other.drawn);
        self.sampled.add(&other.sampled);
        self.zeros += other.zeros;
    }
}

impl Measured<'_> {
    pub(super) fn report(&self, base: &Path, options: &Options) -> Report {
        Report {
            base: base.display().to_string(),
            initializer_range: self.sigma,
            baseline_seed: options.sample_baseline,
            tolerance: options.tolerance,
            models: self.models.iter().map(|model| self.model(model)).collect(),
            pairs: vec![],
        }
    }

    fn model(&self, measured: &MeasuredModel<'_>) -> ModelReport {
        let (mut all, mut tensors, mut far) = (Sums::default(), Vec::new(), Vec::new());
        let mut layers: BTreeMap<Part, Sums> = BTreeMap::new();
        let mut kinds: BTreeMap<usize, Sums> = BTreeMap::new();
        let mut cells: BTreeMap<(Part, usize), Sums> = BTreeMap::new();
        let cut = match &measured.model.content {
            Content::Cut(cut) => Some(cut),
            Content::Checkpoint(_) => None,
        };
        let group = |sums: &Sums| self.group(sums, cut.is_some());
        for (i, name) in self.names.iter().enumerate() {
            let Some(moved) = measured.sums[i] else { continue };
            let mut sums = Sums { moved, ..Sums::default() };
            let edit = cut.and_then(|cut| cut.edits().get(name));
            sums.zeros = edit.and_then(TensorEdit::count_zeros).unwrap_or(0) as u64;
            let (part, kind) = place(name);
            if baseline::is_drawn(&self.shapes[i]) {
                sums.drawn = moved;
                sums.sampled = self.sampled.as_ref().map_or(sums.sampled, |s| s[i]);
                if is_far(&moved) {
                    far.push(name.clone());
                }
            }
            let order = kind_order(kind);
            tensors.push(TensorReport {
                name: name.clone(),
                layer: part.to_string(),
                kind: kind_name(order),
                shape: self.shapes[i].clone(),
                group: group(&sums),
            });
            all.add(&sums);
            layers.entry(part.clone()).or_default().add(&sums);
            kinds.entry(order).or_default().add(&sums);
            cells.entry((part, order)).or_default().add(&sums);
        }
        let lacking = (0..self.names.len()).filter(|&i| measured.sums[i].is_none());
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        ModelReport {
            name: measured.model.name.clone(),
            path: measured.model.path.display().to_string(),
            format: if cut.is_some() { "cut" } else { "checkpoint" },
            unrelated: cut.is_none() && is_far(&all.drawn),
            far,
            all: group(&all),
            layers: layers
                .iter()
                .map(|(part, sums)| Named { name: part.to_string(), group: group(sums) })
                .collect(),
            kinds: kinds
                .iter()
                .map(|(kind, sums)| Named { name: kind_name(*kind), group: group(sums) })
                .collect(),
            cells: cells
                .iter()
                .map(|((part, kind), sums)| Cell {
                    layer: part.to_string(),
                    kind: kind_name(*kind),
                    group: group(sums),
                })
                .collect(),
            tensors,
            only_in_base: lacking.map(|i| self.names[i].clone()).collect(),
            only_in_tuned: measured.only_in_tuned.clone(),
            not_weights: measured.not_weights.clone(),
        }
    }

    fn group(&self, sums: &Sums, cut: bool) -> Group {
        let drawn = sums.drawn.entries + sums.drawn.non_finite;
        let baseline = (drawn > 0).then(|| match self.sampled {
            Some(_) => Figures::of(&sums.sampled),
            None => baseline::expected(drawn, self.sigma),
        });
        Group { figures: Figures::of(&sums.moved), baseline, zeros: cut.then_some(sums.zeros) }
    }
}

fn is_far(sums: &Differences) -> bool {
    Figures::of(sums).angular.is_some_and(|angular| angular >= FAR)
}
