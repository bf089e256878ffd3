//! What a task is: its columns, problem, labels and metric, given by hand or by a task folder.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Problem;
use super::check_listed;
use super::table::{Columns, Table, data_error};
use crate::{Error, ErrorKind, Result};

/// The score that a task is judged by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Share of rows labelled right.
    Accuracy,
    /// Mean of every label's F1.
    MacroF1,
    /// F1 over all decisions of all labels together.
    MicroF1,
    /// F1 of one label.
    BinaryF1 {
        /// That label.
        positive: String,
    },
    /// Matthews correlation coefficient.
    Matthews,
    /// Mean of the Pearson and Spearman correlations.
    PearsonSpearman,
}

impl Metric {
    /// What `problem` is judged by where its task does not say.
    pub fn default_for(problem: Problem) -> Self {
        match problem {
            Problem::SingleLabel => Metric::Accuracy,
            Problem::MultiLabel => Metric::MicroF1,
            Problem::Regression => Metric::PearsonSpearman,
        }
    }

    /// The key of this metric among a task's scores.
    pub fn key(&self) -> &'static str {
        match self {
            Metric::Accuracy => "accuracy",
            Metric::BinaryF1 { .. } => "f1_binary",
            Metric::MacroF1 => "f1_macro",
            Metric::MicroF1 => "f1_micro",
            Metric::Matthews => "matthews",
            Metric::PearsonSpearman => "pearson_spearman",
        }
    }

    /// Index of the positive label where this metric needs one.
    pub(crate) fn positive(&self, labels: &[String]) -> Result<Option<usize>> {
        let Metric::BinaryF1 { positive } = self else { return Ok(None) };
        labels.iter().position(|l| l == positive).map(Some).ok_or_else(|| {
            let found = labels.join(", ");
            Error::new(
                ErrorKind::Data,
                format!("positive label `{positive}` is not among the labels: {found}"),
            )
        })
    }
}

/// How to read a task's rows from a table. `TaskSpec::default()` finds everything by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskSpec {
    /// Name of the task; empty for the name of the file.
    pub name: String,
    /// Text column. `None` takes the first present of `text`, `sentence`, `sentence1`, … and,
    /// where that is the first of a usual pair such as `sentence1` and `sentence2`, both.
    pub text: Option<String>,
    /// Column of the second text; `None` beside a given `text` means there is none.
    pub pair: Option<String>,
    /// Label column. `None` takes the first present of `label`, `labels`, `class`, ….
    pub label: Option<String>,
    /// `None` infers it from the label column: lists are multi-label, numbers not all of them
    /// whole are regression (unless few of them stand for many rows), anything else is
    /// single-label.
    pub problem: Option<Problem>,
    /// The labels in the order of the logits; empty takes those of the training rows, sorted.
    pub labels: Vec<String>,
    /// The label that stands for all that are not among those listed, and is added to them where it is
    /// none of them. Of rows to evaluate it is one of the task's.
    pub other: Option<String>,
    /// What stands between several labels of a row in one text, such as `;`: the task is multi-label then.
    /// `None` splits such texts at commas, where the task is multi-label.
    pub label_separator: Option<String>,
    /// The score to report; `None` leaves it to the problem.
    pub metric: Option<Metric>,
}

/// The columns of one table that a task reads, by number.
pub(super) struct TextColumns {
    pub(super) text: usize,
    pub(super) pair: Option<usize>,
}

const PAIRS: [(&str, &str); 6] = [
    ("sentence1", "sentence2"),
    ("text1", "text2"),
    ("question1", "question2"),
    ("premise", "hypothesis"),
    ("question", "sentence"),
    ("query", "passage"),
];
const TEXTS: [&str; 10] = [
    "text",
    "sentence",
    "sentence1",
    "content",
    "question",
    "query",
    "utterance",
    "review",
    "title",
    "premise",
];
const LABELS: [&str; 7] = ["label", "labels", "class", "category", "intent", "target", "score"];

impl TaskSpec {
    /// The columns that rows to learn from or to evaluate on are read from: those named, or those
    /// usual.
    pub fn columns(&self) -> Columns {
        let Columns::Named(mut names) = self.texts_only() else { return Columns::All };
        match &self.label {
            Some(label) => names.push(label.clone()),
            None => names.extend(LABELS.map(String::from)),
        }
        Columns::Named(names)
    }

    /// The columns that texts to label are read from.
    pub fn texts_only(&self) -> Columns {
        let names = match &self.text {
            Some(text) => [Some(text), self.pair.as_ref()].into_iter().flatten().cloned().collect(),
            None => {
                let pairs = PAIRS.iter().flat_map(|(first, second)| [*first, *second]);
                TEXTS.into_iter().chain(pairs).map(String::from).collect()
            }
        };
        Columns::Named(names)
    }

