"""What a destination must do with values, types, names and shapes."""

from __future__ import annotations

import pyarrow as pa
import pytest

from conduit_core.connectors.base import Destination
from conduit_core.connectors.publish import AppendStaged
from conduit_core.errors import ConduitError
from conduit_core.testing.doubles import create_and_append, publish, record, whole
from conduit_core.testing.fixtures import DestinationFixtures, commit, ids, load, scan
from conduit_core.testing.torture import (
    CASES,
    LONG_NAMES,
    NAMES,
    plain,
    tables,
)
from conduit_core.types.casts import cast_column
from conduit_core.types.dialect import Table


class ValueContract(DestinationFixtures):
    """Values round-trip exactly, or the loss is named before the load."""

    def test_values_round_trip(self, destination: Destination, schema: str) -> None:
        """What is stored is what was handed over; without a named loss, also what the source had.

        Every type is a column of one table. A second load casts to what ``describe`` asks for,
        and stores the same again.
        """
        for name, (cases, table) in tables(self.refused).items():
            handed = load(destination, schema, name, table)
            landings = {case.name: destination.landing(table.field(case.name)) for case in cases}
            changed = {}
            for case in cases:
                if landings[case.name].loss is None and not pa.types.is_null(case.field.type):
                    original = whole(handed.column(case.name)).cast(case.field.type)
                    if plain(pa.chunked_array([original])) != plain(table.column(case.name)):
                        changed[case.name] = original
            assert changed == {}
            shape = destination.describe(Table(schema, name))
            assert shape is not None
            assert [c.name for c in shape.columns] == table.schema.names
            kinds = {c.name: c.arrow for c in shape.columns}
            again = pa.table(
                {n: cast_column(whole(handed.column(n)), kind, n) for n, kind in kinds.items()}
            )
            plan = publish(record(name, schema), again.schema, AppendStaged())
            commit(destination, plan, again)
            stored = scan(destination, schema, name)
            wrong = {}
            for case in cases:
                kind = landings[case.name].arrow
                back = cast_column(whole(stored.column(case.name)), kind, case.name)
                twice = [v for v in plain(handed.column(case.name)) for _ in range(2)]
                if plain(pa.chunked_array([back])) != twice:
                    wrong[case.name] = back
            assert wrong == {}

    def test_values_that_have_no_place_are_refused(
        self, destination: Destination, schema: str
    ) -> None:
        """A case in ``refused`` gives an error, and nothing is there afterwards."""
        for case in CASES:
            if case.name in self.refused:
                target = Table(schema, f"torture_{case.name}")
                with pytest.raises(ConduitError) as error:
                    load(destination, schema, target.name, case.table())
                assert error.value.message
                assert destination.describe(target) is None
                assert destination.records(target) == []

    def test_identifiers_are_kept_as_they_are(self, destination: Destination, schema: str) -> None:
        for name in NAMES:
            table = pa.table({"id": [1, 2], name: ["a", "b"]})
            load(destination, schema, name, table)
            shape = destination.describe(Table(schema, name))
            assert shape is not None
            assert [c.name for c in shape.columns] == ["id", name]
            assert scan(destination, schema, name).to_pydict() == table.to_pydict()

    @pytest.mark.parametrize("name", LONG_NAMES, ids=["64", "64b", "80", "200"])
    def test_long_identifiers_are_kept_or_refused_never_cut(
        self, destination: Destination, schema: str, name: str
    ) -> None:
        table = pa.table({"id": [1], name: ["a"]})
        limit = destination.capabilities.max_identifier_bytes
        if limit is None or len(name.encode()) <= limit:
            load(destination, schema, name, table)
            assert scan(destination, schema, name).to_pydict() == table.to_pydict()
            return
        with pytest.raises(ConduitError):
            load(destination, schema, "t", table)
        assert destination.describe(Table(schema, "t")) is None
        with pytest.raises(ConduitError):
            load(destination, schema, name, pa.table({"id": [1]}))

    def test_columns_that_differ_by_case_are_kept_or_refused(
        self, destination: Destination, schema: str
    ) -> None:
        table = pa.table({"id": [1], "Name": ["a"], "name": ["b"]})
        if destination.capabilities.case_sensitive_names:
            load(destination, schema, "t", table)
            assert scan(destination, schema, "t").to_pydict() == table.to_pydict()
            return
        with pytest.raises(ConduitError, match=r"(?i)name"):
            load(destination, schema, "t", table)
        assert destination.describe(Table(schema, "t")) is None

    def test_an_empty_table_is_made_and_recorded(
        self, destination: Destination, schema: str
    ) -> None:
        empty = pa.table({"id": pa.array([], pa.int64()), "v": pa.array([], pa.string())})
        load(destination, schema, "t", empty)
        assert scan(destination, schema, "t").num_rows == 0
        assert len(destination.records(Table(schema, "t"))) == 1

    def test_five_hundred_columns(self, destination: Destination, schema: str) -> None:
        most = destination.capabilities.max_columns
        assert most is None or most >= 500
        table = pa.table({"id": [1, 2, 3], **{f"c{i}": [i, None, -i] for i in range(499)}})
        load(destination, schema, "t", table)
        assert scan(destination, schema, "t").to_pydict() == table.to_pydict()

    def test_many_batches(self, destination: Destination, schema: str) -> None:
        table = pa.table({"id": list(range(25_500))})
        load(destination, schema, "t", table)
        assert ids(destination, schema, "t") == list(range(25_500))

    def test_a_batch_without_rows_among_others(self, destination: Destination, schema: str) -> None:
        one = pa.table({"id": [1], "v": ["a"]})
        load(destination, schema, "t", pa.concat_tables([one.slice(0, 0), one, one.slice(0, 0)]))
        assert ids(destination, schema, "t") == [1]

    def test_columns_that_the_rows_lack_are_null(
        self, destination: Destination, schema: str
    ) -> None:
        load(destination, schema, "t", pa.table({"id": [1], "v": ["a"]}))
        later = pa.table({"id": [2]})
        plan = create_and_append(destination, record("t", schema), later.schema)
        commit(destination, plan.model_copy(update={"actions": plan.actions[1:]}), later)
        assert scan(destination, schema, "t").to_pydict() == {"id": [1, 2], "v": ["a", None]}

    def test_columns_come_in_any_order(self, destination: Destination, schema: str) -> None:
        load(destination, schema, "t", pa.table({"id": [1], "v": ["a"], "w": [1.5]}))
        later = pa.table({"w": [2.5], "v": ["b"], "id": [2]})
        plan = create_and_append(destination, record("t", schema), later.schema)
        commit(destination, plan.model_copy(update={"actions": plan.actions[1:]}), later)
        found = scan(destination, schema, "t").to_pydict()
        assert found == {"id": [1, 2], "v": ["a", "b"], "w": [1.5, 2.5]}

    def test_scan_of_some_columns(self, destination: Destination, schema: str) -> None:
        load(destination, schema, "t", pa.table({"id": [1], "v": ["a"], "w": [1.5]}))
        reader = destination.scan(Table(schema, "t"), ("w", "id"))
        assert reader.read_all().to_pydict() == {"w": [1.5], "id": [1]}

    def test_check_finds_nothing_wrong(self, destination: Destination, schema: str) -> None:
        items = destination.check((schema,))
        assert items
        assert [item for item in items if not item.ok] == []
        assert all(item.name and item.detail for item in items)

    def test_closing_twice_and_going_on(self, destination: Destination, schema: str) -> None:
        load(destination, schema, "t", pa.table({"id": [1]}))
        destination.close()
        destination.close()
        assert ids(destination, schema, "t") == [1]
