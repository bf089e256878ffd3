//! From logits to decisions: probabilities that are as sure as they say, and which labels are answered.

use serde::{Deserialize, Serialize};

use super::Card;
use crate::data::Problem;
use crate::model::{self, argmax};
use crate::{Error, ErrorKind, Result};

/// How a task's logits become answers, where that was fitted on labelled rows; see
/// [`calibrate`](crate::tune::calibrate). Logits themselves stay as they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// What logits are divided by before they become probabilities, from 0.01 to 100 (Guo et al. 2017).
    pub temperature: f64,
    /// The least probability, 0 to 1, that is answered: of a multi-label task one for each label, of a
    /// single-label task one, below which the most probable label is not answered either. None: ½, and
    /// always.
    pub thresholds: Vec<f64>,
    /// What both were fitted for and on; nothing depends on it.
    pub fitted: serde_json::Value,
}

/// Bounds of a temperature.
pub(crate) const TEMPERATURES: std::ops::RangeInclusive<f64> = 0.01..=100.0;

impl Decision {
    /// Probabilities as they come, and `threshold` for every label of the task, or in the place of another
    /// decision's.
    ///
    /// # Errors
    /// A threshold that is not from 0 to 1, or a regression.
    pub fn at(threshold: f64, card: &Card) -> Result<Self> {
        let temperature = card.decision.as_ref().map_or(1.0, |decision| decision.temperature);
        let thresholds = vec![threshold; Self::thresholds_of(card.problem, card.outputs)];
        let decision = Self { temperature, thresholds, fitted: "given".into() };
        decision.check(card.problem, card.outputs)?;
        Ok(decision)
    }

    /// From which probability on labels are answered, in words; none where no threshold says so.
    pub fn answers_from(&self) -> Option<String> {
        let least = self.thresholds.iter().copied().reduce(f64::min)?;
        let most = self.thresholds.iter().copied().fold(least, f64::max);
        Some(match least == most {
            true => format!("answers from {least:.3} on"),
            false => format!("answers from {least:.3} to {most:.3} on"),
        })
    }

    /// How many thresholds a task of so many outputs has.
    fn thresholds_of(problem: Problem, outputs: usize) -> usize {
        match problem {
            Problem::SingleLabel => 1,
            Problem::MultiLabel => outputs,
            Problem::Regression => 0,
        }
    }

    pub(super) fn check(&self, problem: Problem, outputs: usize) -> Result<()> {
        let wrong = |what: String| Err(Error::new(ErrorKind::Cut, format!("the decision: {what}")));
        if problem == Problem::Regression {
            return wrong("a regression's numbers are no probabilities".into());
        }
        if !TEMPERATURES.contains(&self.temperature) {
            return wrong(format!("the temperature {}, expected 0.01 to 100", self.temperature));
        }
        let (found, expected) = (self.thresholds.len(), Self::thresholds_of(problem, outputs));
        if found > 0 && found != expected {
            return wrong(format!("{found} thresholds, expected {expected}"));
        }
        match self.thresholds.iter().find(|threshold| !(0.0..=1.0).contains(*threshold)) {
            Some(threshold) => wrong(format!("the threshold {threshold}, expected 0 to 1")),
            None => Ok(()),
        }
    }
}

/// Probabilities of `logits`, `[rows, outputs]`, as [`model::probabilities`], after their temperature.
pub fn probabilities(
    decision: Option<&Decision>,
    problem: Problem,
    logits: &[f32],
    outputs: usize,
) -> Vec<f32> {
    match decision {
        Some(Decision { temperature, .. }) if *temperature != 1.0 => {
            let cooled: Vec<f32> =
                logits.iter().map(|&z| (f64::from(z) / temperature) as f32).collect();
            model::probabilities(problem, &cooled, outputs)
        }
        _ => model::probabilities(problem, logits, outputs),
    }
}

