"""Alerts of whole runs, with real receivers and real destinations."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import jsonschema
import pytest

from conduit_core import Pipeline, RunRequest, observing, run
from conduit_core.connectors.incidents import KeepsIncidents
from conduit_core.engine import admin
from conduit_core.engine.standing import status
from conduit_core.errors import ConduitError, ConfigError, HookError
from conduit_core.events import AlertTold, Event, Notice, StreamFailed
from conduit_core.observe import alerts, alerts_decide, alerts_send
from conduit_core.observe.alerts import check_notify, try_alerts
from conduit_core.observe.alerts_text import alert_schema
from conduit_core.observe.observing import Origin
from tests.observe.receivers import Hook, hook, mailbox
from tests.observe.shop import make_shop

SECRET = "canary-of-the-signature"


@pytest.fixture
def receiver() -> Iterator[Hook]:
    with hook() as made:
        yield made


class Runs:
    """Runs of a shop, and what was said of alerts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys: dict[str, object] = {}
        self.said: list[str] = []
        self.told: list[AlertTold] = []
        self.made = False

    def pipeline(self, notify: object, **keys: object) -> Pipeline:
        import sqlite3

        if self.made:
            with closing(sqlite3.connect(self.folder / "shop.db")) as con:
                con.executescript("DROP TABLE IF EXISTS orders")
        self.made = True
        return make_shop(self.folder, **{"notify": notify, **self.keys, **keys})

    def hear(self, event: Event) -> None:
        if isinstance(event, Notice):
            self.said.append(event.message)
        if isinstance(event, AlertTold):
            self.told.append(event)

    def run(
        self, notify: object, *, retries: bool = False, key: str | None = None, **keys: object
    ) -> None:
        pipeline = self.pipeline(notify, **keys)
        with observing(pipeline, (self.hear,)) as watched:
            watched.will_retry = retries
            run(
                pipeline,
                listeners=watched.listeners,
                request=RunRequest(request_key=key),
                attempts=1,
            )


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


def broken(**more: object) -> dict[str, object]:
    return {"streams": [{"table": "nothing_there", "name": "orders", "into": "orders", **more}]}


def plain(**more: object) -> dict[str, object]:
    return {"streams": [{"table": "orders", "metadata": [], **more}]}


# --- webhooks -------------------------------------------------------------------------------------


def test_a_webhook_that_fails_twice_gets_a_signed_body_of_the_published_form(
    runs: Runs, receiver: Hook
) -> None:
    receiver.answers = [503, 503]
    runs.run({"on": "success", "to": {"url": receiver.url, "secret": SECRET}}, **plain())
    assert [t.outcome for t in runs.told] == ["sent"]
    first, second, third = receiver.got
    assert first.raw == second.raw == third.raw
    assert len({g.headers["Idempotency-Key"] for g in receiver.got}) == 1
    jsonschema.Draft202012Validator(alert_schema()).validate(third.body)
    assert third.body["key"] == third.headers["Idempotency-Key"]
    at, _, signed = third.headers["Conduit-Signature"].removeprefix("t=").partition(",v1=")
    text = f"{at}.".encode() + third.raw
    assert hmac.compare_digest(signed, hmac.new(SECRET.encode(), text, hashlib.sha256).hexdigest())
    assert abs(time.time() - int(at)) < 60


def test_who_refuses_is_not_asked_again_and_the_load_stands(runs: Runs, receiver: Hook) -> None:
    receiver.answers = [404]
    runs.run({"on": "success", "to": receiver.url}, **plain())
    (told,) = runs.told
    assert (told.outcome, told.text, told.about) == ("failed", "answered 404", "success")
    assert told.to == f"http://127.0.0.1:{receiver.port}"
    assert len(receiver.got) == 1


