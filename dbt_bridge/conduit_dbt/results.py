"""What an invocation of dbt did, as data."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict

_FAILED = {"error", "fail", "runtime error", "partial success"}


class Frozen(BaseModel):
    """A result: it doesn't change."""

    model_config = ConfigDict(frozen=True)


class DbtNode(Frozen):
    """What became of one node; ``status`` is dbt's word (success, pass, warn, fail, error...).

    ``rows`` is what the adapter says was written, ``failures`` how many rows a test found, and
    ``path`` the node's file in its project.

    Args:
        unique_id, name: dbt's, in full and short.
        kind: ``model``, ``test``, ``seed``, ``snapshot`` ...
        seconds: its time.
        message: dbt's own words.
    """

    unique_id: str
    name: str
    kind: str
    status: str
    seconds: float
    rows: int | None
    message: str
    failures: int | None
    path: str

    @property
    def failed(self) -> bool:
        """Whether it failed; a node that was skipped or warns did not."""
        return self.status in _FAILED


class SourceFreshness(Frozen):
    """How old a source table's newest row is: ``pass``, ``warn``, ``error``, ``runtime error``.

    ``age`` is None where there is no row, or the table can't be read; ``message`` says which.

    Args:
        unique_id, name: dbt's, in full and short.
        status: dbt's word, as above.
        max_loaded_at: the newest row's time.
    """

    unique_id: str
    name: str
    status: str
    max_loaded_at: datetime | None
    age: timedelta | None
    message: str

    @property
    def failed(self) -> bool:
        """Whether dbt counts it as a failure."""
        return self.status in _FAILED


class DbtResult(Frozen):
    """What one invocation did.

    ``code`` is dbt's: 0 all is well, 1 a node failed, 2 nothing ran (``error`` says why).
    ``arguments`` are the command's own, without values of ``--vars``.

    Args:
        command: ``build``, ``run`` ...
        dbt_version: which dbt ran; "" where that isn't known.
        seconds: the whole time.
        nodes: what became of each node, in dbt's order.
        freshness: of ``source freshness``: each source table.
        target_path: the folder with dbt's artifacts.
    """

    command: str
    arguments: tuple[str, ...]
    code: int
    error: str
    dbt_version: str
    seconds: float
    nodes: tuple[DbtNode, ...]
    freshness: tuple[SourceFreshness, ...]
    target_path: Path

    @property
    def failed(self) -> tuple[DbtNode | SourceFreshness, ...]:
        """The nodes and sources that failed, in dbt's order."""
        return tuple(each for each in self._each() if each.failed)

    @property
    def counts(self) -> dict[str, int]:
        """How many nodes and sources have each status."""
        return dict(Counter(each.status for each in self._each()))

    def _each(self) -> tuple[DbtNode | SourceFreshness, ...]:
        return (*self.nodes, *self.freshness)


class DbtSource(Frozen):
    """A table that a project declares as a source, and the relation behind it."""

    unique_id: str
    source_name: str
    name: str
    database: str | None
    schema_name: str
    identifier: str
