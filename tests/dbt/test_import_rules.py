"""A project's source tests as rules, and the whole way round with a real load and a real dbt."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from conduit_core import Pipeline, raise_for_failures, run
from conduit_core.errors import ConfigError
from conduit_dbt.importing import add_rules, rules_from_manifest
from conduit_dbt.in_process import InProcess
from conduit_dbt.invoke import Invocation
from conduit_dbt.rules import checks
from conduit_dbt.sourcefiles import write_sources
from conduit_dbt.tables import Rule, SourceColumn, SourceTable

TABLE = SourceTable(
    stream="orders",
    schema="raw",
    name="orders",
    system="duckdb",
    mode="upsert",
    unique_key=("id",),
    columns=tuple(SourceColumn(name=n, data_type="BIGINT") for n in ("id", "a", "b")),
)


def node(name: str, column: str | None = "a", space: str | None = None, **told: Any) -> Any:
    """A test as dbt 1.8 to 1.11 write it into the manifest."""
    kwargs = {"model": "{{ get_where_subquery(source('raw', 'orders')) }}", **told.pop("args", {})}
    if column:
        kwargs["column_name"] = column
    config = {"severity": "ERROR", "where": None, "error_if": "!= 0", "warn_if": "!= 0"}
    return {
        "resource_type": "test",
        "name": f"source_{name}",
        "test_metadata": {"name": name, "namespace": space, "kwargs": kwargs},
        "config": {**config, "fail_calc": "count(*)", "limit": None, **told.pop("config", {})},
        "depends_on": {"nodes": told.pop("nodes", ["source.shop.raw.orders"])},
        "attached_node": None,
    }


def imported(*nodes: Any, **told: Any) -> tuple[tuple[Rule, ...], tuple[str, ...]]:
    manifest = {
        "nodes": {f"test.shop.{at}": each for at, each in enumerate(nodes)},
        "sources": {
            "source.shop.raw.orders": {"schema": "raw", "identifier": "orders", "name": "sales"},
            "source.shop.raw.other": {"schema": "raw", "identifier": "other", "name": "other"},
        },
    }
    found = rules_from_manifest(manifest, [replace(TABLE, **told)])
    return found.rules.get("orders", ()), found.notes


def test_tests_become_rules_and_equal_ones_are_joined() -> None:
    rules, notes = imported(
        node("not_null"),
        node("not_null", '"b"'),
        node("not_null", config={"where": "b > 0", "severity": "warn"}),
        node("accepted_range", space="dbt_utils", args={"min_value": 0, "max_value": None}),
        node("expression_is_true", None, "dbt_utils", args={"expression": "a < b"}),
    )
    assert rules == (
        {"rule": "not_null", "columns": ["a", "b"]},
        {"rule": "not_null", "column": "a", "where": "b > 0", "action": "warn"},
        {"rule": "range", "column": "a", "min": 0},
        {"rule": "expression", "sql": "a < b"},
    )
    assert notes == ()


def test_what_the_key_says_needs_no_rule() -> None:
    assert imported(node("not_null", "id"), node("unique", "id")) == ((), ())
    versions = node("unique", "id", config={"where": "is_current"})
    assert imported(versions, mode="scd2") == ((), ())
    assert imported(node("unique", "id"), mode="replace")[0] == (
        {"rule": "unique", "column": "id"},
    )


def test_unique_of_a_table_that_keeps_rows_looks_at_the_target() -> None:
    assert imported(node("unique"))[0] == ({"rule": "unique", "column": "a", "within": "target"},)
    assert imported(node("unique"), mode="replace")[0] == ({"rule": "unique", "column": "a"},)


@pytest.mark.parametrize(
    ("test", "why"),
    [
        (node("unique", config={"where": "b > 0"}), "takes no `where`"),
        (node("not_null", "_conduit_load_id"), "is added after"),
        (node("not_null", "gone"), "no column gone"),
        (node("not_null", config={"error_if": "> 10"}), "no rule has its error_if"),
        (node("not_null", config={"limit": 5}), "no rule has its limit"),
        (node("not_null", config={"where": "a > {{ var('x') }}"}), "template"),
        (node("my_own"), "no rule tests that"),
        (
            node(
                "expect_table_row_count_to_be_between",
                None,
                "dbt_expectations",
                args={"min_value": 1},
            ),
            "a load has others",
        ),
        (
            node(
                "relationships",
                args={"to": "source('raw', 'other')", "field": "id"},
                nodes=["source.shop.raw.other", "source.shop.raw.orders"],
            ),
            "no rule tests that",
        ),
        ({**node("x"), "test_metadata": None}, "a query of its own"),
    ],
)
def test_what_is_no_rule_is_noted(test: Any, why: str) -> None:
    rules, (note,) = imported(test)
    assert rules == ()
    assert note.startswith("raw.orders: source_")
    assert why in note


def test_tests_of_other_sources_and_models_are_not_ours() -> None:
    other = node("not_null", nodes=["source.shop.raw.other"])
    model = node("not_null", nodes=["model.shop.orders"])
    assert imported(other, model) == ((), ())


# --- into the pipeline file -----------------------------------------------------------------------

RULES: list[Rule] = [
    {"rule": "not_null", "columns": ["id", "a"]},
    {"rule": "regex", "column": "a", "pattern": "^${x}'$"},
]
HEAD = "name: shop\nsource: sqlite:///shop.db\ndestination: duckdb:///w.duckdb\n"
ADDED = """\
      - {rule: not_null, columns: [id, a]}
      - {rule: regex, column: a, pattern: '^$${x}''$'}
