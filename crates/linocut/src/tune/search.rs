//! A small search for how a task is best trained, by rows that no trial learns from.

use super::folds::Folds;
use super::run::{Event, Storage, train};
use super::{Choices, Method, Objective, TrainOptions};
use crate::cut::{Card, Cut};
use crate::data::{Dataset, Metric, Problem, split_holdout};
use crate::model::Base;
use crate::{Error, ErrorKind, Result};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::time::{Duration, Instant};

/// Share of the training rows that trials are scored on where there are no folds.
const HELD_OUT: f64 = 0.2;

/// Most rows of which it is tried whether they are learned from in pairs or by their labels.
const EITHER: usize = 2000;

/// How long is searched, and by what.
#[derive(Debug, Clone, Copy)]
pub struct Search {
    /// After this no trial begins that would take longer than what is left; the first is always made.
    pub time: Duration,
    /// Trials are scored by cross-validation of so many folds; else on a fifth of the rows, held out for all trials.
    pub folds: Option<usize>,
}

/// What was tried.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Trial {
    /// What was other than the best before it; nothing in the first.
    pub change: Map<String, Value>,
    /// Its score, if defined; of folds their mean.
    pub score: Option<f64>,
}

/// What a search found.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Searched {
    /// The best method that was tried.
    pub method: Method,
    /// What was given, and in the place of what was not said the best that was tried.
    pub choices: Choices,
    /// All trials, in their order.
    pub trials: Vec<Trial>,
    /// Changes that there was no time for.
    pub untried: usize,
    /// Rows that trials were scored on.
    pub rows: usize,
    search: Search,
}

impl Search {
    /// Tries what is likely to help, one change at a time, and keeps what scores better: pairs or labels, the head alone
    /// in the place of masks, half and double the rate, double the passes, dropout of 0.1. What `choices` say is not
    /// changed.
    ///
    /// # Errors
    /// As [`train`]; rows too few to hold some out.
    pub fn run(
        self,
        base: &Base,
        data: &Dataset,
        metric: Option<&Metric>,
        (method, choices): (Method, &Choices),
        storage: &Storage,
        observe: &mut dyn FnMut(Event) -> bool,
    ) -> Result<Searched> {
        let started = Instant::now();
        let (by, rows) = match self.folds {
            Some(folds) => (By::Folds(folds), data.rows()),
            None => {
                let (rest, held) = split_holdout(data, HELD_OUT, choices.seed)?;
                let rows = held.rows();
                (By::HeldOut(Box::new([rest, held])), rows)
            }
        };
        let storage = Storage { state: None, resume: false, ..storage.clone() };
        let score = |(method, choices): &(Method, Choices),
                     observe: &mut dyn FnMut(Event) -> bool|
         -> Result<(TrainOptions, Option<f64>)> {
            let size = (data.problem, data.learned_rows());
            let options = choices.options(method.clone(), size, base.config());
            // Trials are scored by what they rank first, not by what they would answer.
            let options = TrainOptions { calibrate: None, ..options };
            let found = match &by {
                By::HeldOut(rows) => {
                    let [rest, held] = &**rows;
                    let (rest, held) = (rest.clone(), Some(held));
                    let outcome = train(base, rest, held, metric, &options, &storage, observe)?;
                    outcome.evaluation.and_then(|evaluation| evaluation.metrics.primary.value)
                }
                By::Folds(folds) => {
                    let storage = Storage { shared: storage.shared.of_parts(), ..storage.clone() };
                    Folds::run(base, data, metric, &options, *folds, &storage, observe)?.mean
                }
            };
            Ok((options, found))
        };
        let given = (method, choices.clone());
        let (options, first) = score(&given, observe)?;
        let mut pace = started.elapsed().as_secs_f64() / options.epochs as f64;
        let mut trials = vec![Trial { change: Map::new(), score: first }];
        let tell = |trial: &Trial, observe: &mut dyn FnMut(Event) -> bool| {
            if observe(Event::Tried(trial.clone())) {
                return Ok(());
            }
            Err(Error::new(ErrorKind::Interrupted, "interrupted while it was searched"))
        };
        tell(&trials[0], observe)?;
        let mut untried = 0;
        // What follows from what is said stays so when more is said.
        let settled = Choices { objective: Some(options.objective), ..choices.clone() };
        let mut best = ((given.0, settled), options, first.unwrap_or(f64::MIN));
        for kind in Kind::ALL {
            let (current, options, _) = &best;
            let Some((name, value, candidate)) = kind.change(choices, current, options, data)
            else {
                continue;
            };
            let left = self.time.as_secs_f64() - started.elapsed().as_secs_f64();
            let epochs = candidate.1.epochs.unwrap_or(options.epochs);
            // A head alone takes little time beside masks.
            if kind != Kind::Method && pace * epochs as f64 > left {
                untried += 1;
                continue;
            }
            let begun = Instant::now();
            let (options, found) = score(&candidate, observe)?;
            pace = begun.elapsed().as_secs_f64() / options.epochs as f64;
            trials
                .push(Trial { change: Map::from_iter([(name.to_string(), value)]), score: found });
            tell(&trials[trials.len() - 1], observe)?;
            if let Some(found) = found.filter(|found| *found > best.2) {
                best = (candidate, options, found);
            }
        }
        let (method, choices) = best.0;
        Ok(Searched { method, choices, trials, untried, rows, search: self })
    }
}

/// What trials are scored on.
enum By {
    /// Rows to train on, and rows to score on.
    HeldOut(Box<[Dataset; 2]>),
    Folds(usize),
}

/// What is changed at one time.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Objective,
    Method,
    Faster,
    Slower,
    Longer,
    Dropout,
}

