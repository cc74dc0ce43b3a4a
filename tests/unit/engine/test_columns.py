"""Fitting source columns into a target: every finding at once, by name."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from conduit_core.connectors.base import DestinationCapabilities, TargetColumn, TargetShape
from conduit_core.connectors.publish import Column
from conduit_core.engine.columns import Staged, Wishes, altered, stage_columns
from conduit_core.errors import SchemaError
from conduit_core.spec.schema_changes import SchemaChangeSpec, Word
from conduit_core.types.dialect import Dialect, Effort, Landing, Table
from conduit_core.types.schema import parse_type

TARGET = Table("raw", "orders")


class FakeDialect(Dialect):
    """A system with Arrow's own types, in capitals."""

    name = "fake"

    def landing(self, field: pa.Field[pa.DataType]) -> Landing:
        loss = "no zone" if pa.types.is_timestamp(field.type) else None
        return Landing(str(field.type).upper(), field.type, loss)

    def field_of(self, name: str, ddl: str, *, nullable: bool = True) -> pa.Field[pa.DataType]:
        return pa.field(name, parse_type(ddl.lower()), nullable)

    def effort(self, old: str, new: str) -> Effort:
        return "rewrite"


class Fake:
    """As much of a destination as fitting columns asks for: everything lands as itself."""

    system = "fake"
    dialect = FakeDialect()

    def __init__(self, **limits: Any) -> None:
        self.capabilities = DestinationCapabilities(actions=frozenset(), **limits)

    def landing(self, field: pa.Field[pa.DataType]) -> Landing:
        return self.dialect.landing(field)


def stage(
    source: dict[str, pa.DataType],
    existing: list[TargetColumn] | None = None,
    metadata: tuple[str, ...] = (),
    word: Word = "auto",
    **limits: Any,
) -> Staged:
    shape = None if existing is None else TargetShape(tuple(existing))
    fields = pa.schema(list(source.items()))
    policy = SchemaChangeSpec(added=word, removed=word, type_changed=word)
    wishes = Wishes(policy, metadata)
    return stage_columns(fields, wishes, Fake(**limits), shape, TARGET)  # type: ignore[arg-type]


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
    got = stage({"id": pa.int16()}, target)
    assert got.schema == pa.schema([("id", pa.int32())])
    assert got.columns == (Column(name="id", ddl="INT32"),)
    assert got.changes == ()


def test_what_changes_is_applied_left_out_or_checked_as_the_word_says() -> None:
    target = [column("id", pa.int32())]
    source = {"id": pa.int64(), "new": pa.string()}
    got = stage(source, target)
    assert got.schema == pa.schema([("id", pa.int64()), ("new", pa.string())])
    kinds = [(type(c).__name__, c.column.ddl) for c in got.changes]
    assert kinds == [("WidenColumn", "INT64"), ("AddColumn", "STRING")]
    assert altered((Column(name="id", ddl="INT32"),), got.changes) == got.columns
    kept = stage(source, target, word="warn")
    assert kept.schema == pa.schema([("id", pa.int32())])
    assert len(kept.warnings) == 2
    assert stage(source, target, word="ignore").warnings == ()
    with pytest.raises(SchemaError, match="'id'"):
        stage(source, target, word="fail")


def test_everything_that_does_not_fit_is_said_at_once() -> None:
    target = [
        column("id", pa.int32()), column("name", pa.int32()),
        column("must", pa.string(), nullable=False),
        column("fine", pa.string(), nullable=False, has_default=True),
    ]  # fmt: skip
    with pytest.raises(SchemaError) as caught:
        stage({"id": pa.int16(), "name": pa.string(), "extra": pa.int8()}, target, word="fail")
    text = caught.value.message
    for part in ("raw.orders", "'name'", "string", "int32", "'extra'", "int8", "'must'"):
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
        (["a", "b", "c"], {"max_columns": 4}, "takes 4, not 5"),
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
        stage_columns(twice, Wishes(SchemaChangeSpec(), ()), Fake(), None, TARGET)  # type: ignore[arg-type]


def test_names_that_differ_by_case_are_two_where_the_destination_says_so() -> None:
    assert len(stage({"a": pa.int64(), "A": pa.int64()}).columns) == 2
