"""What held a load up: for any numbers, and for real loads that are slow in one place."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conduit_core import LoadResult, Pipeline, run
from conduit_core.engine.bottleneck import bottleneck
from conduit_core.errors import StateError
from tests import services
from tests.lab import Lab, only, stream

NAMES = (
    *("plan", "read", "cast", "write", "commit"),
    *("network", "queue_full", "queue_empty", "stage"),
)
HEAVY = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {})"


# --- the function ---------------------------------------------------------------------------------


@given(st.dictionaries(st.sampled_from(NAMES), st.floats()))
def test_any_numbers_have_an_answer(stages: dict[str, float]) -> None:
    found = bottleneck(stages)
    assert 0.0 <= found.share <= 1.0
    assert found.text
    assert found.setting


def test_a_stage_counts_by_what_the_load_would_gain_without_it() -> None:
    overlapped = {"read": 9.0, "network": 0.0, "cast": 0.5, "write": 10.0, "queue_empty": 0.2}
    assert bottleneck(overlapped).name == "balanced"
    assert bottleneck({**overlapped, "write": 1.0, "queue_empty": 9.2}).name == "source"
    waiting = {**overlapped, "network": 8.0, "write": 1.0, "queue_empty": 9.2}
    assert bottleneck(waiting).name == "network"
    writing = {"read": 1.0, "cast": 0.5, "write": 10.0, "queue_empty": 0.2}
    found = bottleneck(writing)
    assert (found.name, round(found.share, 2)) == ("destination", 0.85)
    assert bottleneck({**writing, "commit": 40.0}).name == "commit"
    assert bottleneck({**writing, "plan": 40.0}).name == "plan"
    assert bottleneck({}).name == "balanced"


def test_side_by_side_the_seconds_of_splits_shrink_to_those_that_it_took() -> None:
    sums = {"read": 38.0, "cast": 1.0, "write": 2.0, "queue_empty": 38.0, "stage": 10.0}
    assert bottleneck({**sums, "commit": 30.0}).name == "commit"
    assert bottleneck({**sums, "commit": 1.0}).name == "source"


# --- loads ----------------------------------------------------------------------------------------


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab(tmp_path, "sqlite")
    lab.orders(range(2000))
    return lab


def held_up(lab: Lab, pipeline: Pipeline) -> LoadResult:
    """Load, and compare what the ledger keeps with what the result says."""
    result = only(run(pipeline))
    kept = json.loads(lab.chain(pipeline)[-1].stages)
    without = {n: s for n, s in result.stages.items() if n not in {"plan", "commit", "stage"}}
    assert {n: round(s, 3) for n, s in kept.items() if n in without} == pytest.approx(
        {n: round(s, 3) for n, s in without.items()}, abs=0.002
    )
    assert kept["commit"] <= result.stages["commit"] + 0.001
    return result


def test_a_slow_source(lab: Lab) -> None:
    lab.sql(
        f"CREATE VIEW slow AS SELECT id, at, ({HEAVY.format(1500)} SELECT sum(i) FROM n"
        " WHERE i > orders.id % 2) AS s FROM orders"
    )
    stages = held_up(lab, lab.pipeline(stream("slow", cursor=None, mode="replace"))).stages
    stages["plan"] = 0.0  # SQLite's types are found by reading, so planning is as slow
    assert stages["network"] < stages["read"]
    # on a busy machine a reader that waits for a core looks as if it waited for a server
    assert bottleneck({**stages, "network": 0.0}).name == "source"


def test_a_slow_rule(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    (lab.folder / "slow_rules.py").write_text(
        "import pyarrow as pa\n\n\ndef check(batch):\n"
        "    found = sum(i % 7 for i in range(batch.num_rows * 3000)) >= 0\n"
        "    return pa.array([found] * batch.num_rows)\n"
    )
    monkeypatch.syspath_prepend(lab.folder)
    monkeypatch.delitem(sys.modules, "slow_rules", raising=False)
    slow = stream(quality=[{"rule": "custom", "function": "slow_rules:check"}])
    result = held_up(lab, lab.pipeline(slow))
    assert result.bottleneck is not None
    assert result.bottleneck.name == "rules"
    assert "expression" in result.bottleneck.setting


def test_a_slow_destination_and_a_slow_merge(lab: Lab) -> None:
    lab.run()
    heavy = f"BEGIN SELECT ({HEAVY.format(2000)} SELECT sum(i) FROM n); END"
    import sqlite3

    with closing(sqlite3.connect(str(lab.file))) as warehouse, warehouse:
        warehouse.execute(f"CREATE TRIGGER slow AFTER INSERT ON orders {heavy}")
    lab.orders(range(2000, 4000))
    result = held_up(lab, lab.pipeline())
    assert result.bottleneck is not None
    assert result.bottleneck.name in {"destination", "commit"}
    assert result.bottleneck.share > 0.5


@pytest.mark.parametrize("splits", [False, True])
def test_a_source_far_away(tmp_path: Path, postgres_database: str, splits: bool) -> None:
    """Behind a proxy that passes a little at a time."""
    services.sql(
        postgres_database,
        "CREATE TABLE far AS SELECT i AS id, repeat('x', 400) AS v FROM generate_series(1, 4000) i",
    )
    parts = urlsplit(postgres_database)
    with closing(Slow(parts.hostname or "", parts.port or 5432)) as proxy:
        login = parts.netloc.rpartition("@")[0]
        place = f"{login}@{proxy.place}" if login else proxy.place
        url = urlunsplit(parts._replace(netloc=place, query="sslmode=disable"))
        lab = Lab(tmp_path, "sqlite")
        lab.destination["staging"] = str(tmp_path / "staging")
        more: dict[str, Any] = {"splits": {"count": 2, "column": "id"}} if splits else {}
        pipeline = Pipeline.from_mapping(
            {
                "name": "shop",
                "source": {"type": "postgres", "url": url},
                "destination": lab.destination,
                "streams": [stream("far", **more)],
            },
            tmp_path,
        )
        stages = dict(only(run(pipeline)).stages)
    assert stages["network"] > stages["read"] / 2
    assert ("stage" in stages) is splits
    stages["plan"] = stages["commit"] = 0.0
    assert bottleneck(stages).name == "network"
    kept = json.loads(lab.chain(pipeline)[-1].stages)
    assert ("stage" in kept) is splits
    assert kept["network"] > kept["read"] / 2


class Slow:
    """Passes connections on, what comes back 16 KiB at a time with a pause after each."""

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self._stop = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.place = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._upstream)
                self._open += [client, server]
                for source, sink, pause in ((client, server, 0.0), (server, client, 0.01)):
                    threading.Thread(
                        target=self._pass, args=(source, sink, pause), daemon=True
                    ).start()

    def _pass(self, source: socket.socket, sink: socket.socket, pause: float) -> None:
        with suppress(OSError):
            for data in _chunks(source):
                self._stop.wait(pause)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._stop.set()
        for one in (self._listener, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


def _chunks(source: socket.socket) -> Iterator[bytes]:
    while data := source.recv(16384):
        yield data


# --- the ledger -----------------------------------------------------------------------------------


def test_a_ledger_without_the_column_is_named(lab: Lab) -> None:
    import sqlite3

    lab.run()
    with closing(sqlite3.connect(str(lab.file))) as warehouse, warehouse:
        warehouse.execute("ALTER TABLE _conduit_ledger DROP COLUMN stages")
    with pytest.raises(StateError, match="lacks stages") as caught:
        lab.run()
    command = caught.value.message.partition("back: ")[2]
    with closing(sqlite3.connect(str(lab.file))) as warehouse, warehouse:
        warehouse.execute(command)
    lab.orders(range(5000, 5010))
    lab.run()
    assert [bool(json.loads(r.stages)) for r in lab.chain()] == [False, True]


def test_a_folder_of_files_keeps_them_too(tmp_path: Path) -> None:
    lab = Lab(tmp_path, "sqlite")
    lab.destination = {"type": "parquet", "path": str(tmp_path / "lake")}
    lab.orders(range(100))
    lab.run()
    assert {"read", "write", "commit"} <= set(json.loads(lab.chain()[-1].stages))
