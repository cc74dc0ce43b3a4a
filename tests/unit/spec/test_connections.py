from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from conduit_core.errors import ConfigError
from conduit_core.spec import FileConnections, load_spec, resolve_connections

CONNECTIONS = """\
shop_pg: {type: postgres, url: "${PG}", lock_wait: 5s}
wh: {type: duckdb, path: wh.duckdb, schema: raw}
url: postgres://h/db
loop: {connection: wh}
bad: {type: postgres, schma: 1, 5: 6}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "home" / "connections.yml"
    path.parent.mkdir()
    path.write_text(CONNECTIONS, encoding="utf-8")
    return path


def test_a_connection_is_found_by_name(file: Path) -> None:
    spec = FileConnections(file, env={"PG": "postgres://h/x"}).resolve("shop_pg")
    assert (spec.type, spec.reveal()) == ("postgres", {"url": "postgres://h/x"})
    assert FileConnections(file, env={}).resolve("url").type == "postgres"


def test_a_relative_path_is_relative_to_the_connections_file(file: Path) -> None:
    spec = FileConnections(file, env={}).resolve("wh")
    assert spec.reveal() == {"path": str(file.parent.resolve() / "wh.duckdb")}


def test_the_environment_names_the_file(file: Path) -> None:
    assert FileConnections(env={"CONDUIT_CONNECTIONS": str(file)}).resolve("wh").type == "duckdb"
    assert FileConnections(env={}).path == Path("~/.conduit/connections.yml").expanduser()


def test_an_unknown_name_lists_the_known_ones(file: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        FileConnections(file, env={}).resolve("shop_pq")
    assert caught.value.message == (
        "connections.yml: no connection `shop_pq`; did you mean `shop_pg`? "
        "(it has: bad, loop, shop_pg, url, wh)"
    )


def test_wrong_connections_are_told_with_their_line(file: Path, tmp_path: Path) -> None:
    connections = FileConnections(file, env={})
    with pytest.raises(
        ConfigError, match=r"connections\.yml:1: environment variable PG is not set"
    ):
        connections.resolve("shop_pg")
    with pytest.raises(ConfigError, match=r"connections\.yml:4: a connection can't name another"):
        connections.resolve("loop")
    with pytest.raises(ConfigError, match=r"connections\.yml:5: .*plain name"):
        connections.resolve("bad")
    with pytest.raises(ConfigError, match=r"there is no .*nothing\.yml that could hold it"):
        FileConnections(tmp_path / "nothing.yml", env={}).resolve("x")
    (tmp_path / "list.yml").write_text("- a\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="must map names to connections"):
        FileConnections(tmp_path / "list.yml", env={}).resolve("x")


def test_the_pipeline_lays_its_own_keys_over_a_connection(file: Path, tmp_path: Path) -> None:
    pipeline = tmp_path / "pipeline.yml"
    pipeline.write_text(
        "name: x\nsource: {connection: shop_pg, application_name: me}\n"
        "destination: {connection: wh, schema: other}\nstreams: [a]\n",
        encoding="utf-8",
    )
    resolver = FileConnections(file, env={"PG": "postgres://h/x"})
    spec = resolve_connections(load_spec(pipeline, env={}), resolver).spec
    assert spec.source.reveal() == {"url": "postgres://h/x", "application_name": "me"}
    assert spec.source.lock_wait == timedelta(seconds=5)
    assert (spec.destination.type, spec.destination.schema_name) == ("duckdb", "other")
    assert spec.destination.connection == "wh"


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (
            "{connection: nothing}",
            "pipeline.yml:2: source: connections.yml: no connection `nothing`",
        ),
        ("{connection: wh, type: csv}", "`type: csv` isn't the connection's own, duckdb"),
    ],
)
def test_a_wrong_reference_is_told_with_the_pipelines_line(
    file: Path, tmp_path: Path, end: str, told: str
) -> None:
    pipeline = tmp_path / "pipeline.yml"
    pipeline.write_text(f"name: x\nsource: {end}\ndestination: w.duckdb\nstreams: [a]\n", "utf-8")
    with pytest.raises(ConfigError) as caught:
        resolve_connections(load_spec(pipeline, env={}), FileConnections(file, env={}))
    assert told in caught.value.message


def test_nothing_named_changes_nothing(tmp_path: Path) -> None:
    pipeline = tmp_path / "pipeline.yml"
    pipeline.write_text("name: x\nsource: a.duckdb\ndestination: w.duckdb\nstreams: [a]\n", "utf-8")
    loaded = load_spec(pipeline, env={})
    assert resolve_connections(loaded, FileConnections(tmp_path / "no.yml", env={})) is loaded
