//! Columns of the input that stand beside the predictions.

use linocut::data::{Cell, Table};
use linocut::{Error, ErrorKind, Result};
use serde_json::{Map, Value, json};
use std::path::Path;

/// The columns kept, row by row.
pub(super) struct Kept {
    names: Vec<String>,
    rows: Vec<Vec<Value>>,
}

impl Kept {
    /// The columns of `--keep`, comma-separated, or all of them.
    pub(super) fn of(table: &Table, keep: Option<&str>) -> Result<Self> {
        // JSON holds numbers and objects, which a table's cells are not.
        let json = table.path().extension().is_some_and(|e| e == "jsonl" || e == "json");
        let numbers: Vec<usize> = match keep {
            Some(names) => {
                let names = names.split(',').filter(|name| !name.is_empty());
                names.map(|name| table.column(name)).collect::<Result<_>>()?
            }
            // What cannot be kept is left out where nobody asked for it.
            None => (0..table.columns().len())
                .filter(|&c| json || (0..table.rows()).all(|row| value(table, row, c).is_ok()))
                .collect(),
        };
        let names: Vec<String> = numbers.iter().map(|&c| table.columns()[c].clone()).collect();
        let rows = match json {
            true => objects(table, &names)?,
            false => (0..table.rows())
                .map(|row| numbers.iter().map(|&c| value(table, row, c)).collect())
                .collect::<Result<_>>()?,
        };
        Ok(Self { names, rows })
    }

    /// Names of the columns.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// The names of the predictions' columns: those that are taken get `predicted` in front.
    pub(super) fn beside(&self, names: &[String]) -> Vec<String> {
        names.iter().cloned().map(|name| self.free(name)).collect()
    }

    fn free(&self, mut name: String) -> String {
        while self.names.contains(&name) {
            name = format!("predicted {name}");
        }
        name
    }

    /// The cells of a row as text.
    pub(super) fn cells(&self, row: usize) -> impl Iterator<Item = String> {
        self.rows[row].iter().map(|value| match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
    }

    /// A row as an object with `prediction`'s fields after its own.
    pub(super) fn object(&self, row: usize, prediction: Map<String, Value>) -> Value {
        let names = self.names.iter().cloned();
        let mut object: Map<String, Value> = names.zip(self.rows[row].iter().cloned()).collect();
        for (name, value) in prediction {
            object.insert(self.free(name), value);
        }
        Value::Object(object)
    }
}

fn value(table: &Table, row: usize, column: usize) -> Result<Value> {
    Ok(match table.cell(row, column) {
        Cell::Missing => Value::Null,
        Cell::Text(text) => json!(text),
        Cell::List(items) => json!(items),
        Cell::Other(what) => {
            let (place, name) = (table.place(row), &table.columns()[column]);
            let message = format!("{place}: column {name:?} holds {what}");
            return Err(Error::new(ErrorKind::Data, message)
                .with_hint("name the columns to keep: --keep id,text"));
        }
    })
}

/// The named fields of every object of a JSONL file, which `table` has been read from.
fn objects(table: &Table, names: &[String]) -> Result<Vec<Vec<Value>>> {
    let path = table.path();
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, "read", e))?;
    let lines = text.trim_start_matches('\u{feff}').lines().filter(|l| !l.trim().is_empty());
    let rows: Vec<Vec<Value>> = lines
        .map(|line| {
            let mut object: Map<String, Value> = serde_json::from_str(line).unwrap_or_default();
            names.iter().map(|name| object.remove(name).unwrap_or(Value::Null)).collect()
        })
        .collect();
    match rows.len() == table.rows() {
        true => Ok(rows),
        false => Err(changed(path)),
    }
}

fn changed(path: &Path) -> Error {
    Error::new(ErrorKind::Io, format!("{} changed while it was read", path.display()))
        .with_hint("run the command again")
}
