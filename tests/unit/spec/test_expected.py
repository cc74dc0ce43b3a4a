"""Schema files: what is written is read back, and a mistake is named with its line."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_core.errors import ConfigError
from conduit_core.spec.expected import read_schemas, write_schemas
from conduit_core.types.schema import tagged
from tests.unit.types.fields import some_types
from tests.unit.types.test_fields import some_fields

NAMES = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=8)
AWKWARD = st.sampled_from(["no", "null", "1", "0o17", "1e3", "a: b", "#", "'", '"', "é", "🦆", "~",
                           "\x85", "\u2028", "- a", "true", "2024-01-01", "<<", "="])  # fmt: skip
some_names = NAMES | AWKWARD


@st.composite
def some_schemas(draw: st.DrawFn) -> pa.Schema:
    names = draw(st.lists(some_names, min_size=1, max_size=4, unique=True))
    field = some_fields() | some_types.map(lambda kind: pa.field("x", kind))
    return pa.schema([draw(field).with_name(name) for name in names])


@settings(deadline=None, max_examples=100)
@given(st.dictionaries(some_names, some_schemas(), min_size=1, max_size=2))
def test_what_is_written_is_read_back(schemas: dict[str, pa.Schema]) -> None:
    text = write_schemas(schemas)
    back = read_schemas(text, "schema.yml")
    assert list(back) == list(schemas)
    for name, schema in schemas.items():
        assert back[name].equals(schema, check_metadata=True)
    assert list(yaml.safe_load(text)["streams"]) == list(schemas)


@settings(deadline=None)
@given(st.dictionaries(some_names, some_schemas(), min_size=1, max_size=2))
def test_remarks_stand_beside_their_columns(schemas: dict[str, pa.Schema]) -> None:
    notes = {n: {c: f"about\n{n!a} {c!a}" for c in s.names} for n, s in schemas.items()}
    text = write_schemas(schemas, notes, head=["one", "two\nthree"])
    assert text.startswith("# one\n# two three\nstreams:\n")
    back = read_schemas(text, "schema.yml")
    lines = iter(line for line in text.split("\n") if line.lstrip(" :").startswith("- {"))
    for name, schema in schemas.items():
        assert back[name].equals(schema, check_metadata=True)
        for column in schema.names:
            assert next(lines).endswith("  # " + " ".join(f"about {name!a} {column!a}".split()))


def test_it_looks_like_this() -> None:
    schema = pa.schema(
        [
            pa.field("id", pa.int64(), nullable=False),
            tagged(pa.field("email", pa.string()), max_length=50),
            tagged(pa.field("no", pa.string()), logical="json", native="postgres:jsonb"),
            pa.field("at", pa.timestamp("us", "UTC")),
        ]
    )
    assert write_schemas({"orders": schema}) == (
        "streams:\n"
        "  orders:\n"
        "  - {name: id, type: int64, nullable: false}\n"
        "  - {name: email, type: string, max_length: 50}\n"
        '  - {name: "no", type: string, logical: json, native: "postgres:jsonb"}\n'
        '  - {name: at, type: "timestamp[us, tz=UTC]"}\n'
    )


def column(**keys: Any) -> str:
    return yaml.safe_dump({"streams": {"a": [{"name": "ok", "type": "int8"}, keys]}})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "needs `streams:`"),
        ("streams: [a]", "needs `streams:`"),
        ("a: b: c", "not valid YAML"),
        ("streams: {}\nversion: 1", ":2: `version` is not known"),
        ("streams:\n  a: int64", ":2: needs a list of columns"),
        ("streams:\n  a:\n  - int64", ":3: a column is"),
        ("streams:\n  a:\n  - {name: x}", ":3: a column needs a `type`"),
        ("streams:\n  a:\n  - {name: '', type: int8}", "a column needs a `name`"),
        ("streams:\n  a:\n  - {name: 7, type: int8}", "`name` must be text, in quotes"),
        ("streams:\n  a:\n  - name: x\n    type: integer", ":4: column 'x': `type` is not"),
        (column(name="ok", type="int8"), "column 'ok' is there twice"),
        (column(name="x", type="int8", nulable=True), "did you mean `nullable`?"),
        (column(name="x", type="int8", nullable="yes"), "`nullable` must be true or false"),
        (column(name="x", type="string", max_length="9"), "`max_length` must be a number"),
        (column(name="x", type="string", max_length=True), "`max_length` must be a number"),
        (column(name="x", type="string", max_length=0), "`max_length` is at least 1"),
        (column(name="x", type="string", logical="xml"), "`logical` is one of"),
        (column(name="x", type="map<int8, int8>"), "`type` is not an Arrow type"),
        (column(name="x", type="int8", arrow="nonsense"), "`type` is not an Arrow type"),
    ],
)
def test_a_mistake_is_named(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read_schemas(text, "schema.yml")
    assert says in raised.value.message
    assert raised.value.message.startswith("schema.yml:")
