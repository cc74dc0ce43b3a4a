"""Jobs whose steps die: the same load many times, each killed at another fault point."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
import psutil

from conduit_core.testing import faults
from dagster_conduit import ConduitResource, conduit_assets
from tests.waiting import TIMEOUT_SECONDS, wait_for

PRELOADED = ["tests.dagster.preloaded", __name__]
FORKS = {"start_method": {"forkserver": {"preload_modules": PRELOADED}}, "max_concurrent": 2}
"""How steps start: each is a fork of a process that has imported this module."""


OF_RUN = "where the run's tag says"
POSTGRES_SOURCE = """
CREATE SCHEMA src;
CREATE TABLE src.items AS SELECT i::bigint AS id,
  '2024-01-01Z'::timestamptz + i * '1 s'::interval AS at,
  (i / 4.0)::numeric(12, 2) AS amount, 'first ' || i AS note FROM generate_series(0, 1999) AS i;
"""

GATE = 78
"""The advisory lock that the end of the held view waits for."""
HELD = f"""
CREATE FUNCTION src.gate() RETURNS text LANGUAGE plpgsql STABLE AS $$
  BEGIN PERFORM pg_advisory_xact_lock_shared({GATE}); RETURN 'through'; END $$;
CREATE VIEW src.held AS SELECT id, CASE WHEN id < 1900 THEN note ELSE src.gate() END AS note
  FROM src.items;
"""


def arm(context: dg.OpExecutionContext, points: Mapping[str, str]) -> None:
    """Let the step's process die at its fault point: in the first attempt of the first run."""
    point = points[context.op_def.tags["dagster_conduit/stream"]]
    if point == OF_RUN:
        point = context.run.tags.get("fault", "")
    if point and context.run.parent_run_id is None and context.retry_number == 0:
        os.environ["CONDUIT_LISTENERS"] = f"{faults.__name__}:from_environment"
        os.environ["CONDUIT_FAULT"] = point
        os.environ["CONDUIT_FAULT_SIGNAL"] = context.run.tags.get("signal", "KILL")
    else:
        os.environ.pop("CONDUIT_LISTENERS", None)


def assets(
    name: str,
    points: Mapping[str, str],
    source: dict[str, object],
    destination: dict[str, object],
    **keys: Any,
) -> dg.AssetsDefinition:
    """Return a load of one stream for each point, into a table of the point's name."""
    reads = {"path": "*.parquet"} if source["type"] == "parquet" else {"table": "src.items"}
    streams = [
        {**reads, "name": table, "into": table, "mode": "append", "cursor": "id"}
        | ({"splits": 4} if table.startswith("split") else {})
        for table in points
    ]
    spec = {"name": name, "source": source, "destination": destination, "streams": streams}

    @conduit_assets(pipeline=spec, name=name, **keys)
    def load(context: dg.OpExecutionContext, conduit: ConduitResource) -> Iterator[object]:
        arm(context, points)
        yield from conduit.run(context=context)

    return load


def parquet(folder: str) -> dict[str, object]:
    """Return a source: files."""
    return {"type": "parquet", "path": str(Path(folder, "items"))}


def sqlite(folder: str) -> dict[str, object]:
    """Return a destination: a file."""
    return {"type": "sqlite", "path": str(Path(folder, "warehouse.sqlite"))}


def job(name: str, folder: str, database: str) -> dg.JobDefinition:
    """Return a job that other processes can make again."""
    made: Any = dg.build_reconstructable_job(__name__, name, (folder, database))
    return made  # type: ignore[no-any-return]


def in_process(folder: str, _: str) -> dg.JobDefinition:
    """Return a job of one step, in the run's process, that dies where a tag of the run says."""
    one = assets("shop", {"items": OF_RUN}, parquet(folder), sqlite(folder))
    return _job([one], dg.in_process_executor)


def in_processes(folder: str, _: str) -> dg.JobDefinition:
    """Return the same job with the step in a process of its own."""
    one = assets("shop", {"items": OF_RUN}, parquet(folder), sqlite(folder))
    return _job([one], dg.multiprocess_executor.configured(FORKS))


