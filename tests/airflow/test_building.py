"""Groups and DAGs as they are parsed: their tasks, arguments, forms and errors."""

from __future__ import annotations

import json

import pytest

from tests.airflow.lab import Lab

PIPELINE = {
    "name": "shop",
    "source": "sqlite:///nowhere.db",
    "destination": {"type": "duckdb", "path": "wh.duckdb", "schema": "built"},
    "streams": [
        "customers",
        {"table": "orders", "splits": 2, "cursor": ["id"], "mode": "append"},
        {"table": "items", "into": "other.items"},
    ],
    "after": {"dbt": {"project_dir": "dbt"}, "notify": {}},
}
LOOK = """
    found = dags(file)
    result = {}
    for dag_id, dag in found.items():
        result[dag_id] = {
            task.task_id: {
                "kind": task.task_type,
                "before": sorted(task.upstream_task_ids),
                "retries": task.retries,
                "pool": task.pool,
                "rule": task.trigger_rule.value,
                "inlets": [asset.name for asset in task.inlets or []],
                "outlets": [asset.name for asset in task.outlets or []],
            }
            for task in dag.tasks
        }
"""


def test_a_group_has_a_task_per_stream_its_steps_and_its_hooks(lab: Lab) -> None:
    lab.write("shop.yml", json.dumps(PIPELINE))
    lab.write(
        "dag.py",
        """
        from airflow.sdk import DAG
        from airflow_provider_conduit import ConduitTaskGroup

        with DAG("built", schedule=None):
            group = ConduitTaskGroup(
                "shop", pipeline="shop.yml", retries=4, pool="loads", window_to="{{ ds }}"
            )
        with DAG("built_two", schedule=None):
            few = ConduitTaskGroup(
                pipeline="shop.yml", streams=["items", "orders"], expand=["items"], after=False,
                prefix_group_id=False,
            )
        assert sorted(group.assets) == ["customers", "items", "orders"]
        assert group.assets["items"].name == "other.items"
        assert group.last["orders"].task_id == "shop.orders.publish"
        assert few.last["items"].task_id == "items.publish"
        """,
    )
    told = lab.call(LOOK, file=str(lab.folder / "dag.py"))
    whole = told["built"]
    steps = [f"shop.orders.{step}" for step in ("plan", "stage", "audit", "publish")]
    hooks = ["shop.after_dbt", "shop.after_notify"]
    assert sorted(whole) == sorted(["shop.customers", "shop.items", *steps, *hooks])
    assert {(task["retries"], task["pool"]) for task in whole.values()} == {(4, "loads")}
    last = ["shop.customers", "shop.items", "shop.orders.publish"]
    assert whole["shop.after_dbt"]["before"] == whole["shop.after_notify"]["before"] == last
    assert whole["shop.after_dbt"]["kind"] == "ConduitDbtOperator"
    assert whole["shop.after_notify"]["kind"] == "ConduitHookOperator"
    assert [whole[step]["before"] for step in steps] == [[], [steps[0]], [steps[1]], [steps[2]]]
    assert [whole[step]["inlets"] for step in steps] == [["built.orders"], [], [], ["built.orders"]]
    assert [whole[step]["outlets"] for step in steps] == [[], [], [], ["built.orders"]]
    rules = [whole[task]["rule"] for task in (*steps, "shop.after_dbt")]
    assert rules == ["all_success", "all_success", "none_failed", "none_failed", "all_done"]
    names = ["plan", "stage", "audit", "publish"]
    assert sorted(told["built_two"]) == sorted(
        f"{stream}.{step}" for stream in ("items", "orders") for step in names
    )


