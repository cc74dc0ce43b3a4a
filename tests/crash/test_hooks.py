"""Killed between a commit and its hook, in the hook, and behind it: no hook is ever missed."""

from __future__ import annotations

import os
from pathlib import Path

import psycopg
import pytest

from tests.crash.harness import Ended, Worker
from tests.dbt.lab import COMMENT, DbtLab

pytestmark = pytest.mark.crash
warmed = "tests.dbt.warmed"


def outcome(ended: Ended) -> str:
    """Return how the hook of a run ended."""
    (hook,) = ended.fine().document["hooks"]
    found: str = hook["outcome"]
    return found


def test_a_hook_is_made_good_by_the_next_run(tmp_path: Path) -> None:
    """Killed before it and, when that is made good, before it is recorded; then behind it."""
    lab = DbtLab(tmp_path / "lab")
    file = lab.file()
    worker = Worker(tmp_path / "disk", more=warmed)
    worker.run(file, fault="before_hooks").killed()
    worker.fresh().run(file, fault="after_hook").killed()
    assert outcome(worker.fresh().run(file, "--json")) == "succeeded"
    assert lab.select("select amount from raw.totals") == [(30,)]
    assert lab.select("select version from raw._conduit_hooks") == [(1,), (1,)]
    lab.rows("orders", (3, 5))
    worker.run(file, fault="after_hooks").killed()
    assert outcome(worker.fresh().run(file, "--json")) == "skipped"
    assert lab.select("select amount from raw.totals") == [(35,)]


def test_killed_while_dbt_builds(tmp_path: Path, postgres_database: str) -> None:
    lab = DbtLab(tmp_path / "lab", postgres_database)
    totals = (lab.project / "models/totals.sql").read_text()
    lab.write("models/totals.sql", f"{totals} where pg_sleep(600) is not null")
    lab.write("dbt_project.yml", (lab.project / "dbt_project.yml").read_text() + COMMENT)
    file = lab.file()
    worker = Worker(tmp_path / "disk", more=warmed)
    running = worker.start(file)
    assert '"conduit_pipeline": "shop"' in _wait_for_sleep(postgres_database)
    os.kill(running.process.pid, 9)
    running.end().killed()
    _end_sleep(postgres_database)
    lab.write("models/totals.sql", totals)
    assert outcome(worker.fresh().run(file, "--json")) == "succeeded"
    assert lab.select("select amount from raw.totals") == [(30,)]


_SLEEPING = (
    "SELECT pid, query FROM pg_stat_activity WHERE datname = current_database()"
    " AND state = 'active' AND query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()"
)


def _wait_for_sleep(url: str) -> str:
    """Return the statement under way, once there is one."""
    with psycopg.connect(url, autocommit=True) as connection:
        while not (found := connection.execute(_SLEEPING).fetchall()):
            connection.execute("SELECT pg_sleep(0.1)")
        return str(found[0][1])


def _end_sleep(url: str) -> None:
    """End the statement that the killed process left: it holds the model's relation."""
    with psycopg.connect(url, autocommit=True) as connection:
        for pid, _ in connection.execute(_SLEEPING).fetchall():
            connection.execute("SELECT pg_terminate_backend(%s)", (pid,))
