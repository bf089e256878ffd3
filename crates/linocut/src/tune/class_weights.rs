//! How much the labels of a task count beside one another.

use crate::data::{Dataset, Problem, Targets, unknown_label};
use crate::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How rows weigh in the loss of a task with labels.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", expecting = "expected none, balanced, or numbers by label")]
pub enum ClassWeights {
    /// All alike.
    #[default]
    None,
    /// Single-label: rows / (classes · rows of the class), as scikit-learn's `balanced`. Multi-label:
    /// where a row has the label, its rows without over its rows with it, as PyTorch recommends for
    /// `pos_weight`; 1 for a label that no row or every row has. Regression has no classes.
    Balanced,
    /// Numbers above 0 by label, 1 for those that are not named. Single-label: how much a row of the label counts
    /// beside others, as `weight` of `torch.nn.CrossEntropyLoss`. Multi-label: how much a row that has the label
    /// counts beside one that has it not, as `pos_weight`.
    #[serde(untagged)]
    ByLabel(BTreeMap<String, f64>),
}

impl ClassWeights {
    /// Checks that they have a meaning for the labels of `train`.
    pub(super) fn check(&self, train: &Dataset) -> Result<()> {
        let which = match self {
            Self::None => return Ok(()),
            Self::Balanced => "`class_weights=balanced` has",
            Self::ByLabel(_) => "weights of labels have",
        };
        if train.problem == Problem::Regression {
            let message = format!(
                "{which} no meaning for regression, whose labels are numbers and not classes"
            );
            return Err(Error::new(ErrorKind::Config, message)
                .with_hint("leave it out, or `problem=single-label` if the numbers are classes"));
        }
        let Self::ByLabel(weights) = self else { return Ok(()) };
        for (label, weight) in weights {
            if !train.labels.contains(label) {
                return Err(unknown_label(
                    "the weights",
                    label,
                    &train.labels,
                    "the training rows",
                ));
            }
            if !(*weight as f32 > 0.0 && (*weight as f32).is_finite()) {
                let message = format!(
                    "the weight of label {label:?} is {weight}, expected a number above 0 that float32 holds"
                );
                return Err(Error::new(ErrorKind::Config, message));
            }
        }
        Ok(())
    }

    /// Weights of the classes of `data`, or of the positives of each label, in the order of its labels.
    pub(super) fn of(&self, data: &Dataset) -> Option<Vec<f32>> {
        match self {
            Self::None => return None,
            Self::Balanced => {}
            Self::ByLabel(weights) => {
                let weight = |label| weights.get(label).map_or(1.0, |&weight| weight as f32);
                return Some(data.labels.iter().map(weight).collect());
            }
        }
        let counts = data.label_counts();
        match &data.targets {
            Targets::Classes(rows) => {
                let classes = counts.iter().filter(|&&n| n > 0).count();
                let weight = |n: usize| rows.len() as f64 / (classes * n.max(1)) as f64;
                Some(counts.into_iter().map(|n| weight(n) as f32).collect())
            }
            Targets::MultiHot(rows) => {
                let weight = |n: usize| match (n, rows.len() - n) {
                    (0, _) | (_, 0) => 1.0,
                    (positive, negative) => negative as f64 / positive as f64,
                };
                Some(counts.into_iter().map(|n| weight(n) as f32).collect())
            }
            Targets::Values(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `torch.nn.BCEWithLogitsLoss(pos_weight=negatives / positives)` in float64, and scikit-learn's
    /// `compute_class_weight("balanced")`.
    #[test]
    fn balanced_weights_are_pytorchs_and_scikit_learns() {
        let data = |problem, targets| Dataset {
            name: "t".into(),
            problem,
            labels: ["a", "b", "c", "d"].map(String::from).to_vec(),
            texts: vec![String::new(); 5],
            pairs: None,
            targets,
            weights: None,
            taught: None,
        };
        let rows = vec![vec![0, 3], vec![0, 1, 3], vec![3], vec![0, 3], vec![3]];
        let many = data(Problem::MultiLabel, Targets::MultiHot(rows));
        // Label c has no positive, d no negative: nothing is known of what they should weigh.
        let weights = ClassWeights::Balanced.of(&many).unwrap();
        assert_eq!(weights, [2.0 / 3.0, 4.0, 1.0, 1.0]);
        assert_eq!(ClassWeights::None.of(&many), None);
        let by_hand = ClassWeights::ByLabel([("c".to_string(), 2.5)].into());
        assert_eq!(by_hand.of(&many).unwrap(), [1.0, 1.0, 2.5, 1.0]);
        let one = data(Problem::SingleLabel, Targets::Classes(vec![0, 0, 0, 1, 3]));
        let weights = ClassWeights::Balanced.of(&one).unwrap();
        assert_eq!(weights, [5.0 / 9.0, 5.0 / 3.0, 5.0 / 3.0, 5.0 / 3.0]);
    }
}