    /// What is said of the problem, if anything.
    pub(super) fn said_problem(&self) -> Option<Problem> {
        self.problem.or(self.label_separator.is_some().then_some(Problem::MultiLabel))
    }

    /// Checks that all else that is said makes sense for `problem`.
    ///
    /// # Errors
    /// A separator of labels that is none, or where rows have one label or a number; labels, or one for all
    /// others, of numbers; a blank label for all others.
    pub(super) fn fits(&self, problem: Problem) -> Result<()> {
        let fail = |message: String, hint: &str| {
            Err(Error::new(ErrorKind::Config, message).with_hint(hint))
        };
        if let Some(by) = &self.label_separator {
            if by.chars().all(char::is_alphanumeric) {
                return fail(
                    format!("`label_separator` is {by:?}, expected what stands between labels"),
                    "such as `label_separator=';'` or `label_separator='|'`",
                );
            }
            let one = match problem {
                Problem::MultiLabel => None,
                Problem::SingleLabel => Some("one label a row: `problem=single-label`"),
                Problem::Regression => Some("a number a row: `problem=regression`"),
            };
            if let Some(one) = one {
                return fail(
                    format!(
                        "`label_separator` {by:?} reads several labels a row, and the task has {one}"
                    ),
                    "leave one of the two out",
                );
            }
        }
        if problem == Problem::Regression && !(self.labels.is_empty() && self.other.is_none()) {
            let message = "`labels` and `other` name labels, and the task has a number a row: `problem=regression`";
            return fail(message.into(), "leave `labels` and `other` out");
        }
        match &self.other {
            Some(other) if other.trim().is_empty() => {
                fail(format!("`other` is {other:?}, expected a label"), "such as `other=other`")
            }
            _ => Ok(()),
        }
    }

    pub(super) fn text_columns(&self, table: &Table) -> Result<TextColumns> {
        if let Some(text) = &self.text {
            let text = table.column(text)?;
            let pair = self.pair.as_ref().map(|p| table.column(p)).transpose()?;
            if pair == Some(text) {
                return Err(used_twice(table, text, "the text and its second text"));
            }
            return Ok(TextColumns { text, pair });
        }
        if let Some(pair) = &self.pair {
            return Err(data_error(format!(
                "a second text column {pair:?} was given without a first one"
            )));
        }
        let find = |name: &str| table.columns().iter().position(|c| c == name);
        let column = |name: &str| table.column(name);
        for (first, second) in PAIRS {
            if find(first).is_some() && find(second).is_some() {
                return Ok(TextColumns { text: column(first)?, pair: Some(column(second)?) });
            }
        }
        match TEXTS.into_iter().find(|name| find(name).is_some()) {
            Some(text) => Ok(TextColumns { text: column(text)?, pair: None }),
            None => Err(unnamed(table, "text", &TEXTS)),
        }
    }

    /// The label's column, which must be none of the texts'.
    pub(super) fn label_column(&self, table: &Table) -> Result<usize> {
        let label = match &self.label {
            Some(label) => table.column(label)?,
            None => {
                let present = |name: &&str| table.columns().iter().any(|c| c == name);
                let usual = LABELS.into_iter().find(present);
                table.column(usual.ok_or_else(|| unnamed(table, "label", &LABELS))?)?
            }
        };
        let texts = self.text_columns(table)?;
        if label == texts.text || Some(label) == texts.pair {
            return Err(used_twice(table, label, "the text and the label"));
        }
        Ok(label)
    }
}

fn used_twice(table: &Table, column: usize, what: &str) -> Error {
    data_error(format!(
        "{}: column {:?} is both {what}; its columns are {}",
        table.path().display(),
        table.columns()[column],
        table.column_list(),
    ))
    .with_hint("name the columns: `text`, `text_pair` and `label`")
}

fn unnamed(table: &Table, role: &str, usual: &[&str]) -> Error {
    let error = data_error(format!(
        "{}: no {role} column was named, and none of {} is present; its columns are {}",
        table.path().display(),
        usual.join(", "),
        table.column_list(),
    ));
    let spelled = |known: &&String| usual.contains(&known.trim().to_lowercase().as_str());
    match table.columns().iter().find(spelled) {
        Some(near) => error.with_hint(format!("name the {role} column: --{role} {near:?}")),
        None if table.has_header => error.with_hint(format!(
            "name the {role} column: --{role}; if the first line is a row, put a line of names \
             before it"
        )),
        None => error.with_hint(format!("name the {role} column: --{role}")),
    }
}

