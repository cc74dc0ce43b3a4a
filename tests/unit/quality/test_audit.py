"""Ceilings, and rules that judge a whole load against the last ones."""

from __future__ import annotations

import math
import random
import statistics
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pyarrow as pa
import pytest
from pydantic import TypeAdapter

from conduit_core.errors import QualityError
from conduit_core.events import RuleChecked
from conduit_core.observe.words import message
from conduit_core.quality import (
    Judge,
    LoadFacts,
    compile_rules,
    facts_of,
    judge_counts,
    judge_load,
    raise_for,
)
from conduit_core.quality.profile import profile, total
from conduit_core.spec.amounts import parse_amount
from conduit_core.spec.rules import Rule, RuleSpec

RULE: TypeAdapter[RuleSpec] = TypeAdapter(Rule)
BELOW = {"rule": "range", "column": "n", "min": 10, "action": "dlq", "max_rejected": "50%"}
NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)


def _outcome(rows: list[dict[str, Any]], history: list[LoadFacts], **rule: object) -> str:
    batch = pa.RecordBatch.from_pylist(rows)
    ruleset = compile_rules([RULE.validate_python(rule)], batch.schema)
    judge = Judge(ruleset)
    judge.judge(batch)
    (outcome,) = judge_load(ruleset, judge.tally(), history, NOW)
    return outcome.result


@pytest.mark.parametrize(
    ("ceiling", "bad", "stops"),
    [
        (None, 100, False),
        (2, 2, False),
        (2, 3, True),
        ("5%", 5, False),
        ("5%", 6, True),
        (0, 1, True),
    ],
)
def test_ceilings_of_a_rule(ceiling: object, bad: int, stops: bool) -> None:
    batch = pa.RecordBatch.from_pylist([{"n": -1 if i < bad else 1} for i in range(100)])
    rule = {"rule": "range", "column": "n", "min": 0, "action": "dlq", "max_rejected": ceiling}
    ruleset = compile_rules([RULE.validate_python(rule)], batch.schema)
    judge = Judge(ruleset)
    judge.judge(batch)
    assert judge.tally().rejected == bad
    outcomes = judge_counts(ruleset, judge.tally())
    if stops:
        with pytest.raises(QualityError, match=r"'range\(n\)': .* of 100 rows break it; .* may"):
            raise_for(outcomes)
    else:
        raise_for(outcomes)


def test_a_load_stops_at_once_where_no_later_row_can_mend_it() -> None:
    batch = pa.RecordBatch.from_pylist([{"n": -1}, {"n": 1}])
    rules = [
        {"rule": "range", "column": "n", "min": 0, "action": "dlq", "max_rejected": "10%"},
        {"rule": "not_null", "column": "n"},
    ]
    ruleset = compile_rules([RULE.validate_python(rule) for rule in rules], batch.schema)
    judge = Judge(ruleset)
    judge.judge(batch)
    raise_for(judge_counts(ruleset, judge.tally(), is_final=False))
    for ceiling, so_far, at_end in ((0, 1, 1), ("10%", 0, 1), ("50%", 0, 0)):
        for is_final, stops in ((False, so_far), (True, at_end)):
            amount = parse_amount(ceiling)
            found = judge_counts(ruleset, judge.tally(), max_rejected=amount, is_final=is_final)
            (own,) = (each for each in found if each.kind == "max_rejected")
            assert own.stops == bool(stops)
    judge.judge(pa.RecordBatch.from_pylist([{"n": None}], schema=batch.schema))
    with pytest.raises(QualityError, match=r"'not_null\(n\)': 1 of 3 rows break it; .*'NULL'"):
        raise_for(judge_counts(ruleset, judge.tally(), is_final=False))


def test_an_example_is_shown_once() -> None:
    batch = pa.RecordBatch.from_pylist([{"n": n} for n in (1, 1, 7, 1, 8, 9)])
    ruleset = compile_rules([RULE.validate_python(BELOW)], batch.schema)
    judge = Judge(ruleset)
    judge.judge(batch)
    (told,) = judge_counts(ruleset, judge.tally())
    assert told.text.startswith("6 of 6 rows break it; 50% may; for example '1', '7', '8'")


