"""Types from texts piece by piece, and texts that aren't of a type, beside slow oracles."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_core.connectors.base import UNREADABLE
from conduit_core.connectors.files.convert import BadValueError, Inference, infer, to_type
from conduit_core.connectors.files.sifting import _SURELY, Unreadable, raw_text, sift

KINDS = [
    *_SURELY, pa.bool_(), pa.int16(), pa.float32(), pa.decimal128(9, 2), pa.time64("us"),
    pa.timestamp("ns"), pa.timestamp("ns", "UTC"), pa.string(),
]  # fmt: skip
some_texts = st.sampled_from([
    "0", "1", "-7", "00501", "+1", "0x1F", "123456789012345678", "9223372036854775808", "1" * 40,
    "1.5", "-0.25", "1e3", "nan", "inf", "0.12345678901234567890", "true", "FALSE", "yes",
    "2024-01-01", "2024-02-30", "9999-12-31", "2024-01-01T08:00:00", "2024-01-01 08:00:00.5",
    "2024-01-01T08:00:00Z", "2024-01-01T08:00:00.123456789", "12:30:00", "NA", "\\N", "", " 1", "é",
    "n/a", "Infinity", "NaN", "nan(1)", "1e400", "t", "TrUe", "1\t", "2024-01-01T08:00:00+02:00",
    "12:30", "bad", "0xbad", "24:00:00", "-", ".", ".5", "5.", "0X1f", "1_000", "٣",
])  # fmt: skip
some_columns = st.lists(some_texts | st.none(), min_size=1, max_size=12)


@settings(deadline=None, max_examples=300)
@given(some_columns, st.lists(st.integers(0, 12), max_size=3))
def test_a_type_told_piece_by_piece_is_that_of_the_whole(
    texts: list[str | None], cuts: list[int]
) -> None:
    pieces = Inference()
    edges = [0, *sorted(min(c, len(texts)) for c in cuts), len(texts)]
    for low, high in pairwise(edges):
        pieces.add(pa.chunked_array([texts[low:high]], pa.string()))
    kind = pieces.kind
    assert kind == infer(pa.chunked_array([texts], pa.string()))
    assert pieces.rows == len(texts)
    if kind is None:
        assert pieces.values == 0
        return
    column = to_type(pa.array(texts, pa.string()), kind)  # every text is of the type
    assert column.null_count == pieces.nulls(kind)


@settings(deadline=None, max_examples=600)
@given(some_columns, st.sampled_from(KINDS))
def test_what_is_not_of_its_type_is_marked_and_nothing_else(
    texts: list[str | None], kind: pa.DataType
) -> None:
    def one(text: str | None) -> tuple[Any, bool]:
        try:
            return to_type(pa.array([text], pa.string()), kind), False
        except BadValueError:
            return pa.array([None], kind), True

    wanted = [one(text) for text in texts]
    column, marks = sift(pa.array(texts, pa.string()), kind)
    assert str(column.to_pylist()) == str([value[0].as_py() for value, _ in wanted])  # NaN is NaN
    found = [False] * len(texts) if marks is None else marks.to_pylist()
    assert found == [is_bad for _, is_bad in wanted]


def test_a_row_has_all_its_unreadable_values() -> None:
    batch = pa.RecordBatch.from_pydict({"a": [1, None, None], "b": [None, 2, None]})
    bad = Unreadable()
    assert bad.beside(batch) is batch
    bad.add("a", pa.array([False, False, True]), ['x "y"'])
    bad.add("b", pa.array([True, False, True]), [[1], "z"])
    texts = bad.beside(batch).column(UNREADABLE).to_pylist()
    assert [t and json.loads(t) for t in texts] == [
        {"b": "[1]"}, None, {"a": 'x "y"', "b": "z"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"), [("n/a", "n/a"), (10**30, "1" + "0" * 30), ({"a": [True]}, '{"a":[true]}')]
)
def test_raw_texts(value: object, text: str) -> None:
    assert raw_text(value) == text
