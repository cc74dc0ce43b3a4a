"""What each word makes of each kind of change; what no word can do."""

from __future__ import annotations

from typing import Any, get_args

import pyarrow as pa
import pytest

from conduit_core.connectors.duckdb.types import DuckDBDialect
from conduit_core.connectors.postgres.types import PostgresDialect
from conduit_core.connectors.publish import Action, AddColumn, Column, Publish, WidenColumn
from conduit_core.connectors.sqlite.types import SqliteDialect
from conduit_core.errors import SchemaError
from conduit_core.spec.schema_changes import SchemaChangeSpec
from conduit_core.sync.schema_changes import Decision, Target, decide
from conduit_core.types.dialect import Dialect, Table
from conduit_core.types.diff import Limits, preflight

POSTGRES, DUCKDB, SQLITE = PostgresDialect(), DuckDBDialect(), SqliteDialect()
NAMES = {POSTGRES: Limits("postgres", max_identifier_bytes=63)}
Columns = dict[str, str]


def policy(word: Any) -> SchemaChangeSpec:
    return SchemaChangeSpec(added=word, removed=word, type_changed=word)


def decided(
    there: Columns,
    comes: pa.Schema,
    spec: SchemaChangeSpec,
    *,
    dialect: Dialect = POSTGRES,
    expected: pa.Schema | None = None,
    **known: Any,
) -> Decision:
    """Decide what becomes of a target of these columns; a type ends in ``!`` for NOT NULL."""
    ddl = {name: text.removesuffix("!") for name, text in there.items()}
    target = pa.schema(
        [
            dialect.field_of(name, ddl[name], nullable=not text.endswith("!"))
            for name, text in there.items()
        ]
    )
    limits = NAMES.get(dialect, Limits(dialect.name, case_sensitive_names=False))
    changes = preflight(comes, dialect, limits, target, expected)
    known.setdefault("before", target)
    return decide(changes, spec, Target(dialect, ddl, **known))


def added(name: str, ddl: str) -> AddColumn:
    return AddColumn(column=Column(name=name, ddl=ddl))


def widened(name: str, old: str, new: str, *, was_null: bool = True, null: bool = True) -> Any:
    return WidenColumn(
        column=Column(name=name, ddl=new, nullable=null),
        was=Column(name=name, ddl=old, nullable=was_null),
    )


ID = {"id": "bigint"}
KINDS: dict[str, tuple[Columns, pa.Schema]] = {
    "added": (ID, pa.schema([("id", pa.int64()), ("x", pa.string())])),
    "removed": (ID | {"x": "text"}, pa.schema([("id", pa.int64())])),
    "widened": (ID | {"x": "integer"}, pa.schema([("id", pa.int64()), ("x", pa.int64())])),
    "incompatible": (ID | {"x": "integer"}, pa.schema([("id", pa.int64()), ("x", pa.string())])),
}
NOTHING: tuple[Any, ...] = ((), set(), 0, 0)
TABLE: dict[tuple[str, str], tuple[Any, ...]] = {
    # word, kind: actions, left out, how many warnings, how many problems
    ("auto", "added"): ((added("x", "text"),), set(), 0, 0),
    ("auto", "removed"): NOTHING,
    ("auto", "widened"): ((widened("x", "integer", "bigint"),), set(), 0, 0),
    ("auto", "incompatible"): ((), set(), 0, 1),
    ("warn", "added"): ((), {"x"}, 1, 0),
    ("warn", "removed"): ((), set(), 1, 0),
    ("warn", "widened"): ((), set(), 1, 0),
    ("warn", "incompatible"): ((), {"x"}, 1, 0),
    ("ignore", "added"): ((), {"x"}, 0, 0),
    ("ignore", "removed"): NOTHING,
    ("ignore", "widened"): NOTHING,
    ("ignore", "incompatible"): ((), {"x"}, 0, 0),
    ("fail", "added"): ((), set(), 0, 1),
    ("fail", "removed"): ((), set(), 0, 1),
    ("fail", "widened"): ((), set(), 0, 1),
    ("fail", "incompatible"): ((), set(), 0, 1),
}


@pytest.mark.parametrize("word", ["auto", "warn", "ignore", "fail"])
@pytest.mark.parametrize("kind", list(KINDS))
def test_four_words_and_four_kinds(word: str, kind: str) -> None:
    found = decided(*KINDS[kind], policy(word))
    counted = (found.actions, set(found.left_out), len(found.warnings), len(found.problems))
    assert counted == TABLE[word, kind]
    for text in (*found.warnings, *found.problems):
        assert "'x'" in text


@pytest.mark.parametrize("kind", ["added", "removed", "widened"])
def test_a_word_for_its_kind_only(kind: str) -> None:
    named = {"widened": "type_changed"}.get(kind, kind)
    spec = SchemaChangeSpec.model_validate({named: "fail"})
    for other, (there, comes) in KINDS.items():
        same = {"incompatible": "type_changed", "widened": "type_changed"}.get(
            other, other
        ) == named
        if other != "incompatible":
            assert bool(decided(there, comes, spec).problems) == same