@pytest.mark.parametrize(("action", "said"), [("fail", "stops the load"), ("warn", "(warn)")])
def test_the_log_says_what_a_broken_rule_does(action: Literal["fail", "warn"], said: str) -> None:
    """A ceiling of dead letters that is exceeded is no rule with the action `fail`."""
    event = RuleChecked(
        pipeline="shop",
        stream="orders",
        load_id="a",
        rule="range(n)",
        action=action,
        result="failed",
        checked=6,
        failed=6,
        text="6 of 6 rows break it; 50% may",
    )
    assert message(event).startswith(f"rule range(n) {said}: 6 of 6 rows break it; 50% may")


def test_row_count() -> None:
    rows = [{"n": 1}] * 10
    before = [LoadFacts(rows=count) for count in (20, 22, 18)]
    assert _outcome(rows, [], rule="row_count", min=10) == "passed"
    assert _outcome(rows, [], rule="row_count", min=11) == "failed"
    assert _outcome(rows, [], rule="row_count", max=9) == "failed"
    assert _outcome(rows, before, rule="row_count", min="50%") == "passed"
    assert _outcome(rows, before, rule="row_count", min="51%") == "failed"
    assert _outcome(rows, before[:2], rule="row_count", min="51%") == "not_judged"
    assert _outcome(rows, before[:2], rule="row_count", min="51%", max=9) == "failed"


@pytest.mark.parametrize(
    ("side", "limit", "text"),
    [
        ("min", 1, "2 rows, at least 1"),
        ("min", 3, "2 rows, fewer than 3"),
        ("max", 3, "2 rows, at most 3"),
        ("max", 1, "2 rows, more than 1"),
    ],
)
def test_row_count_says_what_is_so(side: str, limit: int, text: str) -> None:
    batch = pa.RecordBatch.from_pylist([{"n": 1}, {"n": 2}])
    ruleset = compile_rules(
        [RULE.validate_python({"rule": "row_count", side: limit})], batch.schema
    )
    judge = Judge(ruleset)
    judge.judge(batch)
    (outcome,) = judge_load(ruleset, judge.tally(), [], NOW)
    assert outcome.text == text


def test_freshness() -> None:
    def result(newest: datetime | None, **rule: object) -> str:
        rows = [{"at": newest}, {"at": newest and newest - timedelta(days=9)}]
        return _outcome(rows, [], rule="freshness", column="at", **rule)

    assert result(NOW - timedelta(hours=1), max_age="1h") == "passed"
    assert result(NOW - timedelta(hours=2), max_age="1h") == "failed"
    naive = NOW.replace(tzinfo=None)
    assert result(naive, max_age="1h", timezone="Europe/Oslo") == "failed"
    assert result(naive + timedelta(hours=1), max_age="1h", timezone="Europe/Oslo") == "passed"


def test_drift() -> None:
    def facts(low: int, nulls: int = 0) -> LoadFacts:
        rows = [{"n": low + i % 10} for i in range(100)] + [{"n": None}] * nulls
        batch = pa.RecordBatch.from_pylist(rows)
        rule = RULE.validate_python({"rule": "drift", "column": "n", "max_shift": 1})
        judge = Judge(compile_rules([rule], batch.schema))
        judge.judge(batch)
        return LoadFacts.model_validate_json(facts_of(judge.tally()).model_dump_json())

    before = [facts(0), facts(1), facts(2)]
    same, moved = [{"n": i % 10} for i in range(10)], [{"n": 50}, {"n": 51}]
    rule: dict[str, object] = {"rule": "drift", "column": "n"}
    assert _outcome(same, before, **rule, max_shift=0.5) == "passed"
    assert _outcome(moved, before, **rule, max_shift=0.5) == "failed"
    assert _outcome(moved, before[:2], **rule, max_shift=0.5) == "not_judged"
    assert _outcome([*same, {"n": None}], before, **rule, max_nulls=0.05) == "failed"
    assert _outcome(same, before, **rule, max_nulls=0.05) == "passed"


def test_profiles_add_up() -> None:
    made = random.Random(7)
    values = [made.choice([None, float("nan"), made.gauss(1e6, 3)]) for _ in range(1000)]
    parts = [profile(pa.array(values[i : i + 77], pa.float64())) for i in range(0, 1000, 77)]
    finite = [value for value in values if value is not None and not math.isnan(value)]
    whole = total(parts)
    assert (whole.rows, whole.nulls) == (1000, values.count(None))
    assert whole.mean == pytest.approx(statistics.fmean(finite))
    assert whole.deviation == pytest.approx(statistics.pstdev(finite))
