"""Live progress on a real terminal, and plain lines without one."""

from __future__ import annotations

import io
import re
import sys
from datetime import UTC, datetime, timedelta

from conduit_core import events as ev
from conduit_core.observe import figures, words
from conduit_core.observe.jsonlog import JsonLog
from conduit_core.observe.lines import PlainLines
from conduit_core.observe.tally import Tally
from tests.cli.conftest import Conduit, fill

ROWS = 400_000
BIG = """\
name: big
source: sqlite:///big.db
destination: {type: duckdb, path: warehouse.duckdb}
streams: [numbers]
"""


def test_the_count_rises_and_ends_at_the_rows_loaded(conduit: Conduit) -> None:
    import pexpect

    fill(
        conduit.folder / "big.db",
        "CREATE TABLE numbers (id INTEGER PRIMARY KEY, text TEXT)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < "
        f"{ROWS}) INSERT INTO numbers SELECT i, printf('%060d', i) FROM n",
    )
    conduit.write(BIG)
    child = pexpect.spawn(
        sys.executable,
        ["-m", "conduit_core.cli", "run"],
        cwd=str(conduit.folder),
        env={**conduit.environment(), "TERM": "xterm-256color"},  # type: ignore[arg-type]
        dimensions=(40, 160),
        encoding="utf-8",
        timeout=120,
    )
    child.expect(pexpect.EOF)
    screen = child.before or ""
    child.close()
    assert child.exitstatus == 0, screen
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen)
    counts = [int(c.replace(",", "")) for c in re.findall(r"numbers\s.*?([\d,]+) rows ", plain)]
    assert len(set(counts)) > 2, plain
    assert counts == sorted(counts)
    assert counts[-1] == ROWS
    assert re.search(r"[\d.]+ MiB", plain)
    assert re.search(r"[\d,]+ rows/s", plain)
    assert re.search(r"[\d.]+ s left", plain)
    assert f"{ROWS:,}" in plain.rpartition("stream")[2]  # the closing table


def load_events(batches: int) -> list[ev.Event]:
    at = {"pipeline": "p", "stream": "s"}
    plan = ev.PlanReady(
        **at,
        load_id="1",
        target="t",
        mode="append",
        window="(a, b]",
        guarantee="exactly-once",
        rows_estimate=1000,
        seconds=0.1,
        empty=False,
    )
    written = ev.BatchWritten(**at, load_id="1", rows=100, bytes=1024, write_seconds=0.1)
    return [plan, *[written] * batches]


def test_time_left_follows_the_speed() -> None:
    now = iter([0.0, 1.0, 2.0])
    tally = Tally(clock=lambda: next(now))
    for event in load_events(2):
        tally.add(event)
    stream = tally.streams["s"]
    assert (stream.rows, stream.bytes, stream.rows_per_second) == (200, 2048, 100.0)
    assert stream.seconds_left == 8.0


def test_a_new_plan_counts_from_zero() -> None:
    tally = Tally()
    for event in load_events(3) + load_events(1):
        tally.add(event)
    assert tally.streams["s"].rows == 100


def test_plain_lines_tell_progress_now_and_then() -> None:
    told: list[str] = []
    listen = PlainLines(told.append, every=0.0)
    for event in load_events(2):
        listen(event)
    assert len(told) == 3
    assert "planned (a, b] into t (append, exactly-once), about 1,000 rows" in told[0]
    assert "s: 200 of about 1,000 rows, 2.0 KiB" in told[2]

    quiet: list[str] = []
    listen = PlainLines(quiet.append)
    for event in load_events(20):
        listen(event)
    assert len(quiet) == 1


def test_json_lines_tell_progress_now_and_then() -> None:
    out = io.StringIO()
    log = JsonLog(out, every=0.0)
    for event in load_events(1):
        log(event)
    assert '"event":"progress"' in out.getvalue()
    assert '"rows_estimate":1000' in out.getvalue()


def test_every_event_has_words() -> None:
    kinds = {k for k in ev.Event.__subclasses__() if getattr(ev, k.__name__) is k}
    assert kinds == set(words._MESSAGES)


def test_words() -> None:
    assert figures.count(336776) == "336,776"
    assert [figures.size(n) for n in (0, 1023, 1536, 5 * 2**30)] == [
        "0 B",
        "1023 B",
        "1.5 KiB",
        "5.0 GiB",
    ]
    spans = [0.421, 59, 65, 2 * 3600 + 65, timedelta(days=5, hours=1).total_seconds()]
    assert [figures.duration(s) for s in spans] == ["0.42 s", "59 s", "1m 05s", "2h 01m", "5d 01h"]
    assert figures.rate(0, 1.0) == ""


def test_a_line_starts_with_its_time_in_utc() -> None:
    told: list[str] = []
    at = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
    PlainLines(told.append)(ev.Notice(at=at, pipeline="p", level="warning", message="careful"))
    assert told == ["2024-01-02T03:04:05Z p: warning: careful"]
