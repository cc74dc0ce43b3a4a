"""Columns of files that were added and widened: older files are read as the table is now."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conduit_core.connectors.publish import AddColumn, AppendStaged, Column, WidenColumn
from conduit_core.errors import SchemaError
from conduit_core.testing.doubles import publish, record
from conduit_core.testing.fixtures import commit, load, scan
from conduit_core.types.casts import cast_column
from conduit_core.types.lattice import widen
from tests.lake.worker import destination_at
from tests.unit.types.fields import FLAT, values
from tests.unit.types.test_casts import array
from tests.unit.types.test_lattice import same


def pairs(system: str) -> list[tuple[pa.DataType, pa.DataType]]:
    """Return the types of a table's columns, with what they can be widened to."""
    destination = destination_at("/nowhere", system)

    @cache
    def held(kind: pa.DataType) -> pa.DataType | None:
        try:
            return destination.landing(pa.field("x", kind)).arrow
        except SchemaError:
            return None

    kinds = dict.fromkeys(kind for f in FLAT if (kind := held(f)) is not None)
    found: dict[tuple[pa.DataType, pa.DataType], None] = {}
    for one in kinds:
        # A text of 32 bits is another number in 64: what the file says is what counts.
        if pa.types.is_float32(one) and system != "parquet":
            continue
        for other in kinds:
            wide = widen(one, other)
            if wide is not None and wide != one and held(wide) == wide:
                found[one, wide] = None
    return list(found)


PAIRS = {system: pairs(system) for system in ("parquet", "csv", "jsonl")}


@pytest.mark.parametrize("system", PAIRS)
@settings(
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(data=st.data())
def test_old_files_are_read_in_every_wider_type(
    tmp_path_factory: pytest.TempPathFactory, system: str, data: st.DataObject
) -> None:
    destination = destination_at(tmp_path_factory.mktemp("wide") / "lake", system)
    old: dict[str, Any] = {"id": pa.array([0, 1])}
    changes = []
    chosen = data.draw(st.lists(st.sampled_from(PAIRS[system]), min_size=4, max_size=8))
    for number, (kind, wide) in enumerate(chosen):
        name = f"c{number}"
        drawn = data.draw(st.lists(values(kind) | st.none(), min_size=2, max_size=2))
        old[name] = array(kind, drawn)
        changes.append(
            WidenColumn(
                column=Column(name=name, ddl=str(wide)), was=Column(name=name, ddl=str(kind))
            )
        )
    load(destination, "", "t", pa.table(old))
    rows = pa.table({"id": [2], "new": ["x"]})
    added = AddColumn(column=Column(name="new", ddl="string"))
    plan = publish(record("t", ""), rows.schema, *changes, added, AppendStaged())
    commit(destination, plan, rows)
    found = scan(destination, "", "t")
    assert found.column("new").to_pylist() == [None, None, "x"]
    for number, (_, wide) in enumerate(chosen):
        name = f"c{number}"
        column = found.column(name).combine_chunks()
        assert column.type == wide
        expected = pa.concat_arrays([cast_column(old[name], wide, name), pa.array([None], wide)])
        assert same(column, expected), (old[name], wide)


def test_a_fresh_process_reads_the_files(tmp_path: Path) -> None:
    """DuckDB puts older and newer Parquet files together by name."""
    import duckdb

    destination = destination_at(tmp_path / "lake")
    load(destination, "", "t", pa.table({"id": [1], "n": pa.array([7], pa.int16())}))
    rows = pa.table({"id": [2], "n": [2**40], "w": ["new"]})
    change = WidenColumn(column=Column(name="n", ddl="int64"), was=Column(name="n", ddl="int16"))
    added = AddColumn(column=Column(name="w", ddl="string"))
    commit(destination, publish(record("t", ""), rows.schema, change, added, AppendStaged()), rows)
    paths = [str(p) for p in sorted((tmp_path / "lake").rglob("*.parquet"))]
    with duckdb.connect() as con:
        read = con.execute(
            "SELECT id, n, w FROM read_parquet(?, union_by_name = true) ORDER BY id", [paths]
        )
        assert read.fetchall() == [(1, 7, None), (2, 2**40, "new")]
