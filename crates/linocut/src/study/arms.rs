//! The arms of a study: what each trains, and in what order they tell most.

use crate::model::{Kind, ModelConfig};
use crate::tune::{Method, Sampling, Scope, Selection, Target, matches};
use crate::{Error, ErrorKind, Result};

/// One way of learning a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Arm {
    /// Its name on the command line, in tables and in file names.
    pub name: String,
    /// What it trains, in plain words.
    pub about: String,
    /// How.
    pub trains: Trains,
}

/// How an arm's cut comes about.
#[derive(Debug, Clone, PartialEq)]
pub enum Trains {
    /// One run of [`crate::tune::train`].
    Method(Method),
    /// The head alone, over the base with zeros that were not learned for it, and with the dropout
    /// of masks.
    Head(Borrowed),
    /// Masks of the half of the layers that moved most in arm `full` of the same task and seed.
    Critical,
}

/// Zeros that the head is trained over: as many in each matrix as arm `mask` has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Borrowed {
    /// Drawn at random.
    Random,
    /// The entries smallest in magnitude.
    Magnitude,
    /// Those of arm `mask` of another task: the next in the list.
    Task,
}

impl Arm {
    /// Every arm for a base, those that tell most first; the first [`Arm::core`] are the default.
    pub fn all(config: &ModelConfig) -> Vec<Arm> {
        let layers = config.layers;
        let mut arms = Vec::new();
        let mut add = |name: String, about: String, trains: Trains| {
            if !arms.iter().any(|arm: &Arm| arm.name == name) {
                arms.push(Arm { name, about, trains });
            }
        };
        let trained = |selection| Trains::Method(Method::Layers(selection));
        let only = |layers: Vec<usize>| Selection { layers: Some(layers), only: None };
        let half = layers.div_ceil(2);
        let first = |k: usize| only((0..k).collect());
        let last = |k: usize| only((layers - k..layers).collect());
        let share = |sparsity: f64, scope| {
            Trains::Method(Method::mask_to(Target { sparsity, scope }, Selection::default()))
        };
        let masked = |sampling, sparsity, selection| {
            let Method::Mask { init_scale, target, .. } = Method::mask() else {
                unreachable!("Method::mask makes masks")
            };
            let init_sparsity = sparsity;
            Trains::Method(Method::Mask { sampling, init_scale, init_sparsity, target, selection })
        };
        let low_rank = |rank| Trains::Method(Method::low_rank(rank, Selection::default()));
        let words = |about: &str| about.to_string();

        // The core.
        add("head".into(), words("the head alone"), Trains::Method(Method::Head));
        add("full".into(), words("everything"), Trains::Method(Method::Full));
        add("mask".into(), words("masks of every matrix"), Trains::Method(Method::mask()));
        add(
            "random-mask".into(),
            words("head over as many zeros as mask has, drawn at random"),
            Trains::Head(Borrowed::Random),
        );
        add(
            "magnitude".into(),
            words("head over as many zeros as mask has, the smallest entries"),
            Trains::Head(Borrowed::Magnitude),
        );
        add(
            "mask-0.05".into(),
            words("masks with 5% zeros in every matrix"),
            share(0.05, Scope::Matrix),
        );
        add(format!("bottom-{half}"), format!("the first {half} layers"), trained(first(half)));
        add(format!("top-{half}"), format!("the last {half} layers"), trained(last(half)));
        // Half of the encoder; the kinds that moved most in every full fine-tune that was measured.
        let moved = ["value", "attention-output", "output", "layernorm", "bias"];
        let moved = Selection { layers: None, only: Some(moved.map(String::from).to_vec()) };
        add(
            "critical-kinds".into(),
            words("all layers' value, attention-output, output, biases and LayerNorms"),
            trained(moved),
        );
        add("lora-8".into(), words("low-rank factors, rank 8"), low_rank(8.min(config.hidden)));

        // Critical layers.
        add("bias".into(), words("every bias"), Trains::Method(Method::Bias));
        for layer in 0..layers {
            add(
                format!("layer-{layer}"),
                format!("layer {layer} alone"),
                trained(only(vec![layer])),
            );
        }
        add("layers".into(), words("all layers"), trained(Selection::default()));
        for k in 1..layers {
            add(format!("top-{k}"), format!("the last {k} layers"), trained(last(k)));
            add(format!("bottom-{k}"), format!("the first {k} layers"), trained(first(k)));
        }
        for layer in 0..layers {
            let others = (0..layers).filter(|l| *l != layer).collect();
            add(
                format!("without-layer-{layer}"),
                format!("all layers but {layer}"),
                trained(only(others)),
            );
        }
        let but = |left_out: Kind| -> Vec<String> {
            Kind::of_layers().filter(|k| *k != left_out).map(|k| k.name().to_string()).collect()
        };
        for kind in Kind::of_layers() {
            let name = kind.name();
            let one = Selection { layers: None, only: Some(vec![name.to_string()]) };
            add(format!("only-{name}"), format!("all layers' {name} alone"), trained(one));
            let others = Selection { layers: None, only: Some(but(kind)) };
            add(format!("without-{name}"), format!("all layers but their {name}"), trained(others));
        }
        if layers > 2 {
            let paper =
                Selection { layers: Some((0..layers - 2).collect()), only: Some(but(Kind::Key)) };
            add(
                "paper-exclusions".into(),
                words("neither embeddings, nor keys, nor the last two layers"),
                trained(paper),
            );
        }

        // Masks.
        let stochastic = Sampling::Stochastic;
        add(
            "mask-threshold".into(),
            words("masks, thresholded in training instead of sampled"),
            masked(Sampling::Threshold, 0.0, Selection::default()),
        );
        add(
            format!("mask-top-{half}"),
            format!("masks of the last {half} layers"),
            masked(stochastic, 0.0, last(half)),
        );
        add(
            "mask-critical".into(),
            format!("masks of the {half} layers that moved most in full"),
            Trains::Critical,
        );
        add(
            "mask-of-another-task".into(),
            words("head over the zeros that mask learned for the next task"),
            Trains::Head(Borrowed::Task),
        );
        for sparsity in [0.005, 0.01, 0.02, 0.1, 0.2, 0.3, 0.4, 0.6] {
            let percent = 100.0 * sparsity;
            add(
                format!("mask-{sparsity}"),
                format!("masks with {percent}% zeros in every matrix"),
                share(sparsity, Scope::Matrix),
            );
        }
        for sparsity in [0.01, 0.05, 0.2, 0.4] {
            let percent = 100.0 * sparsity;
            add(
                format!("mask-global-{sparsity}"),
                format!("masks with {percent}% zeros over all matrices"),
                share(sparsity, Scope::Global),
            );
        }
        for sparsity in [0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6] {
            let percent = 100.0 * sparsity;
            add(
                format!("soft-{sparsity}"),
                format!("masks that start with the smallest {percent}% below 0"),
                masked(stochastic, sparsity, Selection::default()),
            );
        }
        for rank in [1, 2, 4, 16, 32] {
            if rank <= config.hidden {
                add(
                    format!("lora-{rank}"),
                    format!("low-rank factors, rank {rank}"),
                    low_rank(rank),
                );
            }
        }
        arms
    }

