//! What the pictures of an evaluation are drawn of: how sure a task is, and how often it is right.

use super::evaluate::multi_hot;
use crate::cut::{Decision, probabilities};
use crate::data::{Dataset, Problem, Targets};
use crate::model::argmax;
use crate::{Error, ErrorKind, Result};

/// Bins of a reliability diagram, as in Guo et al. 2017.
pub const BINS: usize = 15;

/// Probabilities of some rows beside what is true of them.
pub struct Scored {
    problem: Problem,
    outputs: usize,
    /// `[rows, outputs]`
    pub(super) scores: Vec<f32>,
    /// `[rows, outputs]`; a label that training has not seen is never among them.
    pub(super) truths: Vec<bool>,
    /// For each row of a single-label task where its most probable label stands in both.
    pub(super) best: Vec<usize>,
}

/// The rows, or with several labels a row the labels of rows, whose probability lies in one of [`BINS`] equal parts.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Bin {
    /// How many.
    pub count: usize,
    /// The mean of their probabilities, 0 to 1.
    pub sure: f64,
    /// Which share of them is right, 0 to 1.
    pub right: f64,
}

/// What is found of a label from some probability on.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Found {
    /// The least probability that is answered.
    pub threshold: f32,
    /// Which share of the answers is right.
    pub precision: f64,
    /// Which share of what is right is answered.
    pub recall: f64,
}

/// Precision and recall from every probability on.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PrecisionRecall {
    /// One for each probability that occurs, descending; recall ascends.
    pub points: Vec<Found>,
    /// The mean of the precisions, each weighed by what it adds to the recall; 0 to 1.
    pub average: f64,
}

/// The rows that a single-label task answers which is sure enough.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Covered {
    /// The least probability that is answered.
    pub threshold: f32,
    /// Which share of all rows is answered.
    pub share: f64,
    /// Which share of the answers is right.
    pub accuracy: f64,
}

impl Scored {
    /// The probabilities of `logits`, `[rows, outputs]`, on the rows of `data`.
    ///
    /// ```
    /// # use linocut::data::{Dataset, Problem, Targets};
    /// # use linocut::tune::Scored;
    /// let data = Dataset {
    ///     name: "spam".into(),
    ///     problem: Problem::SingleLabel,
    ///     labels: vec!["no".into(), "yes".into()],
    ///     texts: vec!["text".into(); 4],
    ///     pairs: None,
    ///     targets: Targets::Classes(vec![0, 1, 1, 1]),
    ///     weights: None,
    ///     taught: None,
    /// };
    /// let scored = Scored::new(&data, &[0.0, 2.0, 0.0, 3.0, 0.0, 1.0, 0.5, 0.0], None)?;
    /// let yes = scored.precision_recall(Some(1)).unwrap();
    /// // The surest is right, of the two surest one, of all four three.
    /// let found: Vec<f64> = yes.points.iter().map(|point| point.precision).collect();
    /// assert_eq!(found, [1.0, 0.5, 2.0 / 3.0, 0.75]);
    /// # Ok::<(), linocut::Error>(())
    /// ```
    ///
    /// # Errors
    /// A regression, whose numbers are no probabilities.
    pub fn new(data: &Dataset, logits: &[f32], decision: Option<&Decision>) -> Result<Self> {
        let labels = data.labels.len();
        let outputs = logits.len().checked_div(data.rows()).unwrap_or(labels).max(1);
        let mut truths = vec![false; logits.len()];
        match &data.targets {
            Targets::Classes(classes) => {
                for (row, class) in truths.chunks_exact_mut(outputs).zip(classes) {
                    if let Some(truth) = row.get_mut(*class as usize) {
                        *truth = true;
                    }
                }
            }
            Targets::MultiHot(rows) => {
                let all = multi_hot(rows, labels);
                let known = all.chunks_exact(labels).flat_map(|row| &row[..outputs]);
                truths.iter_mut().zip(known).for_each(|(truth, hot)| *truth = *hot > 0.0);
            }
            Targets::Values(_) => {
                let message = format!("{}: a regression's numbers are no probabilities", data.name);
                return Err(Error::new(ErrorKind::Config, message));
            }
        }
        let best = |(row, logits): (usize, &[f32])| row * outputs + argmax(logits);
        let best = match data.problem {
            Problem::SingleLabel => logits.chunks_exact(outputs).enumerate().map(best).collect(),
            _ => vec![],
        };
        let scores = probabilities(decision, data.problem, logits, outputs);
        Ok(Self { problem: data.problem, outputs, scores, truths, best })
    }

    /// Rows that have each label, `[outputs]`.
    pub fn support(&self) -> Vec<usize> {
        let mut support = vec![0; self.outputs];
        for row in self.truths.chunks_exact(self.outputs) {
            support.iter_mut().zip(row).for_each(|(n, truth)| *n += usize::from(*truth));
        }
        support
    }

