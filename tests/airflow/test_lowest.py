"""The lowest Airflow that the provider supports, in an environment of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.airflow import shop as shops
from tests.airflow.lab import Airflow, Lab
from tests.install import matrix

pytestmark = [pytest.mark.slow, pytest.mark.deep]

DAG = """
    from airflow.sdk import DAG, task
    from airflow_provider_conduit import ConduitCursorSensor, ConduitLoadOperator

    with DAG("{dag_id}", schedule=None) as dag:
        load = ConduitLoadOperator(task_id="load", pipeline="shop.yml", stream="orders")

        @task.conduit(destination_conn_id="warehouse", into="raw.numbers")
        def numbers():
            import pyarrow
            yield pyarrow.table({{"n": [1, 2]}})

        load >> numbers()

    with DAG("{dag_id}_wait", schedule=None) as waiting:
        ConduitCursorSensor(task_id="wait", pipeline="shop.yml", timeout=5, deferrable=False)
"""


@pytest.fixture(scope="module")
def lowest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    home = tmp_path_factory.mktemp("lowest")
    built = matrix.build(home / "dist", (matrix.CORE, matrix.AIRFLOW))
    drivers = matrix.drivers("duckdb", "sqlite")
    python = matrix.install(matrix.AIRFLOW, "lowest", built, home / "env", drivers)
    made = Airflow(home / "airflow", str(python))
    yield made
    made.end()


def test_p11_before_3_3_the_state_is_a_variable(lowest: Airflow, tmp_path: Path) -> None:
    """Seen and edited there; a cursor set back is a rewind."""
    assert lowest.version.startswith("3.1.")
    lab = Lab(tmp_path, lowest)
    shops.furnish(lab)
    lab.write("dag.py", DAG.format(dag_id="lowest"))
    waited = lab.once("dag.py", dag="lowest_wait")
    assert waited.state == "success", waited.log
    first = lab.once("dag.py", dag="lowest")
    assert first.state == "success", first.log
    assert [e["name"] for e in first.events] == ["raw.orders", "raw.numbers"]
    assert shops.rows(lab, "SELECT count(*) FROM raw.orders") == [(50,)]
    entry = variable(lab)
    assert entry["version"] == "1"
    entry["cursor"] = entry["cursor"].replace("00:00:49", "00:00:39")
    lab.call(
        "from airflow.models.variable import Variable\nVariable.set('conduit:raw.orders', text)",
        text=json.dumps(entry),
    )
    second = lab.once("dag.py", dag="lowest")
    assert second.state == "success", second.log
    assert "rewound by hand" in second.log
    assert second.xcoms["load"]["counts"] == {"read": 10, "unchanged": 10}
    assert variable(lab)["version"] == "2"


def variable(lab: Lab) -> Any:
    name = "conduit:raw.orders"
    code = "from airflow.models.variable import Variable\nresult = Variable.get(name)"
    return json.loads(lab.call(code, name=name))
