"""Receivers that mean no good, and URLs whose secrets stand where nobody expects them."""

from __future__ import annotations

import http.server
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from conduit_core import Pipeline, observing, plan, run
from conduit_core.errors import ConduitError, ConnectionFailedError
from conduit_core.events import Event, Notice
from conduit_core.observe.alerts_decide import Sending
from conduit_core.observe.alerts_facts import AlertFacts
from conduit_core.observe.alerts_send import target_of
from conduit_core.observe.alerts_text import Message
from conduit_core.observe.observing import _Guarded
from conduit_core.observe.receivers import receiver_of
from conduit_core.spec.endpoints import ConnectionSpec
from conduit_core.spec.notify import ReceiverSpec, notify_secrets
from tests.observe.receivers import hook
from tests.observe.shop import make_shop
from tests.observe.test_openlineage import load
from tests.observe.told import finished, told

CANARY = "s3cretcanary"


@contextmanager
def redirecting(code: int, *, get: int = 200) -> Iterator[tuple[str, list[str]]]:
    """Answer POST with a redirect to another host; yield the address, and who asked there."""
    asked: list[str] = []

    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.command} {self.headers.get('Authorization')}")
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    class First(Other):
        def do_GET(self) -> None:
            self.send_response(get)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(code)
            self.send_header("Location", f"http://localhost:{other.server_port}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

    other = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Other)
    first = http.server.ThreadingHTTPServer(("127.0.0.1", 0), First)
    threads = [
        threading.Thread(target=s.serve_forever, kwargs={"poll_interval": 0.02})
        for s in (other, first)
    ]
    for thread in threads:
        thread.start()
    try:
        yield f"127.0.0.1:{first.server_port}", asked
    finally:
        for server, thread in zip((other, first), threads, strict=True):
            server.shutdown()
            server.server_close()
            thread.join()


# --- redirects ------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [301, 302, 303, 307])
def test_a_push_follows_no_redirect(code: int) -> None:
    with redirecting(code) as (host, asked):
        (said,) = told(f"pushgateway://u:{CANARY}@{host}", finished())
    assert f"it answers {code}" in said
    assert CANARY not in said
    assert asked == []


@pytest.mark.parametrize("code", [301, 302, 307])
def test_what_is_redirected_has_not_taken_spans_or_metrics(tmp_path: Path, code: int) -> None:
    with redirecting(code) as (host, asked):
        (said,) = load(make_shop(tmp_path), f"otlp+http://{host}")
    assert f"traces and metrics: it answered {code}" in said
    assert said.endswith("write the address that it redirects to")
    assert asked == []


@pytest.mark.parametrize("code", [301, 302, 303])
def test_what_is_redirected_has_not_taken_lineage(tmp_path: Path, code: int) -> None:
    with redirecting(code) as (host, asked):
        (said,) = load(make_shop(tmp_path), f"openlineage+http://{CANARY}@{host}")
    assert f"it answered {code}" in said
    assert CANARY not in said
    assert asked == []


# --- secrets in odd places ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "word",
    [
        f"pushgateway://u:{CANARY}/x@host",
        f"pushgateway://u:1234/{CANARY}@host:9091",
        f"pushgateway://u:{CANARY}#x@host",
        f"pushgateway://u:{CANARY}?x@host",
        f"pushgateway://u:x\u2100{CANARY}@host",
        f"pushgateway://u:x,{CANARY}@host",
        f"pushgateway://u:x,{CANARY}:y@host",
        f"pushgateway//u:{CANARY}@host",
        f"pushgateway//{CANARY}:x@host",
        f"openlineage+https//{CANARY}@host:5000",
        f"openlineage+http:{CANARY}@host",
        f"{CANARY}@host",
    ],
)
def test_a_url_that_is_wrong_is_named_without_its_secrets(word: str) -> None:
    said = told(word, finished())
    assert said
    assert CANARY not in " ".join(said).lower()
    assert all("isn't told" in each for each in said)


