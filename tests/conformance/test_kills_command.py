"""The command, killed at each fault point and run again, as a person or a timer would."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conformance.kills import AT, AT_ONCE, DAILY, Scenes, at_random, each_point
from tests.crash.harness import KILLED, Worker

pytestmark = [pytest.mark.crash, pytest.mark.slow, pytest.mark.postgres]

MORE = "tests.dbt.warmed tests.conformance.hooked"
RUNS = 5
NO_STORE = ["after_mirror:1:orders"]
"""The command line keeps no state: there is no such point."""
ALL = {point: next(iter(kinds)) for point, kinds in AT.items()} | DAILY
"""Every point, each in one pipeline."""
Record = Callable[[str, object], None]


def run_again(scenes: Scenes, name: str) -> None:
    """Run a pipeline until it ends well, each time on an empty disk; compare."""
    worker = Worker(scenes.folder / f"disk-{name}", more=MORE)
    for _ in range(RUNS):
        ended = worker.run(scenes.all[name].file, "--workers", "1")
        if ended.code != KILLED:
            break
        worker = worker.fresh()
    ended.fine()
    scenes.check(name)


def test_p01_p02_the_command_killed_anywhere_and_run_again_loads_each_row_once(
    tmp_path: Path, postgres_database: str, monkeypatch: pytest.MonkeyPatch, record_property: Record
) -> None:
    schedules = [each for each in each_point(daily=ALL) if each.kills[0] not in NO_STORE]
    schedules += at_random("command line", daily=4, whole=60, milliseconds=150)
    scenes = Scenes(tmp_path, postgres_database, schedules)
    for key, value in scenes.env.items():
        monkeypatch.setenv(key, value)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for each in [pool.submit(run_again, scenes, name) for name in scenes.all]:
            each.result()
    scenes.report("command line", record_property)
