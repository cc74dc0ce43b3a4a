"""Cursors: exact text, order by column, what people type."""

from __future__ import annotations

import datetime as dt
import pickle
from decimal import Decimal
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conduit_core.errors import ConfigError, StateError
from conduit_core.state.cursor import Cursor, parse_point

INT64 = st.integers(-(2**63), 2**63 - 1)
UNITS = st.sampled_from(["s", "ms", "us", "ns"])


def cursor(value: pa.Scalar[Any], column: str = "c") -> Cursor:
    return Cursor((column,), (value,))


def ticks(n: int, kind: pa.DataType) -> pa.Scalar[Any]:
    return pa.scalar(n, pa.int64()).cast(kind)


def texts() -> st.SearchStrategy[str]:
    return st.text(st.characters(blacklist_categories=["Cs"]))


def decimals() -> st.SearchStrategy[pa.Scalar[Any]]:
    digits = st.integers(-(10**38 - 1), 10**38 - 1)
    return digits.map(lambda n: pa.scalar(Decimal(f"{n}e-10"), pa.decimal128(38, 10)))


def scalars() -> st.SearchStrategy[pa.Scalar[Any]]:
    return st.one_of(
        INT64.map(lambda n: pa.scalar(n, pa.int64())),
        st.integers(0, 2**64 - 1).map(lambda n: pa.scalar(n, pa.uint64())),
        st.integers(-(2**15), 2**15 - 1).map(lambda n: pa.scalar(n, pa.int16())),
        st.floats(allow_nan=False).map(lambda x: pa.scalar(x, pa.float64())),
        st.floats(allow_nan=False, width=32).map(lambda x: pa.scalar(x, pa.float32())),
        decimals(),
        texts().map(lambda t: pa.scalar(t, pa.string())),
        texts().map(lambda t: pa.scalar(t, pa.large_string())),
        st.binary().map(lambda b: pa.scalar(b, pa.binary())),
        st.binary(min_size=4, max_size=4).map(lambda b: pa.scalar(b, pa.binary(4))),
        st.dates().map(lambda d: pa.scalar(d, pa.date32())),
        st.integers(-(2**31), 2**31 - 1).map(lambda n: pa.scalar(n, pa.int32()).cast(pa.date32())),
        st.booleans().map(lambda b: pa.scalar(b, pa.bool_())),
        st.integers(0, 86_399_999_999_999).map(lambda n: ticks(n, pa.time64("ns"))),
        st.integers(0, 86_399_999_999).map(lambda n: ticks(n, pa.time64("us"))),
        st.tuples(INT64, UNITS, st.sampled_from([None, "UTC", "Europe/Oslo", "+05:30"])).map(
            lambda t: ticks(t[0], pa.timestamp(t[1], t[2]))
        ),
    )


@given(st.lists(scalars(), min_size=1, max_size=3))
def test_every_value_comes_back_exactly_from_its_text(values: list[pa.Scalar[Any]]) -> None:
    whole = Cursor(tuple(f'c"{i}' for i in range(len(values))), tuple(values))
    again = Cursor.from_json(whole.to_json())
    assert again == whole
    assert [v.type for v in again.values] == [v.type for v in values]
    assert again.to_json() == whole.to_json()
    assert again.compare(whole) == 0


@given(INT64, INT64, UNITS)
def test_timestamps_order_like_their_ticks(a: int, b: int, unit: str) -> None:
    kind = pa.timestamp(unit, "UTC")  # type: ignore[arg-type]
    assert cursor(ticks(a, kind)).compare(cursor(ticks(b, kind))) == (a > b) - (a < b)


@given(st.tuples(INT64, texts()), st.tuples(INT64, texts()))
def test_two_columns_order_lexicographically(a: tuple[int, str], b: tuple[int, str]) -> None:
    def both(pair: tuple[int, str]) -> Cursor:
        return Cursor(("a", "b"), (pa.scalar(pair[0], pa.int64()), pa.scalar(pair[1])))

    assert both(a).compare(both(b)) == (a > b) - (a < b)


def test_units_of_one_moment_are_equal() -> None:
    second, nano = (ticks(n, pa.timestamp(u)) for n, u in ((5, "s"), (5 * 10**9, "ns")))  # type: ignore[arg-type]
    assert cursor(second).compare(cursor(nano)) == 0