@pytest.mark.parametrize("status", [408, 425])
def test_who_is_too_slow_or_asked_too_early_is_asked_again(
    runs: Runs, receiver: Hook, status: int
) -> None:
    receiver.answers = [status]
    runs.run({"on": "success", "to": receiver.url}, **plain())
    assert [(t.outcome, len(receiver.got)) for t in runs.told] == [("sent", 2)]


def test_retry_after_is_honoured(runs: Runs, receiver: Hook) -> None:
    receiver.answers = [(429, {"Retry-After": "1"})]
    times: list[float] = []
    receiver.before = lambda: times.append(time.monotonic())
    runs.run({"on": "success", "to": receiver.url}, **plain())
    assert times[1] - times[0] >= 1
    receiver.answers = [(503, {"Retry-After": "3600"})]
    runs.run({"on": "success", "to": receiver.url}, **plain())
    assert runs.told[-1].text == "answered 503"


def test_a_receiver_that_hangs_or_is_gone_costs_a_bounded_time(
    runs: Runs, receiver: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "SEND_SECONDS", 0.7)
    go_on = time.monotonic() + 2
    receiver.before = lambda: time.sleep(max(go_on - time.monotonic(), 0))  # the slow receiver
    rules = {"on": "success", "to": [receiver.url, "http://127.0.0.1:1/t0ken-canary"]}
    runs.run(rules, **plain())
    assert {t.outcome for t in runs.told} == {"failed"}
    slow, gone = runs.told
    assert slow.text == "no answer in 1 s"
    assert "ConnectError" in gone.text


# --- apprise --------------------------------------------------------------------------------------


def test_mail_is_sent_by_apprise(runs: Runs) -> None:
    with mailbox() as (port, got):
        to = f"mailto://127.0.0.1:{port}?from=conduit@example.com&to=ops@example.com"
        runs.run({"on": "failure", "to": to}, **broken())
    (mail,) = got
    assert mail["Subject"] == "shop: orders failed"
    assert mail["To"] == "ops@example.com"
    assert "orders: SchemaError" in str(mail)
    assert runs.told[0].to == f"mailto://127.0.0.1:{port}"