def test_a_file_may_have_any_name(tmp_path: Path) -> None:
    assert told(f"textfile://{tmp_path}/a@b.prom", finished()) == []
    assert (tmp_path / "a@b.prom").exists()


def test_a_password_with_a_slash_is_refused_without_showing_it() -> None:
    with pytest.raises(ValueError, match="%2F") as caught:
        ReceiverSpec.model_validate(f"https://u:{CANARY}/x@host/hook")
    assert CANARY not in str(caught.value)
    assert (
        target_of(ReceiverSpec.model_validate(f"https://u:12/{CANARY}@h/p")).name == "https://..."
    )


@pytest.mark.parametrize("url", ["https://u:ab@host/hook", "json://u:ab@host/hook"])
def test_a_short_password_does_not_blacken_every_message(url: str) -> None:
    given = ReceiverSpec.model_validate({"url": url, **({"secret": "x"} if url[4] == "s" else {})})
    assert not {s for s in notify_secrets((given,)) if len(s) < 4}


# --- runners --------------------------------------------------------------------------------------


def test_a_runner_that_cannot_say_whether_it_retries_hides_no_error(tmp_path: Path) -> None:
    def will_retry(_: ConduitError) -> bool:
        raise KeyError("ti")

    heard: list[Event] = []
    with hook() as receiver:
        shop = make_shop(
            tmp_path, streams=["gone"], notify=[{"on": ["failure"], "to": receiver.url}]
        )
        with (
            pytest.raises(ConduitError, match="gone"),
            observing(shop, (heard.append,), will_retry=will_retry) as observation,
        ):
            raise run(shop, listeners=observation.listeners).failures[0].to_error()
        assert receiver.taken() == [("failure", "shop: gone failed")]
    said = [e.message for e in heard if isinstance(e, Notice)]
    assert "whether it is tried again isn't known: KeyError" in said


class Down:
    """A store of connections that can't be asked."""

    def resolve(self, name: str) -> ConnectionSpec:
        if name == "backend":
            raise RuntimeError(f"backend said {CANARY}")
        raise ConnectionFailedError("the store of connections can't be asked", command="conduit")


@pytest.mark.parametrize("name", ["store", "backend"])
def test_a_store_of_connections_that_is_down_is_told_of(tmp_path: Path, name: str) -> None:
    heard: list[Event] = []
    with hook() as receiver:
        mapping = {
            "name": "shop",
            "source": "sqlite:///shop.db",
            "destination": {"connection": "store"},
            "streams": ["orders"],
            "notify": [{"on": ["failure"], "to": [receiver.url, {"connection": name}]}],
        }
        shop = Pipeline.from_mapping(mapping, tmp_path, connections=Down())
        with (
            pytest.raises(ConnectionFailedError),
            observing(shop, (heard.append,)) as observation,
        ):
            run(shop, listeners=observation.listeners)
        assert receiver.taken() == [("failure", "shop: failed")]
    said = [e.message for e in heard if isinstance(e, Notice) and "receiver" in e.message]
    assert len(said) == 1
    assert CANARY not in said[0]


# --- numbers --------------------------------------------------------------------------------------


def test_one_stream_that_is_fine_again_twice_is_one_stream() -> None:
    facts = AlertFacts(about="recovered", pipeline="shop", stream="orders").plain()
    sendings = tuple(
        Sending(0, "r", "recovered", was, 1, was, {**facts, "was": was})
        for was in ("failure", "rejected")
    )
    message = Message("recovered", sendings, ("a", "b"), "shop")
    assert message.title == "shop: orders is fine again"
    other = replace(sendings[0], facts={**facts, "stream": "visits"})
    message = Message("recovered", (*sendings, other), ("a", "b", "c"), "shop")
    assert message.title == "shop: 2 streams are fine again"


