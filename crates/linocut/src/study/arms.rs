//! The arms of a study: what each trains, and in what order they tell most.

use super::record::Record;
use super::table;
use crate::data::Problem;
use crate::model::{Encoder, ModelConfig};
use crate::tune::{Choices, Method, matches};
use crate::{Error, ErrorKind, Result};
use serde_json::{Map, Value};

/// One way of learning a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Arm {
    /// Its name on the command line, in tables and in file names.
    pub name: String,
    /// What it trains, in plain words.
    pub about: String,
    /// How.
    pub trains: Trains,
    /// Options in the place of the defaults. The method is not among them: it is what the arm trains.
    pub choices: Choices,
}

/// Options that may stand behind an arm's name.
const SETTINGS: [&str; 8] =
    ["batch", "compute", "dropout", "epochs", "head_lr", "lr", "mask_lr", "warmup"];

/// How an arm's cut comes about.
#[derive(Debug, Clone, PartialEq)]
pub enum Trains {
    /// One run of [`crate::tune::train`].
    Method(Method),
    /// The head alone, over the base with zeros that were not learned for it, and at the rate of a
    /// mask's head.
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

    /// The arms that a study of so many tasks can run: of one task there is no other whose mask could be taken.
    pub fn offered(encoder: &Encoder, tasks: usize) -> Vec<Arm> {
        let another = |arm: &Arm| matches!(arm.trains, Trains::Head(Borrowed::Task));
        Self::all(encoder).into_iter().filter(|arm| tasks > 1 || !another(arm)).collect()
    }

    /// Every arm for a base, and those with options of their own that are among `records`.
    pub fn known(encoder: &Encoder, records: &[Record]) -> Vec<Arm> {
        let mut arms = Self::all(encoder);
        for record in records {
            let Some((name, settings)) = record.arm.split_once('+') else { continue };
            let plain = arms.iter().find(|arm| arm.name == name);
            // Another linocut's options are passed over, as its arms are.
            let set = plain.map(|arm| arm.with(settings, encoder.config()));
            if let Some(Ok(arm)) = set
                && arms.iter().all(|known| known.name != arm.name)
            {
                arms.push(arm);
            }
        }
        arms
    }