"""


def quality_of(text: str, position: int = 0) -> Any:
    pipeline = Pipeline.from_mapping(yaml.safe_load(text))
    return pipeline.loaded.spec.streams[position].quality


def test_a_stream_that_is_a_name_becomes_a_mapping() -> None:
    text = HEAD + "streams:\n  - a\n  - public.orders  # all of them\n  - b\n"
    found = add_rules(text, 1, RULES)
    stream = "  - table: public.orders  # all of them\n    quality:\n"
    assert found.text == HEAD + "streams:\n  - a\n" + stream + ADDED + "  - b\n"
    assert found.changes == (
        "public.orders: rule not_null(id, a)",
        "public.orders: rule regex(a)",
    )
    assert quality_of(found.text, 1)[1].pattern == "^${x}'$"
    assert add_rules(found.text, 1, RULES).changes == ()


APPEND = "  - table: a\n    mode: append  # c\n"
COUNTED = "  - table: a\n    quality:\n      - {rule: row_count, min: 1}  # c\n"
ON_ONE_LINE = "{rule: not_null, columns: [id, a]}, {rule: regex, column: a, pattern: '^$${x}''$'}"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (APPEND + "\n  # next\n", APPEND + "    quality:\n" + ADDED + "\n  # next\n"),
        (COUNTED, COUNTED + ADDED),
        (
            "  - table: a\n    quality: []\n    mode: append\n",
            "  - table: a\n    quality:\n" + ADDED + "    mode: append\n",
        ),
        (
            "  - {table: a, quality: [{rule: row_count, min: 1}]}\n",
            f"  - {{table: a, quality: [{{rule: row_count, min: 1}}, {ON_ONE_LINE}]}}\n",
        ),
    ],
)
def test_rules_are_added_where_they_belong(before: str, after: str) -> None:
    found = add_rules(HEAD + "streams:\n" + before + "  - b\n", 0, RULES)
    assert found.text == HEAD + "streams:\n" + after + "  - b\n"
    assert quality_of(found.text)
    assert add_rules(found.text, 0, RULES).text == found.text


def test_what_is_there_is_not_added_again() -> None:
    there = "quality: [{rule: not_null, column: id, action: dlq}, {rule: range, column: a, min: 0}]"
    text = f"streams:\n  - table: a\n    {there}\n"
    rules: list[Rule] = [RULES[0], {"rule": "range", "column": "a", "min": 0.0}]
    found = add_rules(text, 0, rules)
    assert found.changes == ("a: rule not_null(a)",)
    assert found.text == text.replace("min: 0}]", "min: 0}, {rule: not_null, columns: [a]}]")
    other = add_rules(text, 0, [{"rule": "range", "column": "a", "min": 5}])
    assert other.text == text
    assert other.notes == ("a: range(a) is there with other values than the test's; left as it is",)


def test_a_stream_of_files_is_named_by_its_path() -> None:
    found = add_rules("streams: [data/a.csv]\n", 0, RULES[:1], key="path")
    stream = yaml.safe_load(found.text)["streams"][0]
    assert stream == {
        "path": "data/a.csv",
        "quality": [{"rule": "not_null", "columns": ["id", "a"]}],
    }


@pytest.mark.parametrize(
    ("text", "file", "why"),
    [
        ("[[streams]]\n", "shop.toml", "YAML file only"),
        ("streams: [\n", "shop.yml", r"shop\.yml:2: this is no YAML"),
        ("streams: [a]\n", "shop.yml", "no list with 2 streams"),
        ("streams:\n- a\n- table: b\n  quality: {rule: unique, column: x}\n", "x.yml", r"x\.yml:4"),
    ],
)
def test_what_can_not_be_added_to_is_refused(text: str, file: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        add_rules(text, 1, RULES, file=file)


@given(st.text(min_size=1, max_size=10), st.sampled_from(["a", "{table: a}", "table: a"]))
def test_any_text_in_a_rule_reaches_the_pipeline(pattern: str, stream: str) -> None:
    rule = {"rule": "regex", "column": "a", "pattern": pattern}
    found = add_rules(f"{HEAD}streams:\n  - {stream}\n", 0, [rule])
    assert quality_of(found.text)[0].pattern == pattern


# --- the whole way round --------------------------------------------------------------------------

QUALITY: list[dict[str, Any]] = [
    {"rule": "not_null", "columns": ["status", "amount"], "action": "dlq"},
    {"rule": "unique", "column": "email", "within": "target"},
    {"rule": "unique", "columns": ["email", "Day"], "within": "target"},
    {"rule": "accepted_values", "column": "status", "values": ["it's", "no"], "where": "id > 0"},
    {"rule": "accepted_values", "column": "id", "values": [1, 2, 3]},
    {"rule": "range", "column": "amount", "min": 0, "max": 99.5, "action": "warn"},
    {"rule": "range", "column": "Day", "min": "2024-01-01"},
    {"rule": "regex", "column": "email", "pattern": r"^[^@' ]+@\w+$"},
    {"rule": "length", "column": "status", "min": 2, "max": 4},
    {"rule": "expression", "sql": "amount < 50 or status = 'no'"},
    {"rule": "row_count", "min": 1},
]
# What the packages' tests ask, written for this test: the packages can't be had without internet.
UTILS = """
{% test accepted_range(model, column_name, min_value=none, max_value=none, inclusive=true) %}
select 1 from {{ model }} where 1 = 2
{% if min_value is not none %} or {{ column_name }} < {{ min_value }} {% endif %}
{% if max_value is not none %} or {{ column_name }} > {{ max_value }} {% endif %}
{% endtest %}
{% test unique_combination_of_columns(model, combination_of_columns, quote_columns=false) %}
{% set names = combination_of_columns | join(', ') %}
select {{ names }} from {{ model }} group by {{ names }} having count(*) > 1
{% endtest %}
{% test expression_is_true(model, expression, column_name=none) %}
select 1 from {{ model }} where not ({{ column_name or '' }} {{ expression }})
{% endtest %}
"""
EXPECTATIONS = """
{% test expect_column_values_to_match_regex(model, column_name, regex, row_condition=None) %}
select 1 from {{ model }}
where not coalesce(regexp_matches({{ column_name }}, '{{ regex }}'), false)
{% endtest %}
{% test expect_column_value_lengths_to_be_between(
    model, column_name, min_value=None, max_value=None, row_condition=None) %}
