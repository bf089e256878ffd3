//! What is trained, and how.

mod asked;
mod batches;
mod budget;
mod calibrate;
mod choices;
mod class_weights;
mod compare;
mod curves;
mod evaluate;
mod finish;
mod folds;
mod identity;
mod lengths;
mod lowrank;
mod masks;
mod method;
pub mod metrics;
mod optimizer;
mod options;
mod report;
mod run;
mod scale;
mod schedule;
mod search;
mod select;
mod shared;
mod slim;
mod solve;
mod state;
mod teach;
mod trainer;
mod trunk;

pub use asked::{Trained, train_as};
pub use budget::method_within;
pub use calibrate::{Calibration, Goal, calibrate, can_calibrate};
pub use choices::Choices;
pub use class_weights::ClassWeights;
pub use compare::{Comparison, Interval, Side, can_compare, compare};
pub use curves::{
    BINS, Bin, Covered, Found, PrecisionRecall, Residuals, Scored, calibration_error,
};
pub use evaluate::{Answered, Evaluation, evaluate, majority_score};
pub use folds::{Folds, train_in_folds};
pub use identity::TRAINING_VERSION;
pub use lengths::Lengths;
pub use lowrank::LowRank;
pub use masks::{Masks, Sampling, Scope, Target};
pub use method::Method;
pub use options::{Dropout, Fit, Objective, TrainOptions};
pub use run::{Event, Outcome, Storage, remove_state, state_path, train};
pub use search::{Search, Searched, Trial};
pub use select::Selection;
pub(crate) use select::matches;
pub use shared::Shared;
pub use teach::{Unlabelled, teach};
pub use trainer::{Examples, Rates, Trainer};
