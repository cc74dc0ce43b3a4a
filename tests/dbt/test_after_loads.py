"""dbt after the loads: what changed is built, once, and what went wrong is done by the next run."""

from __future__ import annotations

from pathlib import Path

import pytest

from conduit_core import Pipeline, RunRequest, run
from conduit_core.errors import ConfigError, HookError
from conduit_core.events import Event, Notice
from conduit_dbt import DbtResult, run_after
from conduit_dbt.hook import _short
from tests.dbt.lab import DbtLab, done, hook, nodes, stream


@pytest.fixture(params=["duckdb", "postgres"])
def each_lab(request: pytest.FixtureRequest, tmp_path: Path) -> DbtLab:
    if request.param == "postgres":
        return DbtLab(tmp_path / "lab", request.getfixturevalue("postgres_database"))
    found: DbtLab = request.getfixturevalue("lab")
    return found


def test_what_changed_is_built_and_nothing_else(each_lab: DbtLab) -> None:
    first = each_lab.run()
    assert set(nodes(first)) == {
        "source_not_null_raw_orders_id", "stg_orders", "totals", "stg_items",
    }  # fmt: skip
    assert each_lab.select(f"select amount from {each_lab.models}.totals") == [(30,)]

    quiet = each_lab.run()
    assert (hook(quiet).outcome, hook(quiet).details) == ("skipped", {})
    each_lab.rows("orders", (3, 5))
    assert set(nodes(each_lab.run())) == {"source_not_null_raw_orders_id", "stg_orders", "totals"}
    assert each_lab.select(f"select amount from {each_lab.models}.totals") == [(35,)]


def test_what_failed_is_named_and_the_next_run_does_it_again(lab: DbtLab) -> None:
    lab.write("models/stg_items.sql", "select nowhere from {{ source('raw', 'items') }}")
    lab.write(
        "models/schema.yml",
        "models: [{name: stg_orders, columns: [{name: amount, data_tests: [unique]}]}]",
    )
    lab.rows("orders", (3, 20))
    failed = lab.run()
    assert failed.exit_code == 8
    error = hook(failed).failure
    assert error is not None
    assert "stg_items (error: " in error.lines[0]
    assert "unique_stg_orders_amount (fail: Got 1 result" in error.lines[0]
    assert "raw.orders, raw.items are published" in error.lines[1]
    found = nodes(failed)  # what is behind a failed test isn't built
    assert (found["unique_stg_orders_amount"], found["totals"]) == ("fail", "skipped")
    lab.write("models/stg_items.sql", "select id from {{ source('raw', 'items') }}")
    (lab.project / "models/schema.yml").unlink()
    again = lab.run()
    assert [r.outcome for r in again.results] == ["empty", "empty"]
    assert set(nodes(again)) >= {"stg_items", "totals"}
    assert hook(lab.run()).outcome == "skipped"


def test_a_changed_table_that_no_source_names_is_an_error(lab: DbtLab) -> None:
    lab.write("models/sources.yml", "sources: [{name: raw, tables: [{name: orders}]}]")
    (lab.project / "models/stg_items.sql").unlink()
    result = lab.run()
    assert result.exit_code == 8
    assert "no dbt source names raw.items" in hook(result).text
    failure = hook(result).failure
    assert failure is not None
    assert failure.lines[3] == "conduit dbt sources"


def test_a_model_that_reads_an_undeclared_table_gets_the_command_that_declares_it(
    lab: DbtLab,
) -> None:
    (lab.project / "models/sources.yml").unlink()
    failure = hook(lab.run()).failure
    assert failure is not None
    assert "depends on a source named 'raw." in failure.lines[0]
    assert failure.lines[3] == "conduit dbt sources"


def test_a_disabled_source_is_told(lab: DbtLab) -> None:
    lab.write(
        "models/sources.yml",
        "sources: [{name: raw, tables: [{name: orders}, {name: items, config: {enabled: false}}]}]",
    )
    (lab.project / "models/stg_items.sql").unlink()
    assert "no dbt source names raw.items (its source is disabled)" in hook(lab.run()).text


def test_a_long_message_keeps_its_end() -> None:
    assert _short(f"Invalid source: {'x' * 900} - 'nme' is unexpected").endswith("is unexpected")


def test_a_project_that_does_not_compile(lab: DbtLab) -> None:
    lab.write("models/broken.sql", "select {{ nope( }}")
    result = lab.run()
    assert result.exit_code == 8
    assert "dbt can't read the project" in hook(result).text
    assert "broken" in hook(result).text
    assert result.results[0].outcome == "published"


def test_after_a_failed_stream_nothing_is_built_unless_asked_for(lab: DbtLab) -> None:
    (lab.folder / "data/items.csv").unlink()
    skipped = lab.run()
    assert (skipped.exit_code, hook(skipped).outcome) == (4, "skipped")
    assert hook(skipped).text == "items failed (on_partial: skip)"
    partial = lab.run(on_partial="changed")
    assert partial.exit_code == 4
    assert set(nodes(partial)) == {"source_not_null_raw_orders_id", "stg_orders", "totals"}


