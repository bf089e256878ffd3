//! Parquet through the crate's record reader.

use std::fs::File;
use std::path::Path;

use ::parquet::errors::ParquetError;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::record::Field;

use super::table::{Cell, Table, data_error};
use crate::{Error, Result};

pub(super) fn read_parquet(path: &Path, limit: usize) -> Result<Table> {
    let failed = |e: ParquetError| {
        data_error(format!("{} is not readable Parquet: {e}", path.display())).with_source(e)
    };
    let file = File::open(path).map_err(|e| Error::io(path, "read", e))?;
    let reader = SerializedFileReader::new(file).map_err(failed)?;
    let schema = reader.metadata().file_metadata().schema();
    let columns = schema.get_fields().iter().map(|f| f.name().to_string()).collect();
    let mut table = Table::new(path, columns, "row");
    for (i, row) in reader.get_row_iter(None).map_err(failed)?.take(limit).enumerate() {
        let row = row.map_err(failed)?;
        let cells = row.get_column_iter().map(|(_, field)| cell(field)).collect();
        table.push(i + 1, cells);
    }
    Ok(table)
}

fn cell(field: &Field) -> Cell {
    match field {
        Field::Null => Cell::Missing,
        Field::Str(text) => Cell::Text(text.clone()),
        // Strings that their writer did not declare as such.
        Field::Bytes(bytes) => {
            bytes.as_utf8().map_or(Cell::Nested, |text| Cell::Text(text.to_string()))
        }
        // Rust's shortest form that reads back as the same number, not the crate's rounded one.
        Field::Float(value) => Cell::Text(format!("{value:?}")),
        Field::Double(value) => Cell::Text(format!("{value:?}")),
        Field::ListInternal(list) => list
            .elements()
            .iter()
            .map(|item| match cell(item) {
                Cell::Text(text) => Some(text),
                _ => None,
            })
            .collect::<Option<Vec<_>>>()
            .map_or(Cell::Nested, Cell::List),
        Field::Group(_) | Field::MapInternal(_) => Cell::Nested,
        plain => Cell::Text(plain.to_string()),
    }
}