def test_numbers_of_several_widths_compare() -> None:
    values = [
        pa.scalar(1, pa.int16()), pa.scalar(1.5), pa.scalar(2, pa.uint64()),
        pa.scalar(Decimal("2.5")),
    ]  # fmt: skip
    for low, high in pairwise(values):
        assert cursor(low).compare(cursor(high)) == -1


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (pa.scalar(5), pa.scalar("5")),
        (pa.scalar(5), ticks(5, pa.timestamp("us"))),
        (ticks(5, pa.timestamp("us")), ticks(5, pa.timestamp("us", "UTC"))),
        (pa.scalar(dt.date(2024, 1, 1)), ticks(5, pa.timestamp("us"))),
        (pa.scalar("a"), pa.scalar(b"a")),
        (pa.scalar(True), pa.scalar(1)),
        (pa.scalar(dt.time(1)), pa.scalar(1)),
    ],
)
def test_unlike_types_do_not_compare(a: pa.Scalar[Any], b: pa.Scalar[Any]) -> None:
    with pytest.raises(StateError, match="types differ"):
        cursor(a).compare(cursor(b))


def test_unlike_columns_do_not_compare() -> None:
    with pytest.raises(StateError, match="columns differ"):
        cursor(pa.scalar(1), "a").compare(cursor(pa.scalar(1), "b"))


@pytest.mark.parametrize(
    "text",
    ["", "5", "null", "[]", "{}", "[1]", '[{"column":"a"}]', "[[]]",
     '[{"column":"a","type":"int64","value":"x"}]', '[{"column":"a","type":"int64","value":null}]',
     '[{"column":"a","type":"timestamp[us]","value":"2024-13-01"}]',
     '[{"column":"a","type":"date32[day]","value":"soon"}]',
     '[{"column":"a","type":"decimal128(3, 1)","value":"1.25"}]',
     '[{"column":"a","type":"decimal128(3, 1)","value":"x"}]',
     '[{"column":"a","type":"binary","value":"zz"}]',
     '[{"column":"a","type":"int8","value":"300"}]'],
)  # fmt: skip
def test_text_that_is_no_cursor_is_refused_and_shown(text: str) -> None:
    with pytest.raises(StateError, match="not a cursor") as caught:
        Cursor.from_json(text)
    assert repr(text) in caught.value.message


def test_times_are_shown_with_their_zone() -> None:
    assert cursor(ticks(0, pa.timestamp("s", "UTC"))).display() == "1970-01-01T00:00:00Z"
    assert cursor(ticks(0, pa.timestamp("s", "Asia/Tokyo"))).display() == "1970-01-01T00:00:00Z"
    assert cursor(ticks(0, pa.timestamp("ms"))).display() == "1970-01-01T00:00:00.000"


@given(scalars())
def test_the_value_just_below_is_the_greatest_below(value: pa.Scalar[Any]) -> None:
    whole = cursor(value)
    below = whole.before()
    if below is None:
        return  # text, floats, the least value of a type
    assert below.values[0].type == value.type
    assert below.compare(whole) == -1


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (pa.scalar(5), "4"),
        (pa.scalar(Decimal("1.20")), "1.19"),
        (pa.scalar(dt.date(2024, 3, 1)), "2024-02-29"),
        (ticks(0, pa.timestamp("ms", "UTC")), "1969-12-31T23:59:59.999Z"),
    ],
)
def test_the_value_just_below_is_one_step_away(value: pa.Scalar[Any], shown: str) -> None:
    below = cursor(value).before()
    assert below is not None
    assert below.display() == shown


def test_text_floats_and_the_least_value_have_nothing_just_below() -> None:
    for value in (pa.scalar("a"), pa.scalar(1.5), pa.scalar(-128, pa.int8()), pa.scalar(b"a")):
        assert cursor(value).before() is None


def test_a_cursor_survives_pickling() -> None:
    whole = Cursor(("a", "b"), (pa.scalar("x"), ticks(5, pa.timestamp("ns", "UTC"))))
    assert pickle.loads(pickle.dumps(whole)) == whole  # noqa: S301 - our own bytes


