"""Two loads that hang in their source's query, one in its last split, until a gate is opened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from uuid import uuid4

import psycopg

from tests import services
from tests.dagster.crashing import GATE, HELD, POSTGRES_SOURCE
from tests.waiting import wait_for

_WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE wait_event_type = 'Lock' AND query LIKE '%held%' AND datname = current_database()
  AND pid <> pg_backend_pid()
"""


class Held:
    """A database with the source and the target of two streams: ``whole``, and ``split``.

    Args:
        database: an empty one's URL.
    """

    def __init__(self, database: str) -> None:
        self._database = database
        self.schema = f"raw_{uuid4().hex[:8]}"
        services.sql(database, POSTGRES_SOURCE + HELD)

    @property
    def pipeline(self) -> dict[str, Any]:
        """The pipeline."""
        place = {"type": "postgres", "url": self._database}
        stream = {"table": "src.held", "mode": "append", "cursor": "id"}
        return {
            "name": f"held-{self.schema[4:]}",
            "source": place,
            "destination": {**place, "schema": self.schema},
            "streams": [
                {**stream, "name": "whole", "into": "whole"},
                {**stream, "name": "split", "into": "split", "splits": 4},
            ],
        }

    @contextmanager
    def shut(self) -> Iterator[None]:
        """Keep the gate shut."""
        with closing(psycopg.connect(self._database, autocommit=True)) as gate:
            gate.execute("SELECT pg_advisory_lock(%s)", [GATE])
            yield

    @property
    def waiting(self) -> int:
        """How many sessions hang in the source's query."""
        return int(services.sql(self._database, _WAITING)[0][0])

    def hang(self, loads: int = 2) -> None:
        """Wait until all hang, and all splits but the last are staged."""
        staged = 3 if loads == 2 else 0
        wait_for(lambda: self.waiting == loads and self.staged == staged, "loads that hang")

    @property
    def staged(self) -> int:
        """How many splits are staged."""
        receipts = f"{self.schema}._conduit_receipts"
        if services.sql(self._database, f"SELECT to_regclass('{receipts}')") == [(None,)]:
            return 0
        return int(services.sql(self._database, f"SELECT count(*) FROM {receipts}")[0][0])

    def is_untouched(self) -> None:
        """Check that nothing is published, nothing reads any more, and what was staged is kept."""
        assert self.waiting == 0
        assert self.staged == 3
        for table in ("whole", "split"):
            found = f"SELECT to_regclass('{self.schema}.{table}')"
            assert services.sql(self._database, found) == [(None,)]

    def is_loaded_once(self) -> None:
        """Check both tables and the ledger."""
        for table in ("whole", "split"):
            found = f"SELECT count(*), count(DISTINCT id), sum(id) FROM {self.schema}.{table}"
            assert services.sql(self._database, found) == [(2000, 2000, 1999000)]
        chain = f"SELECT target_table, version FROM {self.schema}._conduit_ledger ORDER BY 1"
        assert services.sql(self._database, chain) == [("split", 1), ("whole", 1)]
