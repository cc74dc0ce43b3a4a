"""Rules on random batches against a plain-Python oracle: the same rows, for the same reasons."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from conduit_core.quality import Judge, Tally, add_up, compile_rules
from conduit_core.spec.rules import Rule, RuleSpec, rule_names

Row = dict[str, Any]
RULE: TypeAdapter[RuleSpec] = TypeAdapter(Rule)
SCHEMA = pa.schema([("id", pa.int32()), ("amount", pa.float64()), ("email", pa.string())])
TEXTS = ["", "a", "a@b", "@", "é@x", "abc", "a@b@c", "null"]

rows = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.one_of(st.none(), st.integers(-3, 6)),
            "amount": st.one_of(
                st.none(), st.sampled_from([0.0, -0.0, 1.5, -1.0, 99.0, float("nan"), float("inf")])
            ),
            "email": st.one_of(st.none(), st.sampled_from(TEXTS)),
        }
    ),
    max_size=40,
)
wheres = st.sampled_from(
    [None, "id > 0", "email = 'a@b'", "amount IS NOT NULL", "id > 0 OR id < 3"]
)
actions = st.sampled_from(["fail", "dlq", "warn"])


def _rule(**keys: object) -> st.SearchStrategy[RuleSpec]:
    return st.builds(
        lambda where, action: RULE.validate_python({**keys, "where": where, "action": action}),
        wheres,
        actions,
    )


rules = st.lists(
    st.one_of(
        _rule(rule="not_null", columns=["id", "email"]),
        _rule(rule="not_null", column="amount"),
        _rule(rule="range", columns=["id", "amount"], min=0, max=2),
        _rule(rule="range", column="id", min="0.5"),
        _rule(rule="regex", column="email", pattern=r"^[^@\s]+@[^@\s]+$"),
        _rule(rule="accepted_values", column="email", values=["a@b", "abc", "null"]),
        _rule(rule="length", column="email", min=1, max=3),
        _rule(rule="expression", sql="amount >= id OR email LIKE 'a%'"),
        _rule(rule="unique", column="id"),
        _rule(rule="unique", columns=["email", "amount"]),
    ),
    max_size=6,
)


def _and(*parts: bool | None) -> bool | None:
    return False if False in parts else None if None in parts else True


def _or(*parts: bool | None) -> bool | None:
    return True if True in parts else None if None in parts else False


def _where(text: str | None, row: Row) -> bool:
    number, email = row["id"], row["email"]
    above = None if number is None else number > 0
    below = None if number is None else number < 3
    value = {
        None: True,
        "id > 0": above,
        "email = 'a@b'": None if email is None else email == "a@b",
        "amount IS NOT NULL": row["amount"] is not None,
        "id > 0 OR id < 3": _or(above, below),
    }[text]
    return value is True


def _passes(rule: Any, column: str, value: Any, row: Row) -> bool:
    if rule.rule == "not_null":
        return value is not None
    if rule.rule == "expression":
        amount, number, email = row["amount"], row["id"], row["email"]
        left = None if amount is None or number is None else amount >= number
        right = None if email is None else email.startswith("a")
        return _or(left, right) is not False
    if value is None:
        return True
    if rule.rule == "range":
        low = -1e9 if rule.min is None else float(rule.min)
        high = float("inf") if rule.max is None else float(rule.max)
        return bool(low <= value <= high)
    if rule.rule == "regex":
        return re.search(rule.pattern, value) is not None
    if rule.rule == "accepted_values":
        return value in rule.values
    return bool((rule.min or 0) <= len(value) <= rule.max)


def _named(value: Any) -> Any:
    return "nan" if isinstance(value, float) and math.isnan(value) else value


class Oracle:
    """The rules, one row after the other."""

    def __init__(self, specs: list[RuleSpec]) -> None:
        self.rules = list(zip(rule_names(specs), specs, strict=True))
        self.seen: dict[str, set[Any]] = {name: set() for name, _ in self.rules}
        self.checked = {name: 0 for name, _ in self.rules}
        self.failed = {name: 0 for name, _ in self.rules}

    def judge(self, row: Row) -> tuple[bool, list[tuple[str, str | None]]]:
        """Say whether the row is rejected, and which rules it breaks, with the column."""
        broken: list[tuple[str, str | None]] = []
        out = False
        for name, rule in self._kind(unique=False):
            if not _where(rule.where, row):
                continue
            self.checked[name] += 1
            columns: tuple[str | None, ...] = rule.columns or (None,)
            bad = [c for c in columns if not _passes(rule, c or "", row.get(c or ""), row)]
            self.failed[name] += bool(bad)
            out = out or (bool(bad) and rule.action == "dlq")
            broken.extend((name, column) for column in bad)
        if out:
            return True, broken
        for name, rule in self._kind(unique=True):
            if not _where(rule.where, row):
                continue
            self.checked[name] += 1
            key = tuple(_named(row[c]) for c in rule.columns)
            if None in key:
                continue
            if key in self.seen[name]:
                self.failed[name] += 1
                broken.append((name, rule.columns[0] if len(rule.columns) == 1 else None))
                out = out or rule.action == "dlq"
            self.seen[name].add(key)
        return out, broken

    def _kind(self, *, unique: bool) -> Iterator[tuple[str, Any]]:
        return ((n, r) for n, r in self.rules if (r.rule == "unique") == unique)


def _key(row: Row) -> tuple[Any, ...]:
    return tuple(_named(row[name]) for name in SCHEMA.names)


@settings(max_examples=150, deadline=None)
@given(rows=rows, specs=rules, cuts=st.lists(st.integers(0, 40), max_size=3))
def test_as_the_oracle_says(rows: list[Row], specs: list[RuleSpec], cuts: list[int]) -> None:
    judge, oracle = Judge(compile_rules(specs, SCHEMA)), Oracle(specs)
    table = pa.Table.from_pylist(rows, schema=SCHEMA).combine_chunks()
    bounds = sorted({0, *(min(cut, len(rows)) for cut in cuts), len(rows)})
    passed: list[Row] = []
    rejected: list[tuple[Row, list[tuple[str, str | None]]]] = []
    whole = table.to_batches()[0] if rows else pa.RecordBatch.from_pylist([], schema=SCHEMA)
    for start, end in zip(bounds, [*bounds[1:], len(rows)], strict=True):
        verdict = judge.judge(whole.slice(start, end - start))
        assert verdict.passed.schema == SCHEMA == verdict.rejected.schema
        passed += verdict.passed.to_pylist()
        told = [[(r["rule"], r["column"]) for r in each] for each in verdict.reasons.to_pylist()]
        rejected += zip(verdict.rejected.to_pylist(), told, strict=True)
    want_passed, want_rejected = [], []
    for row in rows:
        out, broken = oracle.judge(row)
        if out:
            want_rejected.append((_key(row), broken))
        else:
            want_passed.append(_key(row))
    assert [_key(row) for row in passed] == want_passed
    assert [(_key(row), told) for row, told in rejected] == want_rejected
    tally = judge.tally()
    assert tally.read == len(rows) == tally.passed + tally.rejected
    assert {c.rule: c.checked for c in tally.rules} == oracle.checked
    assert {c.rule: c.failed for c in tally.rules} == oracle.failed


@settings(max_examples=30, deadline=None)
@given(parts=st.lists(rows, max_size=4), specs=rules)
def test_tallies_add_up(parts: list[list[Row]], specs: list[RuleSpec]) -> None:
    specs = [spec for spec in specs if spec.rule != "unique"]
    ruleset = compile_rules(specs, SCHEMA)
    whole, pieces = Judge(ruleset), []
    for part in parts:
        batch = pa.RecordBatch.from_pylist(part, schema=SCHEMA)
        whole.judge(batch)
        split = Judge(ruleset)
        split.judge(batch)
        pieces.append(Tally.model_validate_json(split.tally().model_dump_json()))
    if pieces:
        assert add_up(pieces) == whole.tally()