@pytest.mark.parametrize("word", ["auto", "warn", "ignore", "fail"])
def test_no_change_is_nothing_under_every_word(word: str) -> None:
    there = {"id": "bigint!", "x": "text"}
    comes = pa.schema([pa.field("id", pa.int64(), nullable=False), ("x", pa.string())])
    assert decided(there, comes, policy(word)) == Decision()


@pytest.mark.parametrize("word", ["auto", "warn", "ignore", "fail"])
def test_a_narrower_source_is_loaded_under_every_word(word: str) -> None:
    there, comes = {"x": "bigint", "t": "text"}, pa.schema([("x", pa.int8()), ("t", pa.int64())])
    assert decided(there, comes, policy(word)) == Decision()


def test_what_can_not_be_checked_value_by_value_is_not_loaded_under_warn() -> None:
    """A double can't be told to fit a real one by one, nor a decimal an integer."""
    there = {"id": "bigint", "x": "real"}
    comes = pa.schema([("id", pa.int64()), ("x", pa.float64())])
    assert decided(there, comes, policy("warn")).left_out == {"x"}


@pytest.mark.parametrize(
    ("dialect", "old", "comes", "new"),
    [
        (POSTGRES, "character varying(5)", pa.string(), "text"),
        (POSTGRES, "numeric(10,2)", pa.decimal128(12, 4), "numeric(12,4)"),
        (POSTGRES, "integer", pa.decimal128(4, 2), "numeric(12,2)"),
        (POSTGRES, "date", pa.timestamp("us"), "timestamp without time zone"),
        (DUCKDB, "INTEGER", pa.uint32(), "BIGINT"),
        (DUCKDB, "BIGINT", pa.uint64(), "DECIMAL(20,0)"),
        (DUCKDB, "TIMESTAMP_S", pa.timestamp("us"), "TIMESTAMP"),
        (SQLITE, "SMALLINT", pa.int64(), "INTEGER"),
        (SQLITE, "DECIMAL TEXT(10, 2)", pa.decimal128(12, 2), "DECIMAL TEXT(12, 2)"),
    ],
)
def test_what_a_column_becomes(dialect: Dialect, old: str, comes: Any, new: str) -> None:
    found = decided({"x": old}, pa.schema([("x", comes)]), policy("auto"), dialect=dialect)
    assert found == Decision((widened("x", old, new),))


def test_a_type_that_the_system_has_not_is_a_problem() -> None:
    comes = pa.schema([("x", pa.decimal128(38, 10))])
    found = decided({"x": "DECIMAL(38,0)"}, comes, policy("auto"), dialect=DUCKDB)
    assert not found.actions
    assert "duckdb can't have it" in found.problems[0]


# --- keys, cursors, NOT NULL ----------------------------------------------------------------------


@pytest.mark.parametrize("role", ["key", "cursor"])
@pytest.mark.parametrize(
    ("old", "comes", "fits"),
    [
        ("integer", pa.int64(), True),
        ("numeric(10,2)", pa.decimal128(12, 4), True),
        ("date", pa.timestamp("us"), True),
        ("character varying(5)", pa.string(), True),
        ("real", pa.float64(), False),
        ("uuid", pa.string(), False),
        ("integer", pa.float64(), False),
    ],
)
def test_a_key_or_cursor_changes_only_where_its_values_still_meet(
    role: str, old: str, comes: Any, fits: bool
) -> None:
    found = decided({"x": old}, pa.schema([("x", comes)]), policy("auto"), **{role: ("x",)})
    assert bool(found.actions) == fits
    assert bool(found.problems) != fits
    assert fits or role in found.problems[0]


@pytest.mark.parametrize("word", ["warn", "ignore"])
def test_a_key_is_never_left_out(word: str) -> None:
    there, comes = KINDS["incompatible"]
    assert "unique_key" in decided(there, comes, policy(word), key=("x",)).problems[0]
    there, comes = KINDS["removed"]
    assert decided(there, comes, policy(word), key=("x",)).problems
    there, comes = KINDS["added"]
    assert decided(there, comes, policy(word), cursor=("x",)).problems


@pytest.mark.parametrize("word", ["warn", "ignore"])
def test_a_column_that_needs_a_value_is_never_left_out(word: str) -> None:
    there = {"x": "integer!"}
    found = decided(there, pa.schema([("x", pa.string())]), policy(word))
    assert "NOT NULL" in found.problems[0]
    found = decided(there, pa.schema([("x", pa.string())]), policy(word), filled=frozenset({"x"}))
    assert found.left_out == {"x"}


BEFORE = pa.schema([pa.field("id", pa.int64(), nullable=False), ("x", pa.int32())])


