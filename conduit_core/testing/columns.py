"""What a destination must do with a target's columns: add them, widen them, let them have NULLs."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest

from conduit_core.connectors.base import Destination
from conduit_core.connectors.publish import (
    Action,
    AddColumn,
    AppendStaged,
    CloseVersions,
    Column,
    CreateTable,
    DeleteMatching,
    DeleteWindow,
    Guard,
    KeepNewest,
    MergeStaged,
    Publish,
    ReplaceWithStaged,
    StartOver,
    WidenColumn,
)
from conduit_core.connectors.sql.destination import SqlDestination
from conduit_core.errors import ConduitError, GuardError, SchemaError
from conduit_core.state.cursor import Cursor
from conduit_core.state.window import Window
from conduit_core.testing.doubles import columns_of, landed, publish, record
from conduit_core.testing.fixtures import DestinationFixtures, commit, scan
from conduit_core.types.dialect import Table

_OLD_FIELDS: list[pa.Field[pa.DataType]] = [
    pa.field("id", pa.int64()),
    pa.field("at", pa.int64()),
    pa.field("n", pa.int16()),
    pa.field("d", pa.decimal128(10, 2)),
    pa.field("must", pa.string(), nullable=False),
]
_OLD = pa.schema(_OLD_FIELDS)
_BEFORE = [
    (1, 10, -7, Decimal("1.50"), "a"),
    (2, 20, 32767, Decimal("99999999.99"), "b"),
    (3, 30, None, None, "c"),
]
_KINDS: dict[str, tuple[str, ...]] = {
    "added": ("added",),
    "type": ("type",),
    "capacity": ("capacity",),
    "nulls": ("nulls",),
    "all at once": ("added", "type", "capacity", "nulls"),
}
_WIDER: dict[str, pa.Field[pa.DataType]] = {
    "type": pa.field("n", pa.int64()),
    "capacity": pa.field("d", pa.decimal128(12, 4)),
    "nulls": pa.field("must", pa.string()),
}
# Each action, with the ids and times of the rows that are there afterwards: 3 and 4 arrive.
_ALL = [(1, 10), (2, 20), (3, 30), (3, 31), (4, 40)]
_AFTER: dict[str, list[tuple[int, int]]] = {
    "append": _ALL,
    "window": [(1, 10), (2, 20), (3, 31), (4, 40)],
    "matching": [(1, 10), (2, 20), (3, 31), (4, 40)],
    "newest": _ALL,
    "in place": [(3, 31), (4, 40)],
    "start over": [(3, 31), (4, 40)],
    "merge": [(1, 10), (2, 20), (3, 31), (4, 40)],
    "versions": _ALL,
}
_COUNTS: dict[str, dict[str, int]] = {
    "window": {"removed": 1},
    "matching": {"removed": 1},
    "in place": {"removed": 3},
    "start over": {"removed": 3},
    "merge": {"inserted": 1, "updated": 1},
}


def _new(kinds: tuple[str, ...]) -> pa.Schema:
    """Return the source's columns after changes of these kinds."""
    wider = {field.name: field for kind in kinds if (field := _WIDER.get(kind)) is not None}
    fields = [wider.get(field.name, field) for field in _OLD]
    if "added" in kinds:
        fields.append(pa.field("w", pa.string()))
    return pa.schema(fields)


def _arriving(kinds: tuple[str, ...]) -> list[tuple[object, ...]]:
    must = None if "nulls" in kinds else "d"
    n = 2**40 if "type" in kinds else 5
    d = Decimal("12345678.1234" if "capacity" in kinds else "2.25")
    rows: list[tuple[object, ...]] = [(3, 31, n, d, must), (4, 40, None, None, "e")]
    return [(*row, f"w{row[0]}") for row in rows] if "added" in kinds else rows


def _table(schema: pa.Schema, rows: list[tuple[object, ...]]) -> pa.Table:
    padded = [(*row, *[None] * (len(schema) - len(row))) for row in rows]
    columns = list(zip(*padded, strict=True))
    arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _columns(destination: Destination, schema: pa.Schema) -> tuple[Column, ...]:
    made = columns_of(destination, schema)
    return tuple(
        c.model_copy(update={"nullable": f.nullable}) for c, f in zip(made, schema, strict=True)
    )


def _changes(
    destination: Destination, new: pa.Schema, *, recreate: bool = False
) -> tuple[AddColumn | WidenColumn, ...]:
    was = {c.name: c for c in _columns(destination, _OLD)}
    return tuple(
        WidenColumn(column=c, was=was[c.name], recreate=recreate)
        if c.name in was
        else AddColumn(column=c)
        for c in _columns(destination, new)
        if was.get(c.name) != c
    )


