"""The suite of sources finds the ones that lose rows, double them, or say what isn't so."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pytest

from conduit_core.connectors.base import CheckItem, Source, StreamRef
from conduit_core.connectors.batches import BatchSource
from conduit_core.errors import ConnectionFailedError
from conduit_core.state.window import Window
from conduit_core.testing import SourceSuite

PAGE_ROWS = 1000


class System:
    """Tables that are handed out page by page, until the connection breaks."""

    def __init__(self) -> None:
        self.tables: dict[str, pa.Table] = {}
        self.is_broken = False

    def pages(self, table: str) -> Iterator[pa.RecordBatch]:
        rows = self.tables[table]
        for start in range(0, rows.num_rows, PAGE_ROWS):
            if self.is_broken:
                raise ConnectionFailedError("gone in the middle")
            yield from rows.slice(start, PAGE_ROWS).combine_chunks().to_batches()

    def fill(self, name: str, table: pa.Table) -> StreamRef:
        self.tables[name] = table
        return StreamRef(table=name)

    def break_connection(self) -> None:
        self.is_broken = True


class Right(BatchSource):
    """What each wrong one below differs from in one point."""

    system = "right"

    def __init__(self, place: System) -> None:
        self.place = place

    @property
    def identity(self) -> str:
        return "right"

    def check(self) -> list[CheckItem]:
        return [CheckItem("read", ok=True, detail="fine")]

    def tables(self) -> Sequence[str]:
        return list(self.place.tables)

    def columns(self, table: str) -> pa.Schema:
        return self.place.tables[table].schema

    def batches(
        self, table: str, columns: Sequence[str], window: Window, batch_bytes: int
    ) -> Iterator[pa.RecordBatch]:
        yield from self.place.pages(table)


class ShiftsPages(Right):
    """Each page begins with the last row of the one before, in place of its own first row."""

    def batches(self, *asked: Any) -> Iterator[pa.RecordBatch]:
        before: pa.RecordBatch | None = None
        for page in super().batches(*asked):
            parts = [page] if before is None else [before[-1:], page[1:]]
            yield from pa.Table.from_batches(parts).to_batches()
            before = page


class MixesColumns(Right):
    """From the second page on, a column's values are those of the row before."""

    def batches(self, *asked: Any) -> Iterator[pa.RecordBatch]:
        for number, page in enumerate(super().batches(*asked)):
            at = page.schema.get_field_index("v")
            if number and at >= 0:
                moved = pa.concat_arrays([page.column(at)[-1:], page.column(at)[:-1]])
                yield page.set_column(at, page.schema.field(at), moved)
            else:
                yield page


class FirstPage(Right):
    """Who asks for some rows gets one page of them."""

    @abstractmethod
    def is_short(self, window: Window) -> bool: ...

    def batches(
        self, table: str, columns: Sequence[str], window: Window, batch_bytes: int
    ) -> Iterator[pa.RecordBatch]:
        for page in super().batches(table, columns, window, batch_bytes):
            yield page
            if self.is_short(window):
                return


class FirstPageOfWindows(FirstPage):
    def is_short(self, window: Window) -> bool:
        return window.low is not None


class FirstPageOfCaps(FirstPage):
    def is_short(self, window: Window) -> bool:
        return window.high is not None


class FirstPageOfNulls(FirstPage):
    def is_short(self, window: Window) -> bool:
        return window.null_cursor and window.low is not None and window.high is not None


class FirstPageOfSlices(FirstPage):
    def is_short(self, window: Window) -> bool:
        return window.only is not None


class TenThousandAtMost(Right):
    """An answer ends at a limit of the system's."""

    def batches(self, *asked: Any) -> Iterator[pa.RecordBatch]:
        for number, page in enumerate(super().batches(*asked)):
            if number < 10:
                yield page


class NothingIsNull(Right):
    """Each column is said to be NOT NULL."""

    def columns(self, table: str) -> pa.Schema:
        return pa.schema([f.with_nullable(nullable=False) for f in super().columns(table)])