def test_a_column_gone_that_was_not_null_takes_nulls_from_now_on() -> None:
    there, comes = {"id": "bigint!", "x": "integer"}, pa.schema([("x", pa.int32())])
    found = decided(there, comes, policy("auto"), before=BEFORE)
    assert found == Decision((widened("id", "bigint", "bigint", was_null=False),))
    for word in ("warn", "ignore", "fail"):
        assert decided(there, comes, policy(word), before=BEFORE).problems
    # nobody loaded it: NOT NULL is the target's own wish
    assert decided(there, comes, policy("auto"), before=pa.schema([("x", pa.int32())])).problems
    assert decided(there, comes, policy("auto"), before=None).problems


@pytest.mark.parametrize("word", ["auto", "warn", "ignore", "fail"])
def test_a_column_of_the_targets_own_is_no_change(word: str) -> None:
    there, comes = KINDS["removed"]
    for before in (pa.schema([("id", pa.int64())]), None):
        assert decided(there, comes, policy(word), before=before) == Decision()


def test_not_null_is_dropped_where_the_source_dropped_it() -> None:
    there, comes = (
        {"id": "bigint!", "x": "integer"},
        pa.schema([("id", pa.int64()), ("x", pa.int32())]),
    )
    found = decided(there, comes, policy("auto"), before=BEFORE)
    assert found.actions == (widened("id", "bigint", "bigint", was_null=False),)
    assert decided(there, comes, policy("auto"), before=None) == Decision()
    assert decided(there, comes, policy("auto"), before=comes) == Decision()
    assert decided(there, comes, policy("auto"), before=BEFORE, key=("id",)) == Decision()
    assert decided(there, comes, policy("warn"), before=BEFORE).warnings
    assert decided(there, comes, policy("ignore"), before=BEFORE) == Decision()
    assert decided(there, comes, policy("fail"), before=BEFORE).problems


def test_a_wider_type_and_nulls_are_one_action() -> None:
    comes = pa.schema([("id", pa.decimal128(25, 0)), ("x", pa.int32())])
    found = decided({"id": "bigint!", "x": "integer"}, comes, policy("auto"), before=BEFORE)
    assert found.actions == (widened("id", "bigint", "numeric(25,0)", was_null=False),)


# --- names, files, errors -------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["auto", "warn", "ignore", "fail"])
def test_names_that_can_not_be_are_errors_under_every_word(word: str) -> None:
    comes = pa.schema([("id", pa.int64()), ("é" * 32, pa.int64())])
    with pytest.raises(SchemaError, match="63 bytes"):
        decided(ID, comes, policy(word))
    comes = pa.schema([("ID", pa.int64())])
    found = decided({"id": "BIGINT"}, comes, policy(word), dialect=DUCKDB)
    assert any("one name in duckdb" in problem for problem in found.problems)


def test_what_a_file_expects_is_an_error_or_a_warning() -> None:
    comes = pa.schema([("id", pa.int64()), ("x", pa.string())])
    expected = pa.schema([("id", pa.int32()), ("x", pa.string())])
    there = ID | {"x": "text"}
    found = decided(there, comes, policy("auto"), expected=expected)
    assert not found.actions
    assert [p.partition(";")[0].partition(": mend")[0] for p in found.problems] == [
        "column 'id': the source has int64, the expected file int32"
    ]
    assert decided(there, comes, policy("warn"), expected=expected).warnings
    assert decided(there, comes, policy("ignore"), expected=expected) == Decision()
    assert decided(there, comes, policy("auto"), expected=comes) == Decision()


def test_a_hint_at_a_new_name_is_said_unless_removed_columns_are_ignored() -> None:
    there, comes = ID | {"name": "text"}, pa.schema([("id", pa.int64()), ("names", pa.string())])
    warnings = decided(there, comes, policy("warn")).warnings
    assert len(warnings) == 3
    assert "may now be called 'names'" in warnings[2]
    (hint,) = decided(there, comes, policy("auto")).warnings
    assert hint == warnings[2]
    assert hint in decided(there, comes, policy("fail")).problems
    assert decided(there, comes, policy("ignore")).warnings == ()


def test_all_problems_are_one_error() -> None:
    there, comes = {"a": "integer", "b": "date"}, pa.schema([("a", pa.string()), ("b", pa.int64())])
    found = decided(there, comes, policy("auto"))
    with pytest.raises(SchemaError) as raised:
        found.refuse(Table("raw", "orders"))
    assert "raw.orders doesn't fit the source" in raised.value.message
    assert "'a'" in raised.value.message
    assert "'b'" in raised.value.message
    assert raised.value.command == "conduit run --full-refresh"
    Decision().refuse(Table("raw", "orders"))


def test_a_widening_is_data() -> None:
    action = widened("x", "integer", "bigint")
    assert WidenColumn.model_validate_json(action.model_dump_json()) == action
    assert WidenColumn in get_args(get_args(Action)[0])
    assert "widen_column" in str(Publish.model_json_schema())