def test_slack_is_sent_by_apprise(
    runs: Runs, receiver: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    from apprise.plugins.slack import NotifySlack

    monkeypatch.setattr(NotifySlack, "webhook_url", f"http://127.0.0.1:{receiver.port}/services")
    token = "T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
    for url in (f"slack://{token}/#ops", f"https://hooks.slack.com/services/{token}"):
        runs.run({"on": "failure", "to": url}, name=f"shop {len(url)}", **broken())
        (got,) = receiver.got
        assert "orders: SchemaError" in str(got.body)
        receiver.got.clear()
    assert [t.to for t in runs.told] == ["slack://...", "https://hooks.slack.com"]


def test_what_apprise_does_not_know_is_a_named_warning(runs: Runs) -> None:
    runs.run({"on": "success", "to": "slacc://t0ken-canary/x"}, **plain())
    (told,) = runs.told
    assert told.outcome == "failed"
    assert "apprise knows no such URL" in told.text


# --- once -----------------------------------------------------------------------------------------


@pytest.fixture(params=["duckdb", "sqlite", "postgres"])
def destination(request: pytest.FixtureRequest) -> dict[str, object]:
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_database")
        return {"type": "postgres", "url": url, "schema": "raw"}
    return {"type": request.param, "path": f"warehouse.{request.param}"}


def test_an_incident_is_told_once_and_so_is_its_end(
    runs: Runs, receiver: Hook, destination: dict[str, object]
) -> None:
    rules = [{"on": ["failure", "recovered"], "to": receiver.url}]
    runs.keys["destination"] = destination
    runs.run(rules, **plain())
    assert receiver.taken() == []
    for _ in range(3):
        runs.run(rules, **broken())
    assert receiver.taken() == [("failure", "shop: orders failed")]
    pipeline = runs.pipeline(rules)
    with pipeline.open() as ends:
        assert isinstance(ends.destination, KeepsIncidents)
        (one,) = ends.destination.incidents("shop")
    assert (one.times, one.error, one.exit_code, one.runner) == (3, "SchemaError", 4, "cli")
    runs.run(rules, **plain())
    (got,) = receiver.got
    assert got.body["alerts"][0]["was"] == "failure"
    assert receiver.taken() == [("recovered", "shop: orders is fine again")]
    runs.run(rules, **plain())
    assert receiver.taken() == []
    assert runs.said == []


def test_a_load_that_is_asked_for_again_is_told_of_once(runs: Runs, receiver: Hook) -> None:
    rules = {"on": ["success", "schema_change"], "to": receiver.url}
    for _ in range(3):
        runs.run(rules, key="2026-01-10", **plain())
    assert receiver.taken() == [("success", "shop: orders was loaded")]


def test_a_load_whose_process_died_before_its_alert_is_told_of_by_the_retry(
    runs: Runs, receiver: Hook
) -> None:
    rules = {"on": ["schema_change"], "to": receiver.url}
    runs.run(rules, key="1", **plain(mode="append", columns=["id"]))
    pipeline = runs.pipeline(rules, **plain(mode="append"))
    run(pipeline, request=RunRequest(request_key="2"))  # nobody listens
    assert receiver.taken() == []
    runs.run(rules, key="2", **plain(mode="append"))
    (got,) = receiver.got
    changed = got.body["alerts"][0]["columns"]
    assert [c["column"] for c in changed] == ["email", "updated_at"]


def test_rejected_rows_are_an_incident_with_a_condition(runs: Runs, receiver: Hook) -> None:
    rules = [
        {"on": ["rejected", "recovered"], "to": receiver.url, "if": "rejected >= 1"},
        {"on": "rejected", "to": f"{receiver.url}-many", "if": "rejected > 1 and pipeline"},
    ]
    rule = {"rule": "regex", "column": "email", "pattern": ".+@.+", "action": "dlq"}
    runs.run(rules, **plain(quality=[rule]))
    runs.run(rules, **plain(quality=[rule]))
    (got,) = receiver.got
    (alert,) = got.body["alerts"]
    assert (alert["rejected"], alert["read"]) == (1, 10)
    assert sum(alert["rules"].values()) == 1
    assert receiver.taken() == [("rejected", "shop: orders had rows rejected")]
    runs.run(rules, **plain())
    assert receiver.taken() == [("recovered", "shop: orders is fine again")]


def test_stale_streams_are_told_by_status_and_by_runs(runs: Runs, receiver: Hook) -> None:
    import sqlite3

    rules = {"on": ["stale", "recovered"], "to": receiver.url}
    stream = {
        "table": "orders",
        "mode": "append",
        "cursor": ["updated_at", "id"],
        "cursor_timezone": "UTC",
        "freshness": "1h",
    }
    runs.run(rules, streams=[stream])
    assert receiver.taken() == []
    pipeline = make_stale(runs, rules, stream)
    for _ in range(2):
        with observing(pipeline, (runs.hear,)) as watched:
            status(pipeline, listeners=watched.listeners)
    assert receiver.taken() == [("stale", "shop: orders is past its freshness")]
    with observing(pipeline, (runs.hear,)) as watched:
        run(pipeline, listeners=watched.listeners)
    assert receiver.taken() == [("recovered", "shop: orders is fine again")]
    with closing(sqlite3.connect(runs.folder / "shop.db")) as con:
        assert con.execute("SELECT count(*) FROM orders").fetchone() == (11,)


def make_stale(runs: Runs, rules: object, stream: dict[str, object]) -> Pipeline:
    import sqlite3

    pipeline = runs.pipeline(rules, streams=[stream])
    with closing(sqlite3.connect(runs.folder / "shop.db")) as con, con:
        con.execute("INSERT INTO orders VALUES (99, 'z', '2026-01-02 00:00:00')")
    return pipeline


def test_many_failed_streams_are_one_message(runs: Runs, receiver: Hook) -> None:
    streams = [{"table": f"t{n}", "name": f"s{n}"} for n in range(40)]
    runs.run({"on": "failure", "to": receiver.url}, streams=streams, destination="sqlite:///w.db")
    (got,) = receiver.got
    assert got.body["title"] == "shop: 40 streams failed"
    assert len(got.body["alerts"]) == 40
    assert got.body["text"].count("\n") == 39
    assert len({a["key"] for a in got.body["alerts"]}) == 40


def test_a_retried_or_cancelled_failure_is_not_told(runs: Runs, receiver: Hook) -> None:
    rules = {"on": ["failure"], "to": receiver.url}
    runs.run(rules, retries=True, **broken())
    pipeline = runs.pipeline(rules)
    with observing(pipeline) as watched:
        for listener in watched.listeners:
            listener(
                StreamFailed(
                    pipeline="shop",
                    stream="orders",
                    error="CancelledError",
                    exit_code=130,
                    lines=("a", "b", "c", "d"),
                )
            )
    assert receiver.taken() == []


def test_a_run_that_cannot_begin_is_told(runs: Runs, receiver: Hook) -> None:
    pipeline = runs.pipeline({"on": ["failure", "recovered"], "to": receiver.url}, **plain())
    for _ in range(2):
        with pytest.raises(ConfigError), observing(pipeline) as watched:
            run(pipeline, ("nope",), listeners=watched.listeners)
    (got,) = receiver.got
    assert "no stream 'nope'" in got.body["text"]
    assert receiver.taken() == [("failure", "shop: failed")]
    with observing(pipeline) as watched:
        run(pipeline, listeners=watched.listeners)
    assert receiver.taken() == [("recovered", "shop: is fine again")]


def test_a_hook_that_fails_is_told(runs: Runs, receiver: Hook) -> None:
    from pydantic import BaseModel

    from conduit_core import Hook as AfterHook
    from conduit_core import HookContext, HookReport
    from conduit_core.engine.hooks import added

    class Options(BaseModel):
        pass

    fails = [True]

    def work(options: BaseModel, context: HookContext) -> HookReport:
        if fails:
            raise HookError("model orders failed")
        return HookReport("done")

    rules = {"on": ["failure", "recovered"], "to": receiver.url}
    with added(AfterHook("paint", Options, run=work)):
        runs.run(rules, after={"paint": {}}, **plain())
        assert receiver.got[0].body["alerts"][0]["stream"] == "after.paint"
        assert "after.paint: HookError: model orders failed" in receiver.got[0].body["text"]
        receiver.got.clear()
        fails.clear()
        runs.run(rules, after={"paint": {}}, **plain())
    assert receiver.taken() == [("recovered", "shop: after.paint is fine again")]


# --- where nothing is kept ------------------------------------------------------------------------


def test_files_remember_nothing_so_all_is_told(runs: Runs, receiver: Hook) -> None:
    runs.keys["destination"] = {"type": "parquet", "path": "lake"}
    for _ in range(2):
        runs.run({"on": ["failure", "recovered"], "to": receiver.url}, **broken())
    assert [g.body["kept"] for g in receiver.got] == [False, False]
    assert all(g.body["key"].startswith("unkept-") for g in receiver.got)
    jsonschema.Draft202012Validator(alert_schema()).validate(receiver.got[0].body)


def test_a_destination_that_is_down_is_told_of(runs: Runs, receiver: Hook) -> None:
    url = "postgres://u:pw-canary@127.0.0.1:1/db"
    runs.keys["destination"] = {"type": "postgres", "url": url}
    runs.run({"on": "failure", "to": receiver.url}, **plain())
    (got,) = receiver.got
    assert got.body["alerts"][0]["error"] == "ConnectionFailedError"
    assert not got.body["kept"]
    assert "pw-canary" not in got.raw.decode()
    assert any("what was told before can't be asked for" in text for text in runs.said)


def test_no_table_is_made_where_nothing_is_to_be_remembered(runs: Runs, receiver: Hook) -> None:
    import duckdb

    runs.run({"on": ["failure", "recovered"], "to": receiver.url}, **plain())
    with closing(duckdb.connect(str(runs.folder / "wh.duckdb"))) as con:
        tables = con.execute("SELECT table_name FROM duckdb_tables()").fetchall()
    assert ("_conduit_incidents",) not in tables


# --- conditions, templates, connections -----------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ("read == 10 and stream.startswith('ord')", 1),
        ("read > 10", 0),
        ("counts.updated > 0 or counts['removed'] > 0", 0),
        ("counts.insertd > 0", 1),
        ("reed > 1", 1),
        ("read >", 1),
        ("stream * 1000000000", 1),
        ("stream.__class__.__mro__", 1),
    ],
)
def test_conditions(runs: Runs, receiver: Hook, condition: str, told: int) -> None:
    runs.run({"on": "success", "to": receiver.url, "if": condition}, **plain())
    assert len(receiver.taken()) == told
    wrong = "__" in condition or condition in {
        "reed > 1",
        "counts.insertd > 0",
        "read >",
        "stream * 1000000000",
    }
    assert len(runs.said) == wrong
    if wrong:
        assert runs.said[0].startswith("notify[0].if fails, it counts as true: ")