def _actions(how: str, columns: tuple[Column, ...]) -> tuple[Action, ...]:
    """Return the actions that publish the rows, on a target that is there."""
    names = tuple(c.name for c in columns)
    merge = MergeStaged(key=("id",), order=("at",), compare=names)
    bounds = [Cursor(("id",), (pa.scalar(n, pa.int64()),)) for n in (3, 10)]
    window = Window("given", bounds[0], bounds[1]).to_json()
    return {
        "append": (AppendStaged(),),
        "window": (DeleteWindow(window=window), AppendStaged()),
        "matching": (DeleteMatching(columns=("id",)), AppendStaged()),
        "newest": (KeepNewest(key=("id",), order=("at",), compare=names), AppendStaged()),
        "in place": (ReplaceWithStaged(how="in_place", columns=columns),),
        "start over": (StartOver(how="in_place", columns=columns), merge),
        "merge": (merge,),
        "versions": (_versions(names),),
    }[how]


def _versions(names: tuple[str, ...]) -> CloseVersions:
    return CloseVersions(key=("id",), order=("at",), compare=names, track=names[2:])


def _made(destination: Destination, schema: str, name: str, how: str = "append") -> None:
    """Make the target, as the source was before its columns changed."""
    columns = _columns(destination, _OLD)
    fill: Action = AppendStaged()
    if how == "versions":
        moment = next(c.ddl for c in columns if c.name == "at")
        flag = destination.landing(pa.field("is_current", pa.bool_())).ddl
        own = {"valid_from": moment, "valid_to": moment, "is_current": flag}
        columns = (*columns, *(Column(name=n, ddl=ddl) for n, ddl in own.items()))
        fill = _versions(tuple(_OLD.names))
    plan = publish(record(name, schema), _OLD, CreateTable(columns=columns), fill)
    commit(destination, plan, landed(destination, _table(_OLD, [*_BEFORE])))


def _plan(
    destination: Destination,
    schema: str,
    how: str,
    kinds: tuple[str, ...],
    *after: Action,
    name: str = "t",
    recreate: bool = False,
) -> tuple[Publish, pa.Table]:
    """Return a publish that changes the columns, and its rows."""
    new = _new(kinds)
    changes = _changes(destination, new, recreate=recreate)
    actions = _actions(how, _columns(destination, new))
    plan = publish(record(name, schema), new, *changes, *actions, *after)
    return plan, landed(destination, _table(new, _arriving(kinds)))


def _rows(
    destination: Destination, schema: str, name: str, names: list[str]
) -> list[dict[str, object]]:
    found = scan(destination, schema, name).select(names)
    return found.sort_by([("id", "ascending"), ("at", "ascending")]).to_pylist()


def _shape(destination: Destination, schema: str, name: str) -> list[object]:
    found = destination.describe(Table(schema, name))
    assert found is not None
    own = ("valid_from", "valid_to", "is_current")
    return [(c.name, c.ddl, c.arrow, c.nullable) for c in found.columns if c.name not in own]


def _sql(destination: Destination, *statements: str) -> list[tuple[object, ...]]:
    """Run statements in one transaction; return the rows of the last one, a query."""
    assert isinstance(destination, SqlDestination)
    session = destination.session()
    try:
        session.begin("suite")
        for statement in statements[:-1]:
            session.execute(statement)
        found = session.rows(statements[-1])
        session.commit()
        return found
    finally:
        session.close()


