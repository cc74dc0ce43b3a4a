"""sources.yml: what streams load is added, and what a person wrote stays as it is."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_core.errors import ConfigError
from conduit_dbt.freshness import loaded_at, period
from conduit_dbt.sourcefiles import find_source_files, write_sources
from conduit_dbt.tables import Rule, SourceColumn, SourceTable, Written

PACKAGES = frozenset({"dbt_utils"})
TABLE = SourceTable(
    stream="orders",
    schema="raw",
    name="orders",
    system="duckdb",
    columns=(
        SourceColumn(name="id", data_type="BIGINT", nullable=False),
        SourceColumn(name="amount", data_type="DECIMAL(12,2)", description="what was paid"),
    ),
    rules=({"rule": "not_null", "column": "id"}, {"rule": "range", "column": "amount", "min": 0}),
)


def write(
    text: str, *tables: SourceTable, dbt_version: tuple[int, ...] = (1, 11), again: bool = True
) -> Written:
    found = write_sources(text, tables or (TABLE,), dbt_version=dbt_version, packages=PACKAGES)
    if again:
        twice = write_sources(
            found.text, tables or (TABLE,), dbt_version=dbt_version, packages=PACKAGES
        )
        assert (twice.text, twice.changes) == (found.text, ())
    return found


def the_table(text: str, name: str = "orders") -> dict[str, Any]:
    tables = [t for source in yaml.safe_load(text)["sources"] for t in source["tables"]]
    (found,) = [t for t in tables if name in {t["name"], t.get("identifier")}]
    return found


def test_a_new_file_says_what_writes_it() -> None:
    found = write("")
    assert found.text == (
        """\
# `conduit dbt sources` writes here what the pipeline loads. What you add stays: descriptions,
# tests, columns, order and comments.

version: 2
sources:
  - name: raw
    tables:
      - name: orders
        config:
          meta:
            dagster:
              asset_key: [raw, orders]
        columns:
          - name: id
            data_type: BIGINT
            data_tests:
              - not_null
          - name: amount
            description: what was paid
            data_type: DECIMAL(12,2)
            data_tests:
              - dbt_utils.accepted_range:
                  arguments:
                    min_value: 0
"""
    )
    assert found.changes == ("raw.orders: added",)


def test_before_dbt_1_10_nothing_lies_under_config_or_arguments() -> None:
    found = write("", replace(TABLE, freshness=timedelta(hours=36)), dbt_version=(1, 9))
    table = the_table(found.text)
    assert table["meta"] == {"dagster": {"asset_key": ["raw", "orders"]}}
    assert table["loaded_at_field"] == "_conduit_loaded_at"
    assert table["freshness"] == {"error_after": {"count": 36, "period": "hour"}}
    assert table["columns"][1]["data_tests"] == [{"dbt_utils.accepted_range": {"min_value": 0}}]


def test_dbt_1_10_learned_about_arguments_in_a_patch() -> None:
    flat, nested = (write("", dbt_version=(1, 10, patch)) for patch in (7, 8))
    assert "config:\n          meta" in flat.text
    assert "arguments" not in flat.text
    assert "arguments" in nested.text


PERSONS = """\
# the shop's tables
version: 2

sources:
    - name: shop
      schema: 'raw'   # by its schema
      tables:
          # all orders
          - name: sales
            identifier: orders
            description: >
              Long text that
              nobody may wrap or join.

            columns:
            - name: id   # the key
              data_type: "int"
              tests:
                - not_null:
                    severity: warn

            # what was paid
            - name: amount
              tests: [{dbt_utils.accepted_range: {min_value: 0}}]
            - {name: gone, description: "no  more"}

          - name: theirs
            columns: [id, ]
