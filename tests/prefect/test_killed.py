"""Flow runs whose process dies, is frozen, or isn't alone: each row once all the same."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL

from tests import services
from tests.crash.harness import Loaded, loaded
from tests.crash.source import ROWS, Source
from tests.crash.systems import INTERNAL_TABLES, Postgres, SQLite, System
from tests.dagster.crashing import POSTGRES_SOURCE
from tests.prefect.crashing import Launched, asked, asked_again, flow_run
from tests.prefect.proxy import Proxy

pytestmark = [pytest.mark.slow, pytest.mark.crash, pytest.mark.xdist_group("prefect-forks")]

IN_FILE = {
    "after_all": "after_hooks",
    "mid_stage": "mid_stage:2",
    "before_commit": "before_commit",
    "after_commit": "after_commit",
    "after_mirror": "after_mirror",
    "unharmed": "",
}
"""The streams that are loaded into a SQLite file, and where the process is killed in each."""
IN_POSTGRES = {
    "pg_before_commit": "before_commit",
    "pg_after_commit": "after_commit",
    "split_after": "after_split:2",
    "split_before_commit": "before_commit",
    "pg_unharmed": "",
    "split_unharmed": "",
}
"""Those that go from PostgreSQL to PostgreSQL."""
STAGING = {"_conduit_open_loads", "_conduit_receipts"}


class Scene:
    """A pipeline with a stream for each point, whose process dies in one after the other.

    Args:
        folder: of its files.
        points: by stream, where the process dies.
        source, system: what it reads and writes.
        mode: how rows are published.
    """

    def __init__(
        self,
        folder: Path,
        points: Mapping[str, str],
        source: Mapping[str, object],
        system: System,
        mode: str,
    ) -> None:
        self.folder = folder
        self.points = points
        self.system = system
        self._own = uuid4().hex[:6]  # Prefect's Variables are other tests' too
        reads = {"path": "*.parquet"} if source["type"] == "parquet" else {"table": "src.items"}
        key = {"unique_key": "id"} if mode == "upsert" else {}
        self.pipeline: dict[str, Any] = {
            "name": f"killed-{self._own}",
            "source": dict(source),
            "destination": system.config(),
            "streams": [
                {**reads, **key, "name": name, "into": self.table(name), "mode": mode}
                | {"cursor": "id", **({"splits": 4} if name.startswith("split") else {})}
                for name in points
            ],
        }
        self.runs: list[UUID] = []

    def table(self, stream: str) -> str:
        """Return a stream's table."""
        return f"{stream}_{self._own}"

    def die_everywhere(self) -> None:
        """Run the flow until it ends well, each time as a new run, on a new disk."""
        for stream, point in self.points.items():
            self.runs.append(asked("in_turn", pipeline=self.pipeline))
            if not point:
                break
            name, _, count = point.partition(":")
            fault = name if name == "after_hooks" else f"{name}:{count or 1}:{stream}"
            launched = Launched("in_turn", self.runs[-1], self.folder, fault=fault)
            assert launched.end() == -signal.SIGKILL, launched.said
        launched = Launched("in_turn", self.runs[-1], self.folder)
        assert launched.end() == 0, launched.said
        state = flow_run(self.runs[-1]).state
        assert state is not None
        assert state.is_completed(), launched.said

    def is_loaded_once(self) -> None:
        """Compare each table, its ledger and its Variable with those that came to no harm."""
        for stream in self.points:
            like = "split_unharmed" if stream.startswith("split") else ""
            like = like or next(s for s in self.points if s.endswith("unharmed"))
            expected, found = self._comparable(like), self._comparable(stream)
            assert len(found.rows) == ROWS
            assert found == expected, stream
            self._is_told(stream)
        tables = {self.table(stream) for stream in self.points}
        assert self.system.relations() <= {*tables, "items", *INTERNAL_TABLES, *STAGING}

    def _comparable(self, stream: str) -> Loaded:
        found = loaded(self.system, self.table(stream))
        (record,) = found.chain
        keys = {f"prefect/{run}/{stream}//" for run in self.runs}
        assert record["request_key"] in keys
        same = {k: v for k, v in record.items() if k not in ("request_key", "stream")}
        return replace(found, chain=[same])

    def _is_told(self, stream: str) -> None:
        newest = self.system.query(
            f"SELECT version, load_id FROM {self.system.place('_conduit_ledger')}"
            f" WHERE target_table = '{self.table(stream)}'"
        )
        entry = variable(self.system.schema, self.table(stream))
        assert [(int(entry["version"]), entry["load_id"])] == newest


