"""A process that publishes into a folder, and ends where it is told to: `python -m`, JSON on argv.

It says "ready", waits for a line, publishes, and says how that ended.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa

from conduit_core.connectors.base import Destination
from conduit_core.connectors.publish import (
    AppendStaged,
    DeleteWindow,
    NoNewerRecord,
    NoOverlappingRecord,
    Publish,
)
from conduit_core.errors import ConduitError
from conduit_core.events import CommitStarted, Event
from conduit_core.state.cursor import Cursor
from conduit_core.state.window import Window
from conduit_core.testing.doubles import TableRows, publish, record, replace


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
    from tests.lake.test_contract import destination_at

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
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    try:
        done = destination.commit(plan, staged, emit)
    except ConduitError as error:
        return type(error).__name__
    return "replayed" if done.replayed else "published"


if __name__ == "__main__":
    sys.stdout.write(main(json.loads(sys.argv[1])) + "\n")
