"""All that is known of one published load, and of those before it: what its report shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from conduit_core.connectors.base import Destination
from conduit_core.connectors.letters import KeepsAudits, KeepsLetters
from conduit_core.engine.audit import QualityReport
from conduit_core.engine.pipeline import Ends, Pipeline
from conduit_core.errors import ConfigError
from conduit_core.state.ledger import LedgerRecord


@dataclass(frozen=True, slots=True)
class AuditedLoad:
    """A published load; ``quality`` is None where its stream had no rules."""

    record: LedgerRecord
    quality: QualityReport | None = None


@dataclass(frozen=True, slots=True)
class LoadReport:
    """One load among its target's.

    Args:
        loads: the target's loads up to this one, which is the last; the oldest first.
        letters: dead letters of this load by status: those that no later load rejected again.
        target_letters: the whole target's; both None where the destination keeps none.
        asked_at: when the letters were counted.
    """

    loads: tuple[AuditedLoad, ...]
    letters: Mapping[str, int] | None
    target_letters: Mapping[str, int] | None
    asked_at: datetime

    @property
    def load(self) -> AuditedLoad:
        """The one it is about."""
        return self.loads[-1]


def load_report(pipeline: Pipeline, beginning: str, last: int = 1) -> LoadReport:
    """Return the report of one load. Read-only.

    Args:
        pipeline: whose load.
        beginning: of the load's id; one load's only.
        last: how many loads at most, this one among them.

    Raises:
        ConfigError: no load has such an id, or several have.
    """
    with pipeline.open() as ends:
        chain, record = _found(pipeline, ends, beginning)
        earlier = [r for r in chain if r.version < record.version and moves_rows(r)]
        earlier.sort(key=lambda r: r.version)
        records = [*earlier[max(len(earlier) - last + 1, 0) :], record]
        keeper = ends.destination if isinstance(ends.destination, KeepsLetters) else None
        return LoadReport(
            loads=audited(ends.destination, chain, records),
            letters=keeper.letter_counts(record.target, record.load_id) if keeper else None,
            target_letters=keeper.letter_counts(record.target) if keeper else None,
            asked_at=datetime.now(UTC),
        )


def _found(
    pipeline: Pipeline, ends: Ends, beginning: str
) -> tuple[list[LedgerRecord], LedgerRecord]:
    found = []
    for stream in pipeline.select(None):
        chain = ends.destination.records(pipeline.target(stream, ends.destination))
        found += [(chain, r) for r in chain if r.load_id.startswith(beginning)]
    if len(found) != 1:
        what = f"{len(found) or 'no'} published load{'s' if found else ''}"
        raise ConfigError(
            f"{what} with an id that begins with {beginning!r}", command="conduit runs"
        )
    return found[0]


def moves_rows(record: LedgerRecord) -> bool:
    """Say whether a record is of a load, and not of a command that mended state."""
    return not record.mode.startswith("state_")


def audited(
    destination: Destination, chain: list[LedgerRecord], records: list[LedgerRecord]
) -> tuple[AuditedLoad, ...]:
    """Return records of one target, oldest first, each with what its rules found.

    ``chain`` is all that the target has.
    """
    if not isinstance(destination, KeepsAudits):
        return tuple(AuditedLoad(r) for r in records)
    first = records[0].version
    # the newest audits, and a load has one at most: so many reach back to the first
    newest = sum(r.version >= first for r in chain)
    kept = {a.load_id: a.report for a in destination.audits(records[-1].target, newest)}
    return tuple(
        AuditedLoad(
            r,
            QualityReport.model_validate_json(kept[r.load_id]) if r.load_id in kept else None,
        )
        for r in records
    )
