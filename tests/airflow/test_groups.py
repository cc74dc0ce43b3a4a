"""A pipeline as a group of tasks and as a DAG, run by Airflow."""

from __future__ import annotations

import re

from tests.airflow.lab import Lab
from tests.airflow.two_streams import STREAMS, change, open_shop, order, rows

GROUP = """
    from airflow.sdk import DAG
    from airflow_provider_conduit import ConduitTaskGroup

    with DAG("{dag_id}", schedule=None) as dag:
        ConduitTaskGroup(pipeline="shop.yml")
"""
FORM = """
    from airflow_provider_conduit import ConduitDag

    dag = ConduitDag("{dag_id}", pipeline="shop.yml")
"""
STEPS = [f"load.orders.{step}" for step in ("plan", "stage[0]", "stage[1]", "stage[2]")]
NOTHING_NEW = {
    "load.customers": "success",
    "load.orders.plan": "success",
    "load.orders.stage": "skipped",
    "load.orders.audit": "skipped",
    "load.orders.publish": "success",
}


def test_a_split_stream_is_planned_staged_audited_and_published(lab: Lab) -> None:
    open_shop(lab, "spread")
    lab.write("dag.py", GROUP.format(dag_id="spread"))
    first, second = lab.run("dag.py", {}, {})
    assert first.state == second.state == "success"
    assert rows(lab.folder, "SELECT count(*), sum(amount) FROM spread.orders") == [
        (30, sum(range(30)) * 10)
    ]
    done = [*STEPS, "load.orders.audit", "load.orders.publish", "load.customers"]
    assert first.tasks == dict.fromkeys(done, "success")
    assert first.xcoms["load.orders.publish"]["counts"] == {"read": 30, "inserted": 30}
    assert sum(first.xcoms[f"load.orders.stage[{i}]"]["rows"] for i in range(3)) == 30
    told = ["load.customers", "load.orders.publish"]
    assert sorted(event["task"] for event in first.events) == told
    assert second.tasks == NOTHING_NEW
    assert second.xcoms["load.orders.publish"]["outcome"] == "empty"
    assert second.events == []
    assert "orders: nothing new; watermark 2026-01-01T00:00:29" in second.log


def test_steps_that_run_again_in_their_run_change_nothing(lab: Lab) -> None:
    open_shop(lab, "again")
    lab.write("dag.py", GROUP.format(dag_id="again"))
    at = "2026-01-02T00:00:00+00:00"
    when = {"logical_date": at, "run_after": at}  # the same run, as after a clear of all
    first = lab.once("dag.py", **when)
    order(lab.folder, 30, 40)
    second = lab.once("dag.py", **when)
    assert first.run_id == second.run_id
    assert second.state == "success"
    assert second.tasks == NOTHING_NEW
    assert second.xcoms["load.orders.publish"]["outcome"] == "replayed"
    assert rows(lab.folder, "SELECT count(*) FROM again.orders") == [(30,)]
    third = lab.once("dag.py")
    assert third.xcoms["load.orders.publish"]["counts"] == {"read": 10, "inserted": 10}


def test_a_form_chooses_streams_and_a_full_refresh(lab: Lab) -> None:
    open_shop(lab, "form")
    lab.write("dag.py", FORM.format(dag_id="form"))
    conf = {"streams": ["orders"], "window_to": "2026-01-01 00:00:09"}
    first = lab.once("dag.py", run_conf=conf)
    second = lab.once("dag.py", run_conf={"streams": ["customers"]})
    third = lab.once("dag.py", run_conf={"full_refresh": True})
    assert first.state == second.state == third.state == "success"
    assert first.tasks["load.customers"] == "skipped"
    assert first.xcoms["load.orders.publish"]["counts"] == {"read": 10, "inserted": 10}
    skipped = {f"load.orders.{step}" for step in ("plan", "stage", "audit", "publish")}
    assert second.tasks == {**dict.fromkeys(skipped, "skipped"), "load.customers": "success"}
    assert third.xcoms["load.orders.publish"]["counts"] == {"read": 30, "inserted": 30}
    assert rows(lab.folder, "SELECT count(*) FROM form.orders") == [(30,)]


