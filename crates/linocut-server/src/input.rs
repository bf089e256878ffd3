//! What is asked: texts, pairs and tasks, checked against the limits.

use std::sync::Arc;

use linocut::bank::{Bank, Task};
use serde_json::Value;

use crate::error::{Kind, Problem};
use crate::keys::{Access, Right};
use crate::state::{Limits, State};

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
            known(state, access, task)?;
            names.push(task.clone());
        }
        Ok(Self::Named(names))
    }

    /// The names asked of inputs that are pairs or not.
    pub(crate) fn names(
        self,
        bank: &Bank,
        access: &Access,
        pairs: bool,
    ) -> Result<Vec<String>, Problem> {
        if let Tasks::Named(names) = self {
            return Ok(names);
        }
        let tasks = seen(bank, access);
        let fit = tasks.iter().filter(|task| task.card().pairs == pairs);
        let names: Vec<String> = fit.map(|task| task.name().to_string()).collect();
        if names.is_empty() {
            let what = if pairs { "pairs of texts" } else { "single texts" };
            let message = format!("none of {} tasks takes {what}", tasks.len());
            return Err(Problem::new(Kind::Validation, message));
        }
        Ok(names)
    }

    /// Whether all of them take pairs of texts.
    pub(crate) fn take_pairs(&self, bank: &Bank, access: &Access) -> bool {
        match self {
            Tasks::All => {
                let tasks = seen(bank, access);
                !tasks.is_empty() && tasks.iter().all(|task| task.card().pairs)
            }
            Tasks::Named(names) => {
                names.iter().all(|name| bank.task(name).is_ok_and(|task| task.card().pairs))
            }
        }
    }
}

/// The tasks that `access` sees, by name.
pub(crate) fn seen(bank: &Bank, access: &Access) -> Vec<Arc<Task>> {
    let mut tasks = bank.tasks();
    tasks.retain(|task| access.sees(task.name()));
    tasks
}

/// The task `name`, which `access` may see.
pub(crate) fn known(state: &State, access: &Access, name: &str) -> Result<Arc<Task>, Problem> {
    if let Some(why) = state.store.failure(name) {
        let message = format!("the file of the task {name:?} cannot be served: {why}");
        return Err(Problem::new(Kind::TaskUnavailable, message)
            .with_hint("put another version in its place, or have the server's operator do so"));
    }
    // An unknown name stands in the message: no more of it than a name may have.
    let shown: String = name.chars().take(100).collect();
    state.bank.task(&shown).map_err(|error| match access.sees_all() {
        true => Problem::of(Kind::UnknownTask, "", &error),
        // The library's hint has the names of others.
        false => Problem::new(Kind::UnknownTask, format!("there is no task {shown:?}")),
    })
}
