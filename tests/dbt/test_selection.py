"""What dbt is told to select: `changed` becomes the sources of the tables that changed."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from conduit_dbt.options import DbtOptions
from conduit_dbt.results import DbtSource
from conduit_dbt.selection import expand, names_changed, sources_for


def source(table: str, schema: str = "raw", name: str = "") -> DbtSource:
    name = name or table
    return DbtSource(
        unique_id=f"source.jaffle.{schema}.{name}",
        source_name=schema,
        name=name,
        database="shop",
        schema_name=schema,
        identifier=table,
    )


ORDERS, ITEMS = source("orders"), source("items")


@pytest.mark.parametrize(
    ("select", "wanted"),
    [
        (("changed+",), "source:jaffle.raw.orders+ source:jaffle.raw.items+"),
        (("changed",), "source:jaffle.raw.orders source:jaffle.raw.items"),
        (("changed+1",), "source:jaffle.raw.orders+1 source:jaffle.raw.items+1"),
        (("@changed",), "@source:jaffle.raw.orders @source:jaffle.raw.items"),
        (("2+changed",), "2+source:jaffle.raw.orders 2+source:jaffle.raw.items"),
        (("tag:nightly",), "tag:nightly"),
        (("changed+,tag:n",), "source:jaffle.raw.orders+,tag:n source:jaffle.raw.items+,tag:n"),
        (("tag:a changed", "tag:a"), "tag:a source:jaffle.raw.orders source:jaffle.raw.items"),
        ((), ""),
        (("unchanged+", "tag:changed"), "unchanged+ tag:changed"),
    ],
)
def test_changed_is_each_source_that_changed(select: tuple[str, ...], wanted: str) -> None:
    assert expand(select, (ORDERS, ITEMS)) == tuple(wanted.split())


def test_a_name_that_dbt_would_split_is_selected_all_the_same() -> None:
    odd = source("Order lines, 2.0+")
    assert expand(("changed+",), (odd,)) == ("source:jaffle.raw.Order?lines??2?0?+",)


def test_whether_a_selection_names_what_changed() -> None:
    assert names_changed(("tag:a tag:b,changed+1",))
    assert not names_changed(("tag:changed", "unchanged+"))


def test_sources_are_found_by_schema_and_identifier_in_any_case() -> None:
    named = source("ORDERS", schema="RAW", name="the_orders")
    found = [ORDERS, named, ITEMS]
    assert sources_for("raw", "orders", found) == (ORDERS, named)
    assert sources_for("main", "orders", found) == ()


def test_what_is_selected_unless_the_file_says() -> None:
    def selected(**keys: object) -> tuple[str, ...]:
        return DbtOptions.model_validate({"project_dir": "dbt", **keys}).selected

    assert selected() == ("changed+",)
    assert selected(command="seed") == ()
    assert selected(command="freshness") == ("changed",)
    assert selected(command="test", select="tag:a") == ("tag:a",)


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ("--select", "write `select:`"),
        (["--vars={}"], "write `vars:`"),
        ("--fail-fast --select orders", "write `select:`"),
        ("--exclude orders", "write `exclude:`"),
        ("--favor-state 'half", "No closing quotation"),
        (["--full-refresh", "--target-path"], "which is ours"),
    ],
)
def test_what_has_a_key_is_no_argument(args: object, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        DbtOptions.model_validate({"project_dir": "dbt", "args": args})


def test_arguments_as_text_are_split() -> None:
    def args(given: object) -> tuple[str, ...]:
        return DbtOptions.model_validate({"project_dir": "dbt", "args": given}).args

    assert args("--fail-fast --indirect-selection cautious") == (
        "--fail-fast", "--indirect-selection", "cautious",
    )  # fmt: skip
    assert args(["--state", "a folder"]) == ("--state", "a folder")
