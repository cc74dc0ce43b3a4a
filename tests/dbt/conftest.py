"""A small dbt project in which each thing that can happen to a node happens, and its sources."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from conduit_dbt.in_process import InProcess
from conduit_dbt.invoke import Dbt, Executable
from conduit_dbt.project import Project
from tests.dbt.lab import DbtLab, quick_dbt

__all__ = ["quick_dbt"]

PARSED = "partial_parse.msgpack"
DBT = str(Path(sys.executable).with_name("dbt"))
RUNNERS: dict[str, Callable[[], Dbt]] = {
    "in process": InProcess,
    "executable": lambda: Executable(DBT),
}

PROJECT = """\
name: shop
version: "1.0"
config-version: 2
profile: shop
flags: {write_json: false, send_anonymous_usage_stats: false}
"""
PROFILES = """\
shop:
  target: dev
  outputs:
    dev: {type: duckdb, path: warehouse.duckdb, threads: 1}
"""
MODELS = {
    "good.sql": "{{ config(materialized='table') }} select id from {{ source('raw', 'fresh') }}",
    "child.sql": "select id from {{ ref('good') }}",
    "broken.sql": "select cast('x' || id as integer) as id from {{ ref('good') }}",
    "after_broken.sql": "select id from {{ ref('broken') }}",
    "schema.yml": """\
models:
  - name: good
    columns:
      - name: id
        data_tests:
          - not_null
          - unique: {config: {severity: warn}}
          - accepted_values: {name: only_nines, values: [9], quote: false} # as 1.8 knows it
  - name: child
    config: {materialized: table}
sources:
  - name: raw
    schema: raw
    loaded_at_field: loaded_at
    freshness: {warn_after: {count: 1, period: hour}, error_after: {count: 1, period: day}}
    tables: [{name: fresh}, {name: late}, {name: stale}, {name: empty}, {name: missing}]
""",
}
MODELS["broken.sql"] = "{{ config(materialized='table') }} " + MODELS["broken.sql"]
SOURCES = """\
create schema raw;
create table raw.fresh as select id, {now} as loaded_at from (select 1 as id union all select 1) x;
create table raw.late as select id, {now} - interval '2 hours' as loaded_at from raw.fresh;
create table raw.stale as select id, {now} - interval '3 days' as loaded_at from raw.fresh;
create table raw.empty as select * from raw.fresh where false;
"""


def write_project(root: Path, models: dict[str, str], profiles: str = PROFILES) -> Project:
    """Write a project's files and read it."""
    (root / "models").mkdir(parents=True, exist_ok=True)
    (root / "dbt_project.yml").write_text(PROJECT)
    (root / "profiles.yml").write_text(profiles)
    for name, text in models.items():
        (root / "models" / name).write_text(text)
    return Project.read(root, {})


@pytest.fixture(autouse=True)
def _no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith(("DBT_", "PG"))]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _quick(quick_dbt: None) -> None:
    """For every test here."""


@pytest.fixture(scope="session")
def _parsed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A lab's folder, and what dbt parsed there once."""
    folder = tmp_path_factory.mktemp("parsed") / "lab"
    lab = DbtLab(folder)
    lab.run(command="test")
    (parsed,) = lab.project.rglob(PARSED)
    return folder, Path(shutil.copy(parsed, folder.parent))


@pytest.fixture
def lab(_parsed: tuple[Path, Path]) -> DbtLab:
    """A new lab on DuckDB, always at one place, so that dbt needn't parse its own macros again."""
    folder, parsed = _parsed
    shutil.rmtree(folder)
    found = DbtLab(folder)
    place = found.project / "target" / "conduit" / "shop"
    place.mkdir(parents=True)
    shutil.copy(parsed, place)
    return found


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project on DuckDB, its sources loaded and the file closed."""

    import duckdb

    root = tmp_path_factory.mktemp("shop")
    with closing(duckdb.connect(root / "warehouse.duckdb")) as connection:
        connection.execute(SOURCES.format(now="now()"))
    return write_project(root, MODELS)


@dataclass(frozen=True)
class Other:
    """Ask about a DuckDB file in another process, as a loader would."""

    path: Path

    def count(self, table: str) -> int:
        code = (
            "import duckdb, sys; c = duckdb.connect(sys.argv[1]);"
            "print(c.execute('select count(*) from ' + sys.argv[2]).fetchone()[0])"
        )
        ran = subprocess.run(
            [sys.executable, "-c", code, self.path, table],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        return int(ran.stdout)


@pytest.fixture
def other(shop: Project) -> Other:
    return Other(shop.root / "warehouse.duckdb")
