//! The table of all arms, in the order in which they tell most.

use super::arms::{Arm, Borrowed, Trains};
use crate::model::{Encoder, Kind, ModelConfig, TensorSpec};
use crate::tune::{Choices, Method, Sampling, Scope, Selection, Target};

/// What the rows of a group are repeated for.
enum Over {
    /// Nothing: each is there once.
    Once,
    /// Half of the layers, rounded up.
    Half,
    /// Every layer, by its number.
    Layers,
    /// Every number of layers, but none and all.
    Depths,
    /// Every kind of tensor that layers have.
    Kinds,
    /// Shares of zeros.
    Shares(&'static [f64]),
    /// Ranks, as far as the base is that wide.
    Ranks(&'static [usize]),
    /// Nothing, where there are more than two layers.
    OnceAboveTwo,
}

/// One repetition of a row.
#[derive(Clone, Copy)]
struct At<'a> {
    config: &'a ModelConfig,
    /// Kinds of tensors that the base's layers have.
    kinds: &'a [Kind],
    /// The number of the layer, of layers, or the rank.
    n: usize,
    share: f64,
    kind: Kind,
}

/// Name, words and training; in the first two `{}` stands for what the row is repeated for, and `{%}`
/// for a share in percent.
type Row = (&'static str, &'static str, fn(At<'_>) -> Trains);

const TABLE: &[(Over, &[Row])] = &[
    // The core.
    (
        Over::Once,
        &[
            ("head", "the head alone", |_| Trains::Method(Method::Head)),
            ("full", "everything", |_| Trains::Method(Method::Full)),
            ("mask", "masks of every matrix", |_| Trains::Method(Method::mask())),
            ("random-mask", "head over as many zeros as mask has, drawn at random", |_| {
                Trains::Head(Borrowed::Random)
            }),
            ("magnitude", "head over as many zeros as mask has, the smallest entries", |_| {
                Trains::Head(Borrowed::Magnitude)
            }),
        ],
    ),
    (
        Over::Shares(&[0.05]),
        &[("mask-{}", "masks with {%}% zeros in every matrix", |at| share(at, Scope::Matrix))],
    ),
    (
        Over::Half,
        &[
            ("bottom-{}", "the first {} layers", |at| only(first(at.n))),
            ("top-{}", "the last {} layers", |at| only(last(at))),
        ],
    ),
    (
        Over::Once,
        &[
            // Half of the encoder; the kinds that moved most in every full fine-tune that was measured.
            (
                "critical-kinds",
                "all layers' value, attention-output, output, biases and LayerNorms",
                |_| kinds(["value", "attention-output", "output", "layernorm", "bias"].into()),
            ),
            ("lora-all-1", "low-rank factors of every matrix, rank 1", |_| low_rank_of_all(1)),
        ],
    ),
    // Critical layers.
    (Over::Once, &[("bias", "every bias", |_| Trains::Method(Method::Bias))]),
    (Over::Layers, &[("layer-{}", "layer {} alone", |at| only(vec![at.n]))]),
    (Over::Once, &[("layers", "all layers", |_| trained(Selection::default()))]),
    (
        Over::Depths,
        &[
            ("top-{}", "the last {} layers", |at| only(last(at))),
            ("bottom-{}", "the first {} layers", |at| only(first(at.n))),
        ],
    ),
    (
        Over::Layers,
        &[("without-layer-{}", "all layers but {}", |at| {
            only((0..at.config.own_layers).filter(|layer| *layer != at.n).collect())
        })],
    ),
    (
        Over::Kinds,
        &[
            ("only-{}", "all layers' {} alone", |at| kinds(vec![at.kind.name()])),
            ("without-{}", "all layers but their {}", |at| kinds(but(at, at.kind))),
        ],
    ),
    (
        Over::OnceAboveTwo,
        &[("paper-exclusions", "neither embeddings, nor keys, nor the last two layers", |at| {
            trained(selection(Some(first(at.config.own_layers - 2)), Some(but(at, Kind::Key))))
        })],
    ),
    // Masks.
    (
        Over::Once,
        &[("mask-threshold", "masks, thresholded in training instead of sampled", |_| {
            masked(Sampling::Threshold, 0.0, Selection::default())
        })],
    ),
    (
        Over::Half,
        &[
            ("mask-top-{}", "masks of the last {} layers", |at| {
                masked(Sampling::Stochastic, 0.0, selection(Some(last(at)), None))
            }),
            ("mask-critical", "masks of the {} layers that moved most in full", |_| {
                Trains::Critical
            }),
        ],
    ),
    (
        Over::Once,
        &[(
            "mask-of-another-task",
            "head over the zeros that mask learned for the next task",
            |_| Trains::Head(Borrowed::Task),
        )],
    ),
    (
        Over::Shares(&[0.005, 0.01, 0.02, 0.1, 0.2, 0.3, 0.4, 0.6]),
        &[("mask-{}", "masks with {%}% zeros in every matrix", |at| share(at, Scope::Matrix))],
    ),
    (
        Over::Shares(&[0.01, 0.05, 0.2, 0.4]),
        &[("mask-global-{}", "masks with {%}% zeros over all matrices", |at| {
            share(at, Scope::Global)
        })],
    ),
    (
        Over::Shares(&[0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6]),
        &[("soft-{}", "masks that start with the smallest {%}% below 0", |at| {
            masked(Sampling::Stochastic, at.share, Selection::default())
        })],
    ),
    (
        Over::Ranks(&[1, 2, 4, 8, 16, 32]),
        &[
            ("lora-{}", "low-rank factors of query and value, rank {}", |at| {
                Trains::Method(Method::low_rank(at.n, Selection::default()))
            }),
            ("lora-all-{}", "low-rank factors of every matrix, rank {}", |at| {
                low_rank_of_all(at.n)
            }),
        ],
    ),
];

/// The table for a base; of rows that come to one name the first counts.
pub(super) fn arms(encoder: &Encoder) -> Vec<Arm> {
    let of_layers = encoder.layout().tensors().iter().filter(|tensor| tensor.layer().is_some());
    let mut kinds: Vec<Kind> = of_layers.map(TensorSpec::kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let mut arms: Vec<Arm> = Vec::new();
    for (over, rows) in TABLE {
        for (shown, at) in over.each(encoder.config(), &kinds) {
            for (name, about, trains) in *rows {
                let name = name.replace("{}", &shown);
                if arms.iter().any(|arm| arm.name == name) {
                    continue;
                }
                let percent = (100.0 * at.share).to_string();
                let about = about.replace("{}", &shown).replace("{%}", &percent);
                arms.push(Arm { name, about, trains: trains(at), choices: Choices::default() });
            }
        }
    }
    // Masks of what is left with less compute.
    let mask = arms.iter().find(|arm| arm.name == "mask").cloned().expect("masks are an arm");
    let slim = SLIM.map(|share| mask.with(&format!("compute={share}"), encoder.config()));
    arms.extend(slim.into_iter().flatten());
    arms
}

/// Shares of the base's compute that slim arms have.
const SLIM: [f64; 3] = [0.75, 0.5, 0.33];

impl Over {
    /// What rows are repeated for, as shown in them.
    fn each<'a>(&self, config: &'a ModelConfig, kinds: &'a [Kind]) -> Vec<(String, At<'a>)> {
        let at = At { config, kinds, n: 0, share: 0.0, kind: Kind::Key };
        let layers = config.own_layers;
        let once = || vec![(String::new(), at)];
        let counted = |numbers: Vec<usize>| -> Vec<(String, At<'a>)> {
            numbers.into_iter().map(|n| (n.to_string(), At { n, ..at })).collect()
        };
        match self {
            Self::Once => once(),
            Self::OnceAboveTwo if layers > 2 => once(),
            Self::OnceAboveTwo => Vec::new(),
            Self::Half => counted(vec![layers.div_ceil(2)]),
            Self::Layers => counted((0..layers).collect()),
            Self::Depths => counted((1..layers).collect()),
            Self::Ranks(ranks) => {
                counted(ranks.iter().copied().filter(|rank| *rank <= config.hidden).collect())
            }
            Self::Kinds => {
                kinds.iter().map(|&kind| (kind.name().into(), At { kind, ..at })).collect()
            }
            Self::Shares(shares) => {
                shares.iter().map(|&share| (share.to_string(), At { share, ..at })).collect()
            }
        }
    }
}

fn selection(layers: Option<Vec<usize>>, only: Option<Vec<&str>>) -> Selection {
    Selection { layers, only: only.map(|names| names.into_iter().map(String::from).collect()) }
}

fn trained(selection: Selection) -> Trains {
    Trains::Method(Method::Layers(selection))
}

/// These layers alone.
fn only(layers: Vec<usize>) -> Trains {
    trained(selection(Some(layers), None))
}

/// These kinds of tensors alone, in all layers.
fn kinds(names: Vec<&str>) -> Trains {
    trained(selection(None, Some(names)))
}

fn first(n: usize) -> Vec<usize> {
    (0..n).collect()
}

fn last(at: At<'_>) -> Vec<usize> {
    (at.config.own_layers - at.n..at.config.own_layers).collect()
}

/// All kinds but one.
fn but(at: At<'_>, left_out: Kind) -> Vec<&'static str> {
    at.kinds.iter().filter(|kind| **kind != left_out).map(|kind| kind.name()).collect()
}

/// Masks with a share of zeros.
fn share(at: At<'_>, scope: Scope) -> Trains {
    let target = Target { sparsity: at.share, scope };
    Trains::Method(Method::mask_to(target, Selection::default()))
}

/// Masks of which a share starts below 0.
fn masked(sampling: Sampling, init_sparsity: f64, selection: Selection) -> Trains {
    let Method::Mask { init_scale, target, .. } = Method::mask() else {
        unreachable!("Method::mask makes masks")
    };
    let candidates = Method::candidates(init_sparsity);
    let mask = Method::Mask { sampling, init_scale, init_sparsity, candidates, target, selection };
    Trains::Method(mask)
}

fn low_rank_of_all(rank: usize) -> Trains {
    Trains::Method(Method::low_rank(rank, selection(None, Some(vec!["*"]))))
}