def test_garbage_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with server.accept()[0] as one:
                one.recv(1000)
                one.sendall(b"\x00\x1b[31m garbage\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        (said,) = told(f"pushgateway://127.0.0.1:{server.getsockname()[1]}", finished())
        thread.join()
    assert "isn't a Pushgateway's" in said
    assert said.isprintable()


def test_a_warning_is_one_printable_line(tmp_path: Path) -> None:
    class Bad:
        def __call__(self, event: Event) -> None:
            raise OSError("first\n\x1b[31msecond")

        def close(self, seconds: float) -> None:
            pass

    heard: list[Event] = []
    with observing(make_shop(tmp_path), (heard.append,)) as observation:
        guarded = _Guarded(Bad(), receiver_of("emf:"), observation._complain)
        guarded(Event(pipeline="shop"))
        guarded(Event(pipeline="shop"))
    (said,) = [e.message for e in heard if isinstance(e, Notice)]
    assert said == "emf is off: OSError: first [31msecond"


def test_in_steps_a_pipeline_that_could_not_begin_is_fine_again(tmp_path: Path) -> None:
    with hook() as receiver:
        shop = make_shop(tmp_path, notify=[{"on": ["failure", "recovered"], "to": receiver.url}])
        with pytest.raises(ConduitError), observing(shop):
            raise ConduitError("it could not begin")
        assert receiver.taken() == [("failure", "shop: failed")]
        with observing(shop) as observation:
            plan(shop, listeners=observation.listeners)
        assert receiver.taken() == [("recovered", "shop: is fine again")]


# --- values of rows -------------------------------------------------------------------------------


def test_p26_a_guard_that_shows_keys_is_told_without_them(tmp_path: Path) -> None:
    """A guard's message has samples of the keys that would go."""
    with closing(sqlite3.connect(tmp_path / "shop.db")) as con:
        con.execute("CREATE TABLE people (email TEXT)")
        con.executemany("INSERT INTO people VALUES (?)", [(f"{CANARY}{n}",) for n in range(20)])
        con.commit()
        deletes = {"detect": "snapshot", "apply": "hard", "max_ratio": 0.1}
        people = {"table": "people", "mode": "upsert", "unique_key": "email", "deletes": deletes}
        with hook() as receiver:
            pipeline = Pipeline.from_mapping(
                {
                    "name": "shop",
                    "source": {"type": "sqlite", "path": "shop.db"},
                    "destination": {"type": "duckdb", "path": "wh.duckdb"},
                    "streams": [people],
                    "notify": [{"on": "failure", "to": receiver.url}],
                },
                tmp_path,
            )
            run(pipeline)
            con.execute("DELETE FROM people WHERE rowid > 5")
            con.commit()
            with observing(pipeline) as observation:
                done = run(pipeline, listeners=observation.listeners)
    assert done.failures[0].error == "GuardError"
    assert CANARY in done.failures[0].lines[0]
    (got,) = receiver.got
    assert "GuardError" in got.body["text"]
    assert CANARY not in str(got.body)


def test_p26_a_redacted_cursor_is_in_no_alert(tmp_path: Path) -> None:
    """What a state error says of a cursor stays in the log."""
    with closing(sqlite3.connect(tmp_path / "shop.db")) as con:
        con.execute("CREATE TABLE people (code TEXT)")
        con.executemany("INSERT INTO people VALUES (?)", [(f"{CANARY}{n}",) for n in range(3)])
        con.commit()
        with hook() as receiver:
            pipeline = Pipeline.from_mapping(
                {
                    "name": "shop",
                    "source": {"type": "sqlite", "path": "shop.db"},
                    "destination": {"type": "duckdb", "path": "wh.duckdb"},
                    "streams": [
                        {"table": "people", "mode": "append", "cursor": "code", "redact": "code"}
                    ],
                    "notify": [{"on": "failure", "to": receiver.url}],
                },
                tmp_path,
            )
            run(pipeline)
            con.execute("DELETE FROM people WHERE rowid > 1")
            con.commit()
            with observing(pipeline) as observation:
                done = run(pipeline, listeners=observation.listeners)
    assert done.failures[0].error == "StateError"
    (got,) = receiver.got
    assert "StateError" in got.body["text"]
    assert CANARY not in str(got.body)
