"""The fixtures that every destination's suite is written with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, ClassVar

import pytest

from conduit_core.connectors.base import Commit, Destination
from conduit_core.connectors.publish import Publish
from conduit_core.events import ignore
from conduit_core.testing.doubles import (
    TableRows,
    create_and_append,
    landed,
    record,
)
from conduit_core.types.dialect import Table

if TYPE_CHECKING:
    import pyarrow as pa

Connect = Callable[[], Destination]


class DestinationFixtures:
    """What a subclass supplies, and what suites get from it."""

    refused: ClassVar[frozenset[str]] = frozenset()

    @pytest.fixture
    def connect(self) -> Connect:
        raise NotImplementedError("the subclass supplies this fixture")

    @pytest.fixture
    def destination(self, connect: Connect) -> Iterator[Destination]:
        """A destination with nothing in it, closed after the test."""
        made = connect()
        yield made
        made.close()

    @pytest.fixture
    def other(self, connect: Connect) -> Iterator[Destination]:
        """A second object on the same place."""
        made = connect()
        yield made
        made.close()

    @pytest.fixture
    def schema(self, destination: Destination) -> str:
        """The schema that tests load into."""
        return destination.capabilities.default_schema


def commit(destination: Destination, plan: Publish, table: pa.Table) -> Commit:
    """Publish the table's rows, in batches of 1000."""
    return destination.commit(plan, TableRows(table), ignore)


def load(destination: Destination, schema: str, name: str, table: pa.Table) -> pa.Table:
    """Create a target and load it; return the rows as they were handed over."""
    rows = landed(destination, table)
    done = commit(
        destination, create_and_append(destination, record(name, schema), table.schema), rows
    )
    assert done.record is not None
    assert done.record.version == 1
    assert done.record.counts.inserted == table.num_rows
    return rows


def scan(destination: Destination, schema: str, name: str, order: str = "id") -> pa.Table:
    """Read a target whole, sorted."""
    reader = destination.scan(Table(schema, name))
    try:
        table = reader.read_all()
    finally:
        reader.close()
    return table.sort_by(order) if order in table.schema.names else table


def ids(destination: Destination, schema: str, name: str) -> list[object]:
    """Return the target's ``id`` column, sorted."""
    return list(scan(destination, schema, name).column("id").to_pylist())
