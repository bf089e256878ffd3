//! Tables of texts and labels, tokenised into packed batches.

mod batch;
mod column;
mod dataset;
mod delimited;
mod extent;
mod jsonl;
mod labels;
mod parquet;
mod records;
mod remark;
mod rows;
mod split;
mod sure;
mod table;
mod task;
mod taught;
mod text;
mod tokenize;
mod tokenizer_class;
mod tokenizer_file;
mod tokenizer_folder;
mod tokenizer_meaning;
mod vocabulary;

use serde::{Deserialize, Serialize};

pub use batch::{Batch, epoch_order};
pub use column::{Cell, Value};
pub use dataset::{Dataset, Targets};
pub use extent::{Extent, Long, Texts};
pub(crate) use extent::{means, means_grad};
pub(crate) use labels::unknown_label;
pub use labels::{check_listed, read_labels};
pub use remark::Remark;
pub use rows::TaskRows;
pub use split::{split_folds, split_holdout};
pub use table::{Columns, Reading, Table};
pub use task::{Metric, TaskFolder, TaskSpec};
pub use taught::Taught;
pub use tokenize::{Encoding, Tokenizer};
pub(crate) use tokenizer_folder::Sources;

/// What a task predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Problem {
    /// Exactly one of the labels: softmax, cross-entropy.
    SingleLabel,
    /// Any subset of the labels: sigmoid per label, binary cross-entropy.
    MultiLabel,
    /// A number: mean squared error.
    Regression,
}
