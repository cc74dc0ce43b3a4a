"""What a stream's rules say of a whole load, before anything of it is published: its report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from conduit_core.connectors.base import Destination
from conduit_core.connectors.letters import KeepsAudits
from conduit_core.engine.model import LoadPlan
from conduit_core.errors import QualityError
from conduit_core.events import Emit, RuleChecked
from conduit_core.quality import (
    LoadFacts,
    Outcome,
    Ruleset,
    Tally,
    add_up,
    facts_of,
    judge_counts,
    judge_load,
    raise_for,
)
from conduit_core.spec import StreamSpec
from conduit_core.spec.rules import Action, Drift, RowCount, RuleSpec, rule_names
from conduit_core.types.dialect import Table


class RuleReport(BaseModel):
    """What one rule found in a load, or in a table.

    Args:
        rule, kind, action, description: the rule.
        result: ``passed``, ``failed``, or ``not_judged`` where there is nothing to compare with.
        checked, failed: rows it looked at, rows that broke it; 0 for rules of whole loads.
        sample: a few values that broke it.
        text: what it found, for people.
    """

    model_config = ConfigDict(frozen=True)

    rule: str
    kind: str
    action: Action
    result: Literal["passed", "failed", "not_judged"]
    text: str = ""
    checked: int = 0
    failed: int = 0
    sample: tuple[str, ...] = ()
    description: str = ""

    @property
    def rate(self) -> float:
        """The share of the rows looked at that broke it."""
        return self.failed / self.checked if self.checked else 0.0


class QualityReport(BaseModel):
    """What became of a load's rows under its rules; kept with the load."""

    model_config = ConfigDict(frozen=True)

    version: int = 1
    read: int
    passed: int
    rejected: int
    rules: tuple[RuleReport, ...] = ()
    facts: LoadFacts

    @property
    def warnings(self) -> tuple[str, ...]:
        """What people should know although the load is published."""
        told = [f"rule {r.rule!r}: {r.text}" for r in self.rules if r.result == "failed"]
        return tuple(told)


def history_needed(stream: StreamSpec) -> int:
    """Return how many earlier loads the stream's rules look at."""
    return max((r.last for r in stream.quality if isinstance(r, RowCount | Drift)), default=0)


def read_history(stream: StreamSpec, destination: Destination, target: Table) -> tuple[str, ...]:
    """Return what the rules of whole loads compare with, the newest load first, as JSON."""
    last = history_needed(stream)
    if not last or not isinstance(destination, KeepsAudits):
        return ()
    reports = (
        QualityReport.model_validate_json(audit.report)
        for audit in destination.audits(target, 2 * last)  # some may have had no rows
    )
    return tuple(r.facts.model_dump_json() for r in reports if r.facts.rows)[:last]


def load_tally(texts: Iterable[str]) -> Tally:
    """Return the tally of a load from its splits'."""
    return add_up(Tally.model_validate_json(text) for text in texts if text)


def audit_load(
    plan: LoadPlan,
    stream: StreamSpec,
    ruleset: Ruleset,
    tally: Tally,
    emit: Emit,
    *,
    is_new: bool = True,
) -> str:
    """Judge a whole load and tell of each rule; return the report that is kept with it, as JSON.

    Args:
        plan: the load.
        stream: its stream.
        ruleset: the stream's rules.
        tally: what became of all rows.
        emit: told of each rule.
        is_new: whether later loads may be compared with this one; not with a replay of letters.

    Raises:
        QualityError: a rule stops the load; the message has each such rule and what it found, the
            error itself what all of them found.
    """
    history = [LoadFacts.model_validate_json(text) for text in plan.history]
    outcomes = [
        *judge_counts(ruleset, tally, max_rejected=stream.max_rejected),
        *judge_load(ruleset, tally, history, plan.loaded_at),
    ]
    report = _report(stream, tally, outcomes)
    if not is_new:
        report = report.model_copy(update={"facts": LoadFacts(rows=0)})
    for rule in report.rules:
        emit(
            RuleChecked(
                pipeline=plan.pipeline,
                stream=plan.stream,
                load_id=plan.load_id,
                rule=rule.rule,
                action=rule.action,
                result=rule.result,
                checked=rule.checked,
                failed=rule.failed,
                text=rule.text,
            )
        )
    raise_for(outcomes, [rule.model_dump() for rule in report.rules])
    return report.model_dump_json()


def raise_so_far(
    stops: Sequence[Outcome], outcomes: Sequence[Outcome], tally: Tally, stream: StreamSpec
) -> None:
    """Raise where a load is over before all of its rows are known.

    Args:
        stops: what may stop it.
        outcomes: what all rules say so far.
        tally: what became of the rows so far.
        stream: the load's stream.

    Raises:
        QualityError: a rule stops the load. It carries what is sure: the rules that are broken.
    """
    if not any(outcome.stops for outcome in stops):
        return
    broken = {count.rule for count in tally.rules if count.failed}
    sure = [
        outcome.model_copy(update={"result": "failed"})
        for outcome in outcomes
        if outcome.result == "failed" or outcome.rule in broken
    ]
    raise_for(stops, [rule.model_dump() for rule in rule_reports(stream.quality, tally, sure)])


def with_the_others(error: QualityError, report: str) -> None:
    """Fill in what all rules found where only one spoke: in the target, when the rows were in.

    Args:
        error: its reports are of that rule, or of none.
        report: the load's report, as JSON; "" for none.
    """
    if len(error.reports) != 1 or not report:
        return
    (told,) = error.reports
    found = QualityReport.model_validate_json(report).rules
    spoke = {key: told[key] for key in ("result", "text", "action")}
    error.reports = tuple(
        {**rule.model_dump(), **(spoke if rule.rule == told["rule"] else {})} for rule in found
    )


def rule_reports(
    rules: Sequence[RuleSpec], tally: Tally, outcomes: Sequence[Outcome]
) -> tuple[RuleReport, ...]:
    """Return what each rule found, in the order of ``outcomes``.

    Args:
        rules: the rules as they are written.
        tally: what became of the rows.
        outcomes: what the rules say of it.
    """
    counts = {count.rule: count for count in tally.rules}
    told = dict(zip(rule_names(rules), rules, strict=True))
    reports = []
    for outcome in outcomes:
        count, spec = counts.get(outcome.rule), told.get(outcome.rule)
        reports.append(
            RuleReport(
                rule=outcome.rule,
                kind=outcome.kind,
                action=outcome.action,
                result=outcome.result,
                text=outcome.text,
                checked=count.checked if count else 0,
                failed=count.failed if count else 0,
                sample=count.sample if count else (),
                description=spec.description if spec else "",
            )
        )
    return tuple(reports)


def _report(stream: StreamSpec, tally: Tally, outcomes: Sequence[Outcome]) -> QualityReport:
    return QualityReport(
        read=tally.read,
        passed=tally.passed,
        rejected=tally.rejected,
        rules=rule_reports(stream.quality, tally, outcomes),
        facts=facts_of(tally),
    )