models: []
"""


def test_what_a_person_wrote_stays_and_what_is_missing_is_added() -> None:
    found = write(PERSONS)
    new_column = (
        "              description: what was paid\n              data_type: DECIMAL(12,2)\n"
    )
    new_table = (
        "            config:\n"
        "              meta:\n"
        "                dagster:\n"
        "                  asset_key: [raw, orders]\n"
    )
    flow = "accepted_range: {min_value: 0}}]\n"
    wanted = PERSONS.replace('"int"', '"BIGINT"').replace(flow, flow + new_column)
    assert found.text == wanted.replace('more"}\n', 'more"}\n' + new_table)
    assert found.changes == (
        "raw.orders: settings",
        "raw.orders.id: data_type int is now BIGINT",
        "raw.orders.amount: description",
        "raw.orders.amount: data_type DECIMAL(12,2)",
    )
    assert found.notes == (
        "raw.orders.gone: the table hasn't got it; it is left as it is",
        "raw.theirs: this pipeline doesn't load it; it is left as it is",
    )


def test_a_list_with_a_comma_at_its_end_takes_two_items() -> None:
    found = write(
        "sources: [{name: raw, tables: [{name: other}, ]}]", TABLE, replace(TABLE, name="b")
    )
    (source,) = yaml.safe_load(found.text)["sources"]
    assert [table["name"] for table in source["tables"]] == ["other", "orders", "b"]


def test_a_name_that_dbt_would_render_is_left_out_and_noted() -> None:
    odd = replace(TABLE, name="{{ x }}")
    assert write("", odd).changes == ()
    found = write("", odd, TABLE)
    assert [t["name"] for t in yaml.safe_load(found.text)["sources"][0]["tables"]] == ["orders"]
    assert "raw.{{ x }}: not added: dbt would render a name as a template" in found.notes


def test_a_name_with_spaces_is_an_identifier() -> None:
    found = write("", replace(TABLE, schema="my raw", name="Order lines"))
    (source,) = yaml.safe_load(found.text)["sources"]
    assert (source["name"], source["schema"]) == ("my_raw", "my raw")
    (named,) = source["tables"]
    assert (named["name"], named["identifier"]) == ("Order_lines", "Order lines")


def test_line_ends_and_a_byte_order_mark_stay() -> None:
    crlf = "\ufeff" + PERSONS.replace("\n", "\r\n")
    found = write(crlf, again=False)
    assert found.text == "\ufeff" + write(PERSONS).text.replace("\n", "\r\n")


def test_a_file_without_a_line_end_gets_lines_of_its_own() -> None:
    found = write("sources:\n- name: raw\n  tables:\n  - name: orders")
    assert the_table(found.text)["columns"][0]["name"] == "id"
    assert "\n  - name: orders\n    config:\n" in found.text


@pytest.mark.parametrize(
    "text",
    [
        "version: 2\n",
        "sources: []  # none yet\n",
        "sources:\nversion: 2\n",
        "{sources: [{name: raw}]}\n",
        "sources: [{name: raw, tables: [{name: orders, columns: }]}]\n",
        "sources:\n  - name: raw\n    tables: ~  # soon\n    # end\n",
        "sources:\n  - name: raw\n    tables:\n      - name: orders\n        columns:  # none\n",
        "sources:\n- name: raw\n  tables:\n  - name: orders\n    description: |+\n      kept\n\n\n",
    ],
)
def test_empty_places_are_filled(text: str) -> None:
    found = write(text)
    assert [column["name"] for column in the_table(found.text)["columns"]] == ["id", "amount"]
    kept = the_table(found.text).get("description")
    assert kept in {None, "kept\n\n\n"}
    for comment in ("# none yet", "# soon", "# end", "# none"):
        assert (comment in text) == (comment in found.text)


FORMS = [
    "[not_null]",
    "[{not_null: }]",
    "[{not_null: {config: {severity: warn}}}]",
    "[{not_null: {name: id_is_there, severity: warn}}]",
    "[{test_name: not_null, name: id_is_there}]",
]


@pytest.mark.parametrize("key", ["tests", "data_tests"])
@pytest.mark.parametrize("form", FORMS)
def test_a_test_in_any_form_is_not_doubled(key: str, form: str) -> None:
    text = (
        "sources:\n  - name: raw\n    tables:\n      - name: orders\n        columns:\n"
        f"          - name: id\n            {key}: {form}\n"
    )
    column = the_table(write(text).text)["columns"][0]
    assert column[key] == yaml.safe_load(form)
    assert set(column) == {"name", "data_type", key}


@pytest.mark.parametrize(
    "told",
    [
        "{arguments: {min_value: 0}}",
        "{min_value: 0.0, name: not_negative}",
        "{arguments: {min_value: '0'}, config: {severity: warn}}",
    ],
)
def test_arguments_in_any_form_are_compared(told: str) -> None:
    text = (
        "sources:\n  - name: raw\n    tables:\n      - name: orders\n        data_tests:\n"
        f"          - dbt_utils.accepted_range: {{column_name: amount, {told[1:]}\n"
    )
    assert "data_tests" not in the_table(write(text).text)["columns"][1]


def test_other_bounds_are_left_and_noted() -> None:
    text = write("").text.replace("min_value: 0", "min_value: 5")
    found = write(text)
    assert found.text == text
    assert "dbt_utils.accepted_range(amount) is there with other values" in found.notes[0]


def test_names_that_need_quotes_have_them() -> None:
    columns = tuple(SourceColumn(name=n, data_type="TEXT") for n in ("Id", "order", "no", "a b"))
    found = write("", replace(TABLE, columns=columns, rules=()))
    said = the_table(found.text)["columns"]
    assert [c["name"] for c in said] == ["Id", "order", "no", "a b"]
    assert [c.get("quote") for c in said] == [True, True, None, True]


def test_a_test_of_a_column_nobody_described_still_has_a_place() -> None:
    found = write("", replace(TABLE, columns=()))
    assert the_table(found.text)["columns"][0] == {"name": "id", "data_tests": ["not_null"]}


@pytest.mark.parametrize("persons", [("&cols [{name: id}]", "*cols"), ("*cols", "*cols")])
def test_what_stands_in_two_places_is_left_alone(persons: tuple[str, str]) -> None:
    text = "x: &cols [{name: id}]\n" if "&" not in persons[0] else ""
    text += (
        "sources:\n  - name: raw\n    tables:\n"
        f"      - name: other\n        columns: {persons[0]}\n"
        f"      - name: orders\n        columns: {persons[1]}\n"
    )
    new = replace(TABLE, name="new")
    found = write(text, TABLE, replace(TABLE, name="other"), new)
    assert found.text.startswith(text)
    assert found.changes == ("raw.new: added",)
    assert "aliases" in found.notes[0]


def test_tables_that_come_by_a_merge_key_are_left_alone() -> None:
    text = "x: &x {tables: [{name: a}]}\nsources:\n  - name: raw\n    <<: *x\n"
    found = write(text)
    assert found.text == text
    assert "not added" in found.notes[0]


FRESH = replace(TABLE, freshness=timedelta(hours=24))


@pytest.mark.parametrize(
    "persons",
    [
        "config: {freshness: {warn_after: {count: 1, period: hour}}}",
        "freshness: null",
        "config: {freshness: }",
    ],
)
@pytest.mark.parametrize("at", ["source", "table"])
def test_freshness_is_written_only_where_nobody_said_any(persons: str, at: str) -> None:
    source, table = (persons, "") if at == "source" else ("", persons)
    text = f"sources:\n  - name: raw\n    {source}\n    tables:\n      - name: orders\n"
    text += f"        {table}\n" if table else ""
    found = write(text, FRESH)
    assert "error_after" not in found.text
    assert "error_after" in write(text.replace(persons, ""), FRESH).text


def test_a_persons_loaded_at_field_is_used() -> None:
    text = "sources:\n  - name: raw\n    loaded_at_field: at\n    tables:\n      - name: orders\n"
    config = the_table(write(text, FRESH).text)["config"]
    assert config["freshness"] == {"error_after": {"count": 1, "period": "day"}}
    assert "loaded_at_field" not in config


def test_dagsters_key_is_added_to_the_meta_that_is_there() -> None:
    text = "sources:\n  - name: raw\n    tables:\n      - name: orders\n        meta: {owner: me}\n"
    table = the_table(write(text).text)
    assert table["meta"] == {"owner": "me", "dagster": {"asset_key": ["raw", "orders"]}}
    assert "config" not in table
    own = text.replace("owner: me", "dagster: {group: a}")
    assert the_table(write(own).text)["meta"] == {"dagster": {"group": "a"}}


@pytest.mark.parametrize(
    ("lag", "said"),
    [
        (timedelta(days=2), (2, "day")),
        (timedelta(hours=36), (36, "hour")),
        (timedelta(minutes=90), (90, "minute")),
        (timedelta(seconds=61), (2, "minute")),
        (timedelta(milliseconds=1), (1, "minute")),
    ],
)
def test_a_duration_is_counted_in_dbts_units(lag: timedelta, said: tuple[int, str]) -> None:
    assert tuple(period(lag).values()) == said


@pytest.mark.parametrize(
    ("kind", "zone", "said"),
    [
        ("TIMESTAMP", None, "at"),
        ("timestamp without time zone", "Europe/Oslo", "at at time zone 'Europe/Oslo'"),
        ("timestamp with time zone", "Europe/Oslo", "at"),
        ("DATE", "UTC", "cast(at as timestamp)"),
    ],
)
def test_freshness_reads_a_cursor_that_is_a_time(kind: str, zone: str | None, said: str) -> None:
    table = replace(
        FRESH,
        metadata=(),
        cursor=("at", "id"),
        cursor_timezone=zone,
        columns=(SourceColumn(name="at", data_type=kind),),
    )
    assert loaded_at(table, takes_query=True) == {"loaded_at_field": said}


def test_without_any_time_freshness_reads_the_ledger() -> None:
    table = replace(FRESH, metadata=(), cursor=("id",), ledger_schema="meta")
    config = the_table(write("", table).text)["config"]
    assert config["loaded_at_query"] == (
        'select max(published_at) from "meta"."_conduit_ledger"'
        " where target_schema = 'raw' and target_table = 'orders'"
    )
    older = write("", table, dbt_version=(1, 9))
    assert "freshness" not in the_table(older.text)
    assert "dbt 1.10" in older.notes[0]


@pytest.mark.parametrize("text", ["a: [", "- a\n", "sources: raw\n", "sources: {raw: x}\n"])
def test_what_is_no_file_of_sources_is_refused_by_name(text: str) -> None:
    with pytest.raises(ConfigError, match=r"models/x\.yml"):
        write_sources(text, [TABLE], dbt_version=(1, 11), file="models/x.yml")


def test_the_file_that_holds_a_table_or_its_schema_is_found(tmp_path: Path) -> None:
    (tmp_path / "models/deep").mkdir(parents=True)
    one, two = tmp_path / "models/deep/one.yaml", tmp_path / "models/two.yml"
    one.write_text("sources:\n  - {name: shop, schema: raw}\n  - {name: x, schema: '{{ y }}'}\n")
    two.write_text("sources:\n  - {name: raw, tables: [{name: a, identifier: orders}]}\n")
    (tmp_path / "models/models.yml").write_text("models:\n  - name: '{{ not yaml'\n    x: [\n")
    other, x, new = replace(TABLE, name="b"), replace(TABLE, schema="x"), replace(TABLE, schema="n")
    found = find_source_files(tmp_path, ["models", "more"], [TABLE, other, x, new])
    assert found == {two: (TABLE,), one: (other, x), tmp_path / "models/sources.yml": (new,)}
    one.write_text("sources: [\n")
    with pytest.raises(ConfigError, match=r"one\.yaml:2"):
        find_source_files(tmp_path, ["models"], [TABLE])


def test_a_name_that_another_schema_has_is_not_taken() -> None:
    text = "sources:\n  - {name: raw, schema: elsewhere}\n"
    found = write(text)
    assert yaml.safe_load(found.text)["sources"][1]["name"] == "raw_loaded"
    assert "raw_loaded" in found.notes[0]


# --- any file -------------------------------------------------------------------------------------

NAMES = st.sampled_from(["id", "amount", "Status", "no", "a b", "x"])
TESTS = st.sampled_from([
    "not_null",
    {"not_null": {"severity": "warn"}},
    "unique",
    {"accepted_values": {"values": ["a", "b: c", "it''s"]}},
    {"accepted_values": {"arguments": {"values": [1]}, "config": {"where": "x > 0"}}},
    {"dbt_utils.accepted_range": {"min_value": 0}},
    {"relationships": {"to": "ref('a')", "field": "id"}},
])  # fmt: skip
WORDS = st.sampled_from(
    ["", "short", "two\nlines\n", "kept\n\n", "a # no comment", "x" * 120, "{a: b}"]
)


def _mapping(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"name": NAMES}, optional=keys)


COLUMN = _mapping(
    description=WORDS,
    data_type=st.sampled_from(["BIGINT", "text"]),
    tests=st.lists(TESTS, max_size=2),
    meta=st.sampled_from([{}, {"a": [1, {"b": None}]}]),
)
A_TABLE = _mapping(
    identifier=NAMES,
    description=WORDS,
    columns=st.one_of(st.none(), st.lists(COLUMN, max_size=3, unique_by=lambda c: c["name"])),
    tests=st.lists(TESTS, max_size=2),
    config=st.sampled_from([None, {"meta": {"owner": "me"}}, {"freshness": None}]),
)
A_SOURCE = st.fixed_dictionaries(
    {"name": st.sampled_from(["raw", "shop"])},
    optional={
        "schema": st.just("raw"),
        "tables": st.lists(A_TABLE, max_size=3, unique_by=lambda t: t["name"]),
    },
)
RULES: list[Rule] = [
    {"rule": "not_null", "columns": ["id", "Status"]},
    {"rule": "accepted_values", "column": "no", "values": ["yes", "it's", "{x"], "where": "x > 0"},
    {"rule": "range", "column": "amount", "min": 0, "action": "warn"},
    {"rule": "unique", "columns": ["id", "a b"]},
    {"rule": "expression", "sql": "id > 0 or amount is null"},
]
TARGETS = st.builds(
    SourceTable,
    stream=st.just("s"),
    schema=st.sampled_from(["raw", "other"]),
    name=NAMES,
    system=st.just("duckdb"),
    columns=st.lists(
        st.builds(
            SourceColumn,
            name=NAMES,
            data_type=st.sampled_from(["BIGINT", "DECIMAL(12,2)"]),
            description=WORDS,
        ),
        max_size=4,
        unique_by=lambda column: column.name,
    ).map(tuple),
    rules=st.lists(st.sampled_from(RULES), max_size=4).map(tuple),
    freshness=st.sampled_from([None, timedelta(hours=24)]),
    description=WORDS,
)


class _Indented(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: object) -> bool:
        return True


class _Quoted(_Indented):
    """Writes all texts in quotes."""


class _Blocks(_Indented):
    """Writes texts of several lines as blocks."""


_Quoted.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'")
)
_Blocks.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    ),
)


class _Tight(_Indented):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        yaml.SafeDumper.increase_indent(self, flow, indentless)


@st.composite
def files(draw: st.DrawFn) -> str:
    """A file of sources in some style, with comments and blank lines between its lines."""
    sources = draw(st.lists(A_SOURCE, max_size=2, unique_by=lambda source: source["name"]))
    text = yaml.dump(
        {"version": 2, "sources": sources, "models": []},
        Dumper=draw(st.sampled_from([_Tight, _Indented, _Quoted, _Blocks])),
        default_flow_style=draw(st.sampled_from([False, None, True])),
        sort_keys=draw(st.booleans()),
        width=draw(st.sampled_from([40, 10**6])),
        indent=draw(st.sampled_from([2, 4])),
    )
    lines = text.splitlines()
    for at in draw(st.lists(st.integers(0, len(lines)), max_size=3)):
        with_comment = [*lines[:at], draw(st.sampled_from(["", "# note, a"])), *lines[at:]]
        try:
            same = yaml.safe_load("\n".join(with_comment)) == yaml.safe_load(text)
        except yaml.YAMLError:
            continue
        lines = with_comment if same else lines  # not inside a text
    return "\n".join(lines) + draw(st.sampled_from(["\n", ""]))


def _contains(new: Any, old: Any) -> bool:
    """Whether all of the old data is in the new, at its place and in its order."""
    if isinstance(old, dict) and isinstance(new, dict):
        return all(
            key == "data_type" or (key in new and _contains(new[key], value))
            for key, value in old.items()
        )
    if isinstance(old, list) and isinstance(new, list):
        return len(new) >= len(old) and all(map(_contains, new, old))
    return old in (None, {}, [], new)


def _is_within(old: str, new: str) -> bool:
    rest = iter(new)
    return all(character in rest for character in old)


def test_a_type_with_a_comma_is_quoted_between_brackets() -> None:
    text = (
        "{version: 2, sources: [{name: raw, schema: raw, tables: [{name: orders, columns:"
        " [{name: id, data_type: BIGINT}]}]}]}\n"
    )
    column = SourceColumn(name="id", data_type="DECIMAL(12,2)")
    found = write(text, replace(TABLE, columns=(column,), rules=()))
    tables = [t for source in yaml.safe_load(found.text)["sources"] for t in source["tables"]]
    types = [c["data_type"] for t in tables if t["name"] == TABLE.name for c in t["columns"]]
    assert types == ["DECIMAL(12,2)"]


@settings(max_examples=60, deadline=None)
@given(files(), st.lists(TARGETS, min_size=1, max_size=3, unique_by=lambda t: (t.schema, t.name)))
def test_any_file_keeps_what_it_has_and_is_written_once(
    text: str, tables: list[SourceTable]
) -> None:
    found = write(text, *tables)
    old, new = yaml.safe_load(text), yaml.safe_load(found.text)
    assert _contains(new, old)
    assert found.text.count("# note, a") == text.count("# note, a")
    if not any("is now" in change for change in found.changes):
        bare = text.replace("[]", "").replace("{}", "").replace("null", "")
        assert _is_within(bare, found.text)
    for table in tables:
        sources = [s for s in new["sources"] if s.get("schema", s["name"]) == table.schema]
        there = [t for s in sources for t in s.get("tables") or ()]
        mine = next(t for t in there if t.get("identifier", t["name"]) == table.name)
        assert {c.name for c in table.columns} <= {c["name"] for c in mine.get("columns") or ()}
