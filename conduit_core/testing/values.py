"""What a destination must do with values, types, names and shapes."""

from __future__ import annotations

import pyarrow as pa
import pytest

from conduit_core.connectors.base import Destination
from conduit_core.connectors.publish import AppendStaged
from conduit_core.errors import ConduitError
from conduit_core.testing.doubles import create_and_append, publish, record, whole
from conduit_core.testing.fixtures import DestinationFixtures, commit, ids, load, scan
from conduit_core.testing.torture import CASES, LONG_NAMES, NAMES, Case, plain
from conduit_core.types.casts import cast_column
from conduit_core.types.dialect import Table


class ValueContract(DestinationFixtures):
    """Values round-trip exactly, or the loss is named before the load."""

    @pytest.mark.parametrize("case", CASES, ids=[c.name for c in CASES])
    def test_values_round_trip_or_are_refused(
        self, destination: Destination, schema: str, case: Case
    ) -> None:
        """What is stored is what was handed over; without a named loss, also what the source had.

        A second load casts to what ``describe`` asks for, and stores the same again. A case in
        ``refused`` gives an error, and nothing is there afterwards.
        """
        target, table = Table(schema, "torture"), case.table()
        if case.name in self.refused:
            with pytest.raises(ConduitError) as error:
                load(destination, schema, "torture", table)
            assert error.value.message
            assert destination.describe(target) is None
            assert destination.records(target) == []
            return
        handed = load(destination, schema, "torture", table)
        there = destination.landing(case.field)
        if there.loss is None and not pa.types.is_null(case.field.type):
            original = whole(handed.column("value")).cast(case.field.type)
            assert plain(pa.chunked_array([original])) == plain(table.column("value"))
        shape = destination.describe(target)
        assert shape is not None
        assert [c.name for c in shape.columns] == ["id", "value"]
        again = handed.set_column(
            1,
            pa.field("value", shape.columns[1].arrow),
            cast_column(whole(handed.column("value")), shape.columns[1].arrow, "value"),
        )
        commit(destination, publish(record("torture", schema), again.schema, AppendStaged()), again)
        stored = scan(destination, schema, "torture")
        back = cast_column(whole(stored.column("value")), there.arrow, "value")
        values = plain(pa.chunked_array([back]))
        assert values == [v for v in plain(handed.column("value")) for _ in range(2)]

    @pytest.mark.parametrize("name", NAMES)
    def test_identifiers_are_kept_as_they_are(
        self, destination: Destination, schema: str, name: str
    ) -> None:
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
