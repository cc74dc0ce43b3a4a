"""Open loads: whether a plan takes up what an earlier attempt has staged, or starts anew."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from conduit_core.connectors.base import TargetShape
from conduit_core.connectors.chain import check_requirements
from conduit_core.connectors.publish import Column
from conduit_core.connectors.staging import OpenLoad
from conduit_core.engine.identity import digest
from conduit_core.engine.model import LoadPlan
from conduit_core.errors import ConduitError
from conduit_core.state.ledger import LedgerRecord
from conduit_core.state.window import Window

_OF_THE_MOMENT = {"plan_id", "supersedes", "adopted", "notes", "state_text", "last_load_id"}
"""What two plans of the same rows may differ in."""


def plan_digest(plan: LoadPlan) -> str:
    """Return what tells a plan from any other: two plans of one load may end at different rows."""
    return digest(plan.model_dump_json(exclude=_OF_THE_MOMENT))


def open_load(plan: LoadPlan) -> OpenLoad:
    """Return the plan as it is written beside its staging."""
    return OpenLoad(
        load_id=plan.load_id,
        plan_id=plan.plan_id,
        target_fingerprint=plan.target_fingerprint,
        target_schema=plan.target_schema,
        target_table=plan.target_table,
        plan=plan.model_dump_json(),
        opened_at=datetime.now(UTC),
    )


def take_up(
    held: OpenLoad,
    stored: LoadPlan | None,
    fresh: LoadPlan,
    chain: list[LedgerRecord],
    existing: TargetShape | None,
    within: timedelta,
    *,
    fixed_splits: bool,
) -> LoadPlan:
    """Return the open load's plan if its rows can still be published, else the fresh one.

    Args:
        held: the open load of the same ``load_id``: same base, request and spec.
        stored: its plan, as :func:`stored_plan` reads it.
        fresh: the plan as it would be now, without splits.
        chain: the target's ledger.
        existing: the target.
        within: how old an open load may be.
        fixed_splits: whether a row can't move from one split of ``held`` to another.
    """
    reason = "another release wrote it"
    if stored is not None:
        reason = _refusal(held, stored, fresh, chain, existing, within, fixed_splits=fixed_splits)
    since = f"{held.opened_at:%Y-%m-%d %H:%M:%S} UTC"
    if stored is not None and not reason:
        note = f"takes up the open load of {since}: what it has staged is not read again"
        return stored.model_copy(
            update={
                "adopted": True,
                "notes": (note, *stored.notes),
                "state_text": fresh.state_text,
                "probe": fresh.probe,
            }
        )
    note = f"starts anew: the open load of {since} can't be taken up, because {reason}"
    return fresh.model_copy(
        update={"supersedes": held.plan_id, "notes": (note, *fresh.notes)},
    )


def stored_plan(held: OpenLoad) -> LoadPlan | None:
    """Return an open load's plan, or None where another release wrote it otherwise."""
    try:
        return LoadPlan.model_validate_json(held.plan)
    except ValidationError:
        return None


def _refusal(
    held: OpenLoad,
    plan: LoadPlan,
    fresh: LoadPlan,
    chain: list[LedgerRecord],
    existing: TargetShape | None,
    within: timedelta,
    *,
    fixed_splits: bool,
) -> str:
    if datetime.now(UTC) - held.opened_at > within:
        return "it is older than resume_within"
    if (plan.source_schema, plan.staged_schema) != (fresh.source_schema, fresh.staged_schema):
        return "the columns changed since"
    if _kinds(plan) != _kinds(fresh) or plan.staged_columns != fresh.staged_columns:
        return "it would be published another way now"
    if Window.from_json(plan.window).is_unbounded and not fixed_splits:
        return "the source may have moved rows between its splits, which are not cut by the key"
    columns = None
    if existing is not None:
        columns = tuple(
            Column(name=c.name, ddl=c.ddl, nullable=c.nullable) for c in existing.columns
        )
    try:
        check_requirements(plan.publish, chain, columns)
    except ConduitError:
        return "another load was published since"
    return ""


def _kinds(plan: LoadPlan) -> list[object]:
    return [
        (a.kind, getattr(a, "how", None)) for a in plan.publish.actions if a.kind != "record_load"
    ]
