from __future__ import annotations

import pytest

from tests.airflow.lab import Lab
from tests.airflow.shop import dag, fill

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


def test_deferred_a_mappings_paths_stay_the_dag_files(shop: Lab) -> None:
    """The triggerer has another working directory."""
    shop.write(
        "dag.py",
        """
        from airflow.sdk import DAG
        from airflow_provider_conduit import ConduitCursorSensor, ConduitCursorTrigger

        shop = {
            "name": "near",
            "source": {"type": "sqlite", "path": "shop.db"},
            "destination": {"type": "duckdb", "path": "near.duckdb", "schema": "raw"},
            "streams": [{"table": "orders", "cursor": "updated_at", "mode": "append"}],
        }
        with DAG("near", schedule=None):
            ConduitCursorSensor(task_id="wait", pipeline=shop)
        """,
    )
    told = shop.call(
        """
        import asyncio, pickle
        from airflow.sdk.module_loading import import_string
        from airflow.serialization.encoders import encode_trigger
        from airflow.serialization.serialized_objects import BaseSerialization
        from airflow_provider_conduit import ConduitCursorTrigger

        task = dags(file)["near"].get_task("wait")
        made = ConduitCursorTrigger(task.pipeline, "orders", poll_seconds=0.1, folder=task.folder)
        kept = encode_trigger(made)
        given = {k: BaseSerialization.deserialize(v) for k, v in kept["kwargs"].items()}
        again = import_string(kept["classpath"])(**given)

        async def first():
            async for event in again.run():
                return event.payload

        result = asyncio.run(first())
        """,
        file=str(shop.folder / "dag.py"),
    )
    assert (told["event"], told["rows"]) == ("news", 50)


@pytest.mark.parametrize(
    ("source", "refused"),
    [
        ("postgres://user:hunter2@db/shop", True),
        ("postgres://user@db:5432/shop?password=hunter2", True),
        ({"type": "postgres", "host": "db", "password": "hunter2"}, True),
        ({"type": "postgres", "host": "db", "password": "${PG_PASSWORD}"}, False),
        ("postgres://user:${PG_PASSWORD}@db:5432/shop", False),
        ("postgres://user@db:5432/shop", False),
        ({"connection": "shop_src"}, False),
    ],
)
def test_a_trigger_takes_no_mapping_with_a_secret(lab: Lab, source: object, refused: bool) -> None:
    """Airflow keeps a watcher's trigger with the asset's DAG, in plain text."""
    told = lab.call(
        """
        from airflow_provider_conduit import ConduitCursorTrigger
        from conduit_core.errors import ConfigError

        shop = {"name": "shop", "source": source, "destination": "duckdb:///x", "streams": ["a"]}
        try:
            ConduitCursorTrigger(shop, "a")
        except ConfigError as error:
            result = str(error)
        """,
        source=source,
    )
    assert ("has a secret in it" in str(told)) is refused
    assert "hunter2" not in str(told)
