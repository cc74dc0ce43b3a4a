"""The shipped source suite, over each file format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from conduit_core.connectors.base import Source, StreamRef
from conduit_core.errors import SchemaError
from conduit_core.testing import SourceSuite
from conduit_core.testing.source import Connect, Fill
from conduit_core.testing.torture import CASES
from tests.connectors.files.helpers import source as make

TIMES = frozenset({"time_s", "time_ms", "time_us", "time_ns", "duration_us", "interval"})
BINARIES = frozenset({"binary", "binary_large", "binary_fixed"})
NESTED = frozenset({"struct", "map", "list_nested"})
DECIMALS = frozenset(case.name for case in CASES if "decimal_" in case.name) - {"decimal_unbounded"}
# Arrow doesn't parse the first and last nanosecond that 64 bits hold: such a column stays text.
EDGES = frozenset({"timestamp_ns", "timestamp_ns_utc"})


class FilesSuite(SourceSuite):
    """A folder is the place, a file is a table."""

    kind: ClassVar[str]
    any_name = False

    def write(self, path: Path, table: pa.Table) -> None:
        raise NotImplementedError

    @pytest.fixture
    def connect(self, tmp_path: Path) -> Connect:
        return lambda: make(self.kind, tmp_path)

    @pytest.fixture
    def fill(self, tmp_path: Path) -> Fill:
        def write(name: str, table: pa.Table) -> StreamRef:
            path = tmp_path / f"{name}.{self.kind}"
            self.write(path, table)
            return StreamRef(path=path.name)

        return write


class TestParquetSource(FilesSuite):
    kind = "parquet"
    unsupported = frozenset({"interval"})

    def write(self, path: Path, table: pa.Table) -> None:
        pq.write_table(table, path)


class TestCsvSource(FilesSuite):
    kind = "csv"
    # Text has no binary and no lists; a time of a day stays text unless types: says so.
    unsupported = (
        TIMES - {"duration_us"}
        | BINARIES
        | NESTED
        | EDGES
        | {"list_int64", "list_text", "list_fixed"}
    )

    def write(self, path: Path, table: pa.Table) -> None:
        pacsv.write_csv(table, path)


class Records(FilesSuite):
    # Objects travel as json text, decimals need types: (both have tests of their own).
    unsupported = TIMES | BINARIES | NESTED | EDGES | DECIMALS

    def lines(self, table: pa.Table) -> list[str]:
        for i, field in enumerate(table.schema):
            if pa.types.is_temporal(field.type):
                table = table.set_column(i, field.name, table.column(i).cast(pa.string()))
        return [json.dumps(record) for record in table.to_pylist()]

    def test_an_empty_relation(self, source: Source, fill: Fill) -> None:
        ref = fill("t", pa.table({"id": pa.array([], pa.int64())}))
        with pytest.raises(SchemaError, match="no records, so no columns"):
            source.describe(ref)


class TestJsonlSource(Records):
    kind = "jsonl"

    def write(self, path: Path, table: pa.Table) -> None:
        path.write_text("".join(line + "\n" for line in self.lines(table)))


class TestJsonSource(Records):
    kind = "json"
    unsupported = Records.unsupported | {"float64", "float32", "float16"}  # JSON has no NaN

    def write(self, path: Path, table: pa.Table) -> None:
        path.write_text(f"[{','.join(self.lines(table))}]")