class NullByTheFirstRows(Right):
    """Whether a column can be NULL is told from the first rows."""

    def columns(self, table: str) -> pa.Schema:
        rows = self.place.tables[table]
        first = rows.slice(0, 100)
        return pa.schema(
            [
                field.with_nullable(nullable=first.column(field.name).null_count > 0)
                for field in rows.schema
            ]
        )


class ItselfAlone(Right):
    """Each object is a source of its own."""

    @property
    def identity(self) -> str:
        return f"right:{id(self)}"


class Nameless(Right):
    """All sources of this type are one."""

    identity = ""


class ByItsContent(Right):
    """It is another one as soon as there is a table more."""

    @property
    def identity(self) -> str:
        return f"right:{sorted(self.place.tables)}"


class EndsShort(Right):
    """What breaks off has ended."""

    def batches(self, *asked: Any) -> Iterator[pa.RecordBatch]:
        try:
            yield from super().batches(*asked)
        except ConnectionFailedError:
            return


class EndsShortForBounds(Right):
    """The same, where the last row is looked for."""

    def batches(
        self, table: str, columns: Sequence[str], window: Window, batch_bytes: int
    ) -> Iterator[pa.RecordBatch]:
        try:
            yield from super().batches(table, columns, window, batch_bytes)
        except ConnectionFailedError:
            if window.kind != "watermark":
                raise


FOUND_BY = {
    ShiftsPages: ("test_batches_are_bounded", "test_a_read_may_stop_half_way"),
    MixesColumns: ("test_batches_are_bounded", "test_a_window_of_many_rows_is_read_to_its_end"),
    FirstPageOfWindows: ("test_a_window_of_many_rows_is_read_to_its_end",),
    FirstPageOfCaps: ("test_a_window_of_many_rows_is_read_to_its_end",),
    FirstPageOfNulls: ("test_many_rows_without_a_cursor_are_counted_and_read",),
    FirstPageOfSlices: ("test_a_slice_by_value_of_many_rows",),
    TenThousandAtMost: ("test_a_window_of_many_rows_is_read_to_its_end",),
    NothingIsNull: ("test_a_column_that_holds_null_says_so", "test_values_are_read_exactly"),
    NullByTheFirstRows: ("test_a_column_that_holds_null_says_so",),
    ItselfAlone: ("test_two_objects_are_one_source",),
    Nameless: ("test_two_objects_are_one_source",),
    ByItsContent: ("test_two_objects_are_one_source",),
    EndsShort: ("test_a_read_that_breaks_off_fails",),
    EndsShortForBounds: ("test_a_read_that_breaks_off_fails",),
}


def hold(kind: Callable[[System], Source], name: str) -> None:
    """Hold a source to one test of the suite."""
    place = System()
    fixtures = {
        "source": kind(place),
        "connect": lambda: kind(place),
        "fill": place.fill,
        "break_connection": place.break_connection,
    }
    test = getattr(SourceSuite(), name)
    taken = test.__code__.co_varnames[1 : test.__code__.co_argcount]
    test(**{fixture: fixtures[fixture] for fixture in taken})


@pytest.mark.parametrize("name", sorted({name for names in FOUND_BY.values() for name in names}))
def test_a_right_source_passes(name: str) -> None:
    hold(Right, name)


@pytest.mark.parametrize(
    ("wrong", "name"),
    [(wrong, name) for wrong, names in FOUND_BY.items() for name in names],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_wrong_source_is_found(wrong: type[Right], name: str) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        hold(wrong, name)


def test_rows_that_are_lost_and_doubled_are_shown() -> None:
    """A few of them: a difference of 200,000 rows would take minutes to print."""
    with pytest.raises(AssertionError, match=r"lost: \[1000, 2000,.*often: \[999, 1999,"):
        hold(ShiftsPages, "test_batches_are_bounded")


def test_without_what_breaks_it_a_connection_is_not_tried() -> None:
    """The suite of a package that was written before goes on passing."""
    given = SourceSuite.break_connection.__wrapped__  # type: ignore[attr-defined]
    with pytest.raises(pytest.skip.Exception, match="break_connection"):
        given(SourceSuite())
