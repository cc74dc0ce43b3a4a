"""Executors: threads, processes, Dask's; workers that die, executors that can't carry the work."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from conduit_core import Pipeline, RunResult, run
from conduit_core.errors import ConfigError, PublishError
from conduit_core.events import BatchRead, Event, Notice, SplitStaged
from conduit_core.spec import ConnectionSpec
from tests.lab import only
from tests.spread.conftest import SpreadLab

FILES, ROWS = 8, 300


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    """Eight files of JSON into DuckDB, a split each."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(FILES):
        start = number * ROWS
        rows = [{"id": i, "v": f"v{i}"} for i in range(start, start + ROWS)]
        (folder / f"part-{number}.json").write_text(json.dumps(rows))
    return Pipeline.from_mapping(
        {
            "name": "shop",
            "source": {"type": "json", "path": "in"},
            "destination": {"type": "duckdb", "path": "warehouse.duckdb", "staging": "staging"},
            "streams": [{"path": "*.json", "name": "orders", "splits": FILES}],
        },
        tmp_path,
    )


class Heard:
    """The events of a run."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    @property
    def workers(self) -> dict[str, str]:
        """The worker of each split."""
        return {e.split: e.worker for e in self.events if isinstance(e, SplitStaged)}


def load(
    pipeline: Pipeline, executor: Executor | None, heard: Heard, workers: int | None = None
) -> RunResult:
    return run(pipeline, executor=executor, workers=workers, listeners=(heard,), attempts=1)


def whole(pipeline: Pipeline) -> None:
    from conduit_core import read

    with read(pipeline, "orders") as reader:
        ids: list[Any] = reader.read_all().column("id").to_pylist()
    assert sorted(ids) == list(range(FILES * ROWS))


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_threads_of_this_process(pipeline: Pipeline, workers: int) -> None:
    heard = Heard()
    result = only(load(pipeline, None, heard, workers=workers))
    assert result.counts.inserted == FILES * ROWS
    assert len(heard.workers) == FILES
    assert {w.rsplit(":")[-1] for w in heard.workers.values()} == {str(os.getpid())}
    assert sum(e.rows for e in heard.events if isinstance(e, BatchRead)) == FILES * ROWS
    whole(pipeline)


def test_a_pool_of_threads_that_is_handed_in_stages_every_stream(spread_lab: SpreadLab) -> None:
    lab = spread_lab
    lab.orders(range(50))
    lab.orders(range(30), "items")
    streams = lab.pipeline(lab.stream(), lab.stream(table="items", splits=None))
    heard = Heard()
    with ThreadPoolExecutor(3) as pool:
        result = run(streams, executor=pool, jobs=2, listeners=(heard,))
    assert [r.counts.inserted for r in result.results] == [50, 30]
    assert len(heard.workers) == 4 + 1
    assert lab.staged() == []


def test_processes(pipeline: Pipeline) -> None:
    heard = Heard()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        result = only(load(pipeline, pool, heard))
    assert result.counts.inserted == FILES * ROWS
    assert len(heard.workers) == FILES
    assert str(os.getpid()) not in {w.rsplit(":")[-1] for w in heard.workers.values()}
    whole(pipeline)


def test_processes_end_when_their_run_is_killed(pipeline: Pipeline) -> None:
    """Killed when a split is staged: the workers hold its stderr, which ends when they do."""
    base = pipeline.loaded.base_dir
    (base / "pipeline.json").write_text(
        json.dumps(
            {
                "name": "shop",
                "source": {"type": "json", "path": "in"},
                "destination": {"type": "duckdb", "path": "w.duckdb", "staging": "staging"},
                "streams": [{"path": "*.json", "name": "orders", "splits": FILES}],
            }
        )
    )
    command = [sys.executable, "-m", "conduit_core.cli", "run", "pipeline.json"]
    with subprocess.Popen(
        [*command, "--executor", "processes", "--workers", "1"],
        cwd=base,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as killed:
        assert killed.stderr
        assert any("staged 300 rows of split" in line for line in killed.stderr)
        killed.kill()
        killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL


def test_processes_stage_into_postgres(postgres_database: str, tmp_path: Path) -> None:
    lab = SpreadLab(tmp_path, postgres_database)
    lab.orders(range(500))
    heard = Heard()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        assert only(load(lab.pipeline(), pool, heard)).counts.inserted == 500
    assert len(heard.workers) == 4
    assert lab.ids() == list(range(500))
    assert lab.staged() == []


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A local Dask cluster of two workers, each a process."""
    import distributed

    # Its functions have no types.
    made: Any = distributed

    local = made.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
    )
    with local, made.Client(local) as client:
        yield client


