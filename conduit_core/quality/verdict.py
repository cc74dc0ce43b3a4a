"""What became of a load's rows under its rules: batch by batch, and summed up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from conduit_core.quality.arrays import (
    Column,
    both,
    either,
    filtered,
    flip,
    is_time,
    kernels,
    known,
    pick,
    scatter,
)
from conduit_core.quality.finding import Finding
from conduit_core.quality.profile import Profile, profile
from conduit_core.quality.rules import RowRule, Ruleset, UniqueRule
from conduit_core.quality.unique import DEFAULT_BYTES, Seen
from conduit_core.spec.rules import Action

REASON = pa.struct([("rule", pa.string()), ("column", pa.string()), ("reason", pa.string())])
REASONS = pa.list_(REASON)
"""The type of what a rejected row is told: every rule it breaks, whatever that rule's action."""
SAMPLES = 5
_SAMPLE_CHARS = 100


class RuleCount(BaseModel):
    """What one rule found: rows it looked at, rows that broke it, and a few of their values."""

    model_config = ConfigDict(frozen=True)

    rule: str
    kind: str
    action: Action
    checked: int = 0
    failed: int = 0
    sample: tuple[str, ...] = ()

    def __add__(self, other: RuleCount) -> RuleCount:
        return self.model_copy(
            update={
                "checked": self.checked + other.checked,
                "failed": self.failed + other.failed,
                "sample": _different(self.sample, other.sample),
            }
        )


class Tally(BaseModel):
    """What became of rows; it adds up over batches and splits, and is JSON for a receipt.

    read = passed + rejected. A row that broke several rules is rejected once.
    """

    model_config = ConfigDict(frozen=True)

    read: int = 0
    passed: int = 0
    rejected: int = 0
    rules: tuple[RuleCount, ...] = ()
    profiles: Mapping[str, Profile] = {}

    def __add__(self, other: Tally) -> Tally:
        rules = {count.rule: count for count in self.rules}
        for count in other.rules:
            rules[count.rule] = rules[count.rule] + count if count.rule in rules else count
        profiles = dict(self.profiles)
        for name, more in other.profiles.items():
            profiles[name] = profiles.get(name, Profile()) + more
        return Tally(
            read=self.read + other.read,
            passed=self.passed + other.passed,
            rejected=self.rejected + other.rejected,
            rules=tuple(rules.values()),
            profiles=profiles,
        )


def add_up(tallies: Iterable[Tally]) -> Tally:
    """Return the tally of a load from those of its splits, in the order of the splits."""
    return sum(tallies, Tally())


@dataclass(frozen=True)
class Verdict:
    """What became of one batch.

    Attributes:
        passed: the rows that go on, in their order; the batch itself where all do.
        rejected: the rows that become dead letters, as the rules saw them.
        reasons: for each rejected row every rule it breaks, of type :data:`REASONS`.
    """

    passed: pa.RecordBatch
    rejected: pa.RecordBatch
    reasons: pa.Array[pa.Scalar[pa.DataType]]


class _Break(NamedTuple):
    rule: str
    column: str | None
    reason: str
    rows: pa.BooleanArray


