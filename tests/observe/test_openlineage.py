from __future__ import annotations

import json
import socket
import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from conduit_core import Origin, Pipeline, audit, observing, plan, publish, run, stage
from conduit_core.cli import main
from conduit_core.errors import ConduitError
from conduit_core.events import Event, HookFailed, Notice, RunFinished, StreamFailed
from tests.observe.lineage import Collected, collecting
from tests.observe.shop import make_shop

CANARY = "hunter2canary"
STAGED = {"type": "duckdb", "path": "wh.duckdb", "schema": "raw", "staging": "staging"}


class Warned(list[str]):
    """A listener that keeps warnings."""

    def __call__(self, event: Event) -> None:
        if isinstance(event, Notice) and event.level == "warning":
            self.append(event.message)


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("URL", "API_KEY", "CONFIG", "NAMESPACE", "PARENT_ID", "ROOT_PARENT_ID"):
        monkeypatch.delenv(f"OPENLINEAGE_{name}", raising=False)


@pytest.fixture
def receiver() -> Iterator[Collected]:
    with collecting() as collected:
        yield collected


def word(receiver: Collected) -> str:
    return f"openlineage+{receiver.url}"


def load(pipeline: Pipeline, to: str, **more: object) -> Warned:
    warned = Warned()
    with observing(pipeline, (warned,), to=to, **more) as seen:  # type: ignore[arg-type]
        run(pipeline, listeners=seen.listeners)
    return warned


def test_a_load_is_a_run_with_its_datasets(tmp_path: Path, receiver: Collected) -> None:
    assert not load(make_shop(tmp_path), word(receiver))
    assert receiver.runs() == [
        ("shop", "START"), ("shop.orders", "START"), ("shop.orders", "COMPLETE"),
        ("shop", "COMPLETE"),
    ]  # fmt: skip
    parent, start, done, _ = receiver.events
    assert start["run"]["runId"] == done["run"]["runId"] != parent["run"]["runId"]
    assert start["eventTime"] < done["eventTime"]
    assert {e["job"]["namespace"] for e in receiver.events} == {"conduit"}
    above = done["run"]["facets"]["parent"]
    assert above["run"]["runId"] == above["root"]["run"]["runId"] == parent["run"]["runId"]
    assert above["job"]["name"] == "shop"
    assert done["run"]["facets"]["processing_engine"]["name"] == "conduit"
    ledger = done["run"]["facets"]["conduit_load"]
    assert ledger["outcome"] == "published"
    assert ledger["rows"] == {"read": 10, "inserted": 9, "rejected": 1}
    (target,), (source,) = done["outputs"], done["inputs"]
    assert source["namespace"] == f"sqlite://{tmp_path}/shop.db"
    assert source["name"] == "main.orders"
    assert (target["namespace"], target["name"]) == (
        f"duckdb://{tmp_path}/wh.duckdb",
        "wh.raw.orders",
    )
    fields = {f["name"]: f["type"] for f in target["facets"]["schema"]["fields"]}
    assert fields["email"] == "VARCHAR"
    origin = target["facets"]["columnLineage"]["fields"]["email"]["inputFields"]
    assert [(o["namespace"], o["field"]) for o in origin] == [(source["namespace"], "email")]
    assert target["outputFacets"]["outputStatistics"]["rowCount"] == 9
    assert source["inputFacets"]["inputStatistics"]["rowCount"] == 10
    assert source["inputFacets"]["inputStatistics"]["size"] > 0
    found = source["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert [(a["assertion"], a["column"], a["success"], a["severity"]) for a in found] == [
        ("not_null(id)", "id", True, "error"),
        ("regex(email)", "email", False, "warn"),
    ]
    assert found[1]["actual"] == "1 of 10 rows failed"


def test_kafka_by_the_clients_own_settings(tmp_path: Path) -> None:
    from confluent_kafka import Consumer, Producer

    broker = Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 1})
    (found,) = broker.list_topics(timeout=10).brokers.values()
    servers = f"{found.host}:{found.port}"
    config = {"bootstrap.servers": servers, "acks": "all"}
    transport = {"type": "kafka", "config": config, "topic": "lineage", "flush": True}
    (tmp_path / "openlineage.yml").write_text(json.dumps({"transport": transport}))
    assert not load(make_shop(tmp_path), "openlineage")
    reader = Consumer(
        {"bootstrap.servers": servers, "group.id": "test", "auto.offset.reset": "earliest"}
    )
    with closing(reader):
        reader.subscribe(["lineage"])
        messages = reader.consume(4, timeout=30)
    events = [json.loads(message.value() or b"") for message in messages]
    assert sorted((e["job"]["name"], e["eventType"]) for e in events) == [
        ("shop", "COMPLETE"), ("shop", "START"),
        ("shop.orders", "COMPLETE"), ("shop.orders", "START"),
    ]  # fmt: skip


