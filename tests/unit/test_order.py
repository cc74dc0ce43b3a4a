"""What shares something slow to start runs on one worker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import order

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("nodeid", "found"),
    [
        ("tests/airflow/scheduled/test_kill.py::test_a[x::y]", "tests/airflow/scheduled/"),
        ("tests/airflow/test_load.py::test_a", "tests/airflow/test_"),
        ("tests/airflow/unit/test_names.py::test_a", "tests/airflow/unit/test_names.py"),
        ("tests/dbt/test_gate.py::test_a", "tests/dbt/"),
        ("tests/cli/test_run.py::TestA::test_a[1]", "tests/cli/test_run.py"),
    ],
)
def test_a_worker_takes_a_file_or_those_that_share_something(nodeid: str, found: str) -> None:
    assert order.scope(nodeid) == found


def test_xdist_keeps_to_it(tmp_path: Path) -> None:
    """Three files, and two workers that each take one of them whole."""
    (tmp_path / "conftest.py").write_text(
        "from tests import order\n"
        "pytest_xdist_make_scheduler = lambda config, log: order.scheduler(config, log)\n"
        "def pytest_collection_modifyitems(items): order.sort(items)\n"
    )
    test = "def test_{0}(worker_id): open(f'{1}.{{worker_id}}', 'w').close()\n"
    for name in ("one", "two", "three"):
        lines = "".join(test.format(number, name) for number in range(6))
        (tmp_path / f"test_{name}.py").write_text(lines)
    options = ["-q", "--numprocesses", "2", "-p", "no:cacheprovider", "-c", "/dev/null"]
    command = [sys.executable, "-m", "pytest", *options, "--rootdir", ".", "."]
    env = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ran = sorted(path.name.partition(".")[0] for path in tmp_path.glob("*.gw?"))
    assert ran == ["one", "three", "two"]
