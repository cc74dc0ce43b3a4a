"""Staging: where the rows of a spread-out load wait, invisible to readers, until published.

An open load is a plan that a first ``stage`` wrote beside the staging. Each split of it gets one
receipt, written with the split's rows: the first one wins, whoever stages.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from conduit_core.connectors.base import CleanItem, StagedRows
from conduit_core.connectors.publish import Column, Wire
from conduit_core.events import Emit
from conduit_core.state.ledger import Counts
from conduit_core.types.dialect import Table

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import pyarrow as pa


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True)


class OpenLoad(_Data):
    """A plan beside its staging.

    Args:
        load_id: the load; one open load each.
        plan_id: digest of the plan itself: two plans of one load may differ in their bounds.
        target_fingerprint: whose target; staging may serve many.
        target_schema, target_table: the target.
        plan: the plan's JSON.
        opened_at: when.
    """

    load_id: str
    plan_id: str
    target_fingerprint: str
    target_schema: str
    target_table: str
    plan: str
    opened_at: datetime

    @property
    def target(self) -> Table:
        """The target."""
        return Table(self.target_schema, self.target_table)


class StageReceipt(_Data):
    """What one attempt staged of one split.

    Args:
        load_id, plan_id, split: whose rows.
        attempt: the attempt that won; names its place.
        places: relations or files that hold the rows, in order.
        rows: rows that lie there, as the staging counted them.
        bytes: their Arrow size.
        counts: what the reader counted (``read``; later rejected and so on).
        files: digests of the source files read, where the load remembers them.
        letters: the relation or file that holds the rejected rows; empty: there are none.
        quality: what the rules counted, as JSON.
        worker: host and process id of the attempt.
        seconds: how long the attempt took.
        staged_at: when it was done.
        stages: seconds of the attempt by stage.
        version: of this format.
    """

    version: Literal[1] = 1
    load_id: str
    plan_id: str
    split: str
    attempt: str
    places: tuple[str, ...]
    rows: int
    bytes: int
    counts: Counts
    files: tuple[str, ...] = ()
    letters: str = ""
    quality: str = ""
    worker: str
    seconds: float
    staged_at: datetime
    stages: dict[str, float] = {}


def stages_of(receipts: Sequence[StageReceipt]) -> dict[str, float]:
    """Return seconds by stage, summed over splits, and as ``stage`` how long all took side by side.

    Where staging was broken off and taken up, the pause is none of it.
    """
    sums: dict[str, float] = {}
    for receipt in receipts:
        for stage, seconds in receipt.stages.items():
            sums[stage] = sums.get(stage, 0.0) + seconds
    if receipts:
        began = min(r.staged_at - timedelta(seconds=r.seconds) for r in receipts)
        lasted = (max(r.staged_at for r in receipts) - began).total_seconds()
        sums["stage"] = min(lasted, sum(r.seconds for r in receipts))
    return sums


class Attempt(_Data):
    """One try at one split, by one process; with a ``wire`` its rows may be had undecoded."""

    load: OpenLoad
    split: str
    attempt: str
    columns: tuple[Column, ...]
    worker: str
    wire: Wire | None = None


class Staging(ABC):
    """A place for staged rows. Safe to use from several threads and processes at once."""

    @abstractmethod
    def probe(self, *, write: bool) -> str:
        """Return what tells this place from any other, making it where ``write``; "" if no need.

        A plan notes it, each worker compares: a folder that isn't shared shows before rows are
        staged.

        Raises:
            ConfigError, ConnectionFailedError: the place is missing, read-only or out of reach.
        """

    @abstractmethod
    def open(self, load: OpenLoad, supersedes: str | None) -> OpenLoad:
        """Write the plan unless its load is open already; return the open load that holds.

        Args:
            load: the load.
            supersedes: the ``plan_id`` of an open load of the same ``load_id`` that the plan
                decided not to take up: it and its rows go first, if it is still that one.
        """

    @abstractmethod
    def opened(self, target_fingerprint: str) -> list[OpenLoad]:
        """Return a target's open loads, newest first. Read-only; none: empty."""

    @abstractmethod
    def receipts(self, plan_id: str, target_fingerprint: str) -> list[StageReceipt]:
        """Return the receipts of an open load, by split. Read-only."""

    def receipt(self, plan_id: str, target_fingerprint: str, split: str) -> StageReceipt | None:
        """Return one split's receipt, if it has one. Read-only."""
        found = self.receipts(plan_id, target_fingerprint)
        return next((r for r in found if r.split == split), None)

    @abstractmethod
    def stage(self, attempt: Attempt, rows: StagedRows, emit: Emit) -> StageReceipt:
        """Write a split's rows and its receipt, both or neither; return the receipt that won.

        The attempt that loses leaves nothing behind.

        Raises:
            StagingLostError: the open load is gone: published, superseded or swept.
            ConduitError: what broke the read, or the place refused.
        """

    @abstractmethod
    def rows(
        self, receipts: Sequence[StageReceipt], schema: pa.Schema, report: str = ""
    ) -> StagedRows:
        """Return the staged rows of a load for ``commit``, split by split, counted.

        ``finish`` gives the letters of all splits, and ``report`` as it was given.

        ``finish`` (or the reader before it) raises ``StagingLostError`` where rows are not as
        many as the receipt says.
        """

    @abstractmethod
    def drop(self, plan_id: str, target_fingerprint: str) -> None:
        """Remove an open load, its receipts and its rows. Idempotent."""

    @abstractmethod
    def release(self, plan_id: str, target_fingerprint: str) -> str:
        """Let go of an open load, but leave its rows to be looked at until the next sweep.

        Returns:
            What to run to see them.
        """

    @abstractmethod
    def sweep(
        self,
        older_than: timedelta,
        published: Collection[str],
        *,
        dry_run: bool,
    ) -> list[CleanItem]:
        """Remove open loads without activity for ``older_than``, and published ones.

        Args:
            older_than: since the newest of opening and receipts; never a load younger than that.
            published: load ids that the ledger has.
            dry_run: only say what would go.
        """

    def close(self) -> None:  # noqa: B027 - closing nothing is right for some
        """Give back connections. Idempotent."""
