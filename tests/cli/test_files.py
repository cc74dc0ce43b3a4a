"""`conduit init` and `conduit discover --write`: files that load as they are, comments kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conduit_core.cli.drafting import is_listed, rewritten
from conduit_core.errors import ConfigError
from conduit_core.spec import load_spec
from tests.cli.conftest import SHOP, Conduit, fill


def test_init_writes_a_commented_file_that_is_valid(here: Any, conduit: Conduit) -> None:
    ended = here("init", "new/pipeline.yml")
    assert (ended.code, "conduit check new/pipeline.yml" in ended.out) == (0, True)
    assert "# Only what is new" in (conduit.folder / "new/pipeline.yml").read_text()
    assert load_spec(conduit.folder / "new/pipeline.yml").spec.streams


def test_init_never_overwrites(here: Any, shop: Conduit) -> None:
    before = (shop.folder / "pipeline.yml").read_bytes()
    assert here("init").code == 2
    assert (shop.folder / "pipeline.yml").read_bytes() == before


@pytest.mark.parametrize("origin", ["sqlite:///shop.db", "shop"])
def test_init_from_a_connection_loads_as_it_is(here: Any, shop: Conduit, origin: str) -> None:
    (shop.folder / ".conduit").mkdir()
    (shop.folder / ".conduit/connections.yml").write_text("shop: sqlite:///../shop.db\n")
    (shop.folder / "pipeline.yml").unlink()
    assert here("init", "--from", origin).code == 0
    assert [s.name for s in load_spec(shop.folder / "pipeline.yml").spec.streams] == [
        "customers",
        "orders",
    ]
    assert here("run").code == 0
    assert shop.query("SELECT count(*) FROM raw.orders") == [(5,)]


def test_init_from_a_folder_of_files(here: Any, conduit: Conduit) -> None:
    (conduit.folder / "data").mkdir()
    (conduit.folder / "data/ports.csv").write_text("code,name\nJFK,Kennedy\n")
    assert here("init", "--from", "data/ports.csv").code == 0
    assert here("run").code == 0
    assert conduit.query("SELECT name FROM raw.ports") == [("Kennedy",)]


def test_init_from_a_file_of_unknown_suffix_names_the_url(here: Any, shop: Conduit) -> None:
    ended = here("init", "new.yml", "--from", "shop.db")
    assert ended.code == 2
    assert "sqlite:///shop.db" in ended.err
    assert ended.last_lines[3] == "conduit init --help"


def test_discover_knows_the_files_that_a_glob_loads(here: Any, conduit: Conduit) -> None:
    (conduit.folder / "data/in").mkdir(parents=True)
    for name in ("data/in/a.csv", "data/in/b.csv", "data/c.csv", "data/d.csv"):
        (conduit.folder / name).write_text("id\n1\n")
    conduit.write(
        "name: p\nsource: {type: csv, path: data}\ndestination: duckdb:///w.duckdb\n"
        "streams:\n  - {path: 'in/*.csv', name: ins}\n  - path: c.csv\n"
    )
    listed = here("discover", "--json").document["relations"]
    assert {r["name"]: r["in_file"] for r in listed} == {
        "in": True,
        "c.csv": True,
        "d.csv": False,
    }
    assert "added d.csv" in here("discover", "--write").out
    for path in ("in", "./in/", "**/*.csv", "."):
        assert is_listed("in", [{"path": path}])
    assert is_listed("d.csv", [{"path": "?.csv"}])
    assert not is_listed("d.csv", [{"path": "in/*.csv"}])


def test_init_from_postgres_keeps_the_password_out(
    here: Any, conduit: Conduit, postgres_database: str
) -> None:
    import psycopg

    with psycopg.connect(postgres_database, autocommit=True) as server:
        server.execute("CREATE TABLE public.orders (id int PRIMARY KEY)")
        server.execute("CREATE SCHEMA sales")
        server.execute("CREATE TABLE sales.orders (id int)")
        server.execute("INSERT INTO public.orders VALUES (1)")
    ended = here("init", "--from", postgres_database)
    assert ended.code == 0, ended.err
    text = (conduit.folder / "pipeline.yml").read_text()
    if ":" in postgres_database.partition("://")[2].partition("@")[0]:
        assert postgres_database not in text
        assert "SOURCE_URL" in text
    assert here("run", SOURCE_URL=postgres_database).code == 0
    assert conduit.query("SELECT count(*) FROM raw.public_orders") == [(1,)]


def test_discover_lists_and_adds_what_is_missing(here: Any, shop: Conduit) -> None:
    fill(shop.folder / "shop.db", 'CREATE TABLE "odd name.x" (a)', "CREATE TABLE tags (t TEXT)")
    shop.write(SHOP + "  # the end\n")
    listed = here("discover", "--json").document
    assert {r["name"]: r["in_file"] for r in listed["relations"]} == {
        "customers": True,
        "orders": True,
        '"odd name.x"': False,
        "tags": False,
    }
    assert (shop.folder / "pipeline.yml").read_text() == SHOP + "  # the end\n"
    ended = here("discover", "--write")
    assert ended.code == 0, ended.err
    text = (shop.folder / "pipeline.yml").read_text()
    assert text.startswith(SHOP)
    assert text.endswith("  # the end\n")
    assert [s.name for s in load_spec(shop.folder / "pipeline.yml").spec.streams] == [
        "customers",
        "orders",
        "odd name.x",
        "tags",
    ]
    assert "added nothing" in here("discover", "--write").out


HEAD = "name: p\nsource: sqlite:///a.db\ndestination: duckdb:///b.duckdb\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "streams:\n  # all of them\n  - 'o*'  # pattern\n  - tags\n",
            "streams:\n  # all of them\n  - o1\n  - o2  # pattern\n  - tags\n",
        ),
        ("streams: [a, '*']\n", "streams: [a, o1, o2, tags]\n"),
        (
            "streams:\n- table: 'o*'\n  exclude: o2\n  mode: append\n# below\n- a\n",
            "streams:\n- {table: o1, mode: append}\n# below\n- a\n",
        ),
        ("streams:\n  - a # one\n\non_error: stop\n", None),
        (
            "streams:\n  - table: a\n    # into: b\n\n  # - c\n",
            "streams:\n  - table: a\n    # into: b\n  - o1\n  - o2\n  - tags\n\n  # - c\n",
        ),
        ("streams: [a]\n", "streams: [a, o1, o2, tags]\n"),
    ],
)
def test_patterns_become_streams_and_comments_stay(
    tmp_path: Path, before: str, after: str | None
) -> None:
    file = tmp_path / "pipeline.yml"
    file.write_text(HEAD + before)
    rewritten(file, ["o1", "o2", "tags"])
    expected = after or "streams:\n  - a # one\n  - o1\n  - o2\n  - tags\n\non_error: stop\n"
    assert file.read_text() == HEAD + expected


def test_a_pattern_file_is_read_for_its_source(here: Any, shop: Conduit) -> None:
    shop.write(SHOP.partition("streams:")[0] + "streams:\n  - {table: 'c*', exclude: [cats]}\n")
    ended = here("discover", "--write")
    assert (ended.code, "added customers" in ended.out) == (0, True)
    assert here("run").code == 0


@pytest.mark.parametrize("streams", ["streams: a\n", "streams: {a: b}\n"])
def test_a_file_that_cannot_be_added_to_is_left_alone(tmp_path: Path, streams: str) -> None:
    file = tmp_path / "pipeline.yml"
    file.write_text(HEAD + streams)
    with pytest.raises(ConfigError, match="must be a list"):
        rewritten(file, ["o1"])
    assert file.read_text() == HEAD + streams


def test_toml_is_not_edited(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="YAML only"):
        rewritten(tmp_path / "pipeline.toml", ["o1"])


def test_an_edit_that_would_break_the_file_is_not_written(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yml"
    file.write_text(HEAD + "streams: [a]\n")
    with pytest.raises(ConfigError):
        rewritten(file, ["main.x", "other.x"])  # two streams of one name
    assert file.read_text() == HEAD + "streams: [a]\n"
