from __future__ import annotations

from pathlib import Path

import pytest

from conduit_core import Pipeline, outline
from conduit_core.connectors import registry
from conduit_core.connectors.base import Context
from conduit_core.errors import ConfigError
from conduit_core.spec.outline import DEFAULT_SCHEMAS

STREAMS = ["orders", {"table": "a.items", "into": "raw.items", "splits": 4}]


def made(destination: object, streams: object = STREAMS, **more: object) -> dict[str, object]:
    return {
        "name": "shop",
        "source": "sqlite:///shop.db",
        "destination": destination,
        "streams": streams,
        **more,
    }


@pytest.mark.parametrize(
    ("destination", "uri"),
    [
        ("postgres://u:p@db:5433/wh", "postgres://db:5433/wh/public/orders"),
        ("postgresql://db/wh?sslmode=require", "postgres://db:5432/wh/public/orders"),
        (
            {"type": "postgres", "host": "db", "database": "wh"},
            "postgres://db:5432/wh/public/orders",
        ),
        ({"url": "postgres://db/wh", "schema": "raw"}, "postgres://db:5432/wh/raw/orders"),
        ("duckdb:///wh.duckdb", "duckdb://wh.duckdb/wh/main/orders"),
        ("duckdb:////data/wh.duckdb", "duckdb:///data/wh.duckdb/wh/main/orders"),
        ("sqlite:///wh.db", ""),
        ("postgres://u:${PASSWORD}@db/wh", "postgres://db:5432/wh/public/orders"),
        ("postgres://u:p@${HOST}/wh", ""),
        ("${URL}", ""),
        ({"connection": "warehouse"}, ""),
    ],
)
def test_the_uri_is_what_the_file_itself_says(destination: object, uri: str) -> None:
    found = outline(made(destination))
    assert found.uri(found.stream("orders")) == uri


def test_no_secret_is_in_it() -> None:
    assert "p4ss" not in repr(outline(made("postgres://u:p4ss@db:5433/wh")))


@pytest.mark.parametrize(
    "mapping",
    [
        made("postgres://u:p@db:5433/wh"),
        made({"type": "duckdb", "path": "wh.duckdb", "schema": "raw"}),
        made("sqlite:///wh.db", [{"path": "in/flights-*.csv"}, {"query": "SELECT 1", "name": "q"}]),
        made("duckdb:///wh.duckdb", ["a", {"table": "b", "splits": 1}], defaults={"splits": 3}),
        made("duckdb:///wh.duckdb", [{"table": "b", "splits": {"column": "x", "values": [1, 2]}}]),
        made({"connection": "warehouse", "schema": "raw"}, on_error="stop"),
        made("duckdb:///wh.duckdb", on_error="continue"),
        made(
            "wh.duckdb",
            [
                {
                    "table": "a.b",
                    "freshness": "2h",
                    "quality": [
                        {"rule": "not_null", "columns": ["id", "at"], "description": "Told."},
                        {"rule": "not_null", "columns": ["id", "at"], "action": "warn"},
                        {"rule": "range", "column": "x", "min": 0, "action": "dlq"},
                        {"rule": "row_count", "min": 1, "name": "enough"},
                        {"rule": "expression", "sql": "x > 1"},
                    ],
                },
                {"table": "c", "quality": {"rule": "unique", "column": "id"}},
            ],
            defaults={"freshness": "1d", "splits": None},
        ),
        made("wh.duckdb", "orders"),
        made(
            "wh.duckdb",
            ["${T:-t2}", {"name": "${N:-n}", "table": "t", "into": "raw.${T:-t2}"}],
            on_error="${ON_ERROR:-stop}",
        ),
        {**made("wh.duckdb"), "source": {"connection": "shop_pg"}},
        {**made("wh.duckdb"), "source": {"url": "postgresql://u:p@db/shop"}},
        {**made("wh.duckdb", [{"path": "a/*.csv"}]), "source": {"type": "csv", "path": "in"}},
    ],
)
def test_it_is_what_the_whole_pipeline_says(mapping: dict[str, object]) -> None:
    """Read without models as with them."""
    assert outline(mapping) == Pipeline.from_mapping(mapping).outline()


def test_rules_have_the_names_of_reports() -> None:
    rule = {"rule": "range", "column": "x", "min": 0}
    found = outline(made("x.duckdb", [{"table": "a", "quality": [rule, rule, "nonsense"]}]))
    assert [r.name for r in found.streams[0].rules] == ["range(x)", "range(x)#2"]
    twice = {**rule, "name": "same"}
    with pytest.raises(ConfigError, match="two rules have the name 'same'"):
        outline(made("x.duckdb", [{"table": "a", "quality": [twice, twice]}]))


def test_what_a_variable_says_isnt_known() -> None:
    mapping = made("${WH}", [{"table": "a", "freshness": "${HOURS}", "splits": "${N}"}])
    found = outline({**mapping, "source": "${SHOP}"})
    assert (found.source, found.system, found.streams[0].freshness) == ("", "", None)


def test_a_variable_that_is_set_is_filled_in_but_for_places(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SOME", "orders")
    found = outline(made("postgres://${SOME}/wh", ["${SOME}", {"name": "n", "path": "${SOME}/*"}]))
    assert [s.name for s in found.streams] == ["orders", "n"]
    assert found.streams[1].reads == ("${SOME}/*",)
    assert found.destination == ""
    unset = outline(made("x.duckdb", ["${NOT_SET}"], on_error="${NOT_SET}"))
    assert (unset.streams[0].name, unset.stops) == ("${NOT_SET}", False)


def test_a_place_is_ascii() -> None:
    found = outline(made("duckdb:///geschäft.duckdb", ["Straße"]))
    uri = found.uri(found.streams[0])
    assert uri == "duckdb://gesch%C3%A4ft.duckdb/gesch%C3%A4ft/main/Stra%C3%9Fe"


def test_from_a_file_too(tmp_path: Path) -> None:
    path = tmp_path / "shop.yml"
    path.write_text("name: shop\ndestination: x.duckdb\nstreams: [orders]\nafter: {dbt: }\n")
    found = outline(path)
    assert [s.target for s in found.streams] == ["main.orders"]
    assert found.hooks == ("dbt",)
    assert not found.stops


def test_default_schemas_are_the_connectors_own(tmp_path: Path) -> None:
    options = {
        "postgres": {"host": "nowhere"},
        "duckdb": {"path": "x.duckdb"},
        "sqlite": {"path": "x.db"},
    }
    for kind, schema in DEFAULT_SCHEMAS.items():
        connector = registry.get(kind)
        assert connector.destination is not None
        given = connector.options.model_validate(options[kind])
        made_ = connector.destination(given, Context(tmp_path), None, None, 1.0)
        assert made_.capabilities.default_schema == schema
        made_.close()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- a\n- b\n", "must be a mapping with `streams`"),
        ("name: x\n", "must be a mapping with `streams`"),
        ("streams: [1]\n", "a table's name, or a mapping"),
        ("streams: [{query: SELECT 1}]\n", "needs `name`"),
        ("streams: [", "not valid YAML"),
    ],
)
def test_what_is_no_pipeline_is_named(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "shop.yml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        outline(path)
    assert told in caught.value.message
    assert "shop.yml" in caught.value.message


def test_a_missing_file_and_an_unknown_stream_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        outline(tmp_path / "no.yml")
    with pytest.raises(ConfigError, match="did you mean 'orders'"):
        outline(made("x.duckdb")).stream("order")