@pytest.mark.slow
def test_a_cluster_of_dask_stages_in_two_processes(pipeline: Pipeline, cluster: Any) -> None:
    heard = Heard()
    result = only(load(pipeline, cluster.get_executor(), heard))
    assert result.counts.inserted == FILES * ROWS
    assert len(set(heard.workers.values())) == 2
    whole(pipeline)


@pytest.mark.slow
def test_p02_a_worker_of_the_cluster_is_killed_and_each_row_is_loaded_once(
    pipeline: Pipeline, cluster: Any
) -> None:
    """With SIGKILL, when it has staged its first split; Dask gives what it was at to another."""
    heard = Heard()
    killed: list[int] = []

    def kill_once(event: Event) -> None:
        if isinstance(event, SplitStaged) and not killed:
            killed.append(int(event.worker.rsplit(":")[-1]))
            os.kill(killed[0], signal.SIGKILL)

    result = only(
        run(pipeline, executor=cluster.get_executor(), listeners=(heard, kill_once), attempts=1)
    )
    assert killed
    assert result.counts.inserted == FILES * ROWS
    assert len(heard.workers) == FILES
    whole(pipeline)


# --- what goes wrong ------------------------------------------------------------------------------


def test_a_worker_that_dies_is_named_and_the_next_run_goes_on(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed when a split is staged; it is not read again."""
    monkeypatch.setenv("CONDUIT_LISTENERS", "conduit_core.testing.faults:from_environment")
    monkeypatch.setenv("CONDUIT_FAULT", "after_split:1")
    context = multiprocessing.get_context("spawn")
    heard = Heard()
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        failed = load(pipeline, pool, heard)
    with pytest.raises(PublishError, match="worker of the executor died or was lost") as caught:
        only(failed)
    assert caught.value.retry == "step"
    monkeypatch.delenv("CONDUIT_FAULT")
    again = Heard()
    assert only(load(pipeline, None, again)).counts.inserted == FILES * ROWS
    told = [e.message for e in again.events if isinstance(e, Notice)]
    assert any(m.startswith("published the open load ") and "2,400 rows" in m for m in told)
    staged = [e.split for e in again.events if isinstance(e, SplitStaged)]
    assert len(staged) == FILES - 1 + FILES  # the rest; then the newest, which is all of it
    whole(pipeline)


def test_a_pipeline_that_cannot_be_pickled_is_named(pipeline: Pipeline, tmp_path: Path) -> None:
    made = Pipeline.from_mapping(
        {
            "name": "shop",
            "source": {"type": "json", "path": "in"},
            "destination": {"type": "duckdb", "path": "warehouse.duckdb", "staging": "staging"},
            "streams": [{"path": "*.json", "name": "orders", "splits": 2}],
        },
        tmp_path,
        connections=Local(),
    )
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        failed = load(made, pool, Heard())
    with pytest.raises(ConfigError, match="can't be given the pipeline"):
        only(failed)


class Local:
    """A resolver that holds what can't be pickled."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def resolve(self, name: str) -> ConnectionSpec:
        """Know no connection."""
        raise LookupError(name)


def test_an_executor_that_was_shut_down_is_named(pipeline: Pipeline) -> None:
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(ConfigError, match="takes no work"):
        only(load(pipeline, pool, Heard()))


def test_the_workers_that_still_read_stop_when_one_fails(pipeline: Pipeline) -> None:
    (pipeline.loaded.base_dir / "in" / "part-5.json").write_text('[{"id": 1, "v": "x"}, {"id')
    failed = load(pipeline, None, Heard(), workers=2)
    assert len(failed.failures) == 1
    assert "part-5.json" in failed.failures[0].lines[0]
