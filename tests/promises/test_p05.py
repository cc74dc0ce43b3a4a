"""p05: every row read is accounted for, each kind counted at its own place, before the commit."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from conduit_core.connectors.duckdb.session import DuckDBSession
from conduit_core.connectors.publish import Column
from conduit_core.connectors.sql.session import SqlSession
from conduit_core.connectors.sqlite.session import SqliteSession
from conduit_core.errors import GuardError, PublishError
from conduit_core.types.dialect import Table
from tests.lab import Lab, stream

ROWS = 10_000


def fill(lab: Lab) -> None:
    lab.sql("CREATE TABLE orders (id INTEGER, v TEXT)")
    lab.sql(
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})"
        " INSERT INTO orders SELECT i, 'v' || i FROM n"
    )


def session_of(lab: Lab) -> type[SqlSession]:
    from conduit_core.connectors.postgres.session import PostgresSession

    kinds: dict[object, type[SqlSession]] = {
        "duckdb": DuckDBSession, "sqlite": SqliteSession, "postgres": PostgresSession,
    }  # fmt: skip
    return kinds[lab.destination["type"]]


MODES = pytest.mark.parametrize(
    ("keys", "request_"),
    [
        ({}, {}),
        ({"mode": "replace", "cursor": None}, {}),
        ({}, {"full_refresh": True}),
        ({}, {"window_from": "1"}),
    ],
    ids=["append", "replace", "full refresh", "given"],
)


@MODES
def test_p05_the_ledger_shows_the_balance(
    each_lab: Lab, keys: dict[str, Any], request_: dict[str, Any]
) -> None:
    lab = each_lab
    fill(lab)
    pipeline = lab.pipeline(stream(**keys))
    for _ in range(2):
        lab.run(pipeline, **request_)
    for record in lab.chain(pipeline):
        counts = record.counts.model_dump(exclude={"removed"})  # rows of the target, not read ones
        assert counts.pop("read") == sum(counts.values()) == ROWS
        assert counts["inserted"] == ROWS
    assert len(lab.ids(pipeline=pipeline)) == ROWS


@MODES
def test_p05_a_destination_that_loses_a_row_is_stopped_by_the_guard(
    each_lab: Lab, monkeypatch: pytest.MonkeyPatch, keys: dict[str, Any], request_: dict[str, Any]
) -> None:
    lab = each_lab
    fill(lab)
    pipeline = lab.pipeline(stream(**keys))
    kind = session_of(lab)
    ingest = kind.ingest

    def lossy(
        self: SqlSession, table: Table, columns: tuple[Column, ...], reader: pa.RecordBatchReader
    ) -> int:
        def without_one() -> Any:
            for number, batch in enumerate(reader):
                yield batch.slice(1) if number == 0 else batch

        lost = pa.RecordBatchReader.from_batches(reader.schema, without_one())
        return ingest(self, table, columns, lost)

    for loads in (0, 1):  # the first load, and one into a table that is there
        with monkeypatch.context() as patched:
            patched.setattr(kind, "ingest", lossy)
            with pytest.raises(GuardError, match="balance") as caught:
                lab.run(pipeline, **request_)
        assert f"read {ROWS}, inserted {ROWS - 1}" in caught.value.message
        assert caught.value.exit_code == 7
        assert "nothing published" in caught.value.lines()[1]
        assert len(lab.chain(pipeline)) == loads
        lab.run(pipeline, **request_)
        lab.sql(f"UPDATE orders SET id = id + {ROWS}")


def test_p05_a_destination_that_stops_early_without_an_error_is_stopped(
    each_lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = each_lab
    fill(lab)
    kind = session_of(lab)
    ingest = kind.ingest

    def short(
        self: SqlSession, table: Table, columns: tuple[Column, ...], reader: pa.RecordBatchReader
    ) -> int:
        first = reader.read_next_batch()
        one = pa.RecordBatchReader.from_batches(reader.schema, [first])
        return ingest(self, table, columns, one)

    monkeypatch.setattr(kind, "ingest", short)
    with pytest.raises(PublishError, match="stopped before the last batch|balance"):  # noqa: RUF043
        lab.run()
    assert lab.chain() == []