    /// The arm with options, such as `mask_lr=0.1+epochs=10`, which its name then says in the order of the
    /// alphabet.
    ///
    /// # Errors
    /// An option that is none or not the arm's, or a value that it does not take.
    pub fn with(&self, settings: &str, base: &ModelConfig) -> Result<Arm> {
        let (names, choices) = options(&self.name, settings)?;
        let name = format!("{}+{}", self.name, names.join("+"));
        let method = match &self.trains {
            Trains::Method(method) => method.clone(),
            Trains::Head(_) => Method::Head,
            Trains::Critical => Method::mask(),
        };
        let choices = Choices { method: method.clone(), ..choices };
        // What means nothing for the method is found here, and what is out of range.
        choices.method(base).map_err(|e| e.at(format!("`arms={name}`")))?;
        let task = (Problem::SingleLabel, 1);
        choices.options(method, task, base).check().map_err(|e| e.at(format!("`arms={name}`")))?;
        let about = format!("{}, {}", self.about, names.join(", "));
        Ok(Arm { name, about, trains: self.trains.clone(), choices })
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
/// name may be `core`, `all`, or a pattern in which `*` stands for anything, and have options behind it, see
/// [`Arm::with`].
///
/// # Errors
/// A name that chooses none, or options that it cannot have.
pub fn choose(all: &[Arm], names: &[String], base: &ModelConfig) -> Result<Vec<Arm>> {
    let mut chosen = vec![false; all.len()];
    let mut with_options: Vec<Arm> = Vec::new();
    for name in names {
        let (plain, settings) = match name.split_once('+') {
            Some((plain, settings)) => (plain, Some(settings)),
            None => (&name[..], None),
        };
        let mut found = false;
        for (i, arm) in all.iter().enumerate() {
            let this = match plain {
                "all" => true,
                "core" => i < Arm::core(),
                pattern => matches(pattern, &arm.name),
            };
            found |= this;
            match settings {
                Some(settings) if this => {
                    let arm = arm.with(settings, base)?;
                    match all.iter().position(|other| other.name == arm.name) {
                        Some(offered) => chosen[offered] = true,
                        None if with_options.iter().any(|other| other.name == arm.name) => {}
                        None => with_options.push(arm),
                    }
                }
                _ => chosen[i] |= this,
            }
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
    let plain: Vec<&Arm> = all.iter().zip(&chosen).filter(|(_, c)| **c).map(|(a, _)| a).collect();
    let needed: Vec<&str> = plain.into_iter().chain(&with_options).filter_map(Arm::needs).collect();
    for (arm, chosen) in all.iter().zip(&mut chosen) {
        *chosen |= needed.contains(&&arm.name[..]);
    }
    let plain = all.iter().zip(chosen).filter(|(_, chosen)| *chosen).map(|(arm, _)| arm.clone());
    Ok(plain.chain(with_options).collect())
}

/// The options in `settings`, which stand behind the arm `name`: each as `name=value` in the order of the alphabet,
/// and as what they choose.
pub(super) fn options(name: &str, settings: &str) -> Result<(Vec<String>, Choices)> {
    let fail = |message: String| {
        let hint = format!("options are {}: mask+mask_lr=0.1+epochs=10", SETTINGS.join(", "));
        Err(Error::new(ErrorKind::Config, message).with_hint(hint))
    };
    let (mut read, mut names) = (Map::new(), Vec::new());
    for setting in settings.split('+') {
        let (option, value) = setting.split_once('=').unwrap_or((setting, ""));
        if !SETTINGS.contains(&option) {
            return fail(format!("`arms={name}+{setting}`: no option of this name"));
        }
        let Ok(value @ Value::Number(_)) = serde_json::from_str(value) else {
            return fail(format!("`arms={name}+{setting}`: expected a number"));
        };
        names.push(format!("{option}={value}"));
        if read.insert(option.into(), value).is_some() {
            return fail(format!("`arms={name}+{settings}`: {option} is given twice"));
        }
    }
    names.sort_unstable();
    match serde_json::from_value::<Choices>(Value::Object(read)) {
        Ok(choices) => Ok((names, choices)),
        Err(e) => fail(format!("`arms={name}+{settings}`: {e}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Encoder, Pooling};

    fn encoder() -> Encoder {
        let config = serde_json::json!({"num_hidden_layers": 6, "hidden_size": 384});
        Encoder::new(&config, false, Pooling::Mean).unwrap()
    }

    fn chosen(text: &str) -> Result<Vec<Arm>> {
        let names: Vec<String> = text.split(',').map(String::from).collect();
        choose(&Arm::all(&encoder()), &names, encoder().config())
    }

    fn names(arms: &[Arm]) -> Vec<&str> {
        arms.iter().map(|arm| &arm.name[..]).collect()
    }

    #[test]
    fn arms_are_chosen_by_name_with_what_they_need() {
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
            "lora-all-1",
        ];
        assert_eq!(names(&chosen("core").unwrap()), core);
        assert_eq!(names(&chosen("random-mask").unwrap()), ["mask", "random-mask"]);
        assert_eq!(
            names(&chosen("mask-critical,head").unwrap()),
            ["head", "full", "mask-critical"]
        );
        assert_eq!(names(&chosen("layer-*").unwrap()).len(), 6);
        assert_eq!(chosen("all").unwrap(), Arm::all(&encoder()));
        let error = chosen("head,layer-9").unwrap_err().to_string();
        assert!(error.contains("`arms=layer-9`") && error.contains("mask-critical"), "{error}");
    }

    #[test]
    fn arms_with_options() {
        let arms = chosen("lora-1+lr=3e-3+epochs=10,mask,lora-1+epochs=10+lr=0.003").unwrap();
        assert_eq!(names(&arms), ["mask", "lora-1+epochs=10+lr=0.003"]);
        assert_eq!((arms[1].choices.epochs, arms[1].choices.lr), (Some(10), Some(0.003)));
        assert_eq!(
            arms[1].about,
            "low-rank factors of query and value, rank 1, epochs=10, lr=0.003"
        );
        let arms = chosen("random-mask+head_lr=0.01").unwrap();
        assert_eq!(names(&arms), ["mask", "random-mask+head_lr=0.01"]);
        for (wrong, named) in [
            ("head+speed=2", "no option"),
            ("head+epochs=many", "a number"),
            ("head+epochs=1.5", "usize"),
            ("head+epochs=1+epochs=2", "twice"),
            ("head+lr=0.1", "no meaning"),
            ("mask+mask_lr=-1", "mask_lr"),
            ("head+", "no option"),
        ] {
            let error = chosen(wrong).unwrap_err().to_string();
            assert!(
                error.contains(named) && error.contains("arms=head") | error.contains("arms=mask"),
                "{error}"
            );
        }
    }
}
