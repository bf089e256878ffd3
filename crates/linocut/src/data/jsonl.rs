//! One JSON object a line.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::Value as Json;

use super::column::Value;
use super::remark::shown;
use super::table::{Reading, Table, data_error};
use super::text::read_text;
use crate::Result;

pub(super) fn read(path: &Path, reading: &Reading) -> Result<Table> {
    let text = read_text(path)?;
    let shown_path = path.display();
    if text.trim_start().starts_with('[') {
        let message = format!("{shown_path} is one JSON array, expected one object a line");
        return Err(
            data_error(message).with_hint(format!("convert it with: jq -c '.[]' {shown_path}"))
        );
    }
    let mut table = Table::new(path, "line", reading);
    // Columns in the order in which their keys first appear.
    let mut numbers = HashMap::new();
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let row = table.start_row(i + 1)?;
        let object = Object { table: &mut table, numbers: &mut numbers, row, reading };
        let mut json = serde_json::Deserializer::from_str(line);
        let read = object.deserialize(&mut json).and_then(|()| json.end());
        read.map_err(|e| {
            // The parser sees one line only.
            let what = e.to_string().replace(" at line 1 column ", " at byte ");
            let message = format!("{shown_path}, line {}: not a JSON object: {what}", i + 1);
            let error = data_error(message);
            match e.classify() {
                serde_json::error::Category::Eof => error.with_hint(format!(
                    "every object stands on one line; convert the file with: jq -c . {shown_path}"
                )),
                _ => error,
            }
            .with_source(e)
        })?;
    }
    Ok(table)
}

/// Reads one object into a row. What nobody reads is checked and dropped.
struct Object<'a> {
    table: &'a mut Table,
    numbers: &'a mut HashMap<String, usize>,
    row: Option<u32>,
    reading: &'a Reading,
}

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(
        self,
        json: D,
    ) -> std::result::Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        let mut given = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            let next = self.numbers.len();
            let number = match self.numbers.get(&key) {
                Some(&number) => number,
                None => {
                    self.table.add_column(key.clone(), self.reading);
                    self.numbers.insert(key.clone(), next);
                    next
                }
            };
            if !given.insert(number) {
                return Err(A::Error::custom(format!("the key {} stands twice", shown(&key))));
            }
            match (self.row, self.table.kept(number)) {
                (Some(row), Some(column)) => column.put(row, cell(map.next_value()?)),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

fn cell(value: Json) -> Value {
    match value {
        Json::Null => Value::Missing,
        Json::Array(items) => Value::list(items.into_iter().map(cell)),
        Json::Object(_) => Value::Other("an object"),
        Json::String(text) => Value::Text(text),
        plain => Value::Text(plain.to_string()),
    }
}