# --- what people type -------------------------------------------------------------------------

US, US_UTC = pa.timestamp("us"), pa.timestamp("us", "UTC")


@pytest.mark.parametrize(
    ("text", "kind", "zone", "shown"),
    [
        ("2024-07-01", US_UTC, None, "2024-07-01T00:00:00.000000Z"),
        ("2024-07-01", US_UTC, "Europe/Oslo", "2024-06-30T22:00:00.000000Z"),
        ("2024-01-01", US_UTC, "Europe/Oslo", "2023-12-31T23:00:00.000000Z"),
        ("2024-07-01T12:00:00+02:00", US_UTC, None, "2024-07-01T10:00:00.000000Z"),
        ("2024-07-01T12:00:00Z", US_UTC, "Europe/Oslo", "2024-07-01T12:00:00.000000Z"),
        ("2024-07-01 12:00", US, None, "2024-07-01T12:00:00.000000"),
        ("2024-07-01T12:00:00Z", US, "Europe/Oslo", "2024-07-01T14:00:00.000000"),
        ("2024-07-01T12:00:00.123456789Z", pa.timestamp("ns", "UTC"), None,
         "2024-07-01T12:00:00.123456789Z"),
        ("2024-07-01T12:00:00.5+02:00", US_UTC, None, "2024-07-01T10:00:00.500000Z"),
        ("2024-07-01", pa.date32(), None, "2024-07-01"),
        ("2024-07-01T23:30:00Z", pa.date32(), "Europe/Oslo", "2024-07-02"),
        ("2024-07-01T23:30:00", pa.date32(), None, "2024-07-01"),
        ("42", pa.int64(), None, "42"),
        ("-7", pa.int32(), None, "-7"),
        ("1.25", pa.decimal128(10, 2), None, "1.25"),
        ("2.5", pa.float64(), None, "2.5"),
        ("ab c", pa.string(), None, "ab c"),
        ("12:30:00", pa.time64("us"), None, "12:30:00.000000"),
    ],
)  # fmt: skip
def test_a_typed_point_means_what_the_column_holds(
    text: str, kind: pa.DataType, zone: str | None, shown: str
) -> None:
    value = parse_point(text, kind, zone)
    assert value.type == kind
    assert cursor(value).display() == shown


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("yesterday", US), ("2024-02-30", US), ("", US), ("2024-07-01T00:00:00.1234567", US),
        ("2024-07-01T00:00:00.5", pa.timestamp("s")), ("soon", pa.date32()), ("x", pa.int64()),
        ("1.5", pa.int64()), ("", pa.int64()), ("1.255", pa.decimal128(10, 2)),
        ("300", pa.int8()), ("25:00", pa.time64("us")),
    ],
)  # fmt: skip
def test_a_typed_point_that_is_none_is_refused_and_shown(text: str, kind: pa.DataType) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_point(text, kind, "UTC")
    assert repr(text) in caught.value.message
    assert str(kind) in caught.value.message


@pytest.mark.parametrize("kind", [US, pa.date32()])
def test_an_offset_for_a_column_without_zone_needs_one(kind: pa.DataType) -> None:
    with pytest.raises(ConfigError, match="cursor_timezone"):
        parse_point("2024-07-01T00:00:00Z", kind, None)


@given(
    st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2100, 1, 1)),  # noqa: DTZ001 - naive is meant
    st.sampled_from(["UTC", "Europe/Oslo", "America/St_Johns", "Asia/Kathmandu"]),
)
def test_a_typed_moment_is_the_moment_python_means(moment: dt.datetime, zone: str) -> None:
    aware = moment.replace(tzinfo=ZoneInfo(zone))
    value = parse_point(moment.isoformat(), US_UTC, zone)
    assert value == pa.scalar(aware, US_UTC)


@pytest.mark.parametrize("ticks_", [-(2**63), -(2**62), 2**63 - 1, 253_402_300_800])
@pytest.mark.parametrize("zone", [None, "UTC"])
def test_a_moment_beyond_pythons_years_is_none(ticks_: int, zone: str | None) -> None:
    far = Cursor(("a",), (ticks(ticks_, pa.timestamp("s", zone)),))
    assert far.moment("America/New_York") is None
