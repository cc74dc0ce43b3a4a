"""p15: a stream that lags behind its source is visible, in metrics too."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from conduit_core.cli import main
from tests.observe.servers import series
from tests.observe.shop import make_shop

if TYPE_CHECKING:
    import pytest

STREAM = (("pipeline", "shop"), ("stream", "orders"))
FILE = """\
name: shop
source: sqlite:///shop.db
destination: sqlite:///warehouse.db
streams:
  - {table: orders, mode: append, cursor: [updated_at, id], cursor_timezone: UTC, freshness: 30m}
"""


def test_p15_status_tells_lag_and_staleness_to_receivers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import sqlite3
    from contextlib import closing

    make_shop(tmp_path)
    (tmp_path / "pipeline.yml").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    assert main(["run"]) == 0
    monkeypatch.setenv("CONDUIT_OBSERVE", "textfile:conduit.prom")
    assert main(["status"]) == 0
    text = (tmp_path / "conduit.prom").read_text()
    assert series(text, "conduit_source_lag_seconds") == {STREAM: 0}
    assert series(text, "conduit_stale") == {STREAM: 0}

    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection, connection:
        connection.execute("INSERT INTO orders VALUES (99, 'late', '2026-01-01 02:00:09')")
    capsys.readouterr()
    assert main(["status", "--json"]) == 5
    text = (tmp_path / "conduit.prom").read_text()
    assert series(text, "conduit_source_lag_seconds") == {STREAM: 7200}
    assert series(text, "conduit_stale") == {STREAM: 1}
    assert series(text, "conduit_dead_letters_open") == {STREAM: 0}
    assert series(text, "conduit_watermark_timestamp_seconds")[STREAM] == 1767225609
    told = capsys.readouterr()
    assert "orders" in told.out
    assert "is behind" not in told.err