    /// How sure a task is beside how often it is right (a reliability diagram), where any probability lies in a bin:
    /// of the most probable label, with several labels a row of every one. Bin i of n goes from i / n, which
    /// belongs to the bin before, to (i + 1) / n.
    pub fn reliability(&self) -> [Option<Bin>; BINS] {
        let mut sums = [(0usize, 0.0f64, 0usize); BINS];
        let mut add = |at: usize| {
            let score = f64::from(self.scores[at]);
            let bin = ((score * BINS as f64).ceil() as usize).clamp(1, BINS) - 1;
            sums[bin].0 += 1;
            sums[bin].1 += score;
            sums[bin].2 += usize::from(self.truths[at]);
        };
        match self.problem {
            Problem::SingleLabel => self.best.iter().for_each(|&at| add(at)),
            _ => (0..self.scores.len()).for_each(add),
        }
        sums.map(|(count, sure, right)| {
            let of = count as f64;
            (count > 0).then(|| Bin { count, sure: sure / of, right: right as f64 / of })
        })
    }

    /// Precision and recall of one label, or of all labels of all rows together; none where no row has it.
    pub fn precision_recall(&self, label: Option<usize>) -> Option<PrecisionRecall> {
        let (skip, step) = label.map_or((0, 1), |label| (label, self.outputs));
        let scored = self.scores.iter().copied().zip(self.truths.iter().copied());
        let steps = steps(scored.skip(skip).step_by(step).collect());
        let positives = steps.last().map_or(0, |(_, _, right)| *right);
        let (mut average, mut before) = (0.0, 0.0);
        let point = |(threshold, answered, right): (f32, usize, usize)| {
            let precision = right as f64 / answered as f64;
            let recall = right as f64 / positives as f64;
            average += (recall - before) * precision;
            before = recall;
            Found { threshold, precision, recall }
        };
        let points: Vec<Found> = match positives {
            0 => return None,
            _ => steps.into_iter().map(point).collect(),
        };
        Some(PrecisionRecall { points, average })
    }

    /// What a single-label task answers, and how much of it is right, from every probability that its most probable
    /// labels have on, descending. Nothing of a multi-label task.
    pub fn coverage(&self) -> Vec<Covered> {
        let rows = self.best.len() as f64;
        let best = self.best.iter().map(|&at| (self.scores[at], self.truths[at]));
        let covered = |(threshold, answered, right): (f32, usize, usize)| Covered {
            threshold,
            share: answered as f64 / rows,
            accuracy: right as f64 / answered as f64,
        };
        steps(best.collect()).into_iter().map(covered).collect()
    }
}

/// The expected calibration error, 0 to 1: the distance of the bins from being as often right as they are sure, each
/// weighed by what lies in it (Guo et al. 2017).
pub fn calibration_error(bins: &[Option<Bin>; BINS]) -> f64 {
    let filled = || bins.iter().flatten();
    let all: usize = filled().map(|bin| bin.count).sum();
    let off: f64 = filled().map(|bin| bin.count as f64 * (bin.sure - bin.right).abs()).sum();
    off / all.max(1) as f64
}

/// Each distinct score, descending, with how many are at least as high and how many of these are right.
fn steps(mut scored: Vec<(f32, bool)>) -> Vec<(f32, usize, usize)> {
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut answered, mut right) = (0, 0);
    let step = |equal: &[(f32, bool)]| {
        answered += equal.len();
        right += equal.iter().filter(|(_, truth)| *truth).count();
        (equal[0].0, answered, right)
    };
    scored.chunk_by(|a, b| a.0 == b.0).map(step).collect()
}

/// Predicted numbers less the true ones.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Residuals {
    /// Each row's true and predicted number.
    pub points: Vec<(f64, f64)>,
    /// Their mean: above 0 where too much is predicted.
    pub mean: f64,
    /// Their standard deviation around that mean, of these rows.
    pub deviation: f64,
    /// The mean of what they are without sign.
    pub absolute: f64,
    /// What nine of ten are at most, without sign.
    pub most: f64,
}

impl Residuals {
    /// Those of `predicted`, `[rows]`, on the rows of `data`; none without rows or where it is no regression.
    pub fn of(data: &Dataset, predicted: &[f32]) -> Option<Self> {
        let Targets::Values(values) = &data.targets else { return None };
        let points: Vec<(f64, f64)> =
            values.iter().zip(predicted).map(|(&t, &p)| (f64::from(t), f64::from(p))).collect();
        let n = points.len() as f64;
        let mean = points.iter().map(|(t, p)| p - t).sum::<f64>() / n;
        let variance = points.iter().map(|(t, p)| (p - t - mean).powi(2)).sum::<f64>() / n;
        let mut absolute: Vec<f64> = points.iter().map(|(t, p)| (p - t).abs()).collect();
        absolute.sort_by(f64::total_cmp);
        let nine = (0.9 * n).ceil() as usize;
        Some(Self {
            mean,
            deviation: variance.sqrt(),
            most: *absolute.get(nine.checked_sub(1)?)?,
            absolute: absolute.iter().sum::<f64>() / n,
            points,
        })
    }
}

#[cfg(test)]
pub(super) mod tests;
