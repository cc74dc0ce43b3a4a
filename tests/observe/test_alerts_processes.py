"""Alerts of the real command: killed between two steps, side by side, and with secrets to keep."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.observe.receivers import Hook, hook
from tests.warm import Command

CANARY = "c4nary-t0ken-7"
PASSWORD = "pw-c4nary-8"
VALUE = "row-c4nary-9@example.com"
PIPELINE = """\
name: shop
source: {type: sqlite, path: shop.db}
destination: DESTINATION
streams:
  - table: orders
    metadata: []
    redact: email
    quality:
      - {rule: regex, column: email, pattern: "^[a-z]+$", action: ACTION}
notify: NOTIFY
"""
LATER = (  # as if the lease of the one that died were over
    "from datetime import timedelta; from conduit_core.observe import alerts_decide;"
    " alerts_decide.LEASE = timedelta(0);"
)
DIES_BEFORE = (
    "import os; from conduit_core.observe import alerts;"
    " alerts.send_all = lambda *a: os.kill(os.getpid(), 9);"
)
MAIN = "import sys; from conduit_core.cli import main; sys.exit(main(sys.argv[1:]))"
Conduit = Callable[..., Command]


@pytest.fixture
def receiver() -> Iterator[Hook]:
    with hook() as made:
        yield made


@pytest.fixture
def conduit(tmp_path: Path, receiver: Hook) -> Iterator[Conduit]:
    """Start the command in a folder with a shop, after some code."""
    import sqlite3

    with closing(sqlite3.connect(tmp_path / "shop.db")) as con, con:
        con.execute("CREATE TABLE orders (id INTEGER, email TEXT)")
        con.executemany("INSERT INTO orders VALUES (?, ?)", [(1, "a"), (2, VALUE)])
    started: list[Command] = []

    def start(*args: str, code: str = "") -> Command:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("CONDUIT_")}
        secrets = {
            "HOOK_URL": f"http://127.0.0.1:{receiver.port}/in/{CANARY}",
            "HOOK_KEY": PASSWORD,
        }
        env = {**kept, **secrets, "HOME": str(tmp_path), "COLUMNS": "200"}
        process = Command(["-c", code + MAIN, *args], cwd=tmp_path, env=env)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()


def write(folder: Path, *, destination: str = "sqlite:///w.db", action: str, notify: str) -> None:
    text = PIPELINE.replace("DESTINATION", destination).replace("ACTION", action)
    (folder / "pipeline.yml").write_text(text.replace("NOTIFY", notify))


def ends(process: Command) -> int:
    process.communicate(timeout=60)
    assert process.returncode is not None
    return process.returncode


def places(request: pytest.FixtureRequest, kind: str) -> str:
    if kind == "postgres":
        url = request.getfixturevalue("postgres_database")
        return f'{{type: postgres, url: "{url}", schema: raw}}'
    return f"{{type: {kind}, path: w.{kind}}}"


@pytest.mark.crash
@pytest.mark.parametrize("kind", ["sqlite", "duckdb", "postgres"])
def test_p26_killed_between_being_told_and_writing_it_down_the_same_alert_comes_again(
    tmp_path: Path, receiver: Hook, conduit: Conduit, request: pytest.FixtureRequest, kind: str
) -> None:
    to = "{on: [failure, recovered], to: '${HOOK_URL}'}"
    write(tmp_path, destination=places(request, kind), action="fail", notify=to)
    process = conduit("run")
    receiver.before = lambda: process.send_signal(signal.SIGKILL)
    assert ends(process) == -signal.SIGKILL
    receiver.before = lambda: None
    assert ends(conduit("run")) == 5
    assert len(receiver.got) == 1  # its lease holds: it may still be telling
    assert ends(conduit("run", code=LATER)) == 5
    first, again = receiver.got
    assert first.body["key"] == again.body["key"]
    assert ends(conduit("run", code=LATER)) == 5
    assert len(receiver.got) == 2


@pytest.mark.crash
def test_p26_killed_before_anybody_was_told_the_next_run_tells(
    tmp_path: Path, receiver: Hook, conduit: Conduit
) -> None:
    write(tmp_path, action="dlq", notify="{on: [success, rejected], to: '${HOOK_URL}'}")
    assert ends(conduit("run", code=DIES_BEFORE)) == -signal.SIGKILL
    assert receiver.taken() == []
    assert ends(conduit("run", code=LATER)) == 0
    told = [(g.body["about"], len(g.body["alerts"])) for g in receiver.got]
    assert sorted(told) == [("rejected", 1), ("success", 2)]  # of both loads


@pytest.mark.crash
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_p26_of_processes_at_once_one_tells(
    tmp_path: Path, receiver: Hook, conduit: Conduit, request: pytest.FixtureRequest, kind: str
) -> None:
    to = "{on: [failure], to: '${HOOK_URL}'}"
    write(tmp_path, destination=places(request, kind), action="fail", notify=to)
    running = [conduit("run") for _ in range(4)]
    assert [ends(process) for process in running] == [5] * 4
    assert receiver.taken() == [("failure", "shop: orders failed")]


LOUD = ("--debug", "--json", "--log-format", "json")
COMMANDS = (
    ("run",),
    ("run", *LOUD),
    ("plan", *LOUD),
    ("check",),
    ("check", *LOUD),
    ("status", *LOUD),
    ("notify", "test"),
    ("runs",),
    ("json-schema",),
)


@pytest.mark.parametrize("action", ["fail", "dlq"])
def test_p26_no_alert_and_no_output_has_a_secret_or_a_row(
    tmp_path: Path, receiver: Hook, conduit: Conduit, action: str
) -> None:
    gone = f"http://user:{PASSWORD}@127.0.0.1:1/{CANARY}?key={CANARY}"
    notify = f"""
  - on: [failure, success, recovered, rejected, schema_change, stale]
    to: [{{url: "${{HOOK_URL}}", secret: "${{HOOK_KEY}}"}}, "{gone}", "slacc://{CANARY}/{CANARY}/x",
         "json://user:{PASSWORD}@127.0.0.1:1/{CANARY}"]
