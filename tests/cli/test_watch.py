"""``conduit status --watch``: in place on a terminal, block by block elsewhere, until Ctrl-C."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request
from typing import IO, Any

import pytest

from tests.cli.conftest import Conduit, fill

ARGS = ["-m", "conduit_core.cli", "status", "--watch", "1"]
STALE = """\
name: shop
source: sqlite:///shop.db
destination: {type: sqlite, path: warehouse.db}
streams:
  - {table: orders, mode: append, cursor: [updated_at, id], cursor_timezone: UTC, freshness: 24h}
"""


@pytest.fixture
def loaded(shop: Conduit, here: Any) -> Conduit:
    shop.write(STALE)
    assert here("run").code == 0
    return shop


def started(shop: Conduit, *more: str, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *ARGS, *more],
        cwd=shop.folder,
        env=shop.environment(**env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until(out: IO[str] | None, text: str) -> str:
    assert out is not None
    return next(line for line in out if text in line)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    return process.returncode, err


def test_elsewhere_each_look_is_a_block(loaded: Conduit) -> None:
    process = started(loaded)
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ, every 1 s", until(process.stdout, "every"))
    assert "2024-01-05" in until(process.stdout, "orders")
    until(process.stdout, "every")
    fill(loaded.folder / "shop.db", "INSERT INTO orders VALUES (6, '2024-01-09 00:00:00', 1)")
    assert "orders" in until(process.stdout, "past its freshness")
    code, err = ended(process)
    assert code == 5  # the last look's
    assert "past its freshness: orders (4d" in err or "96h" in err or "behind" in err


def test_a_source_that_is_away_is_shown_and_looked_for_again(loaded: Conduit) -> None:
    process = started(loaded)
    until(process.stdout, "every")
    place = loaded.folder / "shop.db"
    place.rename(loaded.folder / "away.db")
    until(process.stdout, "shop.db")
    (loaded.folder / "away.db").rename(place)
    until(process.stdout, "2024-01-05")
    assert ended(process) == (0, "")


def test_json_is_a_line_for_each_look(loaded: Conduit) -> None:
    process = started(loaded, "--json")
    looks = [json.loads(until(process.stdout, "{")) for _ in range(2)]
    assert looks[0]["at"] < looks[1]["at"]
    assert {look["streams"][0]["stream"] for look in looks} == {"orders"}
    assert ended(process)[0] == 0


def test_it_serves_the_lag_to_prometheus(loaded: Conduit) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = started(loaded, CONDUIT_OBSERVE=f"prometheus://127.0.0.1:{port}")
    for _ in range(2):
        until(process.stdout, "every")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    assert 'conduit_source_lag_seconds{pipeline="shop",stream="orders"} 0.0' in text
    assert ended(process)[0] == 0


def test_a_terminal_is_drawn_in_place(loaded: Conduit) -> None:
    import pexpect

    child = pexpect.spawn(
        sys.executable,
        [*ARGS[:-1]],
        cwd=str(loaded.folder),
        env={**loaded.environment(), "TERM": "xterm-256color"},  # type: ignore[arg-type]
        dimensions=(40, 200),
        encoding="utf-8",
        timeout=60,
    )
    child.expect("every 10 s")  # where no seconds are given
    child.expect("2024-01-05")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0

    child = pexpect.spawn(
        sys.executable,
        ARGS,
        cwd=str(loaded.folder),
        env={**loaded.environment(), "TERM": "xterm-256color"},  # type: ignore[arg-type]
        dimensions=(40, 200),
        encoding="utf-8",
        timeout=60,
    )
    child.expect("every 1 s")
    child.expect(r"\x1b\[\d*A")  # the cursor goes up: the next look takes its place
    child.expect("every 1 s")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_seconds_are_checked(here: Any, loaded: Conduit) -> None:
    done = here("status", "--watch", "0")
    assert done.code == 2
    assert "--watch" in done.err