class ColumnContract(DestinationFixtures):
    """``add_column`` and ``widen_column``, where a destination claims them."""

    @pytest.fixture
    def altering(self, destination: Destination) -> Destination:
        """The destination, if it claims to change columns."""
        if not {"add_column", "widen_column"} <= destination.capabilities.actions:
            pytest.skip("not claimed")
        return destination

    @pytest.mark.parametrize("how", _AFTER)
    def test_columns_become_a_fresh_tables(
        self, altering: Destination, schema: str, how: str
    ) -> None:
        """Old rows keep their values, new ones have theirs, each counted at its place."""
        used = {a.kind for a in _actions(how, ())}
        if not used <= altering.capabilities.actions:
            pytest.skip("not claimed")
        # Columns change before an action, in one way for all: each change alone is one's to try.
        every = _KINDS.values() if how == "append" else [_KINDS["all at once"]]
        for number, kinds in enumerate(every):
            name, new = f"t{number}", _new(kinds)
            _made(altering, schema, name, how)
            plan, rows = _plan(altering, schema, how, kinds, name=name)
            done = commit(altering, plan, rows)
            assert done.record is not None
            counts = done.record.counts.model_dump()
            wanted = {"inserted": 2, "removed": 0, **_COUNTS.get(how, {})}
            assert {k: counts[k] for k in wanted} == wanted
            everything = landed(altering, _table(new, [*_BEFORE, *_arriving(kinds)])).to_pylist()
            there = _AFTER[how]
            assert _rows(altering, schema, name, new.names) == [
                row for row in everything if (row["id"], row["at"]) in there
            ]
            self._is_fresh(altering, schema, name, new)

    def _is_fresh(self, destination: Destination, schema: str, name: str, new: pa.Schema) -> None:
        fresh = f"fresh_{name}"
        create = CreateTable(columns=_columns(destination, new))
        plan = publish(record(fresh, schema), new, create, AppendStaged())
        commit(destination, plan, landed(destination, _table(new, [*_BEFORE])))
        found, wanted = (_shape(destination, schema, n) for n in (name, fresh))
        # A versioned target has columns of its own, so that an added one comes after them.
        assert found == wanted

    @pytest.mark.parametrize("how", ["append", "merge", "in place"])
    def test_a_load_that_fails_leaves_the_columns(
        self, altering: Destination, schema: str, how: str
    ) -> None:
        if not {a.kind for a in _actions(how, ())} <= altering.capabilities.actions:
            pytest.skip("not claimed")
        _made(altering, schema, "t")
        before = _shape(altering, schema, "t"), _rows(altering, schema, "t", _OLD.names)
        never = Guard(expr="read < 0", message="stop", command="conduit plan")
        plan, rows = _plan(altering, schema, how, _KINDS["all at once"], never)
        with pytest.raises(GuardError):
            commit(altering, plan, rows)
        assert (_shape(altering, schema, "t"), _rows(altering, schema, "t", _OLD.names)) == before

    def test_rendering_shows_the_changes_and_makes_none(
        self, altering: Destination, schema: str
    ) -> None:
        _made(altering, schema, "t")
        before = _shape(altering, schema, "t")
        plan, _ = _plan(altering, schema, "append", _KINDS["all at once"])
        lines = "\n".join(altering.render(plan))
        for column in _columns(altering, _new(_KINDS["all at once"]))[2:]:
            assert column.name in lines
            assert column.ddl in lines
        assert _shape(altering, schema, "t") == before

    # --- what hangs on the table ------------------------------------------------------------------

    @pytest.mark.parametrize("how", ["append", "merge"])
    @pytest.mark.parametrize("column", ["at", "n"])
    def test_indexes_stay(self, altering: Destination, schema: str, how: str, column: str) -> None:
        if not isinstance(altering, SqlDestination):
            pytest.skip("not a SQL system")
        _made(altering, schema, "t")
        table = altering.dialect.table(Table(schema, "t"))
        name = "only_once" if altering.system != "sqlite" else f"{schema}.only_once"
        on = "t" if altering.system == "sqlite" else table
        _sql(altering, f'CREATE UNIQUE INDEX {name} ON {on} ("{column}")', "SELECT 1")
        plan, rows = _plan(altering, schema, how, _KINDS["all at once"])
        commit(altering, plan, rows)
        twice = f'INSERT INTO {table} (id, "at", n) VALUES (9, 10, -7)'
        with pytest.raises(Exception, match=r"(?i)unique|duplicate"):
            _sql(altering, twice, "SELECT 1")

    def test_a_view_is_refused_or_works_afterwards(
        self, altering: Destination, schema: str
    ) -> None:
        if not isinstance(altering, SqlDestination):
            pytest.skip("not a SQL system")
        _made(altering, schema, "t")
        table, view, upper = (altering.dialect.table(Table(schema, n)) for n in ("t", "v", "u"))
        _sql(altering, f"CREATE VIEW {view} AS SELECT id, n FROM {table}", "SELECT 1")
        _sql(altering, f"CREATE VIEW {upper} AS SELECT n AS m FROM {view}", "SELECT 1")
        holders = altering.holders(Table(schema, "t"), ("n",))
        assert altering.holders(Table(schema, "t"), ("d",)) == ()
        assert altering.holders(Table(schema, "missing"), ("n",)) == ()
        before = _shape(altering, schema, "t")
        if holders:
            plan, rows = _plan(altering, schema, "append", _KINDS["type"])
            with pytest.raises(SchemaError, match="dependents: recreate") as error:
                commit(altering, plan, rows)
            assert all(what in error.value.message for what in holders)
            assert _shape(altering, schema, "t") == before
        plan, rows = _plan(altering, schema, "append", _KINDS["type"], recreate=True)
        assert altering.render(plan)
        commit(altering, plan, rows)
        assert _sql(altering, f"SELECT max(m) FROM {upper}") == [(2**40,)]
        assert altering.holders(Table(schema, "t"), ("n",)) == holders

    def test_an_unclaimed_change_publishes_nothing(
        self, destination: Destination, schema: str
    ) -> None:
        if "widen_column" in destination.capabilities.actions:
            pytest.skip("claimed")
        _made(destination, schema, "t")
        plan, rows = _plan(destination, schema, "append", _KINDS["type"])
        before = _rows(destination, schema, "t", _OLD.names)
        with pytest.raises(ConduitError):
            commit(destination, plan, rows)
        assert _rows(destination, schema, "t", _OLD.names) == before