"""
    write(tmp_path, action=action, notify=notify)
    said = ""
    for command in COMMANDS:
        out, err = conduit(*command).communicate(timeout=90)
        said += out + err
    assert "could not tell" in said
    assert "127.0.0.1:1" in said
    sent = "".join(f"{got.headers}{got.raw.decode()}" for got in receiver.got)
    assert '"about":"' + ("failure" if action == "fail" else "rejected") in sent
    kept = (tmp_path / "w.db").read_bytes().decode("latin-1")
    for secret in (CANARY, PASSWORD):
        assert secret not in said
        assert secret not in sent
        assert secret not in kept
    assert VALUE not in sent
    assert VALUE not in said


def test_conduit_notify_test_says_who_did_not_take_it(
    tmp_path: Path, receiver: Hook, conduit: Conduit
) -> None:
    write(tmp_path, action="dlq", notify="{on: failure, to: ['${HOOK_URL}', 'http://127.0.0.1:1']}")
    receiver.answers = [403]
    process = conduit("notify", "test", "--about", "stale")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "answered 403" in out
    refused, _, never, _, away, _, later, _ = err.splitlines()
    assert refused.endswith("didn't take it: answered 403; correct its URL, or the token in it")
    assert never == "a retry will not help"
    assert "notify[0]: http://127.0.0.1:1 didn't take it: ConnectError" in away
    assert later == "a retry may help"
    assert receiver.got[0].body["title"] == "test: shop: orders is past its freshness"
    write(tmp_path, action="dlq", notify="[]")
    out, err = conduit("notify", "test").communicate(timeout=60)
    assert "it has no `notify:`" in err