@pytest.mark.parametrize(
    ("template", "line", "warned"),
    [
        ("{{ stream | upper }} has {{ counts.inserted }}", "ORDERS has 10", False),
        ("{{ strem }}", "orders: 10 rows read", True),
        ("{{ stream", "orders: 10 rows read", True),
        ("{% for i in range(99999) %}x{% endfor %}", "orders: 10 rows read", True),
        ("{{ counts.updated }} of {{ counts.read }} updated", "0 of 10 updated", False),
        ("{% for kind in counts %}{{ kind }} {% endfor %}", "read inserted", False),
        ("{{ 'x' * 1000000000 }}", "orders: 10 rows read", True),
    ],
)
def test_templates(runs: Runs, receiver: Hook, template: str, line: str, *, warned: bool) -> None:
    runs.run({"on": "success", "to": receiver.url, "template": template}, **plain())
    text = receiver.got[0].body["text"]
    assert text.startswith(line)
    assert len(text) < 3000
    assert len(runs.said) == warned


def test_check_names_what_is_wrong(runs: Runs) -> None:
    rules = [
        {"on": "success", "to": "mailto://u:pw-canary@example.com", "if": "rejectd > 1"},
        {"on": "success", "to": "slacc://t0ken-canary/x"},
        {"on": "success", "to": "https://example.com/t0ken-canary", "template": "{{ stream }"},
        {"on": ["success", "stale"], "to": ["https://example.com/t0ken-canary"]},
        {"on": "success", "to": {"connection": "ops"}},
    ]
    found = check_notify(runs.pipeline(rules))
    assert [item.ok for item in found] == [False, False, False, True, False, False]
    told = [item.detail for item in found]
    assert "`if`: there is no rejectd; did you mean rejected?" in told[0]
    assert "apprise knows no such URL" in told[1]
    assert "`template`: unexpected '}'" in told[2]
    assert told[3] == "success, stale to https://example.com"
    assert "nothing can be stale" in told[4]
    assert "freshness: 24h" in found[4].remedy
    assert "ops" in told[5]
    assert "canary" not in str(found)


