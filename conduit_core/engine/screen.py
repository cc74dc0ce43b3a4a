"""A load's rows held to the stream's transform and rules, batch by batch, and what came of it."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import Literal

import pyarrow as pa

from conduit_core.connectors.base import Destination
from conduit_core.connectors.letters import LetterSpool
from conduit_core.connectors.publish import DELETED_AT
from conduit_core.engine.audit import audit_load, load_tally, raise_so_far
from conduit_core.engine.model import LoadPlan
from conduit_core.engine.pipeline import Ends
from conduit_core.engine.rules import READABLE, Rules, rules_of
from conduit_core.engine.shaping import needs_screen, payload_fields
from conduit_core.events import Emit
from conduit_core.quality import (
    REASONS,
    Judge,
    RuleCount,
    Tally,
    judge_counts,
)
from conduit_core.spec import StreamSpec
from conduit_core.types.schema import schema_from_json

_SHOWN = 80
Part = Literal["load", "split", "again", "replay"]
"""What a flow is: all rows of a load, one split's, rows that are read again by their keys, or dead
letters that are replayed."""


class Screen:
    """Holds one flow's rows to the rules of its plan.

    Args:
        plan: the load.
        stream: its stream.
        rules: the stream's rules.
        part: what the flow is.
        emit: told of each rule at the end of a whole load.
        destination: asked for the target's keys, where a rule takes out rows that have one.
    """

    def __init__(
        self,
        plan: LoadPlan,
        stream: StreamSpec,
        rules: Rules,
        part: Part,
        emit: Emit,
        destination: Destination,
    ) -> None:
        self._plan, self._stream, self._rules = plan, stream, rules
        self._part, self._emit = part, emit
        redact = frozenset(stream.redact)
        self._judge = Judge(rules.ruleset, redact=redact, spared=DELETED_AT)
        self._unread = Tally()
        self._remember_target(destination)
        self._lock = threading.Lock()
        self.letters: LetterSpool | None = None
        if rules.takes_out:
            staged = schema_from_json(plan.staged_schema)
            self.letters = LetterSpool(
                plan.target, payload_fields(staged), stream.unique_key, frozenset(stream.redact)
            )

    def _remember_target(self, destination: Destination) -> None:
        """Read the target's keys for rules that take out rows with one of them.

        The plan's requirements keep other loads from changing them until this one is published. A
        replay that adds rows looks at the target for every such rule: their twins are there.
        """
        adds = "append_staged" in self._plan.publish.action_kinds
        if not adds or self._plan.mode == "replace" or self._plan.publish.creates_target:
            return
        for rule in self._rules.ruleset.uniques:
            if rule.action == "dlq" and (rule.within == "target" or self._part == "replay"):
                with destination.scan(self._plan.target, rule.columns) as reader:
                    for batch in reader:
                        self._judge.remember(rule.name, batch)

    @property
    def rejected(self) -> int:
        """How many rows became dead letters so far."""
        return self._judge.rejected + self._unread.rejected

    def set_aside(self, rows: pa.RecordBatch, texts: pa.StringArray) -> None:
        """Keep staged rows that couldn't be read whole as dead letters.

        Args:
            rows: the rows, NULL where the source's text isn't of the column's type.
            texts: of each row a JSON object of such columns and their texts.
        """
        if self.letters is None:
            raise TypeError("rows are set aside and there is no place for them")
        reasons = []
        for text in texts.to_pylist():
            found: dict[str, str] = json.loads(str(text))
            reasons.append([self._unread_reason(name, value) for name, value in found.items()])
        with self._lock:
            self.letters.add(rows, pa.array(reasons, REASONS), texts)
        count = rows.num_rows
        sample = tuple(str(each["reason"]) for row in reasons[:3] for each in row)
        of_rule = RuleCount(
            rule=READABLE, kind=READABLE, action="dlq", checked=count, failed=count, sample=sample
        )
        self._unread += Tally(read=count, rejected=count, rules=(of_rule,))
        self._look_at_ceilings()

    def _unread_reason(self, name: str, value: str) -> dict[str, str]:
        shown = "a value" if name in self._stream.redact else repr(value[:_SHOWN])
        return {"rule": READABLE, "column": name, "reason": f"{shown} can't be read as its type"}

    def take(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the rows of a staged batch that go on; keep the others as dead letters.

        Raises:
            QualityError: a ceiling of rows is passed, which no later row can mend; or a function
                or model of the user's broke.
        """
        verdict = self._judge.judge(batch)
        if verdict.rejected.num_rows:
            with self._lock:
                if self.letters is not None:
                    self.letters.add(verdict.rejected, verdict.reasons)
            if self._part != "replay":
                self._look_at_ceilings()
        return verdict.passed

    def _look_at_ceilings(self) -> None:
        tally = self._tally()
        so_far = judge_counts(
            self._rules.ruleset,
            tally,
            max_rejected=self._stream.max_rejected,
            is_final=False,
        )
        # Rules that fail the load anyway are told with all their counts, at the end.
        stops = [o for o in so_far if o.rule == "max_rejected" or self._is_ceiling(o.rule)]
        raise_so_far(stops, so_far, tally, self._stream)

    def _tally(self) -> Tally:
        return self._judge.tally() + self._unread

    def _is_ceiling(self, name: str) -> bool:
        return any(r.name == name and r.action == "dlq" for r in self._rules.ruleset.of_rows)

    def finish(self) -> str:
        """Return what is to be kept of the flow's rows, as JSON: a load's report, a split's tally.

        Raises:
            QualityError: a rule stops the load.
        """
        tally = self._tally()
        if self._part == "split":
            return tally.model_dump_json()
        if self._part == "again":
            found = judge_counts(self._rules.ruleset, tally)
            raise_so_far(found, found, tally, self._stream)
            return ""
        is_new = self._part == "load"
        rules = self._rules.ruleset
        return audit_load(self._plan, self._stream, rules, tally, self._emit, is_new=is_new)

    def close(self) -> None:
        """Forget what was rejected. Idempotent."""
        with self._lock:
            self._judge.close()
            if self.letters is not None:
                self.letters.close()


def screen_replay(plan: LoadPlan, stream: StreamSpec, ends: Ends, emit: Emit) -> Screen | None:
    """Return what holds replayed letters to the stream's rules of rows, without any ceiling.

    What breaks a rule again stays a dead letter, also where the stream's rules make none any more.

    Raises:
        ConduitError: a rule is wrong.
    """
    stream = stream.model_copy(update={"max_rejected": None})
    if not needs_screen(stream, ends):
        return None
    rules = rules_of(stream, schema_from_json(plan.staged_schema), ends)
    ruleset = replace(
        rules.ruleset,
        rows=tuple(replace(rule, max_rejected=None) for rule in rules.ruleset.rows),
        uniques=tuple(replace(rule, max_rejected=None) for rule in rules.ruleset.uniques),
        loads=(),
        profiled=(),
    )
    rules = Rules(ruleset, rules.takes_out)
    return Screen(plan, stream, rules, "replay", emit, ends.destination)


def audit_splits(
    plan: LoadPlan, stream: StreamSpec, tallies: list[str], ends: Ends, emit: Emit
) -> str:
    """Judge a load by what its splits counted; return its report as JSON.

    Raises:
        QualityError: a rule stops the load.
    """
    rules = rules_of(stream, schema_from_json(plan.staged_schema), ends)
    return audit_load(plan, stream, rules.ruleset, load_tally(tallies), emit)
