"""The real command in a folder of its own, over a small SQLite shop and an empty DuckDB file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest

from conduit_core.cli import main
from conduit_core.observe.jsonlog import log_schema
from tests.warm import Command

ROOT = Path(__file__).parents[2]

SHOP = """\
name: shop
source: sqlite:///shop.db
destination: {type: duckdb, path: warehouse.duckdb, schema: raw}
streams:
  - customers
  - {table: orders, mode: append, cursor: [updated_at, id]}
"""


@dataclass(frozen=True)
class Ended:
    """What a command left: its code and both outputs."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)

    @property
    def records(self) -> list[dict[str, Any]]:
        """The lines of stderr, each checked against the published schema."""
        from jsonschema import Draft202012Validator, FormatChecker

        validator = Draft202012Validator(log_schema(), format_checker=FormatChecker())
        found = [json.loads(line) for line in self.err.splitlines()]
        for record in found:
            validator.validate(record)
        return found

    @property
    def last_lines(self) -> list[str]:
        """The four lines that close a failure."""
        return self.err.splitlines()[-4:]


@dataclass
class Conduit:
    """Runs the command in a folder: as a process of its own, or in this one where that is equal."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    def write(self, text: str, name: str = "pipeline.yml") -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def environment(self, **more: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("CONDUIT_")}
        path = {"PYTHONPATH": str(ROOT), "HOME": str(self.folder)}
        return {**kept, **path, **self.env, **more}

    def __call__(self, *args: str, **env: str) -> Ended:
        """Run a process; a new interpreter, where its variables are for that."""
        arguments = ["-m", "conduit_core.cli", *args]
        here, whole = self.folder, self.environment(**env)
        if any(name.startswith("PYTHON") for name in env):
            command = [sys.executable, *arguments]
            process: Any = subprocess.Popen(
                command, cwd=here, env=whole, stdout=PIPE, stderr=PIPE, text=True
            )
        else:
            process = Command(arguments, cwd=here, env=whole)
        out, err = process.communicate(timeout=120)
        return Ended(process.returncode, out, err)

    def query(self, sql: str, file: str = "warehouse.duckdb") -> list[tuple[Any, ...]]:
        import duckdb

        with duckdb.connect(str(self.folder / file), read_only=True) as connection:
            return connection.execute(sql).fetchall()


@pytest.fixture
def conduit(tmp_path: Path) -> Conduit:
    """The command in an empty folder."""
    return Conduit(tmp_path)


@pytest.fixture
def shop(conduit: Conduit) -> Conduit:
    """The command beside ``shop.db`` (3 customers, 5 orders) and a pipeline file for it."""
    fill(
        conduit.folder / "shop.db",
        "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL)",
        "INSERT INTO customers VALUES (1, 'Ann'), (2, 'Bo'), (3, 'Cy')",
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, updated_at TIMESTAMP, total REAL)",
        """INSERT INTO orders VALUES
           (1, '2024-01-01 00:00:00', 1.5), (2, '2024-01-02 00:00:00', 2.5),
           (3, '2024-01-03 00:00:00', 3.5), (4, '2024-01-03 00:00:00', 4.5),
           (5, '2024-01-05 00:00:00', 5.5)""",
    )
    conduit.write(SHOP)
    return conduit


def fill(path: Path, *statements: str) -> None:
    """Carry out statements on a SQLite file, and let go of it."""
    import sqlite3

    connection = sqlite3.connect(path)
    try:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    finally:
        connection.close()


@pytest.fixture
def here(
    conduit: Conduit, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Any:
    """The command in this process, in the same folder: quick, for what needs no signals."""

    def run(*args: str, **env: str) -> Ended:
        monkeypatch.chdir(conduit.folder)
        for name, value in conduit.environment(**env).items():
            monkeypatch.setenv(name, value)
        capfd.readouterr()
        code = main(list(args))
        out, err = capfd.readouterr()
        return Ended(code, out, err)

    return run
