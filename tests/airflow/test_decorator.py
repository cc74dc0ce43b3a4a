from __future__ import annotations

import pytest

from tests.airflow.lab import Lab
from tests.airflow.shop import rows

DAG = """
    import pathlib
    from airflow.sdk import DAG, task

    CALLS = pathlib.Path(__file__).with_name("calls")

    with DAG("{dag_id}", schedule=None, default_args={{"retry_delay": 0}}) as dag:

        @task.conduit(destination_conn_id="warehouse", into="raw.numbers"{more})
        def numbers(count=3):
            CALLS.write_text(CALLS.read_text() + "x" if CALLS.exists() else "x")
            {body}

        numbers()
"""
TABLE = "import pyarrow as pa; return pa.table({'n': list(range(count))})"
PANDAS = "import pandas as pd; return pd.DataFrame({'n': range(count)})"
POLARS = "import polars as pl; yield from (pl.DataFrame({'n': [i]}) for i in range(count))"


@pytest.mark.parametrize("body", [TABLE, PANDAS, POLARS], ids=["arrow", "pandas", "polars yielded"])
def test_what_a_function_makes_is_loaded_once(shop: Lab, body: str) -> None:
    """Append without key and cursor: a task that runs again is the same request."""
    shop.write("dag.py", DAG.format(dag_id=f"made{len(body)}", body=body, more=""))
    run = shop.once("dag.py")
    assert run.state == "success"
    assert rows(shop, "SELECT n FROM raw.numbers ORDER BY n") == [(0,), (1,), (2,)]
    assert run.xcoms["numbers"]["counts"] == {"read": 3, "inserted": 3}
    assert [e["name"] for e in run.events] == ["raw.numbers"]
    assert shop.call(AGAIN, file=str(shop.folder / "dag.py"), run_id=run.run_id) == "success"
    assert rows(shop, "SELECT count(*) FROM raw.numbers") == [(3,)]
    assert (shop.folder / "calls").read_text() == "x"
    again = shop.call("result = told(dag_id, run_id)", dag_id=f"made{len(body)}", run_id=run.run_id)
    assert len(again["events"]) == 1
    assert again["xcoms"]["numbers"]["outcome"] == "replayed"


AGAIN = """
    from airflow.models.taskinstance import TaskInstance, clear_task_instances
    from airflow.sdk.definitions.dag import _run_task
    from airflow.utils.session import create_session
    (dag,) = dags(file).values()
    with create_session() as session:
        found = session.query(TaskInstance).filter_by(run_id=run_id).all()
        clear_task_instances(found, session)
    with create_session() as session:
        (ti,) = session.query(TaskInstance).filter_by(run_id=run_id).all()
        ti.refresh_from_task(dag.get_task(ti.task_id))
        ti.dag_run.state = "running"
        session.commit()
        _run_task(ti=ti, task=dag.get_task(ti.task_id))
    with create_session() as session:
        result = str(session.query(TaskInstance).filter_by(run_id=run_id).one().state)
"""


def test_modes_and_rules_are_those_of_a_file(shop: Lab) -> None:
    more = (
        ", mode='upsert', key='n', stream={'quality': [{'rule': 'range', 'column': 'n', 'max': 1}]}"
    )
    body = "import pyarrow as pa; return pa.table({'n': list(range(count))})"
    shop.write("dag.py", DAG.format(dag_id="ruled", body=body, more=more))
    run = shop.once("dag.py")
    assert run.state == "failed"
    assert "rule 'range n'" in run.log or "range" in run.log
    assert run.events == []


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("return [{'n': 1}]", "pyarrow.Table.from_pylist"),
        ("return 'text'", "the data is a str"),
    ],
)
def test_what_is_no_data_fails_by_name(shop: Lab, body: str, told: str) -> None:
    shop.write("dag.py", DAG.format(dag_id=f"nodata{len(body)}", body=body, more=""))
    run = shop.once("dag.py")
    assert run.state == "failed"
    assert told in run.log


def test_none_is_nothing_to_load(shop: Lab) -> None:
    shop.write("dag.py", DAG.format(dag_id="none", body="return None", more=""))
    run = shop.once("dag.py")
    assert run.state == "success"
    assert run.xcoms["numbers"]["outcome"] == "empty"
    assert run.events == []


@pytest.mark.parametrize(
    ("body", "state", "tries"),
    [
        ("raise OSError('the API is down')", "failed", 2),
        ("yield 1 / 0", "failed", 2),
        (
            "from airflow.sdk.exceptions import AirflowSkipException as S; raise S('none')",
            "skipped",
            1,
        ),
    ],
)
def test_what_the_function_raises_is_airflows_to_judge(
    shop: Lab, body: str, state: str, tries: int
) -> None:
    more = ", retries=1"
    shop.write("dag.py", DAG.format(dag_id=f"raises{len(body)}", body=body, more=more))
    run = shop.once("dag.py")
    assert (run.tasks["numbers"], run.tries["numbers"]) == (state, tries)
    assert state == "skipped" or "the API is down" in run.log or "ZeroDivisionError" in run.log
