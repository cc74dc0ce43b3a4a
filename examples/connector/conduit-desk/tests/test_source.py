"""The contract that every source of Conduit keeps, held to this one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import ClassVar

import pyarrow as pa
import pytest
from conduit_core.connectors.base import StreamRef
from conduit_core.errors import ConnectionFailedError, SourceDataError
from conduit_core.testing import SourceSuite
from conduit_core.testing.source import Connect, Fill, read
from conduit_core.testing.torture import CASES
from pydantic import SecretStr
from server import TOKEN, Desk

from conduit_desk.client import Client
from conduit_desk.source import TYPES, DeskSource

SUPPORTED = {"boolean", "float64", "int64", "text", "timestamp_us_utc"}


def source_of(desk: Desk, token: str = TOKEN) -> DeskSource:
    return DeskSource(Client(desk.url, SecretStr(token)))


def put(desk: Desk, name: str, table: pa.Table) -> None:
    """Put a table into the system by other means than the source's own code."""
    kinds = {str(kind): name for name, kind in TYPES.items()}
    desk.columns[name] = {f.name: kinds.get(str(f.type), "str") for f in table.schema}
    desk.rows[name] = [
        {key: plain(value) for key, value in row.items()} for row in table.to_pylist()
    ]


def plain(value: object) -> object:
    """Return a value as the system has it."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    return value if isinstance(value, bool | int | float | str | None) else str(value)


class TestContract(SourceSuite):
    unsupported: ClassVar[frozenset[str]] = frozenset({case.name for case in CASES} - SUPPORTED)

    @pytest.fixture
    def connect(self, desk: Desk) -> Connect:
        return lambda: source_of(desk)

    @pytest.fixture
    def fill(self, desk: Desk) -> Fill:
        def give(name: str, table: pa.Table) -> StreamRef:
            put(desk, name, table)
            return StreamRef(table=name)

        return give

    @pytest.fixture
    def break_connection(self, desk: Desk) -> Callable[[], None]:
        def stop() -> None:
            desk.fails_with = 503

        return stop


def test_what_cannot_be_reached_is_told_with_a_remedy(desk: Desk) -> None:
    (item,) = DeskSource(Client("http://127.0.0.1:1", SecretStr(TOKEN))).check()
    assert not item.ok
    assert "http://127.0.0.1:1 can't be reached" in item.detail
    assert item.remedy


def test_a_wrong_token_is_told_without_it(desk: Desk) -> None:
    (item,) = source_of(desk, "another-token").check()
    assert not item.ok
    assert "refuses the token (401)" in item.detail
    assert "another-token" not in item.detail


@pytest.mark.parametrize(("code", "retry"), [(401, "never"), (429, "step"), (503, "step")])
def test_whether_a_retry_helps(desk: Desk, code: int, retry: str) -> None:
    put(desk, "tickets", pa.table({"id": [1]}))
    desk.fails_with = code
    with pytest.raises(ConnectionFailedError, match=str(code)) as failed:
        read(source_of(desk), StreamRef(table="tickets"))
    assert failed.value.retry == retry


def test_a_value_of_another_type_is_named(desk: Desk) -> None:
    desk.columns["tickets"] = {"id": "int"}
    desk.rows["tickets"] = [{"id": 1}, {"id": "two"}]
    with pytest.raises(SourceDataError, match=r"tickets, record 2, field 'id': a text"):
        read(source_of(desk), StreamRef(table="tickets"))
