"""How a process ends while people are being told: its exit code stays, nobody hears twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from conduit_core.errors import ConduitError
from conduit_core.events import Event
from conduit_core.observe.alerts import _within
from conduit_core.observe.alerts_decide import Rule
from conduit_core.observe.observing import Observation, Origin, _Guarded
from conduit_core.observe.receivers import receiver_of
from tests.observe.receivers import hook
from tests.observe.shop import make_shop
from tests.observe.told import bare, finished

SLOW = """
import sys
import duckdb
from conduit_core.observe.alerts import _within

def look(rows):
    # in the driver, outside of Python: an interpreter that ends there takes the process down
    return lambda: duckdb.connect().execute(
        f"SELECT sum(sqrt(i) * sin(i)) FROM range({rows}) t(i)"
    ).fetchall()
"""

GIVEN_UP = """
import conduit_core.cli as cli
import conduit_core.cli.app as app

def dispatch(args):
    try:
        _within(0.2, look(3_000_000_000))
    except TimeoutError:
        print("told", flush=False)
        return 7
    return 1

app.dispatch = dispatch
sys.exit(cli.main())
"""


def test_a_destination_that_is_asked_as_the_process_ends_does_not_change_its_code() -> None:
    done = subprocess.run(  # noqa: PLW1510 - its code is looked at
        [sys.executable, "-c", SLOW + GIVEN_UP], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr, done.stdout) == (7, "", "told\n")


def test_after_ctrl_c_what_is_under_way_may_end() -> None:
    ended: list[bool] = []

    def ask() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(0.2)
        ended.append(True)

    with pytest.raises(KeyboardInterrupt):
        _within(20.0, ask)
    assert ended


def test_ctrl_c_while_alerts_ask_the_destination_is_130(tmp_path: Path) -> None:
    with hook() as receiver:
        make_shop(tmp_path)
        (tmp_path / "conduit.yml").write_text(
            "name: shop\nsource: sqlite:///shop.db\n"
            "destination: {type: duckdb, path: wh.duckdb, schema: raw}\nstreams: [orders]\n"
            f"notify: [{{on: [failure, success], to: '{receiver.url}'}}]\n",
            encoding="utf-8",
        )
        command = [sys.executable, "-m", "conduit_core.cli", "run", "conduit.yml"]
        with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as run:
            assert run.stderr is not None
            while "1 published in" not in (line := run.stderr.readline()):
                assert line, "it ended before anything was published"
            run.send_signal(signal.SIGINT)
            told = run.stderr.read()
        assert (run.returncode, "exception not rethrown" in told) in {(130, False), (0, False)}


def test_who_was_given_up_writes_nothing_down_later(tmp_path: Path) -> None:
    """Else the next run finds a reservation without its end, and tells once more."""
    with hook() as receiver:
        shop = make_shop(tmp_path, notify=[{"on": ["failure"], "to": receiver.url}])
        observation = Observation(shop, (), Origin())
        observation.raised(ConduitError("it could not begin"))
        alerts = observation._alerts
        assert alerts is not None
        rule = Rule(0, frozenset({"failure"}), ("x",))
        given_up = threading.Event()
        asked = {"failures": True, "now": datetime.now(UTC), "given_up": given_up}
        given_up.set()
        assert alerts._kept([rule], **asked) is None
        given_up.clear()
        decision = alerts._kept([rule], **asked)
        assert decision is not None
        assert [i.revision for i in decision.write] == [0], "nobody wrote before"


def test_what_ends_a_wait_waits_for_the_end_of_its_work() -> None:
    ended: list[int] = []

    def work() -> None:
        time.sleep(0.3)
        ended.append(1)

    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(KeyboardInterrupt):
            _within(10.0, work)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert ended == [1]


def test_a_receiver_that_is_closing_hears_nothing_more() -> None:
    """A look that was given up may end while values are sent: they'd change in the middle."""
    heard: list[Event] = []

    class Sink:
        def __call__(self, event: Event) -> None:
            heard.append(event)

        def close(self, seconds: float) -> None:
            pass

    observation = Observation(bare(), (), Origin())
    guarded = _Guarded(Sink(), receiver_of("emf:"), observation._complain)
    guarded(finished())
    guarded.closing(1.0).join()
    guarded(finished())
    assert len(heard) == 1