/// Which labels are answered, `[rows, outputs]`: of a single-label task the one of the highest logit, or
/// none; of a multi-label task any. A regression answers none.
pub fn answered(
    decision: Option<&Decision>,
    problem: Problem,
    logits: &[f32],
    outputs: usize,
) -> Vec<bool> {
    let thresholds = decision.map_or(&[][..], |decision| &decision.thresholds);
    let scores = match thresholds {
        [] => vec![],
        _ => probabilities(decision, problem, logits, outputs),
    };
    let mut answered = vec![false; logits.len()];
    for (row, answered) in answered.chunks_exact_mut(outputs).enumerate() {
        let row = row * outputs..(row + 1) * outputs;
        let logits = &logits[row.clone()];
        // As people read scores: of two that are written alike both are answered, or none.
        let enough = |i: usize, least: f64| f64::from(scores[row.start + i]) >= least;
        match (problem, thresholds) {
            (Problem::Regression, _) => {}
            (Problem::SingleLabel, []) => answered[argmax(logits)] = true,
            (Problem::SingleLabel, [least, ..]) => {
                let best = argmax(logits);
                answered[best] = enough(best, *least);
            }
            (Problem::MultiLabel, []) => {
                answered.iter_mut().zip(logits).for_each(|(a, &z)| *a = z > 0.0);
            }
            (Problem::MultiLabel, all) => {
                let each = answered.iter_mut().zip(all).enumerate();
                each.for_each(|(i, (a, &least))| *a = enough(i, least));
            }
        }
    }
    answered
}

impl Card {
    /// Probabilities of logits, `[rows, outputs]`; of a regression its values.
    pub fn probabilities(&self, logits: &[f32]) -> Vec<f32> {
        probabilities(self.decision.as_ref(), self.problem, logits, self.outputs)
    }

    /// Which labels are answered, as [`answered`].
    pub fn answered(&self, logits: &[f32]) -> Vec<bool> {
        answered(self.decision.as_ref(), self.problem, logits, self.outputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(temperature: f64, thresholds: &[f64]) -> Decision {
        Decision { temperature, thresholds: thresholds.into(), fitted: "here".into() }
    }

    #[test]
    fn without_one_the_most_probable_or_all_above_a_half() {
        let single = answered(None, Problem::SingleLabel, &[0.0, 2.0, 2.0, 1.0, 0.5, -1.0], 3);
        assert_eq!(single, [false, true, false, true, false, false]);
        let multi = answered(None, Problem::MultiLabel, &[0.0, 0.1, -3.0], 3);
        assert_eq!(multi, [false, true, false]);
        assert_eq!(answered(None, Problem::Regression, &[7.0], 1), [false]);
    }

    #[test]
    fn thresholds_are_of_probabilities_after_the_temperature() {
        // softmax([2, 0] / 2) = 0.731…, [0.5, 0] / 2: 0.562…
        let cool = decision(2.0, &[0.7]);
        let logits = [2.0, 0.0, 0.5, 0.0];
        let found = probabilities(Some(&cool), Problem::SingleLabel, &logits, 2);
        assert!((f64::from(found[0]) - 1.0 / (1.0 + (-1.0f64).exp())).abs() < 1e-7);
        let found = answered(Some(&cool), Problem::SingleLabel, &logits, 2);
        assert_eq!(found, [true, false, false, false]);
        // 1 / (1 + e) = 0.269
        let low = decision(1.0, &[0.25, 0.9, 0.0]);
        let found = answered(Some(&low), Problem::MultiLabel, &[-1.0, 1.0, -9.0], 3);
        assert_eq!(found, [true, false, true]);
        // What is written as the threshold itself is enough.
        let score = probabilities(None, Problem::MultiLabel, &[-1.0], 1)[0];
        let same = decision(1.0, &[f64::from(score)]);
        assert_eq!(answered(Some(&same), Problem::MultiLabel, &[-1.0], 1), [true]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let check = |decision: &Decision, problem, outputs| {
            decision.check(problem, outputs).err().map(|error| error.message().to_string())
        };
        assert_eq!(check(&decision(1.0, &[]), Problem::MultiLabel, 3), None);
        assert_eq!(check(&decision(1.0, &[0.5]), Problem::SingleLabel, 3), None);
        for (bad, problem, says) in [
            (decision(1.0, &[]), Problem::Regression, "no probabilities"),
            (decision(0.0, &[]), Problem::SingleLabel, "the temperature 0"),
            (decision(f64::NAN, &[]), Problem::SingleLabel, "the temperature NaN"),
            (decision(1.0, &[0.5]), Problem::MultiLabel, "1 thresholds, expected 3"),
            (decision(1.0, &[f64::NAN]), Problem::SingleLabel, "the threshold NaN"),
            (decision(1.0, &[1.5]), Problem::SingleLabel, "the threshold 1.5"),
        ] {
            assert!(check(&bad, problem, 3).unwrap().contains(says), "{says}");
        }
    }
}
