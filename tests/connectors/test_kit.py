"""`conduit connectors new`: the package it writes is lint-free, passes its tests, and loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import conduit_core
from conduit_core.cli.kit import distribution_of, package, write
from conduit_core.errors import ConfigError
from tests.cli.conftest import Conduit, conduit, here
from tests.environments import TOOLS, made_over_this_one, sound

__all__ = ["conduit", "here"]

LONGEST = "a_name_of_thirty_characters_it"


def made(folder: Path, name: str) -> Path:
    write(folder / distribution_of(name), package(name))
    return folder / distribution_of(name)


def test_it_writes_a_package_and_says_what_is_next(here: Any, conduit: Conduit) -> None:
    told = here("connectors", "new", "tiger_beetle")
    assert told.code == 0, told.err
    assert "cd conduit-tiger-beetle && pip install -e '.[dev]' && pytest" in told.out
    files = {
        file.relative_to(conduit.folder).as_posix(): file.read_text()
        for file in conduit.folder.rglob("*")
        if file.is_file()
    }
    assert sorted(files) == [
        f"conduit-tiger-beetle/{path}"
        for path in (
            "README.md",
            "pyproject.toml",
            "src/conduit_tiger_beetle/__init__.py",
            "src/conduit_tiger_beetle/client.py",
            "src/conduit_tiger_beetle/py.typed",
            "src/conduit_tiger_beetle/source.py",
            "tests/test_load.py",
            "tests/test_source.py",
        )
    ]
    project = files["conduit-tiger-beetle/pyproject.toml"]
    assert 'tiger_beetle = "conduit_tiger_beetle:connector"' in project
    assert (
        "TigerBeetleSource(BatchSource)"
        in files["conduit-tiger-beetle/src/conduit_tiger_beetle/source.py"]
    )
    assert not [name for name, text in files.items() if "acme" in text.lower()]
    major, minor, _ = conduit_core.__version__.split(".")
    assert f'"conduit-load>={major}.{minor},<{major}.{int(minor) + 1}"' in project


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("", "can't be a connector's name"),
        ("Inbox", "can't be a connector's name"),
        ("tiger-beetle", "can't be a connector's name"),
        ("9lives", "can't be a connector's name"),
        ("../up", "can't be a connector's name"),
        ("x" * 31, "can't be a connector's name"),
        ("csv", "there is a connector 'csv' already"),
        ("core", "there is already"),
        ("load", "there is already"),
        ("dbt", "there is already"),
        ("frames", "there is already"),
    ],
)
def test_a_name_that_will_not_do_is_refused(
    here: Any, conduit: Conduit, name: str, told: str
) -> None:
    done = here("connectors", "new", name)
    assert done.code == 2
    assert told in done.last_lines[0]
    assert list(conduit.folder.iterdir()) == []


def test_a_folder_that_is_there_stays_as_it_is(here: Any, conduit: Conduit) -> None:
    (conduit.folder / "conduit-inbox").mkdir()
    done = here("connectors", "new", "inbox")
    assert done.code == 2
    assert "conduit-inbox is there already" in done.last_lines[0]
    assert list((conduit.folder / "conduit-inbox").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="can't be written"):
        write(tmp_path / "file" / "conduit-inbox", package("inbox"))


@pytest.mark.parametrize("name", ["x", "inbox", "acme_acme", LONGEST])
def test_it_is_lint_free_under_any_name(tmp_path: Path, name: str) -> None:
    """The types are checked by `make lint`, under the template's own name."""
    folder = made(tmp_path, name)
    sound(TOOLS / "ruff", "check", "--no-cache", ".", cwd=folder)
    sound(TOOLS / "ruff", "format", "--check", "--no-cache", ".", cwd=folder)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a package's folder, and the interpreter of an environment that it is installed in."""
    place = tmp_path_factory.mktemp("kit")
    folder = made(place, "inbox")
    return folder, made_over_this_one(place / "env", folder)


def test_its_tests_pass(installed: tuple[Path, Path]) -> None:
    folder, python = installed
    told = sound(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=folder)
    assert " passed" in told
    assert "failed" not in told


def test_a_pipeline_loads_with_it(installed: tuple[Path, Path], tmp_path: Path) -> None:
    import duckdb

    command = (installed[1], "-m", "conduit_core.cli")
    (tmp_path / "pipeline.yml").write_text(
        "name: shop\n"
        "source: {type: inbox, path: data}\n"
        "destination: duckdb:///warehouse.duckdb\n"
        "streams:\n"
        "  - {table: orders, mode: upsert, unique_key: id, cursor: [at, id]}\n"
    )
    (tmp_path / "data").mkdir()
    file = tmp_path / "data" / "orders.jsonl"
    file.write_text(
        '{"id": "integer", "at": "moment", "note": "text"}\n'
        '{"id": 1, "at": "2024-03-01T00:00:00Z", "note": "one"}\n'
        '{"id": 2, "at": "2024-03-02T00:00:00Z", "note": null}\n'
    )
    sound(*command, "run", cwd=tmp_path)
    with file.open("a") as more:
        more.write('{"id": 2, "at": "2024-03-03T00:00:00Z", "note": "two"}\n')
    sound(*command, "run", cwd=tmp_path)
    with duckdb.connect(str(tmp_path / "warehouse.duckdb"), read_only=True) as connection:
        found = connection.sql("SELECT id, note FROM main.orders ORDER BY id").fetchall()
    assert found == [(1, "one"), (2, "two")]


@pytest.mark.deep
def test_it_is_typed(installed: tuple[Path, Path]) -> None:
    """By its own settings, with the types that Conduit ships."""
    folder, python = installed
    sound(python, "-m", "mypy", "--no-incremental", cwd=folder)
