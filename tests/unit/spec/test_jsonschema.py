from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped,unused-ignore]

from conduit_core.spec import json_schema
from conduit_core.spec.document import parse_yaml
from conduit_core.spec.model import PipelineSpec, StreamSpec
from conduit_core.spec.template import template
from tests.unit.spec.conftest import HEAD
from tests.unit.spec.test_load import YAML

SCHEMA = json_schema()
VALIDATOR = Draft202012Validator(SCHEMA)


def valid(text: str) -> bool:
    return bool(VALIDATOR.is_valid(parse_yaml(text, "p").data))


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"].endswith("2020-12/schema")


@pytest.mark.parametrize(
    "text",
    [
        YAML,
        template(),
        HEAD + "streams: orders\n",
        HEAD + "streams: [{path: a.csv, metadata: [load, file], columns: a}]\n",
        "name: x\nsource: postgres://h/db\ndestination: {connection: w, schema: s}\nstreams: [a]\n",
        HEAD + "streams: [{table: a, mode: append, cursor: id, initial: 5}]\n",
        HEAD + "defaults: {splits: 8}\nstreams: [{table: a, splits: {count: 8, by: hash}}]\n",
        HEAD + "streams: [{table: a, splits: {column: b, values: [eu, 5]}}]\n",
        HEAD + "streams: [{table: a, mode: upsert, unique_key: a, deletes: snapshot}]\n",
        HEAD + "streams: [{table: a, mode: scd2, unique_key: a, deletes: {detect: flag, column: b,"
        " values: [D, 1], apply: hard, max_ratio: 0.2}}]\n",
    ],
)
def test_it_takes_what_the_reader_takes(text: str) -> None:
    assert list(VALIDATOR.iter_errors(parse_yaml(text, "p").data)) == []


@pytest.mark.parametrize(
    "text",
    [
        HEAD,
        HEAD + "streams: []\n",
        HEAD + "streams: [a]\nsorce: x\n",
        HEAD + "streams: [a]\nnotify: {}\n",
        HEAD + "streams: [{tabel: a}]\n",
        HEAD + "streams: [{table: a, splits: 0}]\n",
        HEAD + "streams: [{table: a, splits: {number: 2}}]\n",
        HEAD + "streams: [{table: a, path: b}]\n",
        HEAD + "streams: [{table: a, mode: scd3, unique_key: a}]\n",
        HEAD + "streams: [{table: a, deletes: {}}]\n",
        HEAD + "streams: [{table: a, freshness: 7}]\n",
        HEAD + "streams: [a]\ndefaults: {table: a}\n",
        "name: x\nsource: {path: a}\ndestination: w.duckdb\nstreams: [a]\n",
        "name: x\nsource: {type: csv, schema: a}\ndestination: w.duckdb\nstreams: [a]\n",
        "name: x\nsource: {type: csv, path: a, staging: a}\ndestination: w.duckdb\nstreams: [a]\n",
    ],
)
def test_it_refuses_what_the_reader_refuses(text: str) -> None:
    assert not valid(text)


def test_every_key_is_described() -> None:
    missing: list[str] = []

    def look(node: dict[str, Any], at: str) -> None:
        for key, inner in node.get("properties", {}).items():
            if not inner.get("description"):
                missing.append(f"{at}.{key}")

    look(SCHEMA, "")
    for name, node in SCHEMA["$defs"].items():
        for part in (node, *node.get("anyOf", ())):
            look(part, name)
    assert missing == []


def test_the_keys_are_the_models() -> None:
    assert set(SCHEMA["properties"]) == set(PipelineSpec.model_fields)
    assert set(SCHEMA["$defs"]["StreamSpec"]["properties"]) == set(StreamSpec.model_fields)
