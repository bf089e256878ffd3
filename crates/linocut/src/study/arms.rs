//! The arms of a study: what each trains, and in what order they tell most.

use super::table;
use crate::model::Encoder;
use crate::tune::{Method, matches};
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
    pub fn all(encoder: &Encoder) -> Vec<Arm> {
        table::arms(encoder)
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
        Arm::all(&Encoder::new(&config, false, Pooling::Mean).unwrap())
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
