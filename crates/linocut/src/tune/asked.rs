//! A task trained with all that is asked around the one run: a search before it, folds after it.

use super::calibrate::Goal;
use super::folds::{Folds, check_folded, train_in_folds};
use super::run::{Event, Outcome, Storage, train};
use super::search::{Search, Searched};
use super::{Choices, Method};
use crate::data::{Dataset, Metric};
use crate::model::Base;
use crate::{Error, ErrorKind, Result};
use std::time::Duration;

/// What [`train_as`] leaves.
#[non_exhaustive]
pub struct Trained {
    /// The run that the cut is of.
    pub outcome: Outcome,
    /// What cross-validation says, where it was asked for.
    pub folds: Option<Folds>,
    /// What a search found, where one was asked for.
    pub searched: Option<Searched>,
}

/// Trains `data` by `method` as `choices` say: what a search finds best where they ask for one, and with folds where they
/// ask for these.
///
/// # Errors
/// As [`train`], [`train_in_folds`] and [`Search::run`]; rows to be held out and folds, both; a time that is none.
pub fn train_as(
    base: &Base,
    data: &Dataset,
    dev: Option<&Dataset>,
    metric: Option<&Metric>,
    (method, choices): (Method, &Choices),
    storage: &Storage,
    observe: &mut dyn FnMut(Event) -> bool,
) -> Result<Trained> {
    let folds = choices.folds;
    let goal = Goal::of(choices.target_precision, choices.target_recall)?;
    let size = (data.problem, data.learned_rows());
    let mut options = choices.options(method.clone(), size, base.config());
    if folds.is_some() {
        check_folded(&options)?;
    }
    let mut searched = None;
    if let Some(seconds) = choices.search {
        let time = Duration::try_from_secs_f64(seconds).map_err(|_| {
            let message = format!("`search` is {seconds}, expected seconds above 0");
            Error::new(ErrorKind::Config, message)
        })?;
        let search = Search { time, folds };
        let found = search.run(base, data, metric, (method, choices), storage, observe)?;
        options = found.choices.options(found.method.clone(), size, base.config());
        searched = Some(found);
    }
    let (mut outcome, folds) = match folds {
        Some(folds) => {
            let folds = (folds, goal);
            let found = train_in_folds(base, data, dev, metric, &options, folds, storage, observe)?;
            (found.0, Some(found.1))
        }
        None => (train(base, data.clone(), dev, metric, &options, storage, observe)?, None),
    };
    if let Some(found) = &searched {
        outcome.cut = found.noted(outcome.cut)?;
    }
    Ok(Trained { outcome, folds, searched })
}
