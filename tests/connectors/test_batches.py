"""A source of batches: what it asks its subclass for, and what it says of one that is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pytest

from conduit_core.connectors.base import CheckItem, StreamRef
from conduit_core.connectors.batches import BatchSource
from conduit_core.errors import SourceDataError
from conduit_core.state.cursor import Cursor
from conduit_core.state.window import Window
from conduit_core.testing.source import at, read

COLUMNS = pa.schema([("id", pa.int64()), ("v", pa.string())])
ROWS = pa.table({"id": pa.array([1, 2, None, 3]), "v": ["a", "b", "c", "d"]}, COLUMNS)


class Told(BatchSource):
    """One table; keeps the windows that it is asked for, and hands out what it is told to."""

    system = "told"
    identity = "told"

    def __init__(self, rows: pa.Table = ROWS) -> None:
        self.rows = rows
        self.windows: list[Window] = []

    def check(self) -> list[CheckItem]:
        return [CheckItem("read", ok=True, detail="fine")]

    def tables(self) -> Sequence[str]:
        return ["t"]

    def columns(self, table: str) -> pa.Schema:
        return COLUMNS

    def batches(
        self, table: str, columns: Sequence[str], window: Window, batch_bytes: int
    ) -> Iterator[pa.RecordBatch]:
        self.windows.append(window)
        yield from self.rows.to_batches()


class Filtering(Told):
    """One that hands out no row below the window, but those without a cursor if they may."""

    def batches(
        self, table: str, columns: Sequence[str], window: Window, batch_bytes: int
    ) -> Iterator[pa.RecordBatch]:
        for row in self.rows.to_pylist():
            if window.low is None or self._is_wanted(row["id"], window, window.low):
                yield pa.RecordBatch.from_pylist([row], schema=COLUMNS)

    @staticmethod
    def _is_wanted(value: int | None, window: Window, low: Cursor) -> bool:
        return window.null_cursor if value is None else value >= low.values[0].as_py()


REF = StreamRef(table="t", cursor=("id",))


@pytest.mark.parametrize("low", [None, at(1), at(3), at(9)])
@pytest.mark.parametrize("cap", [None, at(2)])
def test_who_filters_finds_the_last_row_that_another_finds(
    low: Cursor | None, cap: Cursor | None
) -> None:
    """At the watermark itself too: else a source without news would seem to have gone back."""
    plain, filtering = (source.bounds(REF, low, cap) for source in (Told(), Filtering()))
    assert filtering.null_rows == plain.null_rows == 1
    found = plain.high
    if found is not None and low is not None and found.compare(low) < 0:
        found = None  # below where it was asked to begin
    assert filtering.high == found


@pytest.mark.parametrize(
    "window",
    [
        Window("full"),
        Window("watermark", at(1), at(3)),
        Window("watermark", at(1), at(3), null_cursor=True),
        Window("watermark", at(1), at(3), closed_low=True),
        Window("given", at(2), at(3)),
    ],
    ids=str,
)
def test_who_filters_hands_out_the_rows_that_another_does(window: Window) -> None:
    plain, filtering = (read(source, REF, window) for source in (Told(), Filtering()))
    assert filtering.to_pylist() == plain.to_pylist()


def test_a_subclass_sees_the_window_of_a_read() -> None:
    source = Told()
    window = Window("watermark", at(1), at(3))
    read(source, REF, window)
    assert source.windows == [window]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (ROWS.set_column(1, "v", [[1, 2, 3, 4]]), "column 'v' of a batch is int64, where the told"),
        (ROWS.select(["id"]), "column 'v' of a batch is missing, where the told source said"),
    ],
    ids=["type", "missing"],
)
def test_a_batch_that_is_not_as_it_was_described_stops_the_load(rows: pa.Table, told: str) -> None:
    with pytest.raises(SourceDataError, match=told):
        read(Told(rows), REF)