    /// How many of the first arms make up the core.
    pub fn core() -> usize {
        10
    }

    /// The arm of the same task (or, for [`Borrowed::Task`], of the next) and seed whose cut this
    /// one starts from.
    pub fn needs(&self) -> Option<&'static str> {
        match self.trains {
            Trains::Method(_) => None,
            Trains::Head(_) => Some("mask"),
            Trains::Critical => Some("full"),
        }
    }
}

/// The arms that `names` choose among `all`, with those that they need, in the order of `all`. A
/// name may be `core`, `all`, or a pattern in which `*` stands for anything.
///
/// # Errors
/// A name that chooses none.
pub fn choose(all: &[Arm], names: &[String]) -> Result<Vec<Arm>> {
    let mut chosen = vec![false; all.len()];
    for name in names {
        let mut found = false;
        for (i, arm) in all.iter().enumerate() {
            let this = match name.as_str() {
                "all" => true,
                "core" => i < Arm::core(),
                pattern => matches(pattern, &arm.name),
            };
            chosen[i] |= this;
            found |= this;
        }
        if !found {
            let known: Vec<&str> = all.iter().map(|arm| &arm.name[..]).collect();
            let message = format!("`arms={name}`: no arm of this name");
            return Err(Error::new(ErrorKind::Config, message).with_hint(format!(
                "core, all, a pattern such as 'layer-*', or some of: {}",
                known.join(", ")
            )));
        }
    }
    for i in 0..all.len() {
        if let (true, Some(needed)) = (chosen[i], all[i].needs())
            && let Some(at) = all.iter().position(|arm| arm.name == needed)
        {
            chosen[at] = true;
        }
    }
    Ok(all.iter().zip(chosen).filter(|(_, chosen)| *chosen).map(|(arm, _)| arm.clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Encoder, Pooling};

    fn all() -> Vec<Arm> {
        let config = serde_json::json!({"num_hidden_layers": 6, "hidden_size": 384});
        Arm::all(Encoder::new(&config, false, Pooling::Mean).unwrap().config())
    }

    fn names(arms: &[Arm]) -> Vec<&str> {
        arms.iter().map(|arm| &arm.name[..]).collect()
    }

    #[test]
    fn arms_are_chosen_by_name_with_what_they_need() {
        let all = all();
        let chosen = |text: &str| {
            let names: Vec<String> = text.split(',').map(String::from).collect();
            choose(&all, &names)
        };
        let core = [
            "head",
            "full",
            "mask",
            "random-mask",
            "magnitude",
            "mask-0.05",
            "bottom-3",
            "top-3",
            "critical-kinds",
            "lora-8",
        ];
        assert_eq!(names(&chosen("core").unwrap()), core);
        assert_eq!(names(&chosen("random-mask").unwrap()), ["mask", "random-mask"]);
        assert_eq!(
            names(&chosen("mask-critical,head").unwrap()),
            ["head", "full", "mask-critical"]
        );
        assert_eq!(names(&chosen("layer-*").unwrap()).len(), 6);
        assert_eq!(chosen("all").unwrap(), all);
        let error = chosen("head,layer-9").unwrap_err().to_string();
        assert!(error.contains("`arms=layer-9`") && error.contains("mask-critical"), "{error}");
    }
}
