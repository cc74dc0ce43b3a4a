from __future__ import annotations

import pytest

from tests.airflow.lab import Lab
from tests.airflow.shop import ENTRY, FORGET, dag, fill, rows

CANARY = "hunter2-canary"


def test_what_is_new_is_loaded_and_told_once(shop: Lab) -> None:
    shop.write("dag.py", dag("news"))
    first, second = shop.run("dag.py", {}, {})
    fill(shop.folder / "shop.db", 50, 60)
    third = shop.once("dag.py")
    assert [first.state, second.state, third.state] == ["success"] * 3
    loaded = rows(shop, "SELECT count(*), sum(amount) FROM raw.orders")
    assert loaded == [(60, sum(range(60)) * 10)]
    assert first.xcoms["load"]["counts"] == {"read": 50, "inserted": 50}
    assert second.xcoms["load"]["outcome"] == "empty"
    assert [len(run.events) for run in (first, second, third)] == [1, 0, 1]
    event = third.events[0]
    assert (event["name"], event["uri"]) == ("raw.orders", "raw.orders")
    assert event["extra"]["watermark"] == "2026-01-01T00:00:59.000000"
    assert event["extra"]["counts"] == {"read": 10, "inserted": 10}


def test_p11_the_state_is_airflows_and_the_ledger_decides(shop: Lab) -> None:
    """Nothing is on the worker's disk, and a lost entry is made good."""
    shop.write("dag.py", dag("state"))
    shop.once("dag.py")
    before = sorted(p.name for p in shop.folder.iterdir() if not p.name.endswith(".log"))
    entry = shop.call(ENTRY)
    assert entry["version"] == "1"
    assert "2026-01-01T00:00:49" in entry["cursor"]
    shop.call(FORGET)
    fill(shop.folder / "shop.db", 50, 60)
    again = shop.once("dag.py")
    assert "the state store is empty: it is rolled forward from the ledger" in again.log
    assert rows(shop, "SELECT count(*) FROM raw.orders") == [(60,)]
    assert shop.call(ENTRY)["version"] == "2"
    after = sorted(p.name for p in shop.folder.iterdir() if not p.name.endswith(".log"))
    assert after == before


WATCHED = """
    import os, sys
    from airflow.sdk import DAG
    from airflow_provider_conduit import ConduitLoadOperator

    STARTS = ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system")

    class Watched(ConduitLoadOperator):
        def execute(self, context):
            import psutil

            on, seen, children = [True], [], set(psutil.Process().children(recursive=True))
            sys.addaudithook(lambda event, args: on and event in STARTS and seen.append(event))
            told = super().execute(context)
            on.clear()
            more = set(psutil.Process().children(recursive=True)) - children
            return {**told, "started": seen, "children": len(more)}

    with DAG("watched", schedule=None) as dag:
        Watched(task_id="load", pipeline="shop.yml", stream="orders")
"""


def test_p19_a_load_is_in_the_tasks_own_process_and_its_result_has_types(shop: Lab) -> None:
    """No command is started whose log would have to be read."""
    shop.write("dag.py", WATCHED)
    run = shop.once("dag.py")
    assert run.state == "success", run.log
    told = run.xcoms["load"]
    assert (told["started"], told["children"]) == ([], 0)
    assert told["counts"] == {"read": 50, "inserted": 50}
    assert (told["outcome"], told["target"], told["version"]) == ("published", "raw.orders", 1)
    assert told["schema_changes"] == []


def test_a_failure_that_no_retry_can_mend_is_not_tried_again(shop: Lab) -> None:
    shop.write("dag.py", dag("never", "retries=2, retry_delay=0"))
    shop.write("shop.yml", (shop.folder / "shop.yml").read_text().replace("updated_at", "nowhere"))
    run = shop.once("dag.py")
    assert (run.tasks["load"], run.tries["load"]) == ("failed", 1)
    told = [line for line in run.log.splitlines() if line.strip()]
    assert any("AirflowFailException: orders (shop): " in line for line in told)
    assert "nothing published" in run.log
    assert "a retry will not help" in run.log


