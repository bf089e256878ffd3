//! What is asked: texts, pairs and tasks, checked against the limits.

use serde_json::Value;

use crate::error::{Kind, Problem};
use crate::fleet::unavailable;
use crate::keys::{Access, Right};
use crate::state::{Limits, State};

/// Names that an unknown one is compared with: more would take a stranger's slip too much time.
const COMPARED: usize = 1000;

/// One text, or a pair of texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Input {
    pub(crate) text: String,
    pub(crate) pair: Option<String>,
}

impl Input {
    /// The input at `place` of the body: a text, or a list of `least` to two texts.
    pub(crate) fn parse(
        place: &str,
        value: Value,
        least: usize,
        limits: &Limits,
    ) -> Result<Self, Problem> {
        let wrong = |found: &str| {
            let message = format!("{place}: found {found}, expected a text or [text, pair]");
            Problem::new(Kind::Validation, message)
        };
        let text = |place: String, text: String| {
            if text.len() <= limits.text_bytes {
                return Ok(text);
            }
            let (found, most) = (text.len(), limits.text_bytes);
            let message = format!("{place}: a text of {found} bytes, expected at most {most}");
            Err(Problem::new(Kind::TextTooLong, message))
        };
        match value {
            Value::String(found) => Ok(Self { text: text(place.to_string(), found)?, pair: None }),
            Value::Array(texts) => {
                let found = texts.len();
                if !(least..=2).contains(&found) {
                    return Err(wrong(&format!("a list of {found}")));
                }
                let mut checked = texts.into_iter().enumerate().map(|(i, value)| match value {
                    Value::String(found) => text(format!("{place}[{i}]"), found),
                    other => Err(wrong(&format!("{} in a list", name(&other)))),
                });
                let first = checked.next().transpose()?.unwrap_or_default();
                Ok(Self { text: first, pair: checked.next().transpose()? })
            }
            other => Err(wrong(name(&other))),
        }
    }

    /// Bytes of its texts.
    pub(crate) fn bytes(&self) -> usize {
        self.text.len() + self.pair.as_ref().map_or(0, String::len)
    }
}

/// What a JSON value is, for messages.
pub(crate) fn name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Checks the number of inputs of a request.
pub(crate) fn check_count(inputs: usize, limits: &Limits) -> Result<(), Problem> {
    if inputs == 0 {
        let message = "inputs: an empty list, expected at least one text";
        return Err(Problem::new(Kind::Validation, message));
    }
    if inputs > limits.inputs {
        let message = format!("{inputs} inputs, expected at most {} a request", limits.inputs);
        return Err(Problem::new(Kind::TooManyInputs, message)
            .with_hint("send them in several requests, at the same time if you like"));
    }
    Ok(())
}

/// The tasks that `asked` names, `all` of which are those that take pairs, or those that do not.
pub(crate) enum Tasks {
    All,
    Named(Vec<String>),
}

impl Tasks {
    /// `"all"`, or a list of names of the bank, each once and one that `access` may ask.
    pub(crate) fn parse(value: &Value, state: &State, access: &Access) -> Result<Self, Problem> {
        access.check_right(Right::Predict)?;
        let wrong = |message: String| Err(Problem::new(Kind::Validation, message));
        let values = match value {
            Value::String(all) if all == "all" => return Ok(Self::All),
            Value::String(other) => {
                return wrong(format!("tasks: {other:?}, expected \"all\" or a list of names"));
            }
            Value::Array(values) if values.is_empty() => {
                return wrong(
                    "tasks: an empty list, expected at least one name, or \"all\"".into(),
                );
            }
            Value::Array(values) => values,
            other => {
                let found = name(other);
                return wrong(format!("tasks: found {found}, expected \"all\" or a list of names"));
            }
        };
        let mut names: Vec<String> = Vec::with_capacity(values.len());
        let mut seen = std::collections::HashSet::new();
        for value in values {
            let Value::String(task) = value else {
                return wrong(format!("tasks: found {}, expected names", name(value)));
            };
            if !seen.insert(task.as_str()) {
                return wrong(format!("tasks: {task:?} twice"));
            }
            access.check(Right::Predict, task)?;
            check_known(state, access, task)?;
            names.push(task.clone());
        }
        Ok(Self::Named(names))
    }

    /// The names asked of inputs that are pairs or not.
    pub(crate) fn names(
        self,
        state: &State,
        access: &Access,
        pairs: bool,
    ) -> Result<Vec<String>, Problem> {
        if let Tasks::Named(names) = self {
            return Ok(names);
        }
        let mut names = seen(state, access);
        let all = names.len();
        names.retain(|(_, takes_pairs)| *takes_pairs == pairs);
        let names: Vec<String> = names.into_iter().map(|(name, _)| name).collect();
        if names.is_empty() {
            let what = if pairs { "pairs of texts" } else { "single texts" };
            let message = format!("none of {all} tasks takes {what}");
            return Err(Problem::new(Kind::Validation, message));
        }
        Ok(names)
    }

    /// Whether all of them take pairs of texts.
    pub(crate) fn take_pairs(&self, state: &State, access: &Access) -> bool {
        match self {
            Tasks::All => {
                let tasks = seen(state, access);
                !tasks.is_empty() && tasks.iter().all(|(_, pairs)| *pairs)
            }
            Tasks::Named(names) => names.iter().all(|name| state.source.pairs(name) == Some(true)),
        }
    }
}

/// Names of the tasks that `access` sees, and whether each takes pairs.
pub(crate) fn seen(state: &State, access: &Access) -> Vec<(String, bool)> {
    let mut tasks = state.source.names();
    tasks.retain(|(name, _)| access.sees(name));
    tasks
}

/// Checks that there is a task `name`, which `access` may see, and that it can be served as far as is known.
pub(crate) fn check_known(state: &State, access: &Access, name: &str) -> Result<(), Problem> {
    if let Some(why) = state.source.failure(name) {
        return Err(unavailable(name, &why));
    }
    if state.source.pairs(name).is_some() {
        return Ok(());
    }
    // An unknown name stands in the message: no more of it than a name may have.
    let shown: String = name.chars().take(100).collect();
    let error = Problem::new(Kind::UnknownTask, format!("there is no task {shown:?}"));
    if !access.sees_all() {
        return Err(error); // the names of others are not its business
    }
    let names = state.source.names();
    if names.len() > COMPARED {
        return Err(error.with_hint("GET /v1/tasks lists the tasks"));
    }
    let names: Vec<&str> = names.iter().map(|(name, _)| name.as_str()).collect();
    Err(error.with_hint(linocut::bank::nearest_known(&shown, &names)))
}