class Judge:
    """Holds the batches of one load, or of one split of it, to its rules, in their order.

    Batches may have columns that the rules don't know; they pass along with their rows.

    Args:
        ruleset: the compiled rules.
        unique_bytes: how much of the table of keys is held in memory, for all ``unique`` rules
            together; the rest of it lies in a file.
        redact: columns whose values no sample may show.
        spared: a column of the batches; rows where it has a value are not judged, and pass.
    """

    def __init__(
        self,
        ruleset: Ruleset,
        *,
        unique_bytes: int = DEFAULT_BYTES,
        redact: frozenset[str] = frozenset(),
        spared: str | None = None,
    ) -> None:
        self._rules = ruleset
        self._redact = redact
        self._spared = spared
        self._seen = [Seen(unique_bytes // len(ruleset.uniques)) for _ in ruleset.uniques]
        self._counts = {
            rule.name: RuleCount(rule=rule.name, kind=rule.kind, action=rule.action)
            for rule in ruleset.of_rows
        }
        self._profiles: dict[str, Profile] = {}
        self._read = self._passed = 0

    def judge(self, batch: pa.RecordBatch) -> Verdict:
        """Return what becomes of a batch's rows, and count it.

        Raises:
            QualityError: a function or model of the user's broke, or a condition can't be computed.
        """
        breaks: list[_Break] = []
        out: pa.BooleanArray | None = None  # the rows that an action: dlq takes out
        looked_at = self._columns(batch)
        judged = self._judged(batch)
        for rule in self._rules.rows:
            out = _join(out, self._by_row(rule, looked_at, judged, breaks), rule.action)
        left = out
        for unique, seen in zip(self._rules.uniques, self._seen, strict=True):
            where = _and(None if out is None else flip(out), judged)
            found = self._by_key(unique, seen, looked_at, where, breaks)
            left = _join(left, found, unique.action)
        verdict = _split(batch, left, breaks)
        self._read += batch.num_rows
        self._passed += verdict.passed.num_rows
        for name in self._rules.profiled:
            known_so_far = self._profiles.get(name, Profile())
            self._profiles[name] = known_so_far + profile(verdict.passed.column(name))
        return verdict

    @property
    def rejected(self) -> int:
        """How many rows were taken out so far."""
        return self._read - self._passed

    def remember(self, rule: str, keys: pa.RecordBatch) -> None:
        """Tell a ``unique`` rule of keys that the target has: no row with one is a first row.

        Args:
            rule: its name.
            keys: its columns.
        """
        for unique, seen in zip(self._rules.uniques, self._seen, strict=True):
            if unique.name == rule:
                seen.add([pick(keys, name) for name in unique.columns])

    def close(self) -> None:
        """Forget the keys. Idempotent."""
        for seen in self._seen:
            seen.close()

    def _columns(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        names = self._rules.schema.names
        return batch if batch.schema.names == names else batch.select(names)

    def _judged(self, batch: pa.RecordBatch) -> pa.BooleanArray | None:
        if self._spared is None or batch.schema.get_field_index(self._spared) < 0:
            return None
        column = batch.column(self._spared)
        return None if column.null_count == len(column) else column.is_null()

    def tally(self) -> Tally:
        """Return what became of the rows so far."""
        return Tally(
            read=self._read,
            passed=self._passed,
            rejected=self._read - self._passed,
            rules=tuple(self._counts.values()),
            profiles=self._profiles,
        )

    def _by_row(
        self,
        rule: RowRule,
        batch: pa.RecordBatch,
        judged: pa.BooleanArray | None,
        breaks: list[_Break],
    ) -> pa.BooleanArray | None:
        where, part = judged, batch
        if rule.where is not None:
            where = _and(known(rule.where.flags(batch), null=False), judged)
        if where is not None:
            part = filtered(batch, where)
        if part.num_rows == 0:
            return None
        return self._note(rule.name, rule.look(part), part.num_rows, batch, where, breaks)

    def _by_key(
        self,
        rule: UniqueRule,
        seen: Seen,
        batch: pa.RecordBatch,
        left: pa.BooleanArray | None,
        breaks: list[_Break],
    ) -> pa.BooleanArray | None:
        where = left
        if rule.where is not None:
            condition = known(rule.where.flags(batch), null=False)
            where = condition if left is None else both(left, condition)
        part = batch.select(list(rule.columns))
        part = part if where is None else filtered(part, where)
        if part.num_rows == 0:
            return None
        keys = [pick(part, name) for name in rule.columns]
        firsts = seen.first_rows(keys)
        column = rule.columns[0] if len(rule.columns) == 1 else None
        reason = f"isn't the first row with its {', '.join(rule.columns)}"
        found = [Finding(column, reason, firsts)]
        return self._note(rule.name, found, part.num_rows, batch, where, breaks)

    def _note(
        self,
        name: str,
        findings: Sequence[Finding],
        checked: int,
        batch: pa.RecordBatch,
        where: pa.BooleanArray | None,
        breaks: list[_Break],
    ) -> pa.BooleanArray | None:
        """Count what a rule found; return the batch's rows that break it, None where none does."""
        count = self._counts[name]
        broken: pa.BooleanArray | None = None
        sample = list(count.sample)
        for finding in findings:
            if finding.passes.false_count == 0:
                continue
            rows = flip(scatter(known(finding.passes, null=True), where, fill=True))
            broken = rows if broken is None else either(broken, rows)
            breaks.append(_Break(name, finding.column, finding.reason, rows))
            more = self._values(batch, finding.column, rows, SAMPLES - len(sample))
            sample = [*_different(sample, more)]
        self._counts[name] = count.model_copy(
            update={
                "checked": count.checked + checked,
                "failed": count.failed + (0 if broken is None else broken.true_count),
                "sample": tuple(sample),
            }
        )
        return broken

    def _values(
        self, batch: pa.RecordBatch, column: str | None, rows: pa.BooleanArray, most: int
    ) -> list[str]:
        if column is None or column in self._redact or most <= 0:
            return []
        at = kernels.indices_nonzero(rows)[:most]
        values = pick(batch, column).take(at)
        if is_time(values.type):  # Python's own clock has no nanoseconds
            values = values.cast(pa.string())
        items = cast("pa.Array[Any]", values).to_pylist()
        return ["NULL" if item is None else str(item)[:_SAMPLE_CHARS] for item in items]


def _different(sample: Sequence[str], more: Sequence[str]) -> tuple[str, ...]:
    """Return what is shown of both, each value once: five times NULL says nothing more."""
    return tuple(dict.fromkeys((*sample, *more)))[:SAMPLES]


def _and(one: pa.BooleanArray | None, other: pa.BooleanArray | None) -> pa.BooleanArray | None:
    if one is None or other is None:
        return other if one is None else one
    return both(one, other)


def _join(
    out: pa.BooleanArray | None, found: pa.BooleanArray | None, action: Action
) -> pa.BooleanArray | None:
    if found is None or action != "dlq":
        return out
    return found if out is None else either(out, found)


def _split(batch: pa.RecordBatch, out: pa.BooleanArray | None, breaks: Sequence[_Break]) -> Verdict:
    if out is None:
        return Verdict(batch, batch.slice(0, 0), pa.array([], REASONS))
    return Verdict(filtered(batch, flip(out)), filtered(batch, out), _reasons(out, breaks))


def _reasons(out: pa.BooleanArray, breaks: Sequence[_Break]) -> pa.Array[pa.Scalar[pa.DataType]]:
    """Return, for each row that is out, the list of what it breaks, in the rules' order."""
    told = pa.array(
        [{"rule": b.rule, "column": b.column, "reason": b.reason} for b in breaks], REASON
    )
    each = [kernels.filter(b.rows, out) for b in breaks]
    counts: Column = pa.repeat(pa.scalar(0, pa.int32()), out.true_count)
    rows: list[Column] = []
    which: list[Column] = []
    for number, flags in enumerate(each):
        at = kernels.indices_nonzero(flags)
        rows.append(at)
        which.append(pa.repeat(pa.scalar(number, pa.int32()), len(at)))
        counts = kernels.add(counts, kernels.cast(flags, pa.int32()))
    order = kernels.array_sort_indices(pa.concat_arrays(rows))  # stable: the rules' order stays
    items = told.take(cast("pa.Int32Array", pa.concat_arrays(which).take(order)))
    ends = kernels.cumulative_sum(counts)
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends])
    return pa.ListArray.from_arrays(offsets, items)
