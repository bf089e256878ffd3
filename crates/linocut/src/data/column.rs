//! The cells of one column, packed: 12 bytes a cell besides its text.

use std::collections::HashMap;

/// One value of a table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    /// No value: null, or a JSON object without this key. A TSV or CSV file has none; its empty
    /// cells are empty texts.
    Missing,
    /// A text, or a number or truth value as text.
    Text(&'a str),
    /// A list of such values.
    List(&'a [String]),
    /// Something that is neither, in words; fine in a column that nobody reads.
    Other(&'static str),
}

/// A cell on its way into a column, see [`Cell`].
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // as there
pub enum Value {
    Missing,
    Text(String),
    List(Vec<String>),
    Other(&'static str),
}

impl Value {
    /// A list, if all its items are texts.
    pub(super) fn list(items: impl Iterator<Item = Value>) -> Self {
        let texts = items.map(|item| match item {
            Value::Text(text) => Ok(text),
            Value::Missing => Err("a list with a null in it"),
            _ => Err("a list of lists or objects"),
        });
        texts.collect::<Result<_, _>>().map_or_else(Value::Other, Value::List)
    }
}

/// Rows without a value take no room, so that many columns with few values each stay small.
#[derive(Debug, Clone, Default)]
pub(super) struct Column {
    /// The texts one after another.
    text: String,
    /// The rows that have a value, ascending, and where the text of each ends.
    rows: Vec<u32>,
    ends: Vec<usize>,
    /// Those of them that are no text.
    others: HashMap<u32, Special>,
}

#[derive(Debug, Clone)]
enum Special {
    List(Vec<String>),
    Other(&'static str),
}

impl Column {
    /// `row` must be above every row put before.
    pub(super) fn put_text(&mut self, row: u32, text: &str) {
        self.text.push_str(text);
        self.rows.push(row);
        self.ends.push(self.text.len());
    }

    pub(super) fn put(&mut self, row: u32, value: Value) {
        let special = match value {
            Value::Missing => return,
            Value::Text(text) => return self.put_text(row, &text),
            Value::List(items) => Special::List(items),
            Value::Other(what) => Special::Other(what),
        };
        self.put_text(row, "");
        self.others.insert(row, special);
    }

    pub(super) fn get(&self, row: u32) -> Cell<'_> {
        // Where every row has a value, the row's number is its place.
        let dense = self.rows.get(row as usize) == Some(&row);
        let at = if dense { Ok(row as usize) } else { self.rows.binary_search(&row) };
        let Ok(at) = at else { return Cell::Missing };
        match self.others.get(&row) {
            Some(Special::List(items)) => Cell::List(items),
            Some(Special::Other(what)) => Cell::Other(what),
            None => Cell::Text(&self.text[self.start(at)..self.ends[at]]),
        }
    }

    fn start(&self, at: usize) -> usize {
        if at == 0 { 0 } else { self.ends[at - 1] }
    }

    /// Keeps the rows that `kept` says, counted anew from 0.
    pub(super) fn retain(&mut self, kept: &[bool]) {
        let mut number = 0;
        let numbers: Vec<u32> = kept
            .iter()
            .map(|&kept| {
                number += u32::from(kept);
                number.wrapping_sub(1)
            })
            .collect();
        let mut new = Self::default();
        for (at, &row) in self.rows.iter().enumerate() {
            if !kept[row as usize] {
                continue;
            }
            let to = numbers[row as usize];
            new.put_text(to, &self.text[self.start(at)..self.ends[at]]);
            if let Some(special) = self.others.remove(&row) {
                new.others.insert(to, special);
            }
        }
        *self = new;
    }
}
