//! Parquet through the crate's record reader, which is kept from what would hurt it.

mod bounds;
mod delta;
mod thrift;

use std::path::Path;

use ::parquet::errors::ParquetError;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::record::Field;
use ::parquet::schema::types::Type;
use bytes::Bytes;

use super::column::Value;
use super::table::{Reading, Table, data_error};
use crate::{Error, Result, contained};
use bounds::Fault;

pub(super) fn read(path: &Path, reading: &Reading) -> Result<Table> {
    let bytes = Bytes::from(std::fs::read(path).map_err(|e| Error::io(path, "read", e))?);
    if bytes.is_empty() {
        return Err(data_error(format!("{} is empty", path.display())));
    }
    // The crate takes a damaged file for granted here and there.
    contained(|| read_whole(path, bytes, reading)).unwrap_or_else(|panic| {
        Err(unreadable(path, Fault::Damaged(format!("it is damaged ({panic})"))))
    })
}

fn unreadable(path: &Path, fault: Fault) -> Error {
    let whole = "write it again, or copy it again from where it came; pandas reads a whole one by \
                 pandas.read_parquet(PATH)";
    let (why, hint) = match fault {
        Fault::Encrypted => ("it is encrypted".to_string(), "write it without encryption"),
        Fault::Codec(name, column) => (
            format!("column {column:?} is compressed by {name}"),
            "read are uncompressed, snappy, gzip, zstd and lz4; in pandas: df.to_parquet(PATH, \
             compression=\"zstd\")",
        ),
        Fault::Damaged(why) => (why, whole),
    };
    data_error(format!("{} is not readable Parquet: {why}", path.display())).with_hint(hint)
}

fn read_whole(path: &Path, bytes: Bytes, reading: &Reading) -> Result<Table> {
    let refused = |fault: Fault| unreadable(path, fault);
    let failed = |e: ParquetError| refused(Fault::Damaged(e.to_string())).with_source(e);
    bounds::footer(&bytes).map_err(refused)?;
    let reader = SerializedFileReader::new(bytes.clone()).map_err(failed)?;
    let schema = reader.metadata().file_metadata().schema();
    let mut table = Table::new(path, "row", reading);
    let mut kept = Vec::new();
    for (number, field) in schema.get_fields().iter().enumerate() {
        table.add_column(field.name().to_string(), reading);
        if table.kept(number).is_some() {
            kept.push((number, field.clone()));
        }
    }
    if kept.is_empty() {
        // There are rows, or not; their cells are of no interest.
        for row in 0..reader.metadata().file_metadata().num_rows().clamp(0, 1) {
            table.start_row(row as usize + 1)?;
        }
        return Ok(table);
    }
    check_pages(&bytes, &reader, reading).map_err(refused)?;

    let fields = kept.iter().map(|(_, field)| field.clone()).collect();
    let projection = Type::group_type_builder(schema.name()).with_fields(fields).build();
    let rows = reader.get_row_iter(Some(projection.map_err(failed)?)).map_err(failed)?;
    let mut room = bounds::most(bytes.len());
    for (i, row) in rows.enumerate() {
        let row = row.map_err(failed)?;
        let number = table.start_row(i + 1)?;
        let mut taken = 16;
        for ((column, _), (_, field)) in kept.iter().zip(row.get_column_iter()) {
            let value = cell(field);
            taken += size(&value);
            if let (Some(number), Some(column)) = (number, table.kept(*column)) {
                column.put(number, value);
            }
        }
        room = room.checked_sub(taken).ok_or_else(|| {
            let why = format!("its {} bytes hold too much unpacked", bytes.len());
            refused(Fault::Damaged(why))
        })?;
    }
    Ok(table)
}

fn check_pages(
    bytes: &Bytes,
    reader: &SerializedFileReader<Bytes>,
    reading: &Reading,
) -> std::result::Result<(), Fault> {
    let mut unpacked = 0;
    for group in 0..reader.metadata().num_row_groups() {
        for (column, chunk) in reader.metadata().row_group(group).columns().iter().enumerate() {
            let name = chunk.column_path().parts().first();
            if !name.is_some_and(|name| reading.columns.contains(name)) {
                continue;
            }
            bounds::pages(bytes, chunk, &mut unpacked)?;
            if chunk.encodings().any(bounds::is_delta) {
                bounds::deltas(bytes, reader, (group, column), &mut unpacked)?;
            }
        }
    }
    Ok(())
}

/// Bytes of a cell, about.
fn size(value: &Value) -> u64 {
    match value {
        Value::Missing | Value::Other(_) => 16,
        Value::Text(text) => 16 + text.len() as u64,
        Value::List(items) => 32 + items.iter().map(|item| 32 + item.len() as u64).sum::<u64>(),
    }
}

fn cell(field: &Field) -> Value {
    match field {
        Field::Null => Value::Missing,
        Field::Str(text) => Value::Text(text.clone()),
        // Strings that their writer did not declare as such.
        Field::Bytes(bytes) => bytes
            .as_utf8()
            .map_or(Value::Other("bytes that are not UTF-8"), |text| Value::Text(text.to_string())),
        // Rust's shortest form that reads back as the same number, not the crate's rounded one.
        Field::Float(value) => Value::Text(format!("{value:?}")),
        Field::Double(value) => Value::Text(format!("{value:?}")),
        Field::ListInternal(list) => Value::list(list.elements().iter().map(cell)),
        Field::Group(_) | Field::MapInternal(_) => Value::Other("an object"),
        plain => Value::Text(plain.to_string()),
    }
}
