"""A slice of the soak, and that the soak sees what is wrong; `make soak` plays a thousand seeds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import services
from tests.soak.model import Ask, Model, Refused
from tests.soak.schedule import Row, Spec, schedule

pytestmark = pytest.mark.crash

SLICE = 4


def soak(*args: str) -> subprocess.CompletedProcess[str]:
    """Play seeds in a process of their own: they fork, and this one may have threads."""
    command = [sys.executable, "-m", "tests.soak", "--workers", "1", *args]
    root = Path(__file__).parents[2]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_p01_schedules_of_changes_kills_and_rewinds_end_as_the_model_says(
    postgres_server: services.PostgresServer,
) -> None:
    played = soak("--seeds", str(SLICE), "--postgres", postgres_server.url)
    assert played.returncode == 0, played.stdout + played.stderr
    assert f"{SLICE} schedules" in played.stdout


def test_the_soak_sees_a_row_that_is_wrong() -> None:
    played = soak("--seed", "6", "--without-postgres", "--spoil")
    assert played.returncode == 1, played.stdout + played.stderr
    assert "too much, lacks" in played.stdout
    assert "--seed 6" in played.stdout


def test_a_seed_says_the_same_every_time() -> None:
    one, other = (schedule(7, ("sqlite", "duckdb"), ("sqlite",)) for _ in range(2))
    assert one == other
    assert one != schedule(8, ("sqlite", "duckdb"), ("sqlite",))


def test_the_model_appends_what_is_new_and_refuses_published_slices() -> None:
    spec = Spec("append", (), ("at",), 1, 0, "", log=False, source="", destination="", fresh=False)
    model = Model(spec)
    rows = [Row(1, n, n, "a", 0) for n in range(1, 4)]
    model.run(rows[:2], [], Ask(), [])
    model.run(rows, [], Ask(), [])
    assert (model.rows, model.mark, len(model.chain)) == (rows, (3,), 2)
    rows.append(Row(1, 9, 9, "b", 0))
    model.run(rows, [], Ask(start=9, end=12), [])
    with pytest.raises(Refused, match="StateError"):
        model.run(rows, [], Ask(), [])
