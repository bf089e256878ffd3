//! Many training runs of one base, compared: which layers a task needs, how many zeros it bears,
//! how small it can be, and what that costs.

mod advice;
mod arms;
mod folder;
mod grid;
mod record;
mod run;
mod session;
mod setting;
mod stats;
mod summary;
mod table;
mod within;

pub use advice::{Advice, advise, conclude};
pub use arms::{Arm, Borrowed, Trains, choose};
pub use folder::Folder;
pub use grid::{Grid, Run, StudyTask, trained};
pub use record::{Record, SEEDS};
pub use run::{ArmOutcome, DRAWS, train_arm};
pub use session::{Happening, Pace, check, run_missing, run_one};
pub use setting::{Setting, TaskFiles, Training};
pub use stats::{Paired, mean_and_deviation, paired, student_t};
pub use summary::{
    Critical, OverTasks, Pair, Row, Sampled, Signals, Summary, TaskSummary, summarise,
};
pub use within::{Choice, best_within, method_for};
