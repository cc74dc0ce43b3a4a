"""Which tests run, in what order, and which of them side by side."""

from __future__ import annotations

import os
import re
from collections import Counter
from typing import TYPE_CHECKING, Any
from zlib import crc32

from xdist.scheduler import LoadFileScheduling

if TYPE_CHECKING:
    import pytest

DEEP = "CONDUIT_DEEP"
TOGETHER = (
    "tests/conformance/test_kills",
    "tests/conformance/",
    "tests/airflow/scheduled/",
    "tests/airflow/test_",
    "tests/prefect/test_",
    "tests/dbt/",
)
"""Files whose paths begin so share something slow to start: one worker runs them, as the first.

(xdist's own groups change a test's id, which pytest has not allowed since 9.)
"""
_MANY = 20


def scope(nodeid: str) -> str:
    """Return what one worker runs as a whole: a file, or the files that share something."""
    file = nodeid.partition("::")[0]
    return next((beginning for beginning in TOGETHER if file.startswith(beginning)), file)


class InFiles(LoadFileScheduling):
    """A worker that is free takes the next file, in the order of the tests."""

    def _split_scope(self, nodeid: str) -> str:
        return scope(nodeid)


def scheduler(config: pytest.Config, log: Any) -> InFiles:
    """Return xdist's scheduler."""
    config.option.loadscopereorder = False
    return InFiles(config, log)


def sort(items: list[pytest.Item]) -> None:
    """Put what takes long first, so that no worker is alone at the end; else as it was."""
    together = dict(zip(TOGETHER, range(len(TOGETHER)), strict=True))
    counts = Counter(scope(item.nodeid) for item in items)
    slow = {scope(item.nodeid) for item in items if item.get_closest_marker("slow")}

    def rank(item: pytest.Item) -> tuple[int, bool, bool]:
        where = scope(item.nodeid)
        return together.get(where, len(together)), where not in slow, counts[where] < _MANY

    items.sort(key=rank)


def mark_deep(items: list[pytest.Item]) -> None:
    """Where a test is for each destination: try SQLite, and by turns DuckDB, PostgreSQL or neither.

    A test that keeps a promise tries all, and so does one that has more than destinations to try.
    What a destination does with each statement is for the contract suites to say.
    """
    turns = ({"postgres"}, {"duckdb"}, {"duckdb", "postgres"})
    for item in items:
        params = getattr(getattr(item, "callspec", None), "params", {})
        if params.keys() == {"each_lab"} and not re.search(r"test_p\d\d", item.nodeid):
            test = item.nodeid.partition("[")[0]
            if params["each_lab"] in turns[crc32(test.encode()) % 3]:
                item.add_marker("deep")


def leave_out_deep(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of the deep tier, unless the environment asks for them."""
    if os.environ.get(DEEP) == "1":
        return
    deep = [item for item in items if item.get_closest_marker("deep")]
    if deep:
        items[:] = [item for item in items if not item.get_closest_marker("deep")]
        config.hook.pytest_deselected(items=deep)