def test_a_second_load_with_nothing_new_is_a_run_too(tmp_path: Path, receiver: Collected) -> None:
    shop = make_shop(tmp_path)
    run(shop)
    load(shop, word(receiver))
    done = receiver.end_of("shop.orders")
    assert done["eventType"] == "COMPLETE"
    assert done["run"]["facets"]["conduit_load"]["outcome"] == "empty"
    assert done["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 0


def test_a_postgres_table_has_its_servers_name(
    tmp_path: Path, receiver: Collected, postgres_database: str
) -> None:
    shop = make_shop(tmp_path, destination={"url": postgres_database, "schema": "raw"})
    assert not load(shop, word(receiver))
    (target,) = receiver.end_of("shop.orders")["outputs"]
    assert target["namespace"].startswith("postgres://")
    assert target["name"].endswith(".raw.orders")
    fields = {f["name"]: f["type"] for f in target["facets"]["schema"]["fields"]}
    assert fields["email"] == "text"


def test_a_load_that_rules_stop_has_failed(tmp_path: Path, receiver: Collected) -> None:
    rules = [{"rule": "regex", "column": "email", "pattern": ".+@.+"}]
    shop = make_shop(tmp_path, streams=[{"table": "orders", "quality": rules}])
    load(shop, word(receiver))
    failed = receiver.end_of("shop.orders")
    assert failed["eventType"] == receiver.end_of("shop")["eventType"] == "FAIL"
    assert failed["run"]["facets"]["errorMessage"]["message"] == "QualityError, exit code 5"
    (found,) = failed["inputs"][0]["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert not found["success"]
    assert not failed["outputs"][0]["outputFacets"]
    assert "broken" not in json.dumps(receiver.events)


def test_a_load_that_cannot_connect_says_why_without_its_secrets(
    tmp_path: Path, receiver: Collected
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"postgres://loader:{CANARY}@127.0.0.1:{taken.getsockname()[1]}/shop"
        shop = make_shop(tmp_path, destination=url)
        with observing(shop, to=word(receiver)) as seen:
            run(shop, listeners=seen.listeners, attempts=1)
    failed = receiver.end_of("shop.orders")
    message = failed["run"]["facets"]["errorMessage"]["message"]
    assert message.startswith("ConnectionFailedError: orders (shop): ")
    assert CANARY not in json.dumps(receiver.events)


def test_a_run_that_is_cancelled_or_breaks_is_aborted(tmp_path: Path, receiver: Collected) -> None:
    import threading

    shop, cancel = make_shop(tmp_path), threading.Event()

    def stop(event: Event) -> None:
        if event.name == "plan_ready":
            cancel.set()

    with observing(shop, (stop,), to=word(receiver)) as seen:
        run(shop, listeners=seen.listeners, cancel=cancel)
    assert receiver.end_of("shop.orders")["eventType"] == "ABORT"
    assert receiver.end_of("shop")["eventType"] == "ABORT"
    receiver.events.clear()
    started = [e for e in _events_of(shop) if e.name in ("run_started", "stream_started")]
    with observing(shop, to=word(receiver)) as seen:
        for event in started:
            for listener in seen.listeners:
                listener(event)
    assert [state for _, state in receiver.runs()] == ["START", "START", "ABORT", "ABORT"]


def _events_of(pipeline: Pipeline) -> list[Event]:
    heard: list[Event] = []
    run(pipeline, listeners=(heard.append,))
    return heard


def test_of_a_load_in_steps_publish_tells(tmp_path: Path, receiver: Collected) -> None:
    shop, to = make_shop(tmp_path, destination=STAGED), word(receiver)
    with observing(shop, to=to) as seen:
        (made,) = plan(shop, staged=True, listeners=seen.listeners)
    with observing(shop, to=to) as seen:
        stage(shop, made, listeners=seen.listeners)
    with observing(shop, to=to) as seen:
        report = audit(shop, made, listeners=seen.listeners)
    assert not receiver.events
    with observing(shop, to=to) as seen:
        publish(shop, made, report=report, listeners=seen.listeners)
    assert receiver.runs() == [("shop.orders", "START"), ("shop.orders", "COMPLETE")]
    start, done = receiver.events
    assert start["eventTime"] <= done["eventTime"]
    assert done["run"]["facets"]["conduit_load"]["loadId"] == made.load_id


def test_of_a_load_in_steps_who_fails_tells(tmp_path: Path, receiver: Collected) -> None:
    shop, to = make_shop(tmp_path, destination=STAGED), word(receiver)
    (made,) = plan(shop, staged=True)
    with closing(sqlite3.connect(tmp_path / "shop.db")) as con:
        con.execute("DROP TABLE orders")
    with observing(shop, to=to) as seen, suppress(ConduitError):
        stage(shop, made, listeners=seen.listeners)
    assert receiver.runs() == [("shop.orders", "START"), ("shop.orders", "FAIL")]


def test_a_load_whose_ends_are_not_known_has_failed(tmp_path: Path, receiver: Collected) -> None:
    shop = make_shop(tmp_path, destination={"connection": "nobody"})
    error = ConduitError("no connection is called nobody", pipeline="shop", stream="orders")
    failed = StreamFailed(
        pipeline="shop", stream="orders", error="ConfigError", exit_code=2, lines=(*error.lines(),)
    )
    warned = Warned()
    with observing(shop, (warned,), to=word(receiver)) as seen:
        for listener in seen.listeners:
            listener(failed)
    assert warned == ["lineage has no datasets: ConfigError"]
    assert receiver.runs() == [("shop.orders", "START"), ("shop.orders", "FAIL")]
    message = receiver.events[-1]["run"]["facets"]["errorMessage"]["message"]
    assert message == "ConfigError: orders (shop): no connection is called nobody"


def test_a_hook_that_fails_fails_the_pipelines_run(tmp_path: Path, receiver: Collected) -> None:
    shop = make_shop(tmp_path)
    hook = HookFailed(pipeline="shop", hook="dbt", error="HookError", exit_code=8, lines=())
    events = [
        *_events_of(shop)[:-1],
        hook,
        RunFinished(pipeline="shop", published=("orders",), empty=(), failed=(), seconds=1.0),
    ]
    with observing(shop, to=word(receiver)) as seen:
        for event in events:
            for listener in seen.listeners:
                listener(event)
    assert receiver.end_of("shop.orders")["eventType"] == "COMPLETE"
    assert receiver.end_of("shop")["eventType"] == "FAIL"


def test_the_runners_run_is_the_parent(
    tmp_path: Path, receiver: Collected, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, mine, root = make_shop(tmp_path), str(uuid.uuid4()), str(uuid.uuid4())
    monkeypatch.setenv("OPENLINEAGE_PARENT_ID", f"s3://x/etl/{root}")
    monkeypatch.setenv("OPENLINEAGE_NAMESPACE", "prod")
    origin = Origin(runner="prefect", namespace="flows", job="nightly", run_id=mine)
    assert not load(shop, word(receiver), origin=origin)
    assert receiver.runs() == [("shop.orders", "START"), ("shop.orders", "COMPLETE")]
    above = receiver.events[0]["run"]["facets"]["parent"]
    assert (above["job"]["namespace"], above["job"]["name"]) == ("flows", "nightly")
    assert above["run"]["runId"] == above["root"]["run"]["runId"] == mine
    assert receiver.events[0]["job"]["namespace"] == "prod"
    receiver.events.clear()
    monkeypatch.setenv("OPENLINEAGE_ROOT_PARENT_ID", f"air/dag/{mine}")
    load(shop, word(receiver))
    above = receiver.events[0]["run"]["facets"]["parent"]
    assert (above["job"]["namespace"], above["run"]["runId"]) == ("s3://x", root)
    assert (above["root"]["job"]["name"], above["root"]["run"]["runId"]) == ("dag", mine)


def test_a_parent_that_is_none_is_a_warning(
    tmp_path: Path, receiver: Collected, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENLINEAGE_PARENT_ID", "air/dag/not-a-uuid")
    (warning,) = load(make_shop(tmp_path), word(receiver))
    assert "OPENLINEAGE_PARENT_ID" in warning
    assert "UUID" in warning
    assert ("shop", "COMPLETE") in receiver.runs()


def test_the_command_sends_with_openlineages_own_settings(
    tmp_path: Path, receiver: Collected, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = make_shop(tmp_path)
    (tmp_path / "pipeline.yml").write_text(json.dumps(_mapping(shop)))
    monkeypatch.setenv("OPENLINEAGE_URL", receiver.url)
    monkeypatch.setenv("OPENLINEAGE_API_KEY", CANARY)
    monkeypatch.setenv("CONDUIT_OBSERVE", "openlineage")
    with _environment_as_it_was():
        assert main(["run"]) == 0
    assert ("shop.orders", "COMPLETE") in receiver.runs()
    assert set(receiver.keys) == {f"Bearer {CANARY}"}
    receiver.events.clear()
    monkeypatch.setenv("OPENLINEAGE_DISABLED", "true")
    with _environment_as_it_was():
        assert main(["run"]) == 0
    assert not receiver.events


@pytest.mark.parametrize("by", ["file", "variable"])
def test_a_file_takes_events_by_the_clients_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    transport = {"type": "file", "log_file_path": str(tmp_path / "l.jsonl"), "append": True}
    if by == "file":
        (tmp_path / "openlineage.yml").write_text(json.dumps({"transport": transport}))
    else:
        monkeypatch.setenv("OPENLINEAGE__TRANSPORT", json.dumps(transport))
    assert not load(make_shop(tmp_path), "openlineage")
    lines = (tmp_path / "l.jsonl").read_text().splitlines()
    assert [json.loads(line)["eventType"] for line in lines] == [
        "START", "START", "COMPLETE", "COMPLETE",
    ]  # fmt: skip


def test_a_key_may_stand_in_the_url_and_is_never_shown(tmp_path: Path) -> None:
    with collecting(lambda: 401) as receiver:
        to = f"openlineage+http://:{CANARY}@{receiver.url.removeprefix('http://')}/hook"
        (warning,) = load(make_shop(tmp_path), to)
    assert set(receiver.keys) == {f"Bearer {CANARY}"}
    assert set(receiver.paths) == {"/hook"}
    assert "401" in warning
    assert "API key" in warning
    assert CANARY not in warning


def test_a_receiver_that_is_not_there_is_one_warning(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        began = time.monotonic()
        shop = make_shop(tmp_path)
        (warning,) = load(shop, f"openlineage+http://127.0.0.1:{taken.getsockname()[1]}")
    assert "can't be reached" in warning
    assert time.monotonic() - began < 5
    assert capfd.readouterr().err == ""
    assert len(shop.streams) == 1


def test_a_receiver_that_never_answers_has_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conduit_core.observe.observing.CLOSE_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        began = time.monotonic()
        (warning,) = load(
            make_shop(tmp_path), f"openlineage+http://127.0.0.1:{deaf.getsockname()[1]}"
        )
    assert "didn't take all" in warning
    assert time.monotonic() - began < 4


@pytest.mark.parametrize(
    ("to", "wanted"),
    [
        ("openlineage", "OPENLINEAGE_URL"),
        ("openlineage+grpc://h", "openlineage+http://host:5000"),
        ("openlineage+http:", "names no server"),
    ],
)
def test_settings_that_say_nothing_are_a_warning(tmp_path: Path, to: str, wanted: str) -> None:
    (warning,) = load(make_shop(tmp_path), to)
    assert wanted in warning


def test_a_client_that_cannot_be_made_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "openlineage.yml").write_text("transport: {type: http}")
    (warning,) = load(make_shop(tmp_path), "openlineage")
    assert "openlineage.yml" in warning


def test_one_of_two_transports_that_fails_is_one_warning(
    tmp_path: Path, receiver: Collected, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        both = {
            "here": {"type": "http", "url": receiver.url},
            "there": {"type": "http", "url": f"http://127.0.0.1:{taken.getsockname()[1]}"},
        }
        transport = {"type": "composite", "transports": both}
        monkeypatch.setenv("OPENLINEAGE__TRANSPORT", json.dumps(transport))
        (warning,) = load(make_shop(tmp_path), "openlineage")
    assert "a transport of its client didn't take all" in warning
    assert ("shop.orders", "COMPLETE") in receiver.runs()


class _environment_as_it_was:  # noqa: N801 - a block
    """OpenLineage's client writes its settings into the environment once more."""

    def __enter__(self) -> None:
        import os

        self._was = dict(os.environ)

    def __exit__(self, *_: object) -> None:
        import os

        os.environ.clear()
        os.environ.update(self._was)


def _mapping(shop: Pipeline) -> dict[str, object]:
    stream = {"table": "orders", "mode": "upsert", "unique_key": "id", "cursor": ["updated_at"]}
    return {
        "name": shop.name,
        "source": "sqlite:///shop.db",
        "destination": "duckdb:///wh.duckdb",
        "streams": [stream],
    }
