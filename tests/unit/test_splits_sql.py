"""Split predicates and cuts against a plain-Python model; SQLite evaluates the SQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_core.connectors.cuts import First, range_cuts, separator
from conduit_core.connectors.splits import Split, SplitBy
from conduit_core.connectors.sql.predicate import (
    Predicate,
    both,
    firsts_query,
    split_predicate,
)
from conduit_core.connectors.sqlite.file import Connection
from conduit_core.errors import ConfigError

on_disk = settings(deadline=None, max_examples=50)
TEXTS = st.text("aAbé\U0001f600 ", max_size=6)


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    made = Connection(tmp_path_factory.mktemp("splits") / "rows.sqlite", "rwc")
    made.execute("CREATE TABLE t (n INTEGER, s TEXT)")
    yield made
    made.close()


def filled(connection: Connection, name: str, values: list[Any], kind: pa.DataType) -> None:
    connection.execute("DELETE FROM t")
    table = pa.table({"v": pa.array(values, kind)})
    connection.insert(f"INSERT INTO t ({name}) VALUES (?)", table.to_reader())


def cut(connection: Connection, name: str, kind: pa.DataType, count: int) -> SplitBy:
    found = connection.rows(firsts_query(name, name, "t", "", count))
    firsts = [First(*(None if v is None else pa.scalar(v, kind) for v in row[:2])) for row in found]
    return range_cuts(name, kind, firsts, shorten=kind == pa.string())


def parts(connection: Connection, name: str, by: SplitBy) -> list[list[Any]]:
    out = []
    for split in by.splits():
        where = split_predicate(split, lambda column: column, lambda _n, _value: "?")
        sql = f"SELECT {name} FROM t" + (f" WHERE {where.sql}" if where.sql else "")
        out.append([value for (value,) in connection.rows(sql, where.values)])
    return out


def check_parts(found: list[list[Any]], values: list[Any], count: int) -> None:
    """Disjoint and complete, ascending, and no larger than the ties in them make them."""
    assert len(found) <= count
    assert sum(len(part) for part in found) == len(values)
    keys = [sorted((v is not None, v or type(v)()) for v in part) for part in found]
    assert [key for part in keys for key in part] == sorted(
        (v is not None, v or type(v)()) for v in values
    )
    fair = -(-len(values) // count)
    for part in found:
        # What may be more than a fair share: one value's ties, and NULLs.
        most = max((part.count(v) for v in part), default=0)
        assert len(part) <= fair + most + part.count(None)
        assert len(found) == 1 or part


@on_disk
@given(
    st.lists(st.none() | st.integers(0, 20) | st.integers(-(2**62), 2**62), max_size=60),
    st.integers(2, 12),
)
def test_ranges_of_numbers(connection: Connection, values: list[int | None], count: int) -> None:
    filled(connection, "n", values, pa.int64())
    found = parts(connection, "n", cut(connection, "n", pa.int64(), count))
    check_parts(found, values, count)


@on_disk
@given(st.lists(st.none() | TEXTS, max_size=60), st.integers(2, 12))
def test_ranges_of_texts(connection: Connection, values: list[str | None], count: int) -> None:
    filled(connection, "s", values, pa.string())
    by = cut(connection, "s", pa.string(), count)
    assert list(by.cuts) == sorted(set(by.cuts))
    check_parts(parts(connection, "s", by), values, count)


@on_disk
@given(st.lists(st.none() | TEXTS, max_size=30), st.sets(TEXTS, min_size=1, max_size=4))
def test_values_and_the_rest(
    connection: Connection, values: list[str | None], listed: set[str]
) -> None:
    filled(connection, "s", values, pa.string())
    by = SplitBy(kind="values", column="s", cuts=tuple(sorted(listed)))
    found = parts(connection, "s", by)
    for value, part in zip(by.cuts, found, strict=False):
        assert part == [v for v in values if v == value]
    assert sorted(found[-1], key=str) == sorted((v for v in values if v not in listed), key=str)


def test_nulls_fill_parts_of_their_own() -> None:
    firsts = [First(None), First(None), First(pa.scalar(1)), First(pa.scalar(2), pa.scalar(1))]
    assert range_cuts("n", pa.int64(), firsts).cuts == ("1", "2")


def test_one_value_is_not_cut() -> None:
    one = First(pa.scalar(1), pa.scalar(1))
    assert range_cuts("n", pa.int64(), [First(pa.scalar(1)), one, one]).kind == "whole"
    assert range_cuts("n", pa.int64(), []).kind == "whole"


def test_nan_is_no_cut() -> None:
    firsts = [First(pa.scalar(1.0)), First(pa.scalar(2.0)), First(pa.scalar(float("nan")))]
    assert range_cuts("x", pa.float64(), firsts).cuts == ("2.0",)


@given(TEXTS, TEXTS)
def test_a_separator_lies_between(one: str, other: str) -> None:
    low, high = sorted((one, other))
    if low == high:
        return
    found = separator(low, high)
    assert low < found <= high
    assert low.encode() < found.encode() <= high.encode()
    assert high.startswith(found)


def test_long_texts_are_cut_short_even_among_ties() -> None:
    a, b = pa.scalar("a" * 5000), pa.scalar("b" * 5000)
    assert range_cuts("s", pa.string(), [First(a), First(b, a)], shorten=True).cuts == ("b",)
    assert range_cuts("s", pa.string(), [First(a), First(b, b)], shorten=True).cuts == ("b",)
    assert range_cuts("s", pa.string(), [First(a), First(b, b)]).cuts == ("b" * 5000,)


def test_a_whole_split_is_everything_and_hash_needs_the_system() -> None:
    assert split_predicate(None, str, lambda _n, _v: "?").sql == ""
    by = SplitBy(kind="hash", column="n", buckets=2)
    with pytest.raises(ConfigError, match="hash"):
        split_predicate(by.splits()[0], str, lambda _n, _v: "?")
    hashed = split_predicate(by.splits()[1], str, lambda _n, _v: "?", lambda c, n: f"h({c}, {n})")
    assert hashed.sql == "h(n, 2) = 1"


def test_both_keep_their_own_or() -> None:
    one, other = Predicate("a OR b", (pa.scalar(1),)), Predicate("c OR d", (pa.scalar(2),))
    assert both(one, other).sql == "(a OR b) AND (c OR d)"
    assert both(one, other).values == (pa.scalar(1), pa.scalar(2))
    assert both(Predicate("", ()), Predicate("", ())).sql == ""


def test_a_split_is_found_by_its_id() -> None:
    by = SplitBy(kind="range", column="n", type="int64", cuts=("5", "9"))
    splits = by.splits()
    assert [by.split(s.id) for s in splits] == splits
    assert isinstance(splits[0], Split)
