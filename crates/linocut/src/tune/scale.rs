//! The unit that numbers are learned in: labels less their mean, over their spread.
//!
//! The head starts near 0 and a step moves it by about the learning rate, so that labels far from 0
//! or widely spread would not be reached within a run. What is trained is the standardised label; the
//! finished head is brought back to the labels' own unit, and the cut knows nothing of it.

use crate::cut::StoreType;
use crate::data::{Dataset, Targets};
use crate::model::Head;
use crate::{Error, ErrorKind, Result};

/// Mean and spread of a regression's training labels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale {
    /// In the labels' unit.
    pub(super) mean: f64,
    /// Standard deviation (over n) in the labels' unit, above 0.
    pub(super) spread: f64,
}

/// Largest label: predictions a few dozen spreads out are still finite f32.
const MOST: f32 = 1e37;
/// Least spread: weights of the head that are a millionth of it are still normal f32.
const LEAST: f64 = 1e-30;
/// What rounding may cost, as a share of the labels' spread.
const ROUNDING: f64 = 0.01;

impl Scale {
    /// That of the labels of `train`; none for tasks without numbers.
    ///
    /// # Errors
    /// Labels that are all equal, larger than 1e37, or so far from 0 for how they differ that
    /// 32-bit predictions could not follow them.
    pub(super) fn of(train: &Dataset) -> Result<Option<Self>> {
        let Targets::Values(values) = &train.targets else { return Ok(None) };
        let wrong = |message: String, hint: &str| {
            let message = format!("{}: {message}", train.name);
            Err(Error::new(ErrorKind::Data, message).with_hint(hint))
        };
        if let Some(found) = values.iter().find(|v| v.is_nan() || v.abs() > MOST) {
            let message =
                format!("the label {found} is too large to be learned, expected {MOST:e} at most");
            return wrong(message, "divide the labels by a constant");
        }
        let n = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let square = |&v: &f32| (f64::from(v) - mean).powi(2);
        let spread = (values.iter().map(square).sum::<f64>() / n).sqrt();
        if !values.iter().any(|v| *v != values[0]) {
            let found = values.first().map_or("nothing".into(), f32::to_string);
            let message = format!(
                "all {n} training rows have the label {found}, so there is nothing to learn"
            );
            return wrong(message, "give rows with different numbers");
        }
        if spread < LEAST {
            let message = format!(
                "the labels differ by {spread:.1e} (standard deviation), expected {LEAST:e} or more"
            );
            return wrong(message, "multiply the labels by a constant");
        }
        // Half a step of f32 there.
        if mean.abs() * 0.5f64.powi(24) > ROUNDING * spread {
            let message = format!(
                "the labels lie around {mean:e} and differ by {spread:.1e} (standard deviation), \
                 which 32-bit predictions cannot follow"
            );
            return wrong(message, "subtract a constant from the labels");
        }
        Ok(Some(Self { mean, spread }))
    }

    /// A label in the unit that is learned.
    pub(super) fn standard(self, label: f32) -> f32 {
        ((f64::from(label) - self.mean) / self.spread) as f32
    }

    /// A squared error of standardised labels in the labels' unit.
    pub(super) fn loss(self, standard: f64) -> f64 {
        standard * self.spread * self.spread
    }

    /// The head that gives in the labels' unit what `head` gives in the one learned.
    pub(super) fn undone(self, head: &Head) -> Head {
        let scaled = |v: &f32| f64::from(*v) * self.spread;
        Head {
            weight: head.weight.iter().map(|v| scaled(v) as f32).collect(),
            bias: head.bias.iter().map(|v| (scaled(v) + self.mean) as f32).collect(),
            unit: head.unit,
        }
    }

    /// The format in which `head`, in the labels' unit, is to be stored: `asked`, or f32 where
    /// rounding to that would move the bias by more than 1% of the labels' spread, the weights by
    /// more than 1% of their norm, or leave a number that it does not hold.
    pub(super) fn store(self, asked: StoreType, head: &Head) -> StoreType {
        let moved = |values: &[f32]| -> Option<f64> {
            let mut rounded = values.to_vec();
            asked.round("head", &mut rounded).ok()?;
            let square = |(a, b): (&f32, &f32)| (f64::from(*a) - f64::from(*b)).powi(2);
            Some(values.iter().zip(&rounded).map(square).sum::<f64>().sqrt())
        };
        let norm = head.weight.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        let fits = |moved: Option<f64>, most: f64| moved.is_some_and(|moved| moved <= most);
        match fits(moved(&head.bias), ROUNDING * self.spread)
            && fits(moved(&head.weight), ROUNDING * norm)
        {
            true => asked,
            false => StoreType::F32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Problem;

    fn of(values: &[f32]) -> Result<Scale> {
        let train = Dataset {
            name: "n".into(),
            problem: Problem::Regression,
            labels: vec![],
            texts: vec![String::new(); values.len()],
            pairs: None,
            targets: Targets::Values(values.to_vec()),
            weights: None,
            taught: None,
        };
        Ok(Scale::of(&train)?.unwrap())
    }

    #[test]
    fn the_head_brought_back_gives_labels() {
        let scale = of(&[100.0, 140.0, 120.0, 200.0]).unwrap();
        assert_eq!((scale.mean, scale.spread), (140.0, 1400f64.sqrt()));
        assert_eq!(scale.standard(140.0), 0.0);
        let head = Head { weight: vec![0.5, -0.25], bias: vec![0.1], unit: false };
        let back = scale.undone(&head);
        let (x, want) = ([0.3f32, 0.8], 0.1 + 0.15 - 0.2);
        let got = back.forward(&x)[0];
        assert!((f64::from(got) - (140.0 + scale.spread * want)).abs() < 1e-4, "{got}");
        assert!((scale.loss(1.0) - 1400.0).abs() < 1e-9);
    }

    #[test]
    fn labels_that_cannot_be_learned_are_refused() {
        for (values, said) in [
            (&[3.5f32, 3.5, 3.5][..], "all 3 training rows have the label 3.5"),
            (&[3e38, -3e38, 0.0], "the label 300000000000000000000000000000000000000 is too large"),
            (&[1e-38, 2e-38, 0.0], "expected 1e-30 or more"),
            (&[1e9, 1e9 + 64.0, 1e9 + 128.0], "which 32-bit predictions cannot follow"),
        ] {
            let error = of(values).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        assert!(of(&[2000.0, 2001.0]).is_ok());
    }

    /// A bias of 2000 in bf16 has steps of 8.
    #[test]
    fn a_head_is_stored_as_f32_where_rounding_would_cost_more_than_a_hundredth() {
        let head = |mean, spread| {
            let scale = Scale { mean, spread };
            (
                scale,
                scale.undone(&Head { weight: vec![0.11, -0.73], bias: vec![0.013], unit: false }),
            )
        };
        for (asked, mean, spread, want) in [
            (StoreType::Bf16, 2.7, 1.5, StoreType::Bf16),
            (StoreType::Bf16, 2003.3, 1.0, StoreType::F32),
            (StoreType::Bf16, 2003.3, 1000.0, StoreType::Bf16),
            (StoreType::F16, 0.0, 1.0, StoreType::F16),
            (StoreType::F16, 1e5, 1e5, StoreType::F32), // beyond f16
            (StoreType::F16, 0.0, 1e-7, StoreType::F32), // below it
            (StoreType::F32, 2003.3, 1.0, StoreType::F32),
        ] {
            let (scale, head) = head(mean, spread);
            assert_eq!(scale.store(asked, &head), want, "{asked:?} {mean} {spread}");
        }
    }
}
