"""p26: loads are told in metrics; nothing that hears of one fails it, holds it up or shows rows."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from conduit_core.cli import main
from conduit_core.observe import observing as watch
from tests.observe.servers import series, silent
from tests.observe.shop import make_shop
from tests.observe.told import free_port

CANARY = "canary-4711"
FILE = """\
name: shop
source: sqlite:///shop.db
destination: sqlite:///warehouse.db
streams:
  - table: orders
    mode: append
    cursor: [updated_at, id]
    quality: [{rule: regex, column: email, pattern: '@', action: dlq}]
  - {table: orders, name: again, into: again, mode: append, cursor: id,
     quality: [{rule: regex, column: email, pattern: '@', action: fail}]}
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a pipeline: one stream ends well, one fails; a row has a canary."""
    import sqlite3
    from contextlib import closing

    make_shop(tmp_path)
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection, connection:
        connection.execute("UPDATE orders SET email = ? WHERE id = 3", (CANARY,))
    (tmp_path / "pipeline.yml").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _labels(stream: str, **more: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted({"pipeline": "shop", "stream": stream, **more}.items()))


def test_p26_loads_rejects_and_failures_are_counted(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONDUIT_OBSERVE", "textfile:conduit.prom")
    assert main(["run"]) != 0
    assert main(["run", "--stream", "orders"]) == 0
    text = (shop / "conduit.prom").read_text()
    assert series(text, "conduit_rows_total") == {
        _labels("orders", kind="read"): 10,
        _labels("orders", kind="inserted"): 9,
        _labels("orders", kind="rejected"): 1,
    }
    assert series(text, "conduit_loads_total") == {
        _labels("orders", outcome="published"): 1,
        _labels("orders", outcome="empty"): 1,
        _labels("again", outcome="failed"): 1,
    }
    assert series(text, "conduit_errors_total") == {_labels("again", error="QualityError"): 1}
    assert series(text, "conduit_rejected_rows_total") == {
        _labels("orders", rule="regex(email)", action="dlq"): 1,
        _labels("again", rule="regex(email)", action="fail"): 1,
    }


def test_p26_a_replay_of_dead_letters_is_told(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["run", "--stream", "orders"]) == 0
    (shop / "pipeline.yml").write_text(FILE.replace("pattern: '@', action: dlq", "pattern: c"))
    monkeypatch.setenv("CONDUIT_OBSERVE", "textfile:conduit.prom")
    assert main(["dlq", "replay", "--stream", "orders"]) == 0
    assert main(["status", "--stream", "orders"]) == 0
    text = (shop / "conduit.prom").read_text()
    assert series(text, "conduit_loads_total") == {_labels("orders", outcome="published"): 1}
    assert series(text, "conduit_rows_total")[_labels("orders", kind="inserted")] == 1
    assert series(text, "conduit_dead_letters_open") == {_labels("orders"): 0}


def test_p26_no_value_of_a_row_is_in_what_receivers_get(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as agent:
        agent.bind(("127.0.0.1", 0))
        to = f"textfile:conduit.prom emf://{shop}/emf.log dogstatsd://127.0.0.1"
        monkeypatch.setenv("CONDUIT_OBSERVE", f"{to}:{agent.getsockname()[1]}")
        main(["run"])
        sent = agent.recv(65536).decode()
    for text in ((shop / "conduit.prom").read_text(), (shop / "emf.log").read_text(), sent):
        assert "conduit_loads_total" in text
        assert CANARY not in text


def test_p26_receivers_that_are_away_slow_or_wrong_fail_no_load(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(watch, "CLOSE_SECONDS", 1.0)
    secret = "canary-secret"
    with silent() as slow:
        receivers = (
            f"pushgateway://user:{secret}@127.0.0.1:{free_port()}",
            f"pushgateway://user:{secret}@127.0.0.1:{slow}/prefix",
            f"dogstatsd://{shop}/none.socket",
            f"textfile://{shop}/none/conduit.prom",
            f"emf://{shop}/none/emf.log",
            "prometheus://192.0.2.1",
            "textfile://wrong",
            "graphite://host",
        )
        monkeypatch.setenv("CONDUIT_OBSERVE", ",".join(receivers))
        started = time.monotonic()
        assert main(["run", "--stream", "orders"]) == 0
    assert time.monotonic() - started < 15
    said = [line for line in capsys.readouterr().err.splitlines() if "shop: warning: " in line]
    assert len(said) == len(receivers), said
    assert not [line for line in said if secret in line]
