"""Given windows: their bounds in time, many at once, what they leave out, and a run after them."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from conduit_core import Pipeline
from conduit_core.engine import admin
from conduit_core.errors import ConfigError, StateError
from tests.lab import Lab, in_turn, stream
from tests.sources import SOURCES, Rows

OSLO = "Europe/Oslo"

# --- bounds in time ---------------------------------------------------------------------------

DAYS = [dt.date(2024, 3, d) for d in (29, 30, 31)] + [dt.date(2024, 4, 1)]


def times(*texts: str, tz: str | None = None) -> list[dt.datetime]:
    zone = dt.UTC if tz else None
    return [dt.datetime.fromisoformat(text).replace(tzinfo=zone) for text in texts]


CASES: dict[str, tuple[str, list[Any], str | None, str, str, list[int]]] = {
    "dates": ("date", DAYS, "UTC", "2024-03-30", "2024-04-01", [1, 2]),
    "dates by moments": (
        "date", DAYS, OSLO, "2024-03-29T23:00:00Z", "2024-03-31T22:00:00Z", [1, 2],
    ),
    "local times, clocks put forward": (
        # In Oslo the day of 2024-03-31 has 23 hours: from 23:00Z the day before to 22:00Z.
        "timestamp",
        times("2024-03-30T23:59:59.999999", "2024-03-31T00:00", "2024-03-31T23:59:59.999999",
              "2024-04-01T00:00"),
        OSLO, "2024-03-30T23:00:00Z", "2024-03-31T22:00:00Z", [1, 2],
    ),
    "local times, as written": (
        "timestamp",
        times("2024-03-30T23:59:59.999999", "2024-03-31T00:00", "2024-03-31T23:59:59.999999",
              "2024-04-01T00:00"),
        OSLO, "2024-03-31", "2024-04-01", [1, 2],
    ),
    "moments by local days, clocks put forward": (
        "timestamptz",
        times("2024-03-30T22:59:59.999999", "2024-03-30T23:00", "2024-03-31T21:59:59.999999",
              "2024-03-31T22:00", tz="UTC"),
        OSLO, "2024-03-31", "2024-04-01", [1, 2],
    ),
    "moments by local days, clocks put back": (
        "timestamptz",
        times("2024-10-26T21:59:59.999999", "2024-10-26T22:00", "2024-10-27T22:59:59.999999",
              "2024-10-27T23:00", tz="UTC"),
        OSLO, "2024-10-27", "2024-10-28", [1, 2],
    ),
    "moments, in UTC where no zone is given": (
        "timestamptz",
        times("2024-03-30T23:59:59.999999", "2024-03-31T00:00", "2024-03-31T23:59:59.999999",
              "2024-04-01T00:00", tz="UTC"),
        None, "2024-03-31", "2024-04-01", [1, 2],
    ),
}  # fmt: skip


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("case", CASES)
def test_a_slice_holds_its_start_and_not_its_end(
    case: str, source: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    kind, values, zone, low, high, expected = CASES[case]
    database = request.getfixturevalue("postgres_database") if source == "postgres" else ""
    rows = Rows(source, kind, tmp_path, database, cursor="at", cursor_timezone=zone)
    rows.add(list(range(len(values))), values)
    for _ in range(2):
        rows.run(window_from=low, window_to=high)
    assert rows.ids() == expected


# --- many at once -----------------------------------------------------------------------------


def _day(d: int) -> tuple[str, str]:
    return f"2024-01-{d:02}", f"2024-01-{d + 1:02}"


def _load_day(lab: Lab, d: int) -> tuple[str, int]:
    low, high = _day(d)
    result = lab.run(daily(lab), window_from=low, window_to=high)
    return result.outcome, result.counts.read


def daily(lab: Lab) -> Pipeline:
    return lab.pipeline(stream(cursor="at", cursor_timezone="UTC"))


def fill_days(lab: Lab) -> None:
    lab.sql("CREATE TABLE orders (id INTEGER, at TIMESTAMP)")
    rows = [
        f"({d * 24 + h}, '2024-01-{d:02} {h:02}:00:00')" for d in range(1, 17) for h in range(24)
    ]
    lab.sql(f"INSERT INTO orders VALUES {', '.join(rows)}")


def test_sixteen_daily_slices_at_once_end_as_sixteen_records(each_lab: Lab) -> None:
    lab = each_lab
    fill_days(lab)
    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(lambda d: _load_day(lab, d), range(1, 17)))
    assert outcomes == [("published", 24)] * 16
    _sixteen(lab)


def test_sixteen_daily_slices_in_processes_end_the_same(
    tmp_path: Path, postgres_database: str
) -> None:
    lab = Lab(tmp_path, postgres_database)
    fill_days(lab)
    processes = get_context("forkserver")
    processes.set_forkserver_preload([__name__])  # once for all four
    with ProcessPoolExecutor(4, mp_context=processes) as pool:
        outcomes = list(pool.map(_load_day, [lab] * 16, range(1, 17)))
    assert outcomes == [("published", 24)] * 16
    _sixteen(lab)


def _sixteen(lab: Lab) -> None:
    chain = lab.chain(daily(lab))
    assert [r.version for r in chain] == list(range(1, 17))
    assert {r.counts.read for r in chain} == {24}
    assert all(r.is_given for r in chain)
    assert lab.ids(pipeline=daily(lab)) == list(range(24, 17 * 24))
    (view,) = admin.state_show(daily(lab))
    assert view.covered == ("[2024-01-01T00:00:00.000000, 2024-01-17T00:00:00.000000)",)
    assert view.gaps == ()


# --- what they leave out, and a run after them ------------------------------------------------


def test_state_show_tells_slices_and_gaps(lab: Lab) -> None:
    lab.orders(range(1, 41))
    assert admin.state_show(lab.pipeline())[0].covered == ()
    for low, high in ((1, 11), (11, 16), (20, 31)):
        lab.run(window_from=str(low), window_to=str(high))
    (view,) = admin.state_show(lab.pipeline())
    assert view.slices == ("[1, 11)", "[11, 16)", "[20, 31)")
    assert (view.covered, view.gaps) == (("[1, 16)", "[20, 31)"), ("[16, 20)",))
    lab.run(window_from="16", window_to="20")
    (view,) = admin.state_show(lab.pipeline())
    assert (view.covered, view.gaps) == (("[1, 31)",), ())


def test_a_watermark_run_goes_on_behind_windows_once_it_is_set(each_lab: Lab) -> None:
    lab = each_lab
    lab.orders(range(1, 31))
    lab.run(window_from="1", window_to="11")
    lab.run(window_from="11", window_to="21")
    with pytest.raises(StateError, match="no watermark") as caught:
        lab.run()
    assert "conduit state set" in caught.value.lines()[3]
    assert lab.ids() == list(range(1, 21))
    admin.state_set(lab.pipeline(), "orders", "20")
    assert lab.run().counts.read == 10
    assert lab.ids() == list(range(1, 31))
    lab.run(window_from="5", window_to="15")
    assert lab.run().outcome == "empty"
    assert lab.ids() == list(range(1, 31))
    (view,) = admin.state_show(lab.pipeline())
    assert (view.watermark, view.covered, view.gaps) == ("30", ("[1, 30]",), ())


def test_a_row_that_moves_between_slices_is_in_one_when_both_are_loaded_again(
    each_lab: Lab,
) -> None:
    lab = each_lab
    lab.orders(range(1, 21))
    slices = [("1", "11"), ("11", "21")]
    for low, high in slices:
        lab.run(window_from=low, window_to=high)
    lab.sql(
        "UPDATE orders SET id = 15, v = 'moved' WHERE id = 5", "DELETE FROM orders WHERE v='v15'"
    )
    for low, high in slices:
        lab.run(window_from=low, window_to=high)
    assert lab.ids() == [n for n in range(1, 21) if n != 5]
    assert [r["id"] for r in lab.rows() if r["v"] == "moved"] == [15]


def test_a_row_that_moves_is_in_one_slice_by_its_key(each_lab: Lab) -> None:
    """With a key, loading the slice it moved to is enough: its old row goes with it."""
    lab = each_lab
    lab.sql("CREATE TABLE orders (id INTEGER, at DATE, v TEXT)")
    lab.sql(*(f"INSERT INTO orders VALUES ({d}, '2024-01-{d:02}', 'old')" for d in range(1, 5)))
    pipeline = lab.pipeline(
        stream(mode="replace_window", cursor="at", unique_key="id", cursor_timezone="UTC")
    )
    for d in range(1, 5):
        lab.run(pipeline, window_from=f"2024-01-{d:02}", window_to=f"2024-01-{d + 1:02}")
    lab.sql("UPDATE orders SET at = '2024-01-03', v = 'moved' WHERE id = 1")
    got = lab.run(pipeline, window_from="2024-01-03", window_to="2024-01-04")
    assert got.counts.read == 2
    assert lab.ids(pipeline=pipeline) == [1, 2, 3, 4]
    (moved,) = [row for row in lab.rows(pipeline=pipeline) if row["id"] == 1]
    assert (str(moved["at"])[:10], moved["v"]) == ("2024-01-03", "moved")
    lab.run(pipeline, window_from="2024-01-01", window_to="2024-01-02", allow_empty=True)
    assert lab.ids(pipeline=pipeline) == [1, 2, 3, 4]


@in_turn("mode", "append", "upsert", "scd2")
def test_a_slice_without_rows_makes_no_table(each_lab: Lab, mode: str) -> None:
    lab = each_lab
    lab.orders(range(5))
    keys = {} if mode == "append" else {"unique_key": "id"}
    pipeline = lab.pipeline(stream(mode=mode, **keys))
    assert lab.run(pipeline, window_from="10", window_to="20").outcome == "empty"
    assert lab.chain(pipeline) == []
    lab.run(pipeline, window_from="0", window_to="20")
    assert lab.run(pipeline, window_from="30", window_to="40").outcome == "empty"
    assert len(lab.chain(pipeline)) == 1
    assert len(lab.rows("orders", pipeline)) == 5


DAY = {"window_from": "2024-01-01", "window_to": "2024-01-02"}


def test_the_command_of_a_refused_window_has_the_window(lab: Lab) -> None:
    lab.orders([1])
    with pytest.raises(ConfigError, match="needs `cursor_timezone`") as refused:
        lab.plan(lab.pipeline(stream(cursor="at")), **DAY)
    command = refused.value.lines()[3]
    assert command == "conduit plan --stream orders --from 2024-01-01 --to 2024-01-02"
