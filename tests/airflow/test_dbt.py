"""dbt after the loads, as a task of its own, and beside Cosmos."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.airflow.lab import ROOT, Airflow, Lab
from tests.airflow.two_streams import change, open_shop, rows

AFTER = """
    after:
      dbt: {project_dir: dbt, profile: from_destination}
"""
STREAMS = """
      - {table: customers, mode: upsert, unique_key: id}
      - {table: orders, mode: upsert, unique_key: id}
"""
RULED = "{table: orders, splits: 2, quality: [{rule: row_count, min: 100}], "
GROUP = """
    from airflow.sdk import DAG
    from airflow_provider_conduit import ConduitDbtOperator, ConduitTaskGroup

    with DAG("{dag_id}", schedule=None) as dag:
        load = ConduitTaskGroup(pipeline="shop.yml", after=False)
        load >> ConduitDbtOperator(task_id="dbt", pipeline="shop.yml", {options})
"""


@pytest.fixture(autouse=True, scope="module")
def _quick_dbt(airflow: Airflow) -> None:
    """From here on, for the tasks in Airflow's process."""
    code = "from tests.dbt.lab import hasten_dbt; hasten_dbt()"
    airflow.ask("call", airflow.home / "quick.log", {}, code=code, args={})


def example(folder: Path, schema: str) -> Path:
    """Copy the example, its schema another one: tests share the state of Assets by name."""
    made = folder / "example"
    leave = shutil.ignore_patterns("*.duckdb", "*.sqlite", "target", "staging", "__pycache__")
    shutil.copytree(ROOT / "examples" / "airflow", made, ignore=leave)
    for file in made.rglob("*.*"):
        if file.suffix in {".yml", ".sql"}:
            file.write_text(re.sub(r"\braw\b", schema, file.read_text()))
    a_day(made)
    return made


def a_day(folder: Path) -> None:
    subprocess.run([sys.executable, folder / "make_shop.py"], check=True)


def ask(lab: Lab, sql: str) -> list[list[object]]:
    """Ask the example's warehouse; in Airflow's process, where Cosmos may have left it open."""
    return lab.call(
        """
        import duckdb

        with duckdb.connect(path) as con:
            result = con.execute(sql).fetchall()
        """,
        path=str(lab.folder / "example" / "warehouse.duckdb"),
        sql=sql,
    )


def built(lab: Lab, schema: str) -> Counter[object]:
    """Return how often each model was built, as the models themselves have noted it."""
    return Counter(model for (model,) in ask(lab, f"SELECT model FROM {schema}.built"))


def shop_with_dbt(lab: Lab, schema: str, dag: str) -> None:
    """A shop of two streams with a model for each."""
    open_shop(lab, schema, STREAMS, AFTER)
    lab.write("dag.py", dag)
    lab.write(
        "dbt/dbt_project.yml",
        """
        name: shop
        version: "1.0"
        profile: shop
        flags: {send_anonymous_usage_stats: false}
        """,
    )
    tables = "[{name: customers}, {name: orders}]"
    lab.write("dbt/models/sources.yml", f"sources: [{{name: {schema}, tables: {tables}}}]")
    for name in ("customers", "orders"):
        sql = f"select count(*) as n from {{{{ source('{schema}', '{name}') }}}}"
        lab.write(f"dbt/models/all_{name}.sql", sql)


def test_dbt_builds_what_changed_and_no_model_twice(lab: Lab) -> None:
    folder = example(lab.folder, "example_dbt")
    first, second = lab.run("example/shop_dag.py", {}, {})
    assert first.state == second.state == "success"
    assert first.xcoms["load.after_dbt"]["statuses"] == {"success": 3}  # with on-run-start
    assert first.xcoms["load.after_dbt"]["tables"] == [
        "example_dbt.customers",
        "example_dbt.orders",
    ]
    assert second.tasks["load.after_dbt"] == "success"
    nothing = "no table changed since it last finished"
    assert second.xcoms["load.after_dbt"]["text"] == nothing
    assert built(lab, "example_dbt") == {"stg_orders": 1, "revenue": 1}
    a_day(folder)
    third = lab.once("example/shop_dag.py", run_conf={"streams": ["orders"]})
    assert third.tasks["load.customers"] == "skipped"
    assert third.tasks["load.after_dbt"] == "success"
    assert third.xcoms["load.after_dbt"]["tables"] == ["example_dbt.orders"]
    assert built(lab, "example_dbt") == {"stg_orders": 2, "revenue": 2}
    revenue = "SELECT sum(amount), count(DISTINCT ordered_on) FROM example_dbt.revenue"
    assert ask(lab, revenue) == [[2 * sum(10 + hour for hour in range(24)), 2]]


