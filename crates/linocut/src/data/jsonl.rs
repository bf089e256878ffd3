//! One JSON object a line.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value};

use super::table::{Cell, Table, data_error, read_text};
use crate::Result;

pub(super) fn read_jsonl(path: &Path, limit: usize) -> Result<Table> {
    let text = read_text(path)?;
    if text.trim_start().starts_with('[') {
        let message = format!("{} is one JSON array, expected one object a line", path.display());
        return Err(data_error(message)
            .with_hint(format!("convert it with: jq -c '.[]' {}", path.display())));
    }
    let mut table = Table::new(path, Vec::new(), "line");
    // Columns in the order in which their keys first appear.
    let mut numbers: HashMap<String, usize> = HashMap::new();
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    for (i, line) in lines.take(limit) {
        let object: Map<String, Value> = serde_json::from_str(line).map_err(|e| {
            let message = format!("{}, line {}: not a JSON object: {e}", path.display(), i + 1);
            data_error(message).with_source(e)
        })?;
        let mut row = vec![Cell::Missing; numbers.len()];
        for (key, value) in object {
            let number = *numbers.entry(key).or_insert_with_key(|key| {
                table.columns_mut().push(key.clone());
                row.push(Cell::Missing);
                row.len() - 1
            });
            row[number] = cell(value);
        }
        table.push(i + 1, row);
    }
    Ok(table)
}

fn cell(value: Value) -> Cell {
    match value {
        Value::Null => Cell::Missing,
        Value::Array(items) => items
            .into_iter()
            .map(|item| match cell(item) {
                Cell::Text(text) => Some(text),
                _ => None,
            })
            .collect::<Option<Vec<_>>>()
            .map_or(Cell::Nested, Cell::List),
        Value::Object(_) => Cell::Nested,
        Value::String(text) => Cell::Text(text),
        plain => Cell::Text(plain.to_string()),
    }
}