def test_any_selection_and_command(lab: DbtLab) -> None:
    assert set(nodes(lab.run(command="run", select="changed+1"))) == {"stg_orders", "stg_items"}
    lab.rows("orders", (5, 5))
    (lab.project / "seeds").mkdir()
    lab.write("seeds/days.csv", "id\n1\n")
    assert nodes(lab.run(command="seed", args="--full-refresh")) == {"days": "success"}
    lab.rows("orders", (6, 5))
    assert set(nodes(lab.run(exclude="changed+2,totals", select="changed+"))) == {
        "source_not_null_raw_orders_id", "stg_orders", "stg_items",
    }  # fmt: skip


def test_a_selection_without_nodes_is_told_and_nothing_is_forgotten(lab: DbtLab) -> None:
    events: list[Event] = []
    result = run(lab.pipeline(select="chagned+"), listeners=(events.append,))
    assert (result.exit_code, hook(result).outcome) == (0, "skipped")
    (told,) = [e.message for e in events if isinstance(e, Notice) and e.level == "warning"]
    assert told == "dbt build had nothing to do: nothing in the project matches chagned+"
    again = run(lab.pipeline(select="chagned+"))  # and the next run tries again
    assert hook(again).tables == ("raw.orders", "raw.items")


def test_what_nothing_reads_is_done_with(lab: DbtLab) -> None:
    for name in ("stg_items", "stg_orders", "totals"):
        (lab.project / f"models/{name}.sql").unlink()
    sources = "sources: [{name: raw, tables: [{name: orders}, {name: items}]}]"
    lab.write("models/sources.yml", sources)
    result = lab.run()
    assert hook(result).outcome == "succeeded"
    assert "had nothing to do" in hook(result).text
    assert hook(lab.run()).outcome == "skipped"


def test_freshness_of_what_changed(lab: DbtLab) -> None:
    lab.write(
        "models/sources.yml",
        SOURCES_WITH_FRESHNESS,
    )
    result = lab.run(command="freshness")
    assert {f.name: f.status for f in done(hook(result)).freshness} == {"raw.orders": "pass"}
    again = lab.run(command="freshness")  # also where nothing came: that is when it matters
    assert (hook(again).outcome, len(done(hook(again)).freshness)) == ("succeeded", 1)


SOURCES_WITH_FRESHNESS = """
sources:
  - name: raw
    tables:
      - name: orders
        config:
          loaded_at_field: _conduit_loaded_at
          freshness: {error_after: {count: 1, period: day}}
      - name: items
"""


def test_columns_that_changed_may_ask_for_a_full_refresh(lab: DbtLab) -> None:
    lab.write(
        "models/stg_orders.sql",
        "{{ config(materialized='incremental', unique_key='id') }}"
        " select * from {{ source('raw', 'orders') }}",
    )
    lab.write("models/totals.sql", "select count(*) as n from {{ ref('stg_orders') }}")
    once = stream("orders", lookback=10)
    lab.run(once, stream("items"), full_refresh_on="schema_change")
    (lab.folder / "data/orders.csv").write_text("id,amount,note\n1,10,a\n2,20,b\n3,30,c\n")
    again = lab.run(once, stream("items"), full_refresh_on="schema_change")
    assert "--full-refresh" in done(hook(again)).arguments
    assert lab.select(f"select note from {lab.models}.stg_orders order by id") == [
        ("a",), ("b",), ("c",),
    ]  # fmt: skip


def test_from_python(lab: DbtLab) -> None:
    pipeline = lab.pipeline()
    run(pipeline, request=RunRequest(after=False))
    result = run_after(pipeline, select=["changed"], command="test")
    found = DbtResult.model_validate({k: v for k, v in result.details.items() if k != "select"})
    assert [n.name for n in found.nodes] == ["source_not_null_raw_orders_id"]
    assert run_after(pipeline, select=["changed"], command="test").outcome == "skipped"
    assert run_after(pipeline).outcome == "succeeded"  # what tests finished with isn't built
    assert run_after(pipeline).outcome == "skipped"
    with pytest.raises(ConfigError, match="selekt"):
        run_after(pipeline, selekt="x")
    lab.write("models/sources.yml", "sources: []")
    lab.rows("orders", (3, 5))
    run(pipeline, request=RunRequest(after=False))
    with pytest.raises(HookError, match="can't read the project"):
        run_after(pipeline)


def test_two_pipelines_share_a_project(lab: DbtLab) -> None:
    both = {**lab.mapping(stream("orders")), "name": "one"}, {
        **lab.mapping(stream("items")), "name": "two",
    }  # fmt: skip
    one, two = (Pipeline.from_mapping(m, lab.folder) for m in both)
    assert "stg_orders" in nodes(run(one))
    assert set(nodes(run(two))) == {"stg_items"}
    assert [hook(run(p)).outcome for p in (one, two)] == ["skipped", "skipped"]


def test_another_database_is_an_error_before_the_load(lab: DbtLab) -> None:
    lab.write(
        "profiles.yml",
        "shop: {target: dev, outputs: {dev: {type: duckdb, path: other.duckdb, schema: raw},"
        " prod: {type: duckdb, path: ../warehouse.duckdb, schema: raw}}}",
    )
    with pytest.raises(ConfigError, match=r"other\.duckdb, the destination is .*warehouse"):
        lab.run(profile=None)
    assert not (lab.folder / "warehouse.duckdb").exists()
    assert "stg_orders" in nodes(lab.run(profile=None, target="prod"))