select 1 from {{ model }}
where length({{ column_name }}) not between {{ min_value }} and {{ max_value }}
{% endtest %}
"""
CSV = """\
id,status,amount,email,Day,updated_at
1,no,,a@x,2024-02-01,2024-03-01 10:00:00
1,it's,10.5,a@x,2024-02-01,2024-03-02 10:00:00
2,no,99,,,2024-03-02 11:00:00
3,it's,0,,,2024-03-02 12:00:00
"""


def ask(folder: Path, *queries: str) -> list[Any]:
    import duckdb

    with closing(duckdb.connect(str(folder / "warehouse.duckdb"))) as database:
        return [database.execute(query).fetchall() for query in queries][-1]


def loaded(folder: Path) -> SourceTable:
    """Load the rows as a pipeline does, and return the table as it then is."""
    (folder / "orders.csv").write_text(CSV)
    stream = {
        "path": "orders.csv",
        "mode": "upsert",
        "unique_key": "id",
        "cursor": "updated_at",
        "quality": QUALITY,
    }
    spec = {
        "name": "shop",
        "source": {"type": "csv", "path": str(folder)},
        "destination": {
            "type": "duckdb",
            "path": str(folder / "warehouse.duckdb"),
            "schema": "raw",
        },
        "streams": [stream],
    }
    raise_for_failures(run(Pipeline.from_mapping(spec)))
    query = (
        "select column_name, data_type, is_nullable from information_schema.columns"
        " where table_name = 'orders' and table_schema = 'raw' order by ordinal_position"
    )
    columns = ask(folder, query)
    return SourceTable(
        stream="orders",
        schema="raw",
        name="orders",
        system="duckdb",
        mode="upsert",
        unique_key=("id",),
        cursor=("updated_at",),
        freshness=timedelta(days=1),
        rules=tuple(QUALITY),
        columns=tuple(
            SourceColumn(name=name, data_type=kind, nullable=null == "YES")
            for name, kind, null in columns
        ),
    )


def project(folder: Path) -> Path:
    """Make a dbt project with packages of the names that our tests come from."""
    root = folder / "dbt"
    for name, macros in (("dbt_utils", UTILS), ("dbt_expectations", EXPECTATIONS)):
        package = root / "dbt_packages" / name
        (package / "macros").mkdir(parents=True)
        (package / "dbt_project.yml").write_text(f"name: {name}\nversion: '1.0'\n")
        (package / "macros" / "tests.sql").write_text(macros)
    (root / "models").mkdir()
    (root / "dbt_project.yml").write_text(
        "name: shop\nversion: '1.0'\nprofile: shop\nflags: {send_anonymous_usage_stats: false}\n"
    )
    database = {"type": "duckdb", "path": str(folder / "warehouse.duckdb")}
    profile = {"shop": {"target": "dev", "outputs": {"dev": database}}}
    (root / "profiles.yml").write_text(yaml.safe_dump(profile))
    return root


def dbt(root: Path, *commands: str) -> None:
    """Run the real dbt, to which each warning, a deprecation among them, is an error."""
    from dbt import deprecations

    deprecations.reset_deprecations()  # dbt counts on from the tests before
    runner = InProcess()
    for command in commands:
        ended = runner.invoke(
            Invocation(
                command=tuple(command.split()),
                arguments=("--warn-error", "--target-path", str(root / "target")),
                common=("--project-dir", str(root), "--profiles-dir", str(root)),
                cwd=root,
                environment={"DO_NOT_TRACK": "1"},
            )
        )
        assert ended.code == 0, ended.error


@pytest.mark.slow
def test_rules_reach_a_real_dbt_and_come_back(tmp_path: Path) -> None:
    table = loaded(tmp_path)
    root = project(tmp_path)
    packages = frozenset({"dbt_utils", "dbt_expectations"})
    by_query = replace(table, name="by_query", rules=(), metadata=(), cursor=(), unique_key=())
    copied = "* replace ('by_query' as target_table, 'copy' as load_id)"
    ask(
        tmp_path,
        "create table raw.by_query as select * from raw.orders",
        "create table ledger as select * from raw._conduit_ledger",
        f"insert into raw._conduit_ledger by name select {copied} from ledger",
    )
    written = write_sources("", [table, by_query], dbt_version=(1, 11), packages=packages)
    (note,) = written.notes
    assert "rule row_count has no dbt test" in note
    (root / "models" / "sources.yml").write_text(written.text)

    dbt(root, "test", "source freshness")
    ran = json.loads((root / "target" / "run_results.json").read_text())["results"]
    assert [result["status"] for result in ran] == ["pass"] * 13
    fresh = json.loads((root / "target" / "sources.json").read_text())
    assert [result["status"] for result in fresh["results"]] == ["pass", "pass"]

    manifest = json.loads((root / "target" / "manifest.json").read_text())
    found = rules_from_manifest(manifest, [table, by_query])
    assert found.notes == ()
    wanted = {check for rule in QUALITY if rule["rule"] != "row_count" for check in checks(rule)}
    assert {check for rule in found.rules["orders"] for check in checks(rule)} == wanted
    warned = [rule["rule"] for rule in found.rules["orders"] if rule.get("action") == "warn"]
    assert warned == ["range"]

    # Into a pipeline file without rules: they hold for the same rows.
    text = "streams:\n  - path: orders.csv\n    mode: upsert\n    unique_key: id\n"
    added = add_rules(text, 0, found.rules["orders"])
    stream = yaml.safe_load(added.text)["streams"][0]
    assert {check for rule in stream["quality"] for check in checks(rule)} == wanted
    assert add_rules(added.text, 0, found.rules["orders"]).changes == ()
