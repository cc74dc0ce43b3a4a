"""The contract that every source of Conduit keeps, held to this one."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pytest
from conduit_core.connectors.base import StreamRef
from conduit_core.errors import ConnectionFailedError, SourceDataError
from conduit_core.testing import SourceSuite
from conduit_core.testing.source import Connect, Fill, read
from conduit_core.testing.torture import CASES

from conduit_acme.client import Client
from conduit_acme.source import TYPES, AcmeSource

SUPPORTED = {"boolean", "float64", "int64", "text", "timestamp_us_utc"}


def put(folder: Path, name: str, table: pa.Table) -> None:
    """Put a table into the system by other means than the source's own code."""
    kinds = {str(kind): name for name, kind in TYPES.items()}
    columns = {f.name: kinds.get(str(f.type), "text") for f in table.schema}
    lines = [json.dumps(columns)]
    for row in table.to_pylist():
        lines.append(json.dumps({key: plain(value) for key, value in row.items()}))
    (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def plain(value: object) -> object:
    """Return a value as the system has it."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    return value if isinstance(value, bool | int | float | str | None) else str(value)


class TestContract(SourceSuite):
    unsupported: ClassVar[frozenset[str]] = frozenset({case.name for case in CASES} - SUPPORTED)

    @pytest.fixture
    def connect(self, tmp_path: Path) -> Connect:
        return lambda: AcmeSource(Client(tmp_path))

    @pytest.fixture
    def fill(self, tmp_path: Path) -> Fill:
        def give(name: str, table: pa.Table) -> StreamRef:
            put(tmp_path, name, table)
            return StreamRef(table=name)

        return give

    @pytest.fixture
    def break_connection(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
        """Files don't break off: the client stands in here, where a system would be shut down."""
        pages, broken = Client.pages, threading.Event()

        def breaking(client: Client, table: str) -> Iterator[list[dict[str, object]]]:
            for page in pages(client, table):
                if broken.is_set():
                    raise ConnectionFailedError("the connection is lost")
                yield page

        monkeypatch.setattr(Client, "pages", breaking)
        return broken.set


def test_what_cannot_be_reached_is_told_with_a_remedy(tmp_path: Path) -> None:
    (item,) = AcmeSource(Client(tmp_path / "absent")).check()
    assert not item.ok
    assert "absent" in item.detail
    assert item.remedy


def test_a_value_of_another_type_is_named(tmp_path: Path) -> None:
    (tmp_path / "orders.jsonl").write_text('{"id": "integer"}\n{"id": 1}\n{"id": "two"}\n')
    with pytest.raises(SourceDataError, match=r"orders, record 2, field 'id': a text"):
        read(AcmeSource(Client(tmp_path)), StreamRef(table="orders"))