def test_a_named_connection_is_a_receiver(
    runs: Runs, receiver: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = runs.folder / "connections.yml"
    file.write_text(
        f"ops: {{type: notify, url: '{receiver.url}', secret: '{SECRET}'}}\n"
        "db: {type: sqlite, path: x.db}\nwrong: {type: notify, url: canary}\n"
    )
    monkeypatch.setenv("CONDUIT_CONNECTIONS", str(file))
    runs.run({"on": "success", "to": {"connection": "ops"}}, **plain())
    assert "Conduit-Signature" in receiver.got[0].headers
    assert runs.told[0].to == "connection ops"
    rules = {"on": "success", "to": [{"connection": name} for name in ("db", "wrong", "opps")]}
    runs.run(rules, **plain())
    assert len(runs.said) == 3
    assert "is of type sqlite, not notify" in runs.said[0]
    assert "needs a `url`" in runs.said[1]
    assert "did you mean `ops`?" in runs.said[2]
    assert "canary" not in "".join(runs.said)


def test_the_runner_is_named(runs: Runs, receiver: Hook) -> None:
    pipeline = runs.pipeline({"on": "success", "to": receiver.url}, **plain())
    origin = Origin("airflow", "manual__1", "https://airflow/run/1")
    with observing(pipeline, origin=origin) as watched:
        run(pipeline, listeners=watched.listeners)
    (got,) = receiver.got
    assert got.body["runner"] == {
        "runner": "airflow",
        "run": "manual__1",
        "url": "https://airflow/run/1",
    }
    assert got.body["text"].endswith("airflow manual__1 https://airflow/run/1")


def test_a_test_is_marked_and_says_who_took_it(runs: Runs, receiver: Hook) -> None:
    rules = [
        {"on": "failure", "to": [receiver.url, "http://127.0.0.1:1/t0ken-canary"]},
        {"on": "success", "to": receiver.url},
    ]
    (good, bad) = try_alerts(runs.pipeline(rules), "recovered")
    (got,) = receiver.got
    assert got.body["test"]
    assert got.body["title"] == "test: shop: orders is fine again"
    jsonschema.Draft202012Validator(alert_schema()).validate(got.body)
    assert (good.reason, bad.receiver) == ("", "http://127.0.0.1:1")
    assert "ConnectError" in bad.reason


def test_libraries_log_no_url(runs: Runs, receiver: Hook, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(1):
        rules = {
            "on": "success",
            "to": [receiver.url, f"json://127.0.0.1:{receiver.port}/t0ken-canary"],
        }
        runs.run(rules, **plain())
    assert len(receiver.got) == 2
    assert "canary" not in caplog.text
    logging.getLogger("httpx").warning("of others")
    assert "of others" in caplog.text


# --- processes ------------------------------------------------------------------------------------


def test_an_old_incident_is_cleaned(runs: Runs, receiver: Hook) -> None:
    runs.run({"on": "success", "to": receiver.url}, **plain())
    pipeline = runs.pipeline({"on": "success", "to": receiver.url}, **plain())
    found = admin.clean(pipeline, timedelta(0), dry_run=True)
    assert "incidents" in [item.kind for item in found]


Made = Callable[[], Pipeline]


def test_of_two_runs_at_once_one_tells(
    runs: Runs, receiver: Hook, destination: dict[str, object]
) -> None:
    import threading

    runs.keys["destination"] = destination
    rules = {"on": ["failure"], "to": receiver.url}
    pipelines = [runs.pipeline(rules, **broken()) for _ in range(3)]
    ready = threading.Barrier(3)

    def one(pipeline: Pipeline) -> None:
        with observing(pipeline, (runs.hear,)) as watched:
            run(pipeline, listeners=watched.listeners)
            ready.wait(30)

    threads = [threading.Thread(target=one, args=(p,)) for p in pipelines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert receiver.taken() == [("failure", "shop: orders failed")]
    assert [t.outcome for t in runs.told] == ["sent"]


def test_errors_are_ours() -> None:
    assert issubclass(ConfigError, ConduitError)
    assert json.loads(json.dumps(alert_schema())) == alert_schema()
    assert alerts_decide.LEASE.total_seconds() > alerts.ALERT_SECONDS
    parts = alerts.LOOK_SECONDS + alerts.KEEP_SECONDS + alerts.SEND_SECONDS + alerts.MARK_SECONDS
    assert parts <= alerts.ALERT_SECONDS
    assert alerts_send.TIMEOUT < alerts.SEND_SECONDS
