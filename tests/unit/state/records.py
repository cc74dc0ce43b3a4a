"""Ledger records and cursors as the state tests need them."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa

from conduit_core.state.cursor import Cursor
from conduit_core.state.ledger import LedgerRecord
from conduit_core.state.window import Window

PRINT = "0123456789abcdef"


def at(value: object, kind: pa.DataType | None = None, column: str = "id") -> Cursor:
    return Cursor((column,), (pa.scalar(value, kind or pa.int64()),))


def record(
    version: int,
    cursor: Cursor | None = None,
    *,
    load_id: str = "",
    window: Window | None = None,
    mode: str = "append",
) -> LedgerRecord:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return LedgerRecord(
        target_schema="raw",
        target_table="orders",
        version=version,
        pipeline="shop",
        stream="orders",
        load_id=load_id or f"load{version}",
        request='{"kind":"watermark"}',
        mode=mode,
        load_window=(window or Window("watermark", None, cursor)).to_json(),
        cursor=cursor.to_json() if cursor else None,
        schema_fingerprint="s",
        spec_fingerprint="f",
        target_fingerprint=PRINT,
        started_at=now,
        published_at=now,
    )