def test_what_a_retry_can_mend_is_tried_again(shop: Lab) -> None:
    """The source isn't reachable: a server that isn't there."""
    shop.write("dag.py", dag("again", "retries=1, retry_delay=0"))
    shop.connection("shop_src", conn_type="postgres", host="127.0.0.1", port=1, schema="x")
    run = shop.once("dag.py")
    assert (run.tasks["load"], run.tries["load"]) == ("failed", 2)
    assert "a retry may help" in run.log


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("source_conn_id='nobody'", "Airflow has no connection 'nobody'"),
        ("source_conn_id='{{ params.nothing | default(\"\") }}'", "its template gave nothing"),
        ("source_conn_id='listed'", "isn't a JSON object"),
        ("source_conn_id='garbled'", "isn't a JSON object"),
        ("full_refresh='{{ params.maybe | default(\"perhaps\") }}'", "must be true or false"),
        ("window_from='{{ nothing_here }}'", "nothing_here"),
        ("window='{{ \"yesterday\" }}'", "must be one of watermark, data_interval"),
    ],
)
def test_bad_arguments_fail_by_name(shop: Lab, arguments: str, told: str) -> None:
    name = str(abs(hash(arguments)))
    shop.connection("listed", conn_type="sqlite", host="/nowhere", extra="[1]")
    shop.connection("garbled", conn_type="sqlite", host="/nowhere", extra="{sslmode: require}")
    shop.write("dag.py", dag(f"bad{name}", f"retries=1, retry_delay=0, {arguments}"))
    run = shop.once("dag.py")
    assert run.state == "failed"
    assert told in run.log
    assert not (shop.folder / "wh.duckdb").exists()


def test_a_file_that_is_not_on_the_worker_is_named(shop: Lab) -> None:
    """It is there when the DAG is parsed, and gone when the task starts."""
    text = (
        dag("gone") + "    import pathlib; dag.task_dict['load'].pipeline = pathlib.Path('/no.yml')"
    )
    shop.write("dag.py", text)
    run = shop.once("dag.py")
    assert run.state == "failed"
    assert "there is no /no.yml on this worker" in run.log


def test_nonsense_in_the_state_stops_the_load_and_shows_it(shop: Lab) -> None:
    shop.write("dag.py", dag("nonsense"))
    shop.once("dag.py")
    shop.call(
        """
        from airflow.models.asset_state_store import AssetStateStoreModel
        from airflow.utils.session import create_session
        with create_session() as session:
            for row in session.query(AssetStateStoreModel):
                row.value = '"forty-two"'
        """
    )
    fill(shop.folder / "shop.db", 50, 60)
    run = shop.once("dag.py")
    assert run.state == "failed"
    assert "forty-two" in run.log
    assert rows(shop, "SELECT count(*) FROM raw.orders") == [(50,)]
    shop.call(FORGET)
    assert shop.once("dag.py").state == "success"
    assert rows(shop, "SELECT count(*) FROM raw.orders") == [(60,)]


def test_no_secret_is_shown(shop: Lab) -> None:
    """A password in the connection, and one in the pipeline file's own URL."""
    shop.write("dag.py", dag("secret", "retries=0"))
    shop.connection(
        "shop_src", conn_type="postgres", host="127.0.0.1", port=1, login="u", password=CANARY
    )
    run = shop.once("dag.py")
    other = f"postgres://user:{CANARY}-2@127.0.0.1:1/db"
    text = (shop.folder / "shop.yml").read_text()
    shop.write("shop.yml", text.replace("{connection: shop_src}", other))
    shop.write("dag.py", dag("secret_too", "retries=0"))
    second = shop.once("dag.py")
    for one in (run, second):
        assert one.state == "failed"
        assert CANARY not in one.log
    kept = shop.call(
        """
        from airflow.models.renderedtifields import RenderedTaskInstanceFields
        from airflow.utils.session import create_session
        with create_session() as session:
            result = [str(r.rendered_fields) for r in session.query(RenderedTaskInstanceFields)]
        """
    )
    assert kept
    assert not any(CANARY in text for text in kept)


def test_a_window_may_be_another_tasks_result(shop: Lab) -> None:
    shop.write(
        "dag.py",
        """
        from airflow.sdk import DAG, task
        from airflow_provider_conduit import ConduitLoadOperator

        with DAG("result_window", schedule=None):

            @task
            def word():
                return "watermark"

            ConduitLoadOperator(task_id="load", pipeline="shop.yml", window=word())
        """,
    )
    run = shop.once("dag.py")
    assert run.tasks["load"] == "success"


def test_an_asset_that_is_none_is_refused_when_the_dag_is_parsed(shop: Lab) -> None:
    shop.write("dag.py", dag("no_asset", "asset='raw.orders'"))
    with pytest.raises(AssertionError, match=r"asset='raw.orders': must be an airflow.sdk.Asset"):
        shop.once("dag.py")


def test_a_table_of_one_name_elsewhere_is_told_to_need_an_asset_of_its_own(shop: Lab) -> None:
    shop.write("dag.py", dag("here"))
    shop.once("dag.py")
    elsewhere = {"type": "duckdb", "path": str(shop.folder / "elsewhere.duckdb")}
    shop.connection("warehouse", conn_type="conduit", extra=elsewhere)
    shop.write("there.py", dag("there"))
    assert "needs an `asset=` of its own" in shop.once("there.py").log
    shop.write(
        "own.py", dag("own", "asset=__import__('airflow.sdk').sdk.Asset('other.raw.orders')")
    )
    run = shop.once("own.py")
    assert run.state == "success", run.log
    assert [event["name"] for event in run.events] == ["other.raw.orders"]