/// A folder with `task.json` and the files `train` and `dev` in any format that [`Table`] reads.
#[derive(Debug, Clone)]
pub struct TaskFolder {
    /// What `task.json` says.
    pub spec: TaskSpec,
    /// The training rows.
    pub train: PathBuf,
    /// The rows to report on, where there are any.
    pub dev: Option<PathBuf>,
}

/// `task.json`; fields it does not name, such as sources and licences, are for people.
#[derive(Deserialize)]
struct TaskFile {
    name: Option<String>,
    kind: Option<String>,
    #[serde(rename = "type")]
    problem: Option<String>,
    #[serde(default)]
    labels: Vec<String>,
    other: Option<String>,
    label_separator: Option<String>,
    metric: Option<String>,
    f1_average: Option<String>,
    positive_label: Option<String>,
}

impl TaskFolder {
    /// Reads `task.json` and finds the files beside it. The columns are `sentence1`, `sentence2`
    /// where `kind` is `pair`, and `label`.
    ///
    /// # Errors
    /// A missing or malformed `task.json`, a value in it that is not known, or no training file.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("task.json");
        if !path.exists() {
            let state = if folder.is_dir() { "has no task.json" } else { "is not a folder" };
            return Err(data_error(format!("{} {state}", folder.display())).with_hint(
                "a task folder holds task.json, train.tsv and dev.tsv; single files can be named \
                 one by one instead",
            ));
        }
        let bytes = std::fs::read(&path).map_err(|e| Error::io(&path, "read", e))?;
        let file: TaskFile = serde_json::from_slice(&bytes).map_err(|e| {
            data_error(format!("{} is not a task: {e}", path.display())).with_source(e)
        })?;
        check_listed(&file.labels, &path, "label")?;
        let spec = file.spec(folder).map_err(|e| data_error(format!("{}: {e}", path.display())))?;
        let find = |stem: &str| {
            ["tsv", "csv", "jsonl", "parquet"]
                .into_iter()
                .map(|extension| folder.join(format!("{stem}.{extension}")))
                .find(|p| p.exists())
        };
        let train = find("train").ok_or_else(|| {
            data_error(format!(
                "{} has no training rows: expected train.tsv, .csv, .jsonl or .parquet",
                folder.display(),
            ))
        })?;
        Ok(Self { spec, train, dev: find("dev") })
    }
}

impl TaskFile {
    fn spec(self, folder: &Path) -> std::result::Result<TaskSpec, String> {
        let pair = match self.kind.as_deref() {
            None | Some("single") => None,
            Some("pair") => Some("sentence2".to_string()),
            Some(other) => return Err(format!("expected kind single or pair, found {other:?}")),
        };
        let problem = match self.problem.as_deref() {
            None => None,
            Some("classification") => Some(Problem::SingleLabel),
            Some("multi-label") => Some(Problem::MultiLabel),
            Some("regression") => Some(Problem::Regression),
            Some(other) => {
                return Err(format!(
                    "expected type classification, multi-label or regression, found {other:?}"
                ));
            }
        };
        let metric = match (self.metric.as_deref(), self.f1_average.as_deref()) {
            (None, _) => None,
            (Some("accuracy"), _) => Some(Metric::Accuracy),
            (Some("matthews"), _) => Some(Metric::Matthews),
            (Some("pearson_spearman"), _) => Some(Metric::PearsonSpearman),
            (Some("f1"), None | Some("macro")) => Some(Metric::MacroF1),
            (Some("f1"), Some("micro")) => Some(Metric::MicroF1),
            (Some("f1"), Some("binary")) => match self.positive_label {
                Some(positive) if self.labels.contains(&positive) => {
                    Some(Metric::BinaryF1 { positive })
                }
                Some(other) => return Err(format!("positive_label {other:?} is not a label")),
                None => return Err("binary F1 needs a positive_label".to_string()),
            },
            (Some("f1"), Some(other)) => {
                return Err(format!("expected f1_average macro, micro or binary, found {other:?}"));
            }
            (Some(other), _) => {
                return Err(format!(
                    "expected metric accuracy, f1, matthews or pearson_spearman, found {other:?}"
                ));
            }
        };
        let folder_name = || folder.file_name().map(|n| n.to_string_lossy().into_owned());
        Ok(TaskSpec {
            name: self.name.or_else(folder_name).unwrap_or_default(),
            text: Some("sentence1".to_string()),
            pair,
            label: Some("label".to_string()),
            problem,
            labels: self.labels,
            other: self.other,
            label_separator: self.label_separator,
            metric,
        })
    }
}
