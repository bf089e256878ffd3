"""Writes testdata/data/columns-*.parquet: the kinds of columns that pandas and datasets write, in the
compressions they offer. What must be read stands in crates/linocut/tests/data_rows.rs.
Needs `pip install pyarrow`. Run from the repository's root: python reference/parquet.py"""

import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

OUT = Path(__file__).parent.parent / "testdata/data"

table = pa.table(
    {
        "text": pa.array(["Hé, \"x\"", None], pa.string()),
        "large": pa.array(["a", "漢字 🙂"], pa.large_string()),
        "category": pa.array(["no", "yes"]).dictionary_encode(),
        "byte": pa.array([-1, 127], pa.int8()),
        "long": pa.array([0, 2**53 + 1], pa.int64()),
        "unsigned": pa.array([0, 2**64 - 1], pa.uint64()),
        "flag": pa.array([True, False]),
        "single": pa.array([0.1, 3.0], pa.float32()),
        "double": pa.array([0.1, 1e-300], pa.float64()),
        "half": pa.array([0.5, -2.0], pa.float16()),
        "date": pa.array([datetime.date(2024, 2, 29), None]),
        "names": pa.array([["a", "b"], []], pa.list_(pa.string())),
        "numbers": pa.array([[3, 1], None], pa.list_(pa.int32())),
        "nested": pa.array([{"a": 1}, {"a": 2}]),
    }
)
for compression in ["none", "snappy", "gzip", "zstd", "lz4"]:
    pq.write_table(table, OUT / f"columns-{compression}.parquet", compression=compression)
