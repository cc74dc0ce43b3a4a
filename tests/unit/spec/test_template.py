from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conduit_core.spec import quote_name
from conduit_core.spec.document import parse_yaml
from conduit_core.spec.interpolate import interpolate
from conduit_core.spec.template import render, template
from tests.unit.spec.conftest import Load


def test_the_template_is_a_whole_pipeline(load: Load) -> None:
    spec = load(template()).spec
    assert [(s.name, s.mode) for s in spec.streams] == [
        ("customers", "replace"),
        ("orders", "append"),
    ]
    assert spec.source.reveal() == {"path": "shop.db"}


def test_what_the_template_comments_out_is_right_too(load: Load) -> None:
    text = re.sub(r"^# (on_error|freshness)", r"\1", template(), flags=re.MULTILINE)
    text = re.sub(r"^    # (\w+:)", r"    \1", text, flags=re.MULTILINE)
    text = text.replace("    # columns", "    columns")
    text = re.sub(
        r"^  # (- name: big_orders)\n  # (  query)", r"  \1\n  \2", text, flags=re.MULTILINE
    )
    spec = load(text).spec
    assert [s.name for s in spec.streams] == ["customers", "orders", "big_orders"]
    assert spec.streams[1].initial == "2024-01-01"
    assert spec.streams[1].into_schema == "sales"
    source = re.search(r"# (source: \{type: csv.*?\})", template())
    files = re.search(r"  # (- path: orders.*)\Z", template(), flags=re.DOTALL)
    assert source
    assert files
    block = files.group(1).replace("\n  # ", "\n")
    text = f"name: x\n{source.group(1)}\ndestination: w.duckdb\nstreams:\n{block}"
    assert load(text).spec.streams[0].cursor == ("_file_modified", "_file_path")


@pytest.mark.parametrize(
    "line", re.findall(r"^# ((?:source|destination): \{[^}]*\}?.*?\})", template(), re.MULTILINE)
)
def test_each_alternative_end_reads(load: Load, line: str) -> None:
    ends = {"source": "source: a.duckdb", "destination": "destination: w.duckdb"}
    ends[line.partition(":")[0]] = line
    env = {"SHOP_URL": "postgres://h/db", "WAREHOUSE_URL": "postgres://h/w"}
    load(f"name: x\n{ends['source']}\n{ends['destination']}\nstreams: [a]\n", env)


def test_a_rendered_file_reads_back(load: Load) -> None:
    text = render(
        "my shop",
        {"type": "postgres", "url": "${SHOP_URL}"},
        {"type": "duckdb", "path": "w.duckdb", "schema": "raw"},
        [
            "public.orders",
            {"table": "no", "mode": "append", "cursor": ["on", "id"], "name": "${x}"},
        ],
    )
    spec = load(text, {"SHOP_URL": "postgres://h/db"}).spec
    assert spec.name == "my shop"
    assert spec.source.reveal() == {"url": "postgres://h/db"}
    assert [s.name for s in spec.streams] == ["orders", "${x}"]
    assert spec.streams[1].cursor == ("on", "id")


@given(st.text(min_size=1), st.text(min_size=1))
def test_any_name_is_rendered_so_that_it_reads_back(table: str, column: str) -> None:
    stream = {"table": quote_name(table), "columns": [column], "flag": True, "n": 1}
    text = render("x", {"type": "a"}, {"type": "b"}, [stream, table])
    data = interpolate(parse_yaml(text, "p").data, {}).data
    assert isinstance(data, dict)
    assert data["streams"] == [stream, table]
