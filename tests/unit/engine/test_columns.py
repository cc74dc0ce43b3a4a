"""Fitting source columns into a target: every finding at once, by name."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from conduit_core.connectors.base import DestinationCapabilities, TargetColumn, TargetShape
from conduit_core.connectors.publish import Column
from conduit_core.engine.columns import Staged, stage_columns
from conduit_core.errors import SchemaError
from conduit_core.types.dialect import Landing, Table

TARGET = Table("raw", "orders")


class Fake:
    """As much of a destination as fitting columns asks for: everything lands as itself."""

    system = "fake"

    def __init__(self, **limits: Any) -> None:
        self.capabilities = DestinationCapabilities(actions=frozenset(), **limits)

    def landing(self, field: pa.Field[pa.DataType]) -> Landing:
        loss = "no zone" if pa.types.is_timestamp(field.type) else None
        return Landing(str(field.type).upper(), field.type, loss)


def stage(
    source: dict[str, pa.DataType],
    existing: list[TargetColumn] | None = None,
    metadata: tuple[str, ...] = (),
    **limits: Any,
) -> Staged:
    shape = None if existing is None else TargetShape(tuple(existing))
    fields = pa.schema(list(source.items()))
    return stage_columns(fields, metadata, Fake(**limits), shape, TARGET)  # type: ignore[arg-type]


def column(name: str, kind: pa.DataType, **more: Any) -> TargetColumn:
    return TargetColumn(name, str(kind).upper(), kind, **more)


def test_a_new_table_gets_every_column_and_names_what_is_lost() -> None:
    got = stage({"id": pa.int64(), "at": pa.timestamp("us")})
    assert got.columns == (Column(name="id", ddl="INT64"), Column(name="at", ddl="TIMESTAMP[US]"))
    assert got.notes == ("column 'at': no zone",)


def test_metadata_columns_come_last() -> None:
    got = stage({"id": pa.int64()}, metadata=("load",))
    assert got.schema.names == ["id", "_conduit_load_id", "_conduit_loaded_at"]
    assert [c.nullable for c in got.columns] == [True, False, False]


def test_an_existing_table_decides_types_and_keeps_columns_the_source_lacks() -> None:
    target = [column("old", pa.string()), column("id", pa.int32())]
    got = stage({"id": pa.int64()}, target)
    assert got.schema == pa.schema([("id", pa.int32())])
    assert got.columns == (Column(name="id", ddl="INT32"),)


def test_everything_that_does_not_fit_is_said_at_once() -> None:
    target = [
        column("id", pa.int32()), column("name", pa.int32()),
        column("must", pa.string(), nullable=False),
        column("fine", pa.string(), nullable=False, has_default=True),
    ]  # fmt: skip
    with pytest.raises(SchemaError) as caught:
        stage({"id": pa.int64(), "name": pa.string(), "extra": pa.int8()}, target)
    text = caught.value.message
    for part in ("raw.orders", "'name'", "string", "INT32", "'extra'", "int8", "'must'"):
        assert part in text
    assert "'fine'" not in text
    assert "'id'" not in text
    assert caught.value.command == "conduit run --full-refresh"


@pytest.mark.parametrize(
    ("names", "limits", "word"),
    [
        (["a", "A"], {"case_sensitive_names": False}, "one name"),
        (["a", "_conduit_load_id"], {}, r"already; `metadata: \[\]` keeps it"),
        (["x" * 64], {"max_identifier_bytes": 63}, "64 bytes"),
        (["ü" * 32], {"max_identifier_bytes": 63}, "64 bytes"),
        (["a", "b", "c"], {"max_columns": 4}, "5 columns"),
    ],
)
def test_names_a_destination_can_not_take_are_refused(
    names: list[str], limits: dict[str, Any], word: str
) -> None:
    with pytest.raises(SchemaError, match=word) as caught:
        stage(dict.fromkeys(names, pa.int64()), metadata=("load",), **limits)
    assert caught.value.command == "conduit plan"  # a full refresh would meet the same names


def test_a_name_that_a_query_gives_twice_is_said_so() -> None:
    twice = pa.schema([("id", pa.int64()), ("id", pa.int64())])
    with pytest.raises(SchemaError, match="column 'id' occurs twice; rename one in the query"):
        stage_columns(twice, (), Fake(), None, TARGET)  # type: ignore[arg-type]


def test_names_that_differ_by_case_are_two_where_the_destination_says_so() -> None:
    assert len(stage({"a": pa.int64(), "A": pa.int64()}).columns) == 2
