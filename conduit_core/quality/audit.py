"""What rules say of a load as a whole: ceilings, and rules against the last loads. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from statistics import median
from typing import Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict

from conduit_core.errors import QualityError
from conduit_core.quality.profile import Profile, total
from conduit_core.quality.rules import LoadRule, Ruleset
from conduit_core.quality.verdict import RuleCount, Tally
from conduit_core.spec.amounts import Share, format_amount, rows_of
from conduit_core.spec.rules import Action, Drift, Freshness, RowCount

_OF_LOADS = ("row_count", "freshness", "drift")
MIN_LOADS = 3
"""Loads before this one without which nothing is said against the last loads."""
_NO_LOADS = "it compares loads, and these are all rows of the table"


class LoadFacts(BaseModel):
    """What is kept of each published load for the rules of later ones."""

    model_config = ConfigDict(frozen=True)

    rows: int
    profiles: Mapping[str, Profile] = {}


class Outcome(BaseModel):
    """What one rule says of the load."""

    model_config = ConfigDict(frozen=True)

    rule: str
    kind: str
    action: Action
    result: Literal["passed", "failed", "not_judged"]
    text: str = ""

    @property
    def stops(self) -> bool:
        """Whether nothing may be published."""
        return self.result == "failed" and self.action == "fail"


def judge_counts(
    ruleset: Ruleset,
    tally: Tally,
    *,
    max_rejected: int | Share | None = None,
    is_final: bool = True,
) -> list[Outcome]:
    """Return what each rule of rows, and the stream's own ceiling, says of the counts.

    Args:
        ruleset: the rules.
        tally: what became of the rows, of the whole load or so far.
        max_rejected: the stream's ceiling of rejected rows; a share is of the rows read.
        is_final: False while rows still come: then only what they can't mend is ``failed``, so a
            load can be stopped at once; a share can still sink.
    """
    counts = {count.rule: count for count in tally.rules}
    out: list[Outcome] = []
    for rule in ruleset.of_rows:
        count = counts.get(rule.name)
        if count is None:
            continue
        ceiling = 0 if rule.action == "fail" else rule.max_rejected
        over = _is_over(count.failed, ceiling, count.checked, is_final=is_final)
        out.append(
            Outcome(
                rule=rule.name,
                kind=rule.kind,
                action="fail" if over else rule.action,
                result="failed" if over or (count.failed and is_final) else "passed",
                text=_counted(count, rule.max_rejected if over else None),
            )
        )
    if max_rejected is not None:
        over = _is_over(tally.rejected, max_rejected, tally.read, is_final=is_final)
        allowed = format_amount(max_rejected)
        most = sorted((c for c in tally.rules if c.action == "dlq"), key=lambda c: -c.failed)
        by = ", ".join(f"{c.rule} {c.failed}" for c in most[:3] if c.failed)
        out.append(
            Outcome(
                rule="max_rejected",
                kind="max_rejected",
                action="fail",
                result="failed" if over else "passed",
                text=f"{tally.rejected} of {tally.read} rows are rejected; {allowed} may be"
                + (f" ({by})" if by else ""),
            )
        )
    return out


def judge_load(
    ruleset: Ruleset, tally: Tally, history: Sequence[LoadFacts] | None, planned_at: datetime
) -> list[Outcome]:
    """Return what the rules of whole loads say.

    Args:
        ruleset: the rules.
        tally: the whole load's, or a whole table's.
        history: earlier published loads that had rows, the newest first; None: it is a table that
            is judged, which many loads have filled, so that no load compares with it.
        planned_at: when the load was planned, with its time zone; of a table: now.
    """
    out: list[Outcome] = []
    for rule in ruleset.loads:
        said = list(_of_load(rule, tally, history, planned_at))
        failed = [text for is_fine, text in said if is_fine is False]
        judged = any(is_fine is not None for is_fine, _ in said)
        out.append(
            Outcome(
                rule=rule.name,
                kind=rule.kind,
                action=rule.action,
                result="failed" if failed else "passed" if judged else "not_judged",
                text="; ".join(failed or [text for _, text in said]),
            )
        )
    return out


def facts_of(tally: Tally) -> LoadFacts:
    """Return what is to be kept of a load."""
    return LoadFacts(rows=tally.passed, profiles=tally.profiles)


def raise_for(outcomes: Sequence[Outcome], reports: Sequence[Mapping[str, object]] = ()) -> None:
    """Raise where nothing may be published.

    Args:
        outcomes: what the rules say.
        reports: what the error is to carry.

    Raises:
        QualityError: naming each rule that stops the load, and what it found.
    """
    stops = [outcome for outcome in outcomes if outcome.stops]
    if stops:
        text = "; ".join(f"rule {each.rule!r}: {each.text}" for each in stops)
        if any(each.kind not in _OF_LOADS for each in stops):
            text += (
                ". Correct the rows at the source, or let the rule's `action` or ceiling allow them"
            )
        raise QualityError(text, reports=tuple(reports), command="conduit runs")


def _is_over(failed: int, ceiling: int | Share | None, whole: int, *, is_final: bool) -> bool:
    if ceiling is None or (isinstance(ceiling, Share) and not is_final):
        return False
    return failed > rows_of(ceiling, whole)


def _counted(count: RuleCount, ceiling: int | Share | None) -> str:
    text = f"{count.failed} of {count.checked} rows break it"
    if ceiling is not None:
        text += f"; {format_amount(ceiling)} may"
    if count.sample:
        text += f"; for example {', '.join(map(repr, count.sample[:3]))}"
    return text


def _of_load(
    rule: LoadRule, tally: Tally, history: Sequence[LoadFacts] | None, planned_at: datetime
) -> Iterator[tuple[bool | None, str]]:
    spec = rule.spec
    if isinstance(spec, RowCount):
        yield from _row_count(spec, tally.passed, history)
        return
    for column in spec.columns:
        now = tally.profiles.get(column, Profile())
        if isinstance(spec, Freshness):
            when = "the plan" if history is not None else "now"
            yield _freshness(spec, column, now, planned_at, when)
        elif history is None:
            yield None, _NO_LOADS
        else:
            before = [f.profiles[column] for f in history if column in f.profiles]
            yield from _drift(spec, column, now, before[: spec.last])


def _row_count(
    spec: RowCount, rows: int, history: Sequence[LoadFacts] | None
) -> Iterator[tuple[bool | None, str]]:
    last = [facts.rows for facts in (history or ())[: spec.last]]
    for amount, is_least in ((spec.min, True), (spec.max, False)):
        if amount is None:
            continue
        shown = f"{format_amount(amount)}"
        whole = 0
        if isinstance(amount, Share):
            if history is None:
                yield None, f"{shown}: {_NO_LOADS}"
                continue
            if len(last) < MIN_LOADS:
                yield None, f"only {len(last)} loads before this one"
                continue
            whole = int(median(last))
            shown += f" of {whole}, the median of the last {len(last)} loads"
        limit = rows_of(amount, whole)
        is_fine = rows >= limit if is_least else rows <= limit
        words = ("fewer than", "at least") if is_least else ("more than", "at most")
        yield is_fine, f"{rows} rows, {words[is_fine]} {shown}"


def _freshness(
    spec: Freshness, column: str, now: Profile, planned_at: datetime, when: str
) -> tuple[bool | None, str]:
    if now.newest is None:
        return None, f"no row has a {column}"
    newest = _moment(now.newest, spec.timezone)
    age = planned_at - newest
    return age <= spec.max_age, f"the newest {column} is {now.newest}, {age} before {when}"


def _moment(text: str, zone: str | None) -> datetime:
    found: datetime | date = datetime.fromisoformat(text)
    if not isinstance(found, datetime):
        found = datetime.combine(found, time())
    if found.tzinfo is None:
        found = found.replace(tzinfo=ZoneInfo(zone) if zone else UTC)
    return found


def _drift(
    spec: Drift, column: str, now: Profile, before: Sequence[Profile]
) -> Iterator[tuple[bool | None, str]]:
    if len(before) < MIN_LOADS or not now.rows:
        yield None, f"only {len(before)} loads before this one" if now.rows else "no rows"
        return
    base = total(before)
    if spec.max_shift is not None and now.finite and base.finite:
        apart = abs(now.mean - base.mean)
        spread = base.deviation
        shift = apart / spread if spread else (math.inf if apart else 0.0)
        text = f"the mean of {column} moved from {base.mean:g} to {now.mean:g}"
        yield shift <= spec.max_shift, f"{text}: {shift:.2f} standard deviations"
    if spec.max_nulls is not None:
        moved = abs(now.null_share - base.null_share)
        text = f"NULLs in {column} went from {base.null_share:.1%} to {now.null_share:.1%}"
        yield moved <= spec.max_nulls, text
