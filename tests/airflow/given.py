"""What the DAG files and their tests share: where the sources lie, and a task process that dies."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ.get("SCENE_FOLDER", "."))
AGAIN = {"retries": 2, "retry_delay": timedelta(0)}

EDITS = (
    "other_target", "unreadable", "other_columns", "other_type", "lower", "initial", "higher",
    "same_cursor", "emptied", "behind", "ahead", "another_load", "equal",
)  # fmt: skip
"""The tasks of ``state.py``: what the test does to each one's entry."""


def sqlite(table: str, **stream: object) -> dict[str, object]:
    """Return a pipeline of one stream, from the file ``<table>.db`` to ``raw`` in PostgreSQL."""
    return {
        "name": "shop",
        "source": {"type": "sqlite", "path": str(FOLDER / f"{table}.db")},
        "destination": {"connection": "warehouse", "schema": "raw"},
        "streams": [{"table": table, **stream}],
    }


def killed_at(point: str) -> Callable[[Mapping[str, Any]], None]:
    """Return a hook that lets the task's first attempt die at a fault point."""

    def arm(context: Mapping[str, Any]) -> None:
        if context["ti"].try_number == 1:
            os.environ["CONDUIT_LISTENERS"] = "conduit_core.testing.faults:from_environment"
            os.environ["CONDUIT_FAULT"] = point

    return arm
