"""Tasks that are mapped: their Assets, state and events, and what Airflow keeps of them."""

from __future__ import annotations

from tests.airflow.lab import Lab
from tests.airflow.shop import PIPELINE, fill

CANARY = "hunter2-canary"
TWO = PIPELINE + "      - {table: customers, cursor: id, mode: append}\n"


def test_a_load_mapped_over_streams_tells_each_table_that_changed(shop: Lab) -> None:
    import sqlite3

    with sqlite3.connect(shop.folder / "shop.db") as con:
        con.execute("CREATE TABLE customers (id INTEGER PRIMARY KEY)")
        con.execute("INSERT INTO customers VALUES (1), (2)")
    con.close()
    shop.write("shop.yml", TWO)
    shop.write(
        "dag.py",
        """
        from airflow.sdk import DAG
        from airflow_provider_conduit import ConduitLoadOperator

        with DAG("mapped_streams", schedule=None):
            load = ConduitLoadOperator.partial(task_id="load", pipeline="shop.yml")
            load.expand(stream=["orders", "customers"])
        """,
    )
    first = shop.once("dag.py")
    fill(shop.folder / "shop.db", 50, 60)
    second = shop.once("dag.py")
    assert [first.state, second.state] == ["success"] * 2
    told = [[(e["name"], e["extra"]["stream"]) for e in run.events] for run in (first, second)]
    assert sorted(told[0]) == [("raw.customers", "customers"), ("raw.orders", "orders")]
    assert told[1] == [("raw.orders", "orders")]
    assert "inactive assets" not in first.log + second.log


def test_a_mappings_password_is_in_no_record_of_the_dag(shop: Lab) -> None:
    """Airflow keeps the arguments of a mapped task, such as a group's stage, with the DAG."""
    shop.write(
        "dag.py",
        f"""
        from airflow.sdk import DAG
        from airflow_provider_conduit import ConduitLoadOperator, ConduitTaskGroup

        shop = {{
            "name": "kept",
            "source": "postgres://user:{CANARY}@127.0.0.1:1/db",
            "destination": {{"connection": "warehouse", "schema": "raw"}},
            "streams": [{{"table": "orders", "cursor": "id", "mode": "append", "splits": 2}}],
        }}
        with DAG("kept", schedule=None):
            ConduitTaskGroup(pipeline=shop)
            load = ConduitLoadOperator.partial(task_id="one", pipeline=shop)
            load.expand(stream=["orders"])
        """,
    )
    kept = shop.call(
        """
        import json
        from airflow.serialization.serialized_objects import DagSerialization
        result = json.dumps(DagSerialization.to_dict(dags(file)["kept"]))
        """,
        file=str(shop.folder / "dag.py"),
    )
    assert "mapping kept" in kept
    assert CANARY not in kept


def test_a_hook_hears_of_a_mapped_load_that_failed(shop: Lab) -> None:
    """Else dbt would build on a table that this run hasn't loaded, and the run would end well."""
    shop.write(
        "dag.py",
        """
        from airflow.sdk import DAG
        from airflow_provider_conduit import ConduitHookOperator, ConduitLoadOperator

        with DAG("mapped_hook", schedule=None):
            load = ConduitLoadOperator.partial(task_id="load", pipeline="shop.yml", stream="orders")
            ConduitHookOperator(task_id="after", pipeline="shop.yml", hook="dbt").set_upstream(
                load.expand(allow_empty=["false", "perhaps"])
            )
        """,
    )
    run = shop.once("dag.py")
    assert (run.tasks["load[0]"], run.tasks["load[1]"]) == ("success", "failed")
    failed = shop.call(
        """
        from types import SimpleNamespace

        dag = dags(file)["mapped_hook"]
        states = {run_id: {"load_0": "success", "load_1": "failed"}}
        given = {"dag_id": "mapped_hook", "run_id": run_id}
        ti = SimpleNamespace(**given, get_task_states=lambda **_: states)
        result = dag.get_task("after")._failed({"ti": ti})
        """,
        file=str(shop.folder / "dag.py"),
        run_id=run.run_id,
    )
    assert failed == [["load"], ["load"]]


def test_a_mapped_functions_destination_is_in_no_record_of_the_dag(shop: Lab) -> None:
    shop.write(
        "dag.py",
        f"""
        from airflow.sdk import DAG, task

        with DAG("kept_function", schedule=None):
            @task.conduit(into="raw.n", destination="postgres://user:{CANARY}@127.0.0.1:1/db")
            def numbers(count):
                import pyarrow as pa
                return pa.table({{"n": [count]}})

            numbers.expand(count=[1])

        with DAG("given_function", schedule=None):
            @task.conduit(into="raw.n", destination="duckdb:///{shop.folder}/given.duckdb")
            def more(count):
                import pyarrow as pa
                return pa.table({{"n": [count]}})

            more.expand(count=[1, 2])
            more.override(task_id="other", into="raw.other")(3)
        """,
    )
    kept = shop.call(
        """
        import json
        from airflow.serialization.serialized_objects import DagSerialization
        result = json.dumps(DagSerialization.to_dict(dags(file)["kept_function"]))
        """,
        file=str(shop.folder / "dag.py"),
    )
    assert "raw.n" in kept
    assert CANARY not in kept
    run = shop.once("dag.py", dag="given_function")
    assert run.state == "success"
    assert [event["name"] for event in run.events if event["task"] == "more"] == ["raw.n"] * 2
    assert [event["name"] for event in run.events if event["task"] == "other"] == ["raw.other"]