def test_a_stale_plan_names_the_task_to_clear(lab: Lab) -> None:
    open_shop(lab, "stale")
    lab.write(
        "dag.py",
        """
        from airflow.sdk import DAG, task
        from airflow_provider_conduit import ConduitTaskGroup

        with DAG("stale", schedule=None) as dag:
            group = ConduitTaskGroup(pipeline="shop.yml", streams=["orders"], retries=2)

            @task
            def another():
                from pathlib import Path
                from conduit_core import Pipeline, RunRequest, run
                shop = Pipeline.from_file(Path(__file__).with_name("shop.yml"))
                run(shop, ("orders",), request=RunRequest(full_refresh=True))

            dag.get_task("load.orders.audit") >> another() >> group.last["orders"]
        """,
    )
    run = lab.once("dag.py")
    assert run.state == "failed"
    assert run.tasks["load.orders.audit"] == "success"
    assert run.tasks["load.orders.publish"] == "failed"
    assert run.tries["load.orders.publish"] == 1
    assert "clear the task load.orders.plan and those after it" in run.log
    assert rows(lab.folder, "SELECT count(*) FROM stale.orders") == [(30,)]


def test_a_rule_of_the_whole_load_fails_the_audit_and_nothing_is_published(lab: Lab) -> None:
    rule = "quality: [{rule: row_count, max: 20}]"
    open_shop(lab, "audited", f"{STREAMS.rstrip()}\n        {rule}\n")
    lab.write("dag.py", GROUP.format(dag_id="audited"))
    run = lab.once("dag.py")
    assert run.state == "failed"
    assert run.tasks["load.orders.audit"] == "failed"
    assert run.tasks["load.orders.publish"] == "upstream_failed"
    assert run.tasks["load.customers"] == "success"
    assert [event["name"] for event in run.events] == ["audited.customers"]


def test_streams_whose_names_are_no_task_ids(lab: Lab) -> None:
    open_shop(
        lab,
        "names",
        """
      - {table: customers, name: a b, into: one, mode: upsert, unique_key: id}
      - {table: customers, name: a/b, into: two, mode: upsert, unique_key: id}
      - {table: orders, name: ä, into: three, mode: upsert, unique_key: id, splits: 2}
""",
    )
    lab.write("dag.py", GROUP.format(dag_id="names"))
    run = lab.once("dag.py")
    assert run.state == "success"
    assert {"load.a_b", "load.a_b_2", "load.a.publish"} <= set(run.tasks)
    assert rows(lab.folder, "SELECT count(*) FROM names.three") == [(30,)]


RULE = "quality: [{rule: row_count, min: 100}]"
THREE = f"""
      - {{table: customers, mode: upsert, unique_key: id}}
      - {{table: orders, mode: append, cursor: [updated_at, id], splits: 2, {RULE}}}
      - {{table: customers, name: last, mode: upsert, unique_key: id}}
"""


def test_on_error_stop_leaves_the_later_streams_out(lab: Lab) -> None:
    open_shop(lab, "stops", THREE, "on_error: stop\n")
    lab.write("dag.py", GROUP.format(dag_id="stops"))
    failed = lab.once("dag.py")
    assert failed.state == "failed"
    assert failed.tasks["load.customers"] == "success"
    assert failed.tasks["load.orders.audit"] == "failed"
    assert failed.tasks["load.last"] == "upstream_failed"
    open_shop(lab, "stops", THREE.replace("100", "10"), "on_error: stop\n")
    mended, again = lab.run("dag.py", {}, {})
    assert mended.state == again.state == "success"  # a stage that is skipped stops nobody
    assert rows(lab.folder, "SELECT count(*) FROM stops.last") == [(2,)]


def test_a_stream_that_is_not_chosen_stops_nobody(lab: Lab) -> None:
    open_shop(lab, "unchosen", THREE.replace("100", "10"), "on_error: stop\n")
    lab.write("dag.py", FORM.format(dag_id="unchosen"))
    run = lab.once("dag.py", run_conf={"streams": ["last"]})
    assert run.state == "success"
    assert {run.tasks["load.customers"], run.tasks["load.orders.plan"]} == {"skipped"}
    assert run.tasks["load.last"] == "success"


