"""p08: rows on the boundary of two loads are in the target once, for every type of cursor."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from conduit_core.errors import SchemaError
from tests.sources import KINDS, SOURCES, Rows


def moment(text: str, tz: dt.timezone | None = None) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=tz)


def uuid(first: str) -> str:
    return f"{first}0000000-0000-4000-8000-000000000000"


NINES = "2024-03-10T01:59:59.{}"
# Four values that ascend, the middle two as near to one another as the type allows.
VALUES: dict[str, list[Any]] = {
    "int16": [-5, 7, 8, 30000],
    "int64": [-1, 2**53, 2**53 + 1, 2**62],
    "decimal": [Decimal(v) for v in ("-1.00", "9.99", "10.00", "1234567.89")],
    "wide decimal": [
        Decimal(v) for v in ("-1", "12345678901234567890.000000001",
                             "12345678901234567890.000000002", "92345678901234567890")
    ],
    "float": [-0.5, 0.1, 0.1 + 2**-56, 1e300],
    # Byte by byte, whatever the database's collation: Z is before a, and a before é.
    "text": ["A", "Z", "a", "é"],
    "uuid": [uuid("1"), uuid("a"), uuid("b"), uuid("f")],
    "date": [dt.date(1969, 12, 31), dt.date(2024, 2, 29), dt.date(2024, 3, 1), dt.date(2031, 1, 1)],
    "timestamp": [moment(NINES.format(f)) for f in ("0", "999998", "999999")]
    + [moment("2031-01-01")],
    "timestamptz": [moment(NINES.format(f), dt.UTC) for f in ("0", "999998", "999999")]
    + [moment("2031-01-01", dt.UTC)],
    "timestamp s": [moment(f"2024-03-10T01:59:{s}") for s in ("01", "58", "59")]
    + [moment("2031-01-01")],
    "timestamptz s": [moment(f"2024-03-10T01:59:{s}", dt.UTC) for s in ("01", "58", "59")]
    + [moment("2031-01-01", dt.UTC)],
    "timestamp ms": [moment(NINES.format(f)) for f in ("000", "998", "999")]
    + [moment("2031-01-01")],
    "timestamp ns": [1_710_035_999_999_999_000 + n for n in (0, 998, 999)] + [19 * 10**17],
}  # fmt: skip
TABLE = [
    (source, kind)
    for source in SOURCES
    for kind, types in KINDS.items()
    if source == "parquet" or getattr(types, source)
]


@pytest.fixture
def rows(source: str, kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Rows:
    database = request.getfixturevalue("postgres_database") if source == "postgres" else ""
    return Rows(source, kind, tmp_path, database)


def test_p08_every_type_of_the_table_has_values() -> None:
    assert set(VALUES) == set(KINDS)


@pytest.mark.parametrize(("source", "kind"), TABLE)
def test_p08_ties_on_the_boundary_neither_lose_nor_double(rows: Rows, kind: str) -> None:
    low, mid, near, high = VALUES[kind]
    rows.add([1, 2, 3, 4], [low, mid, mid, mid])
    first = rows.run()
    assert (first.counts.read, first.watermark is not None) == (4, True)
    assert rows.run().outcome == "empty"
    # More rows of the newest value, one next to it, one at the end; one that lies below is late.
    rows.add([5, 6, 7, 8, 0], [mid, near, near, high, low])
    assert rows.run().counts.read == 4
    assert rows.run().outcome == "empty"
    assert rows.ids() == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize(("source", "kind"), TABLE)
def test_p08_one_column_splits_values_that_lie_side_by_side(rows: Rows, kind: str) -> None:
    low, mid, near, high = VALUES[kind]
    rows.stream["cursor"] = "at"
    rows.add([1, 2], [low, mid])
    rows.run()
    rows.add([3, 4, 9], [near, high, mid])  # the last is a tie that one column can't tell
    assert rows.run().counts.read == 2
    assert rows.ids() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("source", "kind"), [k for k in TABLE if k[1] in ("int64", "date", "text")]
)
def test_p08_initial_is_part_of_the_first_load_and_of_no_other(rows: Rows, kind: str) -> None:
    low, mid, near, high = VALUES[kind]
    rows.stream["initial"] = str(mid)
    rows.add([1, 2, 3], [low, mid, mid])
    rows.run()
    assert rows.ids() == [2, 3]
    rows.add([4, 5], [near, high])
    assert rows.run().counts.read == 2
    assert rows.ids() == [2, 3, 4, 5]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("kind", ["int64"])
def test_p08_the_state_does_not_grow_with_the_ties(rows: Rows) -> None:
    rows.add(list(range(2000)), [7] * 2000)
    rows.run()
    few = rows.run(full_refresh=True)
    assert few.watermark == "7, 1999"


@pytest.mark.parametrize("source", ["sqlite"])
@pytest.mark.parametrize("kind", ["wide decimal"])
def test_p08_a_cursor_without_an_order_is_refused(rows: Rows, tmp_path: Path) -> None:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(tmp_path / "source.db")) as con, con:
        con.execute('CREATE TABLE t (id INTEGER, "at" DECIMAL(38,9))')
    with pytest.raises(SchemaError, match="no order"):
        rows.run()