def held(folder: str, database: str) -> dg.JobDefinition:
    """Return a job of two loads that hang in their source's query, one in its last split."""
    executor = dg.multiprocess_executor.configured(FORKS)
    return _job([_held(database, "whole"), _held(database, "split", splits=4)], executor)


def held_in_process(folder: str, database: str) -> dg.JobDefinition:
    """Return a job of one of them, in the run's process."""
    return _job([_held(database, "whole")], dg.in_process_executor)


def fanned(_: str, database: str) -> dg.JobDefinition:
    """Return a job whose splits are steps in processes of their own."""
    place: dict[str, object] = {"type": "postgres", "url": database}
    of_split = {"split": ""}
    one = assets("fanned", of_split, place, {**place, "schema": "raw"}, fan_out="*")
    return _job([one], dg.multiprocess_executor.configured(FORKS))


def _held(database: str, table: str, **more: object) -> dg.AssetsDefinition:
    place = {"type": "postgres", "url": database}
    stream = {"table": "src.held", "name": table, "into": table, "mode": "append", "cursor": "id"}
    spec = {
        "name": table,
        "source": place,
        "destination": {**place, "schema": "raw"},
        "streams": [{**stream, **more}],
    }

    @conduit_assets(pipeline=spec, name=f"held_{table}")
    def load(context: dg.OpExecutionContext, conduit: ConduitResource) -> Iterator[object]:
        yield from conduit.run(context=context)

    return load


def _job(of: list[dg.AssetsDefinition], executor: dg.ExecutorDefinition) -> dg.JobDefinition:
    made = dg.Definitions(
        assets=of,
        jobs=[dg.define_asset_job("load", executor_def=executor)],
        resources={"conduit": ConduitResource()},
    )
    return made.resolve_job_def("load")


@contextmanager
def at_home(folder: str) -> Iterator[dg.DagsterInstance]:
    """Open the Dagster that keeps its runs in a folder."""
    home = Path(folder, "dagster")
    home.mkdir(exist_ok=True)
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        yield instance


def _run(name: str, folder: str, database: str, tags: Mapping[str, str]) -> None:
    with (
        at_home(folder) as instance,
        dg.execute_job(job(name, folder, database), instance, tags=tags),
    ):
        pass


class Launched:
    """A run in a process of its own, which is a fork of one that has imported all.

    Args:
        name: which job of this module.
        folder, database: of the job.
        instance: where the run is kept.
        tags: the run's.
    """

    def __init__(
        self,
        name: str,
        folder: str,
        database: str,
        instance: dg.DagsterInstance,
        tags: Mapping[str, str],
    ) -> None:
        forks = multiprocessing.get_context("forkserver")
        forks.set_forkserver_preload(PRELOADED)
        self._instance = instance
        self._tags = {**tags, "launched": uuid4().hex}
        args = (name, folder, database, self._tags)
        self.process = forks.Process(target=_run, args=args)
        self.process.start()

    def end(self) -> int | None:
        """Wait for its end; return its exit code."""
        self.process.join(TIMEOUT_SECONDS)
        return self.process.exitcode

    @property
    def run(self) -> dg.DagsterRun:
        """The run, as Dagster knows it."""
        (made,) = self._runs()
        return made

    def _runs(self) -> Sequence[dg.DagsterRun]:
        return [
            r
            for r in self._instance.get_runs(dg.RunsFilter(tags=self._tags))
            if r.parent_run_id is None
        ]

    def frozen_step(self) -> psutil.Process:
        """Wait until its step's process has frozen itself."""

        def found() -> psutil.Process | None:
            of = dg.DagsterEventType.STEP_WORKER_STARTED
            for each in self._runs():
                for event in self._instance.all_logs(each.run_id, of_type=of):
                    told = event.get_dagster_event().event_specific_data.metadata["pid"]
                    step = psutil.Process(int(told.value))
                    return step if step.status() == psutil.STATUS_STOPPED else None
            return None

        return wait_for(found, "a step that is frozen")