impl Kind {
    const ALL: [Kind; 6] =
        [Kind::Objective, Kind::Method, Kind::Faster, Kind::Slower, Kind::Longer, Kind::Dropout];

    /// The change's name and value, and method and choices with it, where it has a meaning and nothing was `said` of it.
    fn change(
        self,
        said: &Choices,
        (method, current): &(Method, Choices),
        options: &TrainOptions,
        data: &Dataset,
    ) -> Option<(&'static str, Value, (Method, Choices))> {
        let (mut method, mut new) = (method.clone(), current.clone());
        let pairs = options.objective == Objective::Pairs;
        let (name, value) = match self {
            Kind::Objective => {
                let either = data.problem == Problem::SingleLabel && data.rows() <= EITHER;
                // What belongs to one of the two was said.
                let of_labels = said.early_stop.or(said.head_lr).is_some();
                if !either || of_labels || said.objective.is_some() || said.epochs.is_some() {
                    return None;
                }
                let other = if pairs { Objective::Labels } else { Objective::Pairs };
                new.objective = Some(other);
                ("objective", json!(other))
            }
            Kind::Method => {
                let alone = Choices {
                    method: said.method.clone(),
                    objective: said.objective,
                    epochs: said.epochs,
                    seed: said.seed,
                    max_length: said.max_length,
                    long: said.long,
                    search: said.search,
                    ..Choices::default()
                };
                // A head alone has no use for what else can be said of a mask.
                if method != Method::mask() || *said != alone {
                    return None;
                }
                method = Method::Head;
                new.method = Method::Head;
                new.mask_lr = None;
                ("method", json!("head"))
            }
            Kind::Faster | Kind::Slower => {
                let factor = if self == Kind::Faster { 2.0 } else { 0.5 };
                let (name, rate, default) = match options.method {
                    Method::Mask { .. } => ("mask_lr", &mut new.mask_lr, options.mask_lr),
                    // Searched outright, at no rate.
                    Method::Head if pairs => return None,
                    Method::Head => ("head_lr", &mut new.head_lr, options.head_lr),
                    _ => ("lr", &mut new.lr, options.lr),
                };
                // Said, or found better at the other already.
                if rate.is_some() {
                    return None;
                }
                *rate = Some(factor * default);
                (name, json!(factor * default))
            }
            Kind::Longer => {
                if said.epochs.is_some() || pairs && options.method == Method::Head {
                    return None;
                }
                new.epochs = Some(2 * options.epochs);
                ("epochs", json!(2 * options.epochs))
            }
            Kind::Dropout => {
                if said.dropout.is_some() || options.method == Method::Head {
                    return None;
                }
                new.dropout = Some(0.1);
                ("dropout", json!(0.1))
            }
        };
        Some((name, value, (method, new)))
    }
}

impl Searched {
    /// The best score, if any is defined.
    pub fn score(&self) -> Option<f64> {
        let scores = self.trials.iter().filter_map(|trial| trial.score);
        scores.max_by(f64::total_cmp)
    }

    /// What was found better than what was given, in the order it was tried.
    pub fn changes(&self) -> Map<String, Value> {
        let mut best = f64::MIN;
        let mut changes = Map::new();
        for trial in &self.trials {
            if let Some(score) = trial.score.filter(|score| *score > best) {
                best = score;
                changes.extend(trial.change.clone());
            }
        }
        changes
    }

    /// What was searched by, in words.
    pub fn by(&self) -> String {
        match self.search.folds {
            Some(folds) => format!("{folds} folds, {} rows together", self.rows),
            None => format!("{} held-out rows", self.rows),
        }
    }

    /// The cut with the search in its card.
    ///
    /// # Errors
    /// None of a cut that was trained.
    pub fn noted(&self, cut: Cut) -> Result<Cut> {
        let mut card: Card = cut.card().clone();
        let Some(training) = card.training.as_object_mut() else {
            return Err(Error::new(ErrorKind::Cut, "the card has no training"));
        };
        let said = json!({ "by": self.by(), "tried": self.trials, "untried": self.untried });
        training.insert("search".into(), said);
        cut.with_card(card)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Targets;

    fn data(rows: usize) -> Dataset {
        Dataset {
            name: "t".into(),
            problem: Problem::SingleLabel,
            labels: ["a", "b"].map(String::from).to_vec(),
            texts: vec!["text".into(); rows],
            pairs: None,
            targets: Targets::Classes((0..rows as u32).map(|i| i % 2).collect()),
            weights: None,
            taught: None,
        }
    }

    /// Names of what would be tried.
    fn tried(said: &Choices, rows: usize) -> Vec<&'static str> {
        let method = said.method.clone();
        let mut options = TrainOptions::new(method.clone(), rows);
        options.objective = said.objective.unwrap_or_default();
        let (given, data) = ((method, said.clone()), data(rows));
        let change = |kind: &Kind| kind.change(said, &given, &options, &data);
        Kind::ALL.iter().filter_map(|kind| Some(change(kind)?.0)).collect()
    }

    #[test]
    fn what_is_said_is_not_changed() {
        let said = Choices::default();
        let all = ["objective", "method", "mask_lr", "mask_lr", "epochs", "dropout"];
        assert_eq!(tried(&said, 100), all);
        assert_eq!(tried(&said, 3000), all[1..]);
        let said = Choices { epochs: Some(3), mask_lr: Some(0.2), ..Choices::default() };
        assert_eq!(tried(&said, 100), ["dropout"]);
        let said = Choices { method: Method::Full, dropout: Some(0.0), ..Choices::default() };
        assert_eq!(tried(&said, 3000), ["lr", "lr", "epochs"]);
        let pairs = Some(Objective::Pairs);
        let said = Choices { method: Method::Head, objective: pairs, ..Choices::default() };
        assert!(tried(&said, 100).is_empty());
    }
}
