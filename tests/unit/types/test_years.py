from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conduit_core.types.years import infinity_of, year_and_rest


def told(value: pa.Scalar[pa.DataType]) -> str:
    year, rest = year_and_rest(value)
    return f"{year:04}{rest}"


@given(st.dates())
def test_a_date_is_as_python_spells_it(value: date) -> None:
    assert told(pa.scalar(value, pa.date32())) == value.isoformat()


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_moment_is_as_python_spells_it(value: datetime) -> None:
    naive = value.replace(tzinfo=None).isoformat(" ")
    expected = naive.rstrip("0") if "." in naive else naive
    assert told(pa.scalar(value, pa.timestamp("us", "UTC"))) == expected


@given(st.integers(-(2**62), 2**62))
def test_a_moment_in_nanoseconds_is_as_arrow_spells_it(ticks: int) -> None:
    value = pa.scalar(ticks, pa.int64()).cast(pa.timestamp("ns"))
    arrow = value.cast(pa.string()).as_py()
    assert told(value) == (arrow.rstrip("0").rstrip(".") if "." in arrow else arrow)


@given(st.integers(-(2**31), 2**31 - 2))
def test_the_next_day_is_later_in_any_year(days: int) -> None:
    one, other = (pa.scalar(n, pa.int32()).cast(pa.date32()) for n in (days, days + 1))
    assert year_and_rest(one) < year_and_rest(other)


@pytest.mark.parametrize(
    ("ticks", "unit", "text"),
    [
        (-63_517_824_000, "s", "-043-03-15 00:00:00"),
        (316_516_204_800_000, "ms", "12000-01-01 00:00:00"),
        (9_089_348_860_800_000_001, "us", "290000-01-01 00:00:00.000001"),
        (-1, "ms", "1969-12-31 23:59:59.999"),
    ],
)
def test_a_far_moment(ticks: int, unit: str, text: str) -> None:
    assert told(pa.scalar(ticks, pa.int64()).cast(pa.timestamp(unit))) == text  # type: ignore[call-overload]


def test_infinite_times() -> None:
    for kind, number, most in (
        (pa.date32(), pa.int32(), 2**31 - 1),
        (pa.timestamp("us"), pa.int64(), 2**63 - 1),
    ):
        ends = [pa.scalar(n, number).cast(kind) for n in (most, -most, most - 1)]
        assert [infinity_of(end) for end in ends] == ["infinity", "-infinity", ""]
    assert infinity_of(pa.scalar(date(2024, 1, 1) + timedelta(1))) == ""
