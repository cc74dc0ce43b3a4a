from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conduit_core.connectors import registry
from conduit_core.connectors.base import Context, StreamRef
from conduit_core.connectors.duckdb.types import DuckDBDialect
from conduit_core.spec.names import quote_name
from conduit_core.testing import DestinationSuite, SourceSuite

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pyarrow as pa

    from conduit_core.connectors.base import Destination, Source
    from conduit_core.testing.fixtures import Connect
    from conduit_core.testing.source import Fill

DUCKDB = registry.get("duckdb")


def destination_on(path: Path, schema: str | None = None, wait: float = 20) -> Destination:
    assert DUCKDB.destination is not None
    options = DUCKDB.options(path=str(path))
    return DUCKDB.destination(options, Context(path.parent), schema, None, wait)


def source_on(path: Path) -> Source:
    assert DUCKDB.source is not None
    return DUCKDB.source(DUCKDB.options(path=str(path)), Context(path.parent))


class TestDuckDBDestination(DestinationSuite):
    @pytest.fixture
    def connect(self, tmp_path: Path) -> Connect:
        return lambda: destination_on(tmp_path / "warehouse.duckdb", "raw")


class TestDuckDBSource(SourceSuite):
    # DuckDB's own types: what `fill` can't make is there under other names in the suite.
    unsupported = frozenset({"float16", "decimal_50_10", "duration_us"})

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "shop.duckdb"

    @pytest.fixture
    def connect(self, path: Path) -> Callable[[], Source]:
        return lambda: source_on(path)

    @pytest.fixture
    def fill(self, path: Path, source: Source) -> Fill:
        import duckdb

        dialect = DuckDBDialect()

        def fill(name: str, table: pa.Table) -> StreamRef:
            source.close()
            columns = ", ".join(
                f"{dialect.quote(f.name)} {dialect.landing(f).ddl}" for f in table.schema
            )
            quoted = dialect.quote(name)
            with duckdb.connect(path) as con:
                con.execute(f"CREATE OR REPLACE TABLE {quoted} ({columns})")
                con.register("filled", table)
                con.execute(f"INSERT INTO {quoted} SELECT * FROM filled")
                con.unregister("filled")
            return StreamRef(table=quote_name(name))

        return fill
