"""What fails after the commit never loads again; an infinite time is refused by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conduit_core import Pipeline, RunRequest, run
from conduit_core.connectors.duckdb.destination import DuckDBDestination
from conduit_core.errors import ConnectionFailedError
from conduit_core.events import Committed, Event, Notice
from conduit_core.state.store import InMemoryStateStore
from tests.lab import Lab, only

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from conduit_core.state.ledger import LedgerRecord
    from conduit_core.types.dialect import Table


def test_a_destination_that_fails_while_the_mirror_is_written_loads_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Lab(tmp_path)
    lab.orders(range(3))
    seen: list[Event] = []
    real = DuckDBDestination.records

    def records(self: DuckDBDestination, target: Table | None) -> list[LedgerRecord]:
        if any(isinstance(e, Committed) for e in seen):
            raise ConnectionFailedError("gone", retry="step")
        return real(self, target)

    monkeypatch.setattr(DuckDBDestination, "records", records)
    pipeline = Pipeline.from_mapping(
        {
            "name": "lab",
            "source": {"type": "sqlite", "path": "source.db"},
            "destination": {"type": "duckdb", "path": "warehouse.duckdb"},
            "streams": [{"table": "orders", "mode": "append"}],
        },
        tmp_path,
    )
    result = run(
        pipeline,
        request=RunRequest(),
        store=InMemoryStateStore(),
        listeners=(seen.append,),
    )
    assert only(result).counts.inserted == 3
    assert len([e for e in seen if isinstance(e, Committed)]) == 1
    warnings = [e.message for e in seen if isinstance(e, Notice) and e.level == "warning"]
    assert any("could not be written" in w for w in warnings)


def test_an_infinite_time_is_refused_by_postgresql_with_nothing_written(
    tmp_path: Path, postgres_database: str
) -> None:
    import duckdb

    with duckdb.connect(str(tmp_path / "source.duckdb")) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS id, 'infinity'::timestamp AS at")
    pipeline = Pipeline.from_mapping(
        {
            "name": "times",
            "source": {"type": "duckdb", "path": "source.duckdb"},
            "destination": {"type": "postgres", "url": postgres_database},
            "streams": ["t"],
        },
        tmp_path,
    )
    (failure,) = run(pipeline).failures
    assert "'at'" in failure.lines[0]
    assert "infinite" in failure.lines[0]
    assert failure.exit_code == 4
