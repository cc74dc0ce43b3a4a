"""A pipeline with other connections than its file's: what the names stand in place of."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import pytest

from conduit_core import ConnectionSpec, Pipeline
from conduit_core.errors import ConfigError
from conduit_core.spec import FileConnections

HEAD = {"name": "p", "streams": ["a"]}
UNTYPED = "landing"


class Known:
    """A resolver, as a runner brings it; it is pickled with the pipeline."""

    specs: Mapping[str, Mapping[str, object]] = {
        "shop": {"type": "postgres", "host": "db", "database": "shop"},
        "other": {"type": "postgres", "host": "other"},
        "wh": {"type": "duckdb", "path": "/wh.duckdb", "schema": "theirs", "lock_wait": "1s"},
        UNTYPED: {"type": "csv", "path": "/data"},
    }

    def resolve(self, name: str) -> ConnectionSpec:
        if name not in self.specs:
            raise ConfigError(f"no connection `{name}`")
        spec = ConnectionSpec.model_validate(self.specs[name])
        return spec.model_copy(update={"type": ""}) if name == UNTYPED else spec


def ends(pipeline: Pipeline) -> tuple[dict[str, object], dict[str, object]]:
    again = pickle.loads(pickle.dumps(pipeline))  # noqa: S301 - our own bytes
    found = [(s.source, s.destination) for s in (pipeline.connected(), again.connected())]
    assert found[0] == found[1]
    source, destination = found[0]
    return {"type": source.type, **source.reveal()}, {
        "type": destination.type,
        "schema": destination.schema_name,
        "wait": destination.lock_wait.total_seconds(),
        **destination.reveal(),
    }


def made(source: object, destination: object) -> Pipeline:
    return Pipeline.from_mapping(
        {**HEAD, "source": source, "destination": destination}, connections=Known()
    )


def test_a_name_takes_the_place_of_a_name() -> None:
    file = made({"connection": "shop", "sslmode": "require"}, {"connection": "wh", "schema": "raw"})
    source, destination = ends(file.with_connections(source="other"))
    assert source == {"type": "postgres", "host": "other", "sslmode": "require"}
    assert destination == {"type": "duckdb", "path": "/wh.duckdb", "schema": "raw", "wait": 1}
    assert ends(file)[0]["host"] == "db"  # the first is as it was


def test_a_name_takes_the_place_of_all_that_says_where_it_is() -> None:
    file = made("sqlite:///a.db", {"url": "postgres://h/d", "schema": "raw", "lock_wait": "5s"})
    source, destination = ends(file.with_connections("shop", "wh"))
    assert source == {"type": "postgres", "host": "db", "database": "shop"}
    assert destination == {"type": "duckdb", "path": "/wh.duckdb", "schema": "raw", "wait": 5}
    plain = made("sqlite:///a.db", {"url": "postgres://h/d"}).with_connections(destination="wh")
    assert ends(plain)[1]["schema"] == "theirs"
    assert ends(plain)[0] == {"type": "sqlite", "path": "a.db"}


def test_a_name_that_only_says_where_files_are_leaves_how_they_are_read() -> None:
    file = made({"type": "csv", "path": "data", "delimiter": ";"}, "w.duckdb")
    wanted = {"type": "csv", "path": "/data", "delimiter": ";"}
    assert ends(file.with_connections(UNTYPED))[0] == wanted
    named = made({"type": "csv", "connection": UNTYPED, "delimiter": ";"}, "w.duckdb")
    assert ends(named)[0] == wanted


def test_each_call_adds_to_the_one_before() -> None:
    file = made("sqlite:///a.db", "w.duckdb").with_connections("shop").with_connections(None, "wh")
    source, destination = ends(file.with_connections(source="other"))
    assert (source["host"], destination["path"]) == ("other", "/wh.duckdb")
    with pytest.raises(ConfigError, match="there is no"):
        file.with_connections(connections=FileConnections("/nowhere.yml")).connected()


def test_a_runner_may_give_what_a_file_leaves_out(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yml"
    file.write_text("name: p\nstreams: [a]\ndestination: w.duckdb\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="`source` is missing"):
        Pipeline.from_file(file)
    pipeline = Pipeline.from_file(file, connections=Known(), source="shop", destination="wh")
    source, destination = ends(pipeline)
    assert (source["host"], destination["path"]) == ("db", "/wh.duckdb")
    plain = Pipeline.from_mapping(HEAD, connections=Known(), source="shop", destination="wh")
    assert ends(plain) == ends(pipeline)


def test_what_is_wrong_is_told_with_the_files_line(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yml"
    file.write_text("name: p\nstreams: [a]\nsource: sqlite:///a\ndestination:\n  connection: wh\n")
    pipeline = Pipeline.from_file(file, connections=Known())
    for changed, told in (
        (pipeline.with_connections("nope"), r"pipeline\.yml:3: source: no connection `nope`"),
        (
            pipeline.with_connections(None, UNTYPED),
            r"pipeline\.yml:5: destination: connection `landing` says where files are, not",
        ),
    ):
        with pytest.raises(ConfigError, match=told), changed.open():
            pass
