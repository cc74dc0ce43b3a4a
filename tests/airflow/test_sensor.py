from __future__ import annotations

import pytest

from tests.airflow.lab import Lab
from tests.airflow.shop import dag, fill

pytestmark = pytest.mark.xdist_group("airflow")

DAG = """
    from airflow.sdk import DAG
    from airflow_provider_conduit import ConduitCursorSensor

    with DAG("{dag_id}", schedule=None) as dag:
        ConduitCursorSensor(task_id="wait", pipeline="shop.yml", {more})
"""


def test_it_waits_for_rows_that_are_not_loaded(shop: Lab) -> None:
    wait = "poke_interval=0.1, timeout=0.2, mode='poke', deferrable=False"
    shop.write("dag.py", DAG.format(dag_id="wait", more=wait))
    shop.write("load.py", dag("wait_load"))
    before = shop.once("dag.py")
    assert (before.state, before.xcoms["wait"]["rows"]) == ("success", 50)
    assert before.events == []
    assert shop.once("load.py").state == "success"
    nothing = shop.once("dag.py")
    assert nothing.state == "failed"
    assert "nothing new" in nothing.log
    fill(shop.folder / "shop.db", 50, 53)
    after = shop.once("dag.py")
    assert (after.state, after.xcoms["wait"]["high"]) == ("success", "2026-01-01T00:00:52.000000")


def test_deferred_it_is_woken_by_its_trigger(shop: Lab) -> None:
    """The trigger looks by itself; rows come in while nobody holds a worker."""
    shop.write("load.py", dag("deferred_load"))
    shop.once("load.py")
    shop.write("dag.py", DAG.format(dag_id="deferred", more="poke_interval=0.1, deferrable=True"))
    fills = "threading.Timer(1.0, fill, (Path(path), 50, 51)).start()"
    shop.call(
        f"import threading; from pathlib import Path; from tests.airflow.shop import fill; {fills}",
        path=str(shop.folder / "shop.db"),
    )
    run = shop.once("dag.py")
    assert run.state == "success", run.log
    assert "deferr" in run.log.lower()
    assert run.xcoms["wait"]["rows"] == 1


def test_a_stream_without_a_cursor_is_refused(shop: Lab) -> None:
    text = (shop.folder / "shop.yml").read_text()
    shop.write("shop.yml", text.replace("cursor: updated_at, mode: upsert", "mode: replace"))
    shop.write("dag.py", DAG.format(dag_id="cursorless", more="retries=1, deferrable=False"))
    run = shop.once("dag.py")
    assert (run.state, run.tries["wait"]) == ("failed", 1)
    assert "has no `cursor`" in run.log
