"""DogStatsD over UDP and over a unix socket; nobody listens, or nobody reads."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from conduit_core import observing, run
from tests.observe.shop import make_shop
from tests.observe.told import broken, failed, finished, free_port, seen, told


@contextmanager
def _udp() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as agent:
        agent.bind(("127.0.0.1", 0))
        agent.settimeout(5)
        yield agent


def _lines(agent: socket.socket) -> list[str]:
    """Return what came, line by line, once nothing more is there."""
    found = agent.recv(65536).decode()
    agent.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            found += agent.recv(65536).decode()
    return found.splitlines()


def _port(agent: socket.socket) -> int:
    port: int = agent.getsockname()[1]
    return port


def test_p26_counts_gauges_and_distributions_with_tags() -> None:
    with _udp() as agent:
        to = f"dogstatsd://127.0.0.1:{_port(agent)}?tags=env:prod+team:x"
        assert told(to, finished(), finished(), broken(), failed(), seen()) == []
        lines = _lines(agent)
    more = ",env:prod,team:x"
    assert f"conduit_rows_total:20|c|#pipeline:shop,stream:orders,kind:read{more}" in lines
    done = f"pipeline:shop,stream:orders,outcome:published{more}"
    took = f"conduit_load_duration_seconds:2.0|d|#{done}"
    assert lines.count(took) == 2
    assert f"conduit_stale:1.0|g|#pipeline:shop,stream:orders{more}" in lines
    tags = f"rule:regex_email_,action:dlq{more}"
    assert f"conduit_rejected_rows_total:1|c|#pipeline:shop,stream:orders,{tags}" in lines
    assert not [line for line in lines if "canary" in line or "datadog.dogstatsd" in line]
    assert not [line for line in lines if not line.startswith("conduit_")]


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_unix_socket(tmp_path: Path, kind: socket.SocketKind) -> None:
    path = tmp_path / "dsd.socket"
    with socket.socket(socket.AF_UNIX, kind) as agent:
        agent.bind(str(path))
        if kind is socket.SOCK_STREAM:
            agent.listen()
        assert told(f"dogstatsd://{path}", finished()) == []
        if kind is socket.SOCK_STREAM:
            with agent.accept()[0] as peer:
                assert b"conduit_loads_total:1|c" in peer.recv(65536)
        else:
            assert "conduit_loads_total:1|c|#pipeline:shop,stream:orders,outcome:published" in (
                _lines(agent)
            )


def test_the_librarys_own_variables_say_where_and_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    with _udp() as agent:
        monkeypatch.setenv("DD_AGENT_HOST", "127.0.0.1")
        monkeypatch.setenv("DD_DOGSTATSD_PORT", str(_port(agent)))
        monkeypatch.setenv("DD_ENV", "staging")
        monkeypatch.setenv("DD_SERVICE", "loads")
        monkeypatch.setenv("DATADOG_TAGS", "team:y")
        assert told("dogstatsd:", finished()) == []
        (line,) = [x for x in _lines(agent) if x.startswith("conduit_read_bytes_total")]
    assert set(line.partition("|#")[2].split(",")) == {
        "pipeline:shop", "stream:orders", "env:staging", "service:loads", "team:y",
    }  # fmt: skip


def test_names_can_t_break_a_line() -> None:
    with _udp() as agent:
        told(f"dogstatsd://127.0.0.1:{_port(agent)}", finished("a|b,c\nevil:1|c"))
        lines = _lines(agent)
    assert not [line for line in lines if not line.startswith("conduit_")]


def test_a_real_load(tmp_path: Path) -> None:
    shop = make_shop(tmp_path)
    with (
        _udp() as agent,
        observing(shop, to=f"dogstatsd://127.0.0.1:{_port(agent)}") as observation,
    ):
        run(shop, listeners=observation.listeners)
        observation.close()
        lines = _lines(agent)
    assert "conduit_rows_total:10|c|#pipeline:shop,stream:orders,kind:read" in lines


# --- bad input ------------------------------------------------------------------------------------


def test_nobody_there_is_one_warning_and_no_wait(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    started = time.monotonic()
    (said,) = told(f"dogstatsd://{tmp_path}/none.socket", *[finished(f"s{n}") for n in range(50)])
    assert time.monotonic() - started < 1
    assert "no agent reads there: packets were dropped" in said
    (said,) = told(f"dogstatsd://127.0.0.1:{free_port()}", *[finished(f"s{n}") for n in range(50)])
    assert "no agent reads there: packets were dropped" in said
    assert capsys.readouterr().err == ""


def test_an_agent_that_doesn_t_read_ends_in_time(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as agent:
        agent.bind(str(tmp_path / "s"))
        started = time.monotonic()
        said = told(f"dogstatsd://{tmp_path}/s", *[finished(f"s{n}") for n in range(500)])
    assert time.monotonic() - started < 8
    assert len(said) == 1, said


@pytest.mark.parametrize(
    "to", ["dogstatsd://h/path", "dogstatsd://h?tag=x", "dogstatsd+https://h", "dogstatsd://h:x"]
)
def test_a_wrong_url_says_what_to_write(to: str) -> None:
    (said,) = told(to, finished())
    assert "CONDUIT_OBSERVE" in said