def test_a_dag_has_a_form_and_is_its_files(lab: Lab) -> None:
    lab.write("shop.yml", json.dumps(PIPELINE))
    lab.write(
        "dag.py",
        """
        from airflow_provider_conduit import ConduitDag

        ConduitDag("built_form", pipeline="shop.yml", window="data_interval", tags=["x"],
                   params={"mine": 1}, operator_args={"retries": 3})
        """,
    )
    told = lab.call(
        """
        dag = dags(file)["built_form"]
        from airflow.sdk.definitions.param import ParamsDict
        task = dag.get_task("load.orders.plan")

        def rendered(**given):
            from types import SimpleNamespace
            params = {**{k: p.value for k, p in dag.params.items()}, **given}
            made = dag.get_task("load.orders.plan").prepare_for_execution()
            made.render_template_fields({"params": params, "dag": dag})
            return {k: getattr(made, k) for k in made.template_fields}

        wrong = []
        for given in ({"streams": ["order"]}, {"full_refresh": "maybe"}, {"window_to": 5}):
            try:
                ParamsDict({**dag.params, **{
                    k: type(dag.params.get_param(k))(v, **dag.params.get_param(k).schema)
                    for k, v in given.items()
                }}).validate()
            except Exception as error:
                wrong.append(type(error).__name__)
        result = {
            "file": dag.fileloc,
            "tags": sorted(dag.tags),
            "params": {k: p.value for k, p in dag.params.items()},
            "schema": dag.params.get_param("streams").schema,
            "retries": task.retries,
            "plain": rendered(),
            "given": rendered(window_to="2026-01-01", full_refresh=True, streams=["orders"]),
            "wrong": wrong,
        }
        """,
        file=str(lab.folder / "dag.py"),
    )
    streams = ["customers", "orders", "items"]
    assert told["file"] == str(lab.folder / "dag.py")
    assert told["tags"] == ["x"]
    assert told["params"] == {
        "streams": streams,
        "full_refresh": False,
        "reload": False,
        "window_from": None,
        "window_to": None,
        "only": None,
        "mine": 1,
    }
    assert told["schema"]["items"] == {"type": "string", "enum": streams}
    assert told["retries"] == 3
    assert told["plain"] | {"chosen": json.loads(told["plain"]["chosen"])} == {
        "source_conn_id": None,
        "destination_conn_id": None,
        "window": "data_interval",
        "window_from": "",
        "window_to": "",
        "only": "null",
        "full_refresh": "False",
        "reload": "False",
        "allow_empty": False,
        "allow_deletes": False,
        "chosen": streams,
    }
    given = {"window": "watermark", "window_to": "2026-01-01", "full_refresh": "True"}
    assert told["given"] | given == told["given"]
    assert json.loads(told["given"]["chosen"]) == ["orders"]
    assert len(told["wrong"]) == 3


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ('pipeline="shop.yml", streams=["custmers"]', "did you mean 'customers'?"),
        ('pipeline="shop.yml", expand=["order"]', "did you mean 'orders'?"),
        ('pipeline="nothing.yml"', "nothing.yml: No such file"),
        ('pipeline="shop.yml", window="day"', "must be one of watermark, data_interval"),
    ],
)
def test_what_cannot_be_is_an_error_of_the_dag_file(lab: Lab, argument: str, told: str) -> None:
    lab.write("shop.yml", json.dumps(PIPELINE))
    lab.write(
        "dag.py",
        f"""
        from airflow.sdk import DAG
        from airflow_provider_conduit import ConduitTaskGroup

        with DAG("wrong", schedule=None):
            ConduitTaskGroup({argument})
        """,
    )
    with pytest.raises(AssertionError) as caught:
        lab.call(LOOK, file=str(lab.folder / "dag.py"))
    assert told in str(caught.value)


def test_a_hook_that_is_not_installed_says_so(lab: Lab) -> None:
    lab.write("shop.yml", json.dumps(PIPELINE))
    lab.write(
        "dag.py",
        """
        from airflow.sdk import DAG
        from airflow_provider_conduit import ConduitHookOperator

        with DAG("hookless", schedule=None):
            ConduitHookOperator(task_id="notify", hook="notify", pipeline="shop.yml", retries=2)
        """,
    )
    run = lab.once("dag.py")
    assert run.state == "failed"
    assert run.tries == {"notify": 1}
    assert "there is no hook 'notify'" in run.log
