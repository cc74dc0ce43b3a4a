"""A process that publishes into a folder, and ends where it is told to: `python -m`, JSON on argv.

It freezes when it is ready, publishes when it is woken, and says how that ended.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa

from conduit_core.connectors.base import Context, Destination
from conduit_core.connectors.publish import (
    AppendStaged,
    DeleteWindow,
    NoNewerRecord,
    NoOverlappingRecord,
    Publish,
)
from conduit_core.connectors.registry import get
from conduit_core.errors import ConduitError
from conduit_core.events import CommitStarted, Event
from conduit_core.state.cursor import Cursor
from conduit_core.state.window import Window
from conduit_core.testing.doubles import TableRows, publish, record, replace


def destination_at(path: Path | str, system: str = "parquet", **options: object) -> Destination:
    """Return a destination made as a pipeline file makes it."""
    connector = get(system)
    model = connector.options.model_validate({"path": str(path), **options})
    assert connector.destination is not None
    return connector.destination(model, Context(Path("/")), None, None, 5.0)


def rows(start: int, stop: int) -> pa.Table:
    """Return rows with the ids from ``start`` to before ``stop``, 100 bytes of noise in each."""
    ids = list(range(start, stop))
    return pa.table({"id": pa.array(ids, pa.int64()), "v": [f"{n * 7919:0100x}" for n in ids]})


def die() -> None:
    """End as a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)


def plan_of(job: dict[str, Any], destination: Destination, schema: pa.Schema) -> Publish:
    """Return the publish that the job asks for."""
    load_id = job.get("load_id", f"load-{os.getpid()}")
    if job["do"] == "replace":
        return replace(destination, record("t", "", load_id=load_id), schema, "swap")
    if job["do"] == "window":
        low, high = (Cursor(("id",), (pa.scalar(n, pa.int64()),)) for n in job["window"])
        window = Window("given", low, high)
        made = record("t", "", load_id=load_id, window=window)
        requires = (NoOverlappingRecord(version=1, window=window.to_json()),)
        delete = DeleteWindow(window=made.load_window)
        return publish(made, schema, delete, AppendStaged(), requires=requires)
    newer = (NoNewerRecord(version=job["base"]),) if "base" in job else ()
    return publish(record("t", "", load_id=load_id), schema, AppendStaged(), requires=newer)


def main(job: dict[str, Any]) -> str:
    """Publish as the job says; return the outcome."""
    destination = destination_at(Path(job["path"]), job["system"], **job.get("options", {}))
    table = rows(*job["rows"])
    plan = plan_of(job, destination, table.schema)

    def on_batch(number: int) -> None:
        if job.get("die") == number:
            die()

    def emit(event: Event) -> None:
        if job.get("die") == "commit" and isinstance(event, CommitStarted):
            die()

    staged = TableRows(table, batch_rows=job.get("batch_rows", 1000), on_batch=on_batch)
    os.kill(os.getpid(), signal.SIGSTOP)
    try:
        done = destination.commit(plan, staged, emit)
    except ConduitError as error:
        return type(error).__name__
    return "replayed" if done.replayed else "published"


if __name__ == "__main__":
    sys.stdout.write(main(json.loads(sys.argv[1])) + "\n")
