"""Who is told of loads, by Airflow's own settings; and of which failures nobody is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.airflow.lab import Lab
from tests.airflow.shop import dag
from tests.observe.lineage import Collected, collecting

CANARY = "hunter2canary"


@pytest.fixture
def receiver() -> Iterator[Collected]:
    with collecting() as collected:
        yield collected


def word(receiver: Collected) -> str:
    return f"openlineage+http://:{CANARY}@{receiver.url.partition('//')[2]}"


DONE = [
    ("shop", "START"),
    ("shop.orders", "START"),
    ("shop.orders", "COMPLETE"),
    ("shop", "COMPLETE"),
]


def test_the_configuration_names_the_receivers(shop: Lab, receiver: Collected) -> None:
    shop.env["AIRFLOW__CONDUIT__OBSERVE"] = word(receiver)
    shop.env["CONDUIT_OBSERVE"] = "emf://nowhere.invalid"  # Airflow's setting holds
    shop.write("dag.py", dag("told"))
    run = shop.once("dag.py")
    assert run.state == "success", run.log
    assert receiver.runs() == DONE
    assert set(receiver.keys) == {f"Bearer {CANARY}"}
    assert CANARY not in run.log
    assert "emf" not in run.log


@pytest.mark.parametrize("by", ["connection", "command", "environment"])
def test_tokens_may_come_from_elsewhere(shop: Lab, receiver: Collected, by: str) -> None:
    if by == "connection":
        shop.env["AIRFLOW__CONDUIT__OBSERVE"] = "connection:watch"
        shop.connection("watch", conn_type="generic", password=word(receiver))
    elif by == "command":
        shop.write("url.txt", word(receiver))
        shop.env["AIRFLOW__CONDUIT__OBSERVE_CMD"] = f"cat {shop.folder / 'url.txt'}"
    else:
        shop.env["CONDUIT_OBSERVE"] = word(receiver)
    shop.write("dag.py", dag(f"by_{by}"))
    run = shop.once("dag.py")
    assert run.state == "success", run.log
    assert receiver.runs() == DONE, run.log
    assert CANARY not in run.log


def test_a_connection_that_is_not_there_is_a_warning(shop: Lab) -> None:
    shop.env["AIRFLOW__CONDUIT__OBSERVE"] = "connection:nobody"
    shop.write("dag.py", dag("nobody"))
    run = shop.once("dag.py")
    assert run.state == "success", run.log
    assert "[conduit] observe can't be read: AirflowNotFoundException" in run.log


def test_lineage_that_airflow_sends_is_not_sent_twice(shop: Lab, receiver: Collected) -> None:
    shop.env["AIRFLOW__CONDUIT__OBSERVE"] = word(receiver)
    shop.env["AIRFLOW__OPENLINEAGE__DISABLED"] = "False"
    shop.env["AIRFLOW__OPENLINEAGE__TRANSPORT"] = '{"type": "console"}'
    shop.call(FORGET_SETTINGS)
    shop.write("dag.py", dag("once"))
    try:
        run = shop.once("dag.py")
    finally:
        shop.env["AIRFLOW__OPENLINEAGE__DISABLED"] = "True"
        shop.call(FORGET_SETTINGS)
    assert run.state == "success", run.log
    assert not receiver.events
    assert "isn't told by Conduit: Airflow's OpenLineage provider does it" in run.log


FORGET_SETTINGS = """
    from airflow.providers.openlineage import conf
    for name in dir(conf):
        if hasattr(getattr(conf, name), "cache_clear"):
            getattr(conf, name).cache_clear()
"""
SPY = """
    from airflow.sdk import DAG
    from airflow_provider_conduit import ConduitLoadOperator
    from conduit_core.observe.observing import Observation
    from opentelemetry import trace

    close = Observation.close

    def closing(self):
        span = trace.get_current_span().get_span_context()
        print(f"will retry: {{self.will_retry}}, in a span: {{span.is_valid}}", flush=True)
        close(self)

    # What Airflow's own process for tasks has around a task, with its tracing off.
    worker = trace.NonRecordingSpan(trace.SpanContext(1, 1, False, trace.TraceFlags(0)))

    class Spied(ConduitLoadOperator):
        def execute(self, context):
            Observation.close = closing
            try:
                with trace.use_span(worker):
                    return super().execute(context)
            finally:
                Observation.close = close

    with DAG("{dag_id}", schedule=None) as dag:
        Spied(task_id="load", pipeline="shop.yml", stream="orders", retries=1, retry_delay=0)
"""


def test_of_a_task_that_is_tried_again_nobody_is_told(shop: Lab) -> None:
    """Nor does a load hang under a span that Airflow makes and sends nowhere."""
    shop.connection("warehouse", conn_type="postgres", host="127.0.0.1", port=1, login="me")
    shop.write("dag.py", SPY.format(dag_id="spied"))
    run = shop.once("dag.py")
    assert run.state == "failed"
    told = [line for line in run.log.splitlines() if "will retry: " in line]
    assert [line.partition("will retry: ")[2] for line in told] == [
        "True, in a span: False",
        "False, in a span: False",
    ]