def variable(schema: str, table: str) -> Any:
    """Return what a table's Variable holds."""
    with get_client(sync_client=True) as client:
        found = client.read_variable_by_name(f"conduit-{schema}-{table}")
    return None if found is None else found.value


def in_file(folder: Path, points: Mapping[str, str], mode: str) -> Scene:
    """Return a scene of files that are loaded into a SQLite file."""
    Source(folder / "items").fill()
    source = {"type": "parquet", "path": str(folder / "items")}
    return Scene(folder, points, source, SQLite(folder), mode)


def test_p11_p12_a_process_killed_anywhere_and_a_new_run_elsewhere_load_each_row_once(
    tmp_path: Path,
) -> None:
    """Each time by the next flow run. Run again as the same one: tests/conformance."""
    scene = in_file(tmp_path, IN_FILE, "upsert")
    scene.die_everywhere()
    scene.is_loaded_once()


@pytest.mark.postgres
def test_p11_p12_the_same_in_postgres_and_in_splits(tmp_path: Path, postgres_database: str) -> None:
    services.sql(postgres_database, POSTGRES_SOURCE)
    source = {"type": "postgres", "url": postgres_database}
    scene = Scene(tmp_path, IN_POSTGRES, source, Postgres(postgres_database), "append")
    scene.die_everywhere()
    scene.is_loaded_once()


@pytest.mark.parametrize("freeze", ["after_plan", "after_commit"])
def test_p12_two_processes_with_one_flow_run_load_it_once(tmp_path: Path, freeze: str) -> None:
    """As a pod that Kubernetes thinks is lost, beside the one that takes its place."""
    scene = in_file(tmp_path, {"items": ""}, "append")
    run = asked("in_turn", pipeline=scene.pipeline)
    scene.runs.append(run)
    first = Launched("in_turn", run, tmp_path, freeze=freeze)
    frozen = first.frozen()
    try:
        second = Launched("in_turn", run, tmp_path)
        assert second.end() == 0, second.said
        frozen.send_signal(signal.SIGCONT)
        assert first.end() == 0, first.said
    finally:
        if frozen.is_running():
            frozen.kill()
    told = first.said if freeze == "after_plan" else second.said
    assert "items: loaded before" in told
    found = loaded(scene.system, scene.table("items"))
    assert len(found.rows) == ROWS
    assert [r["request_key"] for r in found.chain] == [f"prefect/{run}/items//"]
    state = flow_run(run).state
    assert state is not None
    assert state.is_completed()


def test_p12_two_flow_runs_of_one_stream_at_once_load_each_row_once(tmp_path: Path) -> None:
    """One is frozen between its plan and its commit; the other one loads all meanwhile."""
    scene = in_file(tmp_path, {"items": ""}, "append")
    scene.runs = [asked("in_turn", pipeline=scene.pipeline) for _ in range(2)]
    first = Launched("in_turn", scene.runs[0], tmp_path, freeze="after_plan")
    frozen = first.frozen()
    try:
        second = Launched("in_turn", scene.runs[1], tmp_path)
        assert second.end() == 0, second.said
        frozen.send_signal(signal.SIGCONT)
        assert first.end() == 0, first.said
    finally:
        if frozen.is_running():
            frozen.kill()
    assert "of the same target was published meanwhile" in first.said
    found = loaded(scene.system, scene.table("items"))
    assert len(found.rows) == ROWS
    assert [r["request_key"] for r in found.chain] == [f"prefect/{scene.runs[1]}/items//"]


def test_p12_a_load_whose_prefect_is_gone_after_its_commit_is_told_and_not_loaded_again(
    tmp_path: Path,
) -> None:
    scene = in_file(tmp_path, {"items": ""}, "append")
    run = asked("in_turn", pipeline=scene.pipeline)
    with Proxy(str(PREFECT_API_URL.value())) as proxy:
        more = {"PREFECT_API_URL": proxy.url, "PREFECT_CLIENT_MAX_RETRIES": "0"}
        first = Launched("in_turn", run, tmp_path, freeze="after_commit", more=more)
        frozen = first.frozen()
        proxy.refused = {"": 1_000_000}
        frozen.send_signal(signal.SIGCONT)
        assert first.end() == 1, first.said
    assert "items: published 2,000 rows" in first.said
    assert variable("main", scene.table("items")) is None
    asked_again(run)
    again = Launched("in_turn", run, tmp_path)
    assert again.end() == 0, again.said
    found = loaded(scene.system, scene.table("items"))
    assert len(found.rows) == ROWS
    assert [r["request_key"] for r in found.chain] == [f"prefect/{run}/items//"]
    assert variable("main", scene.table("items"))["version"] == "1"