def test_a_branch_that_leaves_the_group_out_leaves_all_of_it_out(lab: Lab) -> None:
    open_shop(lab, "branched", THREE, "on_error: stop\n")
    lab.write(
        "dag.py",
        """
        from airflow.sdk import DAG, task
        from airflow_provider_conduit import ConduitTaskGroup

        with DAG("branched", schedule=None) as dag:

            @task.short_circuit(ignore_downstream_trigger_rules=False)
            def asked():
                return False

            group = ConduitTaskGroup(pipeline="shop.yml")
            asked() >> group
        """,
    )
    run = lab.once("dag.py")
    assert run.state == "success"
    ours = {state for name, state in run.tasks.items() if name.startswith("load.")}
    assert ours == {"skipped"}


def test_a_slice_by_value_from_the_form_and_from_an_argument(lab: Lab) -> None:
    streams = "\n      - {table: orders, mode: upsert, unique_key: id, cursor: updated_at}\n"
    open_shop(lab, "sliced", streams)
    lab.write("dag.py", FORM.format(dag_id="sliced"))
    first = lab.once("dag.py", run_conf={"only": {"id": [3, "4"]}})
    assert first.state == "success"
    assert rows(lab.folder, "SELECT id FROM sliced.orders ORDER BY id") == [(3,), (4,)]
    assert first.xcoms["load.orders"]["counts"] == {"read": 2, "inserted": 2}
    load = """
        from airflow.sdk import DAG
        from airflow_provider_conduit import ConduitLoadOperator

        with DAG("one", schedule=None) as dag:
            ConduitLoadOperator(task_id="load", pipeline="shop.yml", only={"id": "{{ 3 + 4 }}"})
    """
    lab.write("dag.py", load)
    assert lab.once("dag.py").xcoms["load"]["counts"] == {"read": 1, "inserted": 1}
    lab.write("dag.py", load.replace('{"id": "{{ 3 + 4 }}"}', '"id=7"'))
    wrong = lab.once("dag.py")
    assert wrong.state == "failed"
    assert "only='id=7': must be a mapping such as" in wrong.log


def test_a_chain_is_in_the_files_order_whatever_rule_others_have(lab: Lab) -> None:
    open_shop(lab, "ordered", THREE.replace("100", "10"), "on_error: stop\n")
    lab.write(
        "dag.py",
        """
        from airflow.sdk import DAG, task
        from airflow_provider_conduit import ConduitTaskGroup

        with DAG("ordered", schedule=None, default_args={"trigger_rule": "all_done"}) as dag:

            @task
            def before():
                raise ValueError("the group goes on, as its DAG says")

            before() >> ConduitTaskGroup(pipeline="shop.yml", streams=["last", "customers"])
        """,
    )
    run = lab.once("dag.py")
    ours = {name: state for name, state in run.tasks.items() if name != "before"}
    assert ours == dict.fromkeys(["load.start", "load.customers", "load.last"], "success")
    assert run.log.index("loading customers") < run.log.index("loading last")


def test_a_table_whose_name_is_not_ascii(lab: Lab) -> None:
    change(lab.folder, 'CREATE TABLE "Straße" AS SELECT 1 AS id')
    open_shop(lab, "umlaut", "\n      - {table: Straße, mode: upsert, unique_key: id}\n")
    text = (lab.folder / "shop.yml").read_text()
    named = "destination: {connection: umlaut_wh, schema: umlaut}"
    lab.write("shop.yml", re.sub("destination: .*", named, text))
    lab.connection("umlaut_wh", conn_type="duckdb", host=str(lab.folder / "wh.duckdb"))
    lab.write("dag.py", GROUP.format(dag_id="umlaut"))
    run = lab.once("dag.py")
    assert run.state == "success"
    assert rows(lab.folder, 'SELECT id FROM umlaut."Straße"') == [(1,)]
    (event,) = run.events
    assert event["name"] == "umlaut.Straße"
