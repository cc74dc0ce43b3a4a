"""Quality rules as dbt's generic tests, and back."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conduit_dbt.rules import checks
from conduit_dbt.rules_to_tests import tests_of as expressed
from conduit_dbt.tables import GenericTest, Rule, SourceColumn, SourceTable
from conduit_dbt.tests_to_rules import rule_of

PACKAGES = frozenset({"dbt_utils", "dbt_expectations"})
COLUMNS = (
    SourceColumn(name="id", data_type="BIGINT", nullable=False),
    SourceColumn(name="amount", data_type="DECIMAL(12,2)"),
    SourceColumn(name="email", data_type="VARCHAR"),
    SourceColumn(name="Status", data_type="VARCHAR"),
    SourceColumn(name="tags", data_type="VARCHAR[]"),
)


def table(*rules: Rule, **told: object) -> SourceTable:
    plain = SourceTable(stream="orders", schema="raw", name="orders", system="duckdb")
    return replace(plain, columns=COLUMNS, rules=rules, **told)  # type: ignore[arg-type]


def only(rule: Rule, packages: frozenset[str] = PACKAGES, **told: object) -> GenericTest:
    found = expressed(table(rule, **told), packages)
    assert found.notes == ()
    (test,) = found.tests
    return test


def note(rule: Rule, packages: frozenset[str] = PACKAGES, **told: object) -> str:
    found = expressed(table(rule, **told), packages)
    assert found.tests == ()
    (text,) = found.notes
    return text


EXPRESSED: list[tuple[Rule, GenericTest]] = [
    ({"rule": "not_null", "column": "id"}, GenericTest(name="not_null", column="id")),
    (
        {"rule": "not_null", "columns": ["email"], "where": "amount > 0", "action": "warn"},
        GenericTest(name="not_null", column="email", where="amount > 0", severity="warn"),
    ),
    ({"rule": "unique", "column": "email"}, GenericTest(name="unique", column="email")),
    (
        {"rule": "accepted_values", "column": "email", "values": ["a", "it's"]},
        GenericTest(name="accepted_values", column="email", arguments={"values": ["a", "it''s"]}),
    ),
    (
        {"rule": "accepted_values", "column": "id", "values": [1, True, Decimal("1.5")]},
        GenericTest(
            name="accepted_values",
            column="id",
            arguments={"values": [1, True, 1.5], "quote": False},
        ),
    ),
    (
        {"rule": "range", "column": "amount", "min": 0, "max": "9.99", "action": "dlq"},
        GenericTest(
            name="dbt_utils.accepted_range",
            column="amount",
            arguments={"min_value": 0, "max_value": 9.99},
        ),
    ),
    (
        {"rule": "range", "column": "amount", "min": "2024-01-01"},
        GenericTest(
            name="dbt_utils.accepted_range",
            column="amount",
            arguments={"min_value": "'2024-01-01'"},
        ),
    ),
    (
        {"rule": "regex", "column": "email", "pattern": r"^[^']+@\w$", "where": "id > 1"},
        GenericTest(
            name="dbt_expectations.expect_column_values_to_match_regex",
            column="email",
            arguments={"regex": r"^[^'']+@\w$"},
            where="(id > 1) and email is not null",
        ),
    ),
    (
        {"rule": "length", "column": "email", "min": 2, "max": 5},
        GenericTest(
            name="dbt_expectations.expect_column_value_lengths_to_be_between",
            column="email",
            arguments={"min_value": 2, "max_value": 5},
        ),
    ),
    (
        {"rule": "row_count", "min": 1},
        GenericTest(
            name="dbt_expectations.expect_table_row_count_to_be_between",
            arguments={"min_value": 1},
        ),
    ),
    (
        {"rule": "expression", "sql": "amount > 0 or email is null"},
        GenericTest(
            name="dbt_utils.expression_is_true",
            arguments={"expression": "amount > 0 or email is null"},
        ),
    ),
    (
        {"rule": "unique", "columns": ["Status", "email"]},
        GenericTest(
            name="dbt_utils.unique_combination_of_columns",
            arguments={"combination_of_columns": ['"Status"', "email"]},
            where='"Status" is not null and email is not null',
        ),
    ),
]


@pytest.mark.parametrize(("rule", "test"), EXPRESSED, ids=lambda each: str(each)[:40])
def test_a_rule_is_a_test_and_back(rule: Rule, test: GenericTest) -> None:
    assert only(rule) == test
    back = rule_of(test)
    assert not isinstance(back, str)
    assert checks(back) == checks(rule)
    assert back.get("action", "fail") == ("warn" if rule.get("action") == "warn" else "fail")


def test_several_columns_are_several_tests() -> None:
    found = expressed(table({"rule": "not_null", "columns": ["id", "email"]}), PACKAGES)
    assert [test.column for test in found.tests] == ["id", "email"]


@pytest.mark.parametrize("mode", ["upsert", "insert_only", "replace_window"])
def test_a_key_is_not_null_and_unique(mode: str) -> None:
    found = expressed(table(mode=mode, unique_key=("id",)), frozenset())
    assert [(test.name, test.column) for test in found.tests] == [
        ("not_null", "id"),
        ("unique", "id"),
    ]


def test_a_rule_that_says_what_the_key_says_is_not_written_twice() -> None:
    rules = ({"rule": "not_null", "column": "id"}, {"rule": "unique", "column": "id"})
    found = expressed(table(*rules, mode="upsert", unique_key=("id",)), PACKAGES)
    assert len(found.tests) == 2
    assert found.notes == ()


def test_a_key_of_versions_is_unique_among_current_ones() -> None:
    found = expressed(table(mode="scd2", unique_key=("id",)), PACKAGES)
    assert found.tests[-1] == GenericTest(name="unique", column="id", where="is_current")


def test_rows_that_are_deleted_at_the_source_are_left_out() -> None:
    deleted = SourceColumn(name="_conduit_deleted_at", data_type="TIMESTAMP")
    rules: list[Rule] = [
        {"rule": "regex", "column": "email", "pattern": "@", "where": "id > 1"},
        {"rule": "expression", "sql": "amount > 0"},
    ]
    keeps = replace(table(*rules, mode="upsert", unique_key=("id",)), columns=(*COLUMNS, deleted))
    found = expressed(keeps, PACKAGES)
    alive = "_conduit_deleted_at is null"
    assert [test.where for test in found.tests] == [
        "",
        "",
        f"((id > 1) and email is not null) and {alive}",
        alive,
    ]
    back = [rule_of(test) for test in found.tests[2:]]
    assert [checks(rule) for rule in back if not isinstance(rule, str)] == [*map(checks, rules)]


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_a_key_that_the_mode_does_not_use_promises_nothing(mode: str) -> None:
    assert expressed(table(mode=mode, unique_key=("id",)), PACKAGES).tests == ()


def test_a_key_of_two_columns_needs_no_guard_against_null() -> None:
    found = expressed(table(mode="upsert", unique_key=("id", "email")), PACKAGES)
    assert found.tests[-1].name == "dbt_utils.unique_combination_of_columns"
    assert not found.tests[-1].where


def test_unique_within_a_load_is_no_promise_of_a_table_that_keeps_rows() -> None:
    rule = {"rule": "unique", "column": "email"}
    assert "within: target" in note(rule, mode="append")
    assert only({**rule, "within": "target"}, mode="append").name == "unique"
    assert only({**rule, "action": "warn"}, mode="replace").severity == "warn"


def test_unique_in_more_than_the_key_holds_for_the_table() -> None:
    rule = {"rule": "unique", "columns": ["id", "email"]}
    found = expressed(table(rule, mode="upsert", unique_key=("id",)), PACKAGES)
    assert found.tests[-1].name == "dbt_utils.unique_combination_of_columns"
    assert found.notes == ()


@pytest.mark.parametrize(
    ("rules", "mode", "why"),
    [
        ([{"rule": "row_count", "min": 1}], "append", "under mode: append"),
        ([{"rule": "row_count", "min": "50%"}], "replace", "a share"),
        (
            [
                {"rule": "row_count", "max": 9},
                {"rule": "not_null", "column": "id", "action": "dlq"},
            ],
            "replace",
            "dead letters",
        ),
    ],
)
def test_a_count_of_a_load_is_no_count_of_the_table(rules: list[Rule], mode: str, why: str) -> None:
    found = expressed(table(*rules, mode=mode), PACKAGES)
    assert why in found.notes[0]
    assert all("row_count" not in test.name for test in found.tests)


@pytest.mark.parametrize("kind", ["freshness", "drift", "custom", "pandera"])
def test_what_only_a_load_judges_is_noted(kind: str) -> None:
    assert "by the load alone" in note({"rule": kind, "column": "amount"})


def test_a_package_that_the_project_lacks_is_named() -> None:
    rule = {"rule": "range", "column": "amount", "min": 0}
    assert "dbt_utils or dbt_expectations" in note(rule, frozenset())
    between = only(rule, frozenset({"dbt_expectations"}))
    assert between.name == "dbt_expectations.expect_column_values_to_be_between"


def test_what_dbt_would_render_is_noted() -> None:
    assert "template" in note({"rule": "regex", "column": "email", "pattern": "a{{1}}"})


def test_what_postgres_reads_otherwise_is_noted() -> None:
    rule = {"rule": "regex", "column": "email", "pattern": r"\bx"}
    assert r"'\\b'" in note(rule, system="postgres")
    assert only(rule).arguments == {"regex": r"\bx"}
    bare = {"rule": "expression", "sql": "Status = 'Status'"}
    assert "in double quotes" in note(bare, system="postgres")
    assert only({**bare, "sql": "\"Status\" <> 'x'"}, system="postgres")


def test_the_length_of_a_list_is_noted() -> None:
    assert "tags" in note({"rule": "length", "column": "tags", "min": 1})


@pytest.mark.parametrize(
    ("test", "rule"),
    [
        (
            GenericTest(
                name="dbt_utils.accepted_range",
                column="n",
                arguments={"min_value": 0, "inclusive": False},
            ),
            {"rule": "expression", "sql": "n > 0"},
        ),
        (
            GenericTest(
                name="dbt_expectations.expect_column_values_to_be_between",
                column="n",
                arguments={"min_value": "1", "max_value": "2.5", "row_condition": "x"},
                where="y",
                severity="warn",
            ),
            {
                "rule": "range",
                "column": "n",
                "min": 1,
                "max": 2.5,
                "where": "(y) and x",
                "action": "warn",
            },
        ),
        (
            GenericTest(
                name="accepted_values",
                column="n",
                arguments={"values": ["1", "true", "'x'"], "quote": False},
            ),
            {"rule": "accepted_values", "column": "n", "values": [1, True, "x"]},
        ),
        (
            GenericTest(
                name="dbt_utils.expression_is_true", column="n", arguments={"expression": "> 1"}
            ),
            {"rule": "expression", "sql": "n > 1"},
        ),
        (
            GenericTest(
                name="dbt_expectations.expect_compound_columns_to_be_unique",
                arguments={"column_list": ["a", "b"], "ignore_row_if": "any_value_is_missing"},
            ),
            {"rule": "unique", "columns": ["a", "b"]},
        ),
        (
            GenericTest(
                name="dbt_expectations.expect_column_value_lengths_to_equal",
                column="n",
                arguments={"value": 2},
            ),
            {"rule": "length", "column": "n", "min": 2, "max": 2},
        ),
    ],
)
def test_what_packages_say_in_other_words_is_a_rule(test: GenericTest, rule: Rule) -> None:
    assert rule_of(test) == rule


@pytest.mark.parametrize(
    ("test", "why"),
    [
        (GenericTest(name="relationships", column="n", arguments={"to": "x"}), "no rule tests"),
        (GenericTest(name="not_null"), "names no column"),
        (GenericTest(name="unique", column="n", where="d > '{{ var(1) }}'"), "template"),
        (
            GenericTest(
                name="dbt_utils.accepted_range", column="n", arguments={"min_value": "now()"}
            ),
            "is SQL",
        ),
        (
            GenericTest(
                name="dbt_expectations.expect_column_values_to_match_regex",
                column="n",
                arguments={"regex": "a", "flags": "i"},
            ),
            "flags",
        ),
        (
            GenericTest(
                name="dbt_expectations.expect_table_row_count_to_be_between",
                arguments={"min_value": 1, "group_by": ["a"]},
            ),
            "group_by",
        ),
    ],
)
def test_what_no_rule_says_says_why(test: GenericTest, why: str) -> None:
    said = rule_of(test)
    assert isinstance(said, str)
    assert why in said


TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)
BOUNDS = st.one_of(
    st.integers(-(10**12), 10**12),
    st.floats(allow_nan=False, allow_infinity=False),
    st.dates().map(str),
)
RULES = st.one_of(
    st.fixed_dictionaries(
        {
            "rule": st.just("accepted_values"),
            "column": TEXTS,
            "values": st.lists(st.one_of(TEXTS, st.integers(), st.booleans()), min_size=1),
        }
    ),
    st.fixed_dictionaries({"rule": st.just("range"), "column": TEXTS, "min": BOUNDS}),
    st.fixed_dictionaries({"rule": st.just("regex"), "column": TEXTS, "pattern": TEXTS}),
    st.fixed_dictionaries(
        {"rule": st.just("unique"), "columns": st.lists(TEXTS, min_size=2, max_size=3, unique=True)}
    ),
)


@given(RULES, st.sampled_from(["", "amount > 0"]))
def test_any_rule_comes_back(rule: dict[str, object], where: str) -> None:
    given_rule = {**rule, "where": where} if where else rule
    found = expressed(table(given_rule), PACKAGES)
    if not found.tests:
        assert "template" in found.notes[0]
        return
    (test,) = found.tests
    back = rule_of(test)
    assert not isinstance(back, str)
    assert checks(back) == checks(given_rule)
