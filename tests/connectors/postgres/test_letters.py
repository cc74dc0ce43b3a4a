"""Letters beside rows that pass undecoded: those are decoded where letters wait for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from conduit_core.connectors.base import RawBatch
from conduit_core.connectors.postgres.copying import WIRE
from conduit_core.connectors.publish import AppendStaged, Column, ResolveDeadLetters, Wire
from conduit_core.events import ignore
from conduit_core.testing.doubles import landed
from conduit_core.testing.ruled import Desk, RuledRows, by_key, table_of
from tests.connectors.postgres.support import destination_at

_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_NO_ROWS = _HEAD + b"\xff\xff"


class _Raw(RuledRows):
    """Rows that can be had undecoded, too: none of them."""

    asked = False

    def raw(self, columns: tuple[Column, ...], constants: Mapping[str, str]) -> Iterator[RawBatch]:
        self.asked = True
        yield RawBatch(_NO_ROWS, 0)


@pytest.mark.parametrize(
    ("resolve", "is_open", "undecoded"),
    [(by_key(), True, False), (by_key(), False, True), (None, True, True)],
)
def test_rows_are_decoded_where_letters_wait_for_them(
    postgres_database: str,
    resolve: ResolveDeadLetters | None,
    is_open: bool,
    undecoded: bool,
) -> None:
    destination = destination_at(postgres_database, lock_wait=20.0)
    desk = Desk(destination, "public")
    desk.append([(1, 10, "a")], rejected=[(2, 20, "x")] if is_open else ())
    arriving = landed(destination, table_of([(2, 21, "b")]))
    plan = desk.plan(arriving.schema, AppendStaged(), resolve=resolve)
    rows = _Raw(arriving, read=0 if undecoded else None)
    destination.commit(plan.model_copy(update={"wire": Wire(format=WIRE)}), rows, ignore)
    assert rows.asked is undecoded
    assert desk.statuses() == ({} if not is_open else {"open": 1} if undecoded else {"resolved": 1})
    destination.close()
