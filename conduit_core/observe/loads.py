"""Loads of a pipeline added up: rows by kind, seconds by stage, what held them up. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from conduit_core.engine.bottleneck import Bottleneck, bottleneck

if TYPE_CHECKING:
    from conduit_core.engine.audit import RuleReport
    from conduit_core.engine.loadreport import AuditedLoad
    from conduit_core.state.ledger import LedgerRecord

KINDS = ("inserted", "updated", "deleted", "other", "rejected")
"""What becomes of rows, as charts tell it; ``other`` are unchanged, deduplicated, superseded."""
STAGES = ("source", "network", "rules", "destination", "commit")
"""Where a load's seconds go, as charts tell it."""


def rows_by_kind(loads: Iterable[AuditedLoad]) -> dict[str, int]:
    """Return rows by kind."""
    found: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
    for load in loads:
        counts = load.record.counts
        found["inserted"] += counts.inserted
        found["updated"] += counts.updated
        found["deleted"] += counts.deleted
        found["rejected"] += counts.rejected
        found["other"] += counts.unchanged + counts.deduplicated + counts.superseded
    return dict(found)


def stages_of(records: Iterable[LedgerRecord]) -> dict[str, float]:
    """Return seconds by stage, as the ledger has them; without those that can't be read."""
    found: Counter[str] = Counter()
    for record in records:
        found.update(record.seconds_by_stage or {})
    return dict(found)


def unreadable(records: Iterable[LedgerRecord]) -> list[str]:
    """Return the ids of loads whose seconds by stage can't be read."""
    return [record.load_id for record in records if record.seconds_by_stage is None]


def seconds_by_stage(records: Iterable[LedgerRecord]) -> dict[str, float]:
    """Return busy seconds by the names of :data:`STAGES`; reading and writing overlap."""
    stages = stages_of(records)
    read, network = stages.get("read", 0.0), stages.get("network", 0.0)
    return {
        "source": max(read - network, 0.0),
        "network": min(network, read),
        "rules": stages.get("cast", 0.0),
        "destination": stages.get("write", 0.0),
        "commit": stages.get("commit", 0.0),
    }


def held_up(records: Iterable[LedgerRecord]) -> Bottleneck | None:
    """Return what held loads up, all together; None where the ledger doesn't know."""
    stages = stages_of(records)
    return bottleneck(stages) if "read" in stages else None


def broken_rules(loads: Iterable[AuditedLoad]) -> dict[str, list[tuple[AuditedLoad, RuleReport]]]:
    """Return by name the rules that some row or load broke, with what each load found."""
    found: dict[str, list[tuple[AuditedLoad, RuleReport]]] = {}
    for load in loads:
        for rule in load.quality.rules if load.quality else ():
            found.setdefault(rule.rule, []).append((load, rule))
    broken = (n for n, rs in found.items() if any(r.failed or r.result == "failed" for _, r in rs))
    return {name: found[name] for name in broken}