def test_cosmos_builds_each_model_once_behind_the_loads(lab: Lab) -> None:
    example(lab.folder, "example_cosmos")
    run = lab.once("example/shop_cosmos_dag.py")
    assert run.state == "success", run.log[-3000:]
    assert "load.after_dbt" not in run.tasks
    assert run.tasks["load.orders.publish"] == "success"
    assert built(lab, "example_cosmos") == {"stg_orders": 1, "revenue": 1}


def test_a_failed_load_never_ends_well_and_dbt_decides_by_on_partial(lab: Lab) -> None:
    on_partial = """on_partial="{{{{ 'changed' if dag_run.conf.get('changed') else 'skip' }}}}" """
    shop_with_dbt(lab, "partial", GROUP.format(dag_id="partial", options=on_partial.format()))
    change(lab.folder, "ALTER TABLE orders RENAME TO gone")
    first = lab.once("dag.py")
    assert first.state == "failed"
    assert first.tasks == {"load.customers": "success", "load.orders": "failed", "dbt": "failed"}
    assert "not loaded in this run: orders\nafter.dbt: skipped: orders failed" in first.log
    assert "clear what failed, and all after it: load.orders" in first.log

    second = lab.once("dag.py", run_conf={"changed": True})
    assert second.state == "failed"
    assert second.tasks["dbt"] == "failed"
    assert rows(lab.folder, "SELECT n FROM partial.all_customers") == [(2,)]

    change(lab.folder, "ALTER TABLE gone RENAME TO orders")
    third = lab.once("dag.py")
    assert third.state == "success"
    assert rows(lab.folder, "SELECT n FROM partial.all_orders") == [(30,)]


def test_a_failed_model_fails_the_task_with_four_lines(lab: Lab) -> None:
    shop_with_dbt(lab, "broken", GROUP.format(dag_id="broken", options="retries=0"))
    lab.write("dbt/models/all_orders.sql", "select nothing from {{ source('broken', 'orders') }}")
    run = lab.once("dag.py")
    assert run.state == "failed"
    assert run.tasks["dbt"] == "failed"
    assert "after.dbt: " in run.log
    state = "the loads of broken.customers, broken.orders are published"
    assert f"{state}; the next run does what is left" in run.log
    assert rows(lab.folder, "SELECT n FROM broken.all_customers") == [(2,)]


def test_a_hook_is_told_which_streams_failed_wherever_in_their_steps(lab: Lab) -> None:
    """And a task that is killed ends it as Ctrl-C does; the next one does what is left."""
    open_shop(lab, "hooked", STREAMS.replace("{table: orders, ", RULED))
    lab.write(
        "dag.py",
        """
        from pathlib import Path
        from airflow.sdk import DAG
        from pydantic import BaseModel
        from airflow_provider_conduit import ConduitHookOperator, ConduitTaskGroup
        from conduit_core.engine.hooks import Hook, HookReport, _added

        class Options(BaseModel):
            text: str = ""

        def note(options, context):
            tables = sorted(t.table for t in context.changed)
            return HookReport(f"{options.text}: {tables} but {list(context.failed)}")

        _added["note"] = Hook("note", Options, note)
        with DAG("hooked", schedule=None) as dag:
            load = ConduitTaskGroup(pipeline="shop.yml")
            options = {"text": "{{ dag.dag_id }}"}
            load >> ConduitHookOperator(
                task_id="note", hook="note", pipeline="shop.yml", options=options
            )
        """,
    )
    first = lab.once("dag.py")
    assert first.state == "failed"
    assert first.tasks["load.orders.publish"] == "upstream_failed"
    assert "after.note: succeeded: hooked: ['customers'] but ['orders']" in first.log
    assert "clear what failed, and all after it: load.orders.audit" in first.log
    ended = lab.call(
        """
        import threading
        from types import SimpleNamespace

        from airflow_provider_conduit import ConduitHookOperator
        from conduit_core.engine.hooks import Hook, HookReport, _added

        def slow(options, context):
            made.on_kill()  # as soon as it runs, however long all before took
            threading.Event().wait(30)
            return HookReport("never")

        _added["slow"] = Hook("slow", _added["note"].options, slow)
        made = ConduitHookOperator(task_id="x", hook="slow", pipeline=pipeline)
        ti = SimpleNamespace(dag_id="d", run_id="r", task_id="x", try_number=1, max_tries=0)
        try:
            made.execute({"ti": ti})
        except Exception as error:
            result = [type(error).__name__, str(error)]
        """,
        pipeline=str(lab.folder / "shop.yml"),
    )
    assert ended == ["AirflowException", "after.slow was ended; the rest is left"]
