"""Keys of a load: exact in a batch, across batches in bounded memory, else the destination's."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from conduit_core.quality import Judge, compile_rules
from conduit_core.quality.arrays import Column
from conduit_core.quality.unique import Seen, first_rows
from conduit_core.spec.rules import Rule, RuleSpec

RULE: TypeAdapter[RuleSpec] = TypeAdapter(Rule)
SCHEMA = pa.schema([("id", pa.int64()), ("at", pa.int64())])
KINDS: list[tuple[pa.DataType, list[Any]]] = [
    (pa.int64(), [0, 1, -1, 2**62]),
    (pa.uint8(), [0, 1, 255]),
    (pa.bool_(), [True, False]),
    (pa.float64(), [0.0, -0.0, 1.5, float("nan"), float("inf")]),
    (pa.float32(), [0.0, 0.5]),
    (pa.string(), ["", "a", "a\0", "abcdefgh", "abcdefghi", "é" * 20, "é" * 21]),
    (pa.large_string(), ["", "x" * 100]),
    (pa.binary(), [b"", b"\0", b"\0\0", b"\0" * 8, b"\0" * 9]),
    (pa.binary(3), [b"abc", b"abd"]),
    (pa.decimal128(20, 2), [Decimal("1.00"), Decimal("-1.00"), Decimal("123456789012345678.25")]),
    (pa.timestamp("us", "UTC"), [0, 1, 2**40]),
    (pa.date32(), [0, 1]),
]


def _named(part: Any) -> Any:
    return "nan" if isinstance(part, float) and math.isnan(part) else part


def _oracle(seen: set[Any], keys: list[tuple[Any, ...]]) -> list[bool]:
    out = []
    for key in keys:
        named = tuple(_named(part) for part in key)
        out.append(None in key or named not in seen)
        if None not in key:
            seen.add(named)
    return out


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_as_a_set_says(data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=3))
    seen, known = Seen(), set[Any]()
    for _ in range(data.draw(st.integers(1, 3))):
        size = data.draw(st.integers(0, 12))
        raw = [
            data.draw(st.lists(st.sampled_from([None, *values]), min_size=size, max_size=size))
            for _, values in kinds
        ]
        keys: list[Column] = [
            pa.array(values, kind) for values, (kind, _) in zip(raw, kinds, strict=True)
        ]
        rows = list(zip(*raw, strict=True))
        assert first_rows(keys).to_pylist() == _oracle(set(), rows)
        assert seen.first_rows(keys).to_pylist() == _oracle(known, rows)


def test_many_keys_grow_the_table_and_stay_known() -> None:
    seen = Seen()
    for start in range(0, 300_000, 50_000):
        assert seen.first_rows([pa.array(range(start, start + 50_000))]).false_count == 0
    again = seen.first_rows([pa.array(range(299_990, 300_010))])
    assert again.to_pylist() == [False] * 10 + [True] * 10


def test_past_its_bound_the_table_lies_in_a_file() -> None:
    seen = Seen(limit_bytes=1 << 18)
    known: set[int] = set()
    for start in range(0, 200_000, 50_000):
        numbers = list(range(start * 99, (start + 50_000) * 99, 99))
        assert seen.first_rows([pa.array(numbers)]).false_count == 0
        known.update(numbers)
    assert seen.is_on_disk
    again = seen.first_rows([pa.array([0, 99, 98, 98, 199_999 * 99, 200_000 * 99])])
    assert again.to_pylist() == [False, False, True, False, False, True]
    seen.close()
    assert not seen.is_on_disk


def _judge(*, unique_bytes: int = 1 << 20, **keys: object) -> Judge:
    spec = RULE.validate_python({"rule": "unique", "column": "id", "action": "dlq", **keys})
    return Judge(compile_rules([spec], SCHEMA), unique_bytes=unique_bytes)


def _batch(*ids: int | None) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(
        [{"id": i, "at": n} for n, i in enumerate(ids)], schema=SCHEMA
    )


def test_the_first_row_of_a_load_stays() -> None:
    judge = _judge()
    assert judge.judge(_batch(1, 2, 1, None, None)).rejected.column("at").to_pylist() == [2]
    assert judge.judge(_batch(3, 2, 1)).rejected.column("at").to_pylist() == [1, 2]


def test_keys_that_the_target_has_are_no_first_ones() -> None:
    judge = _judge()
    judge.remember(
        "unique(id)", pa.RecordBatch.from_pydict({"id": pa.array([3, None], pa.int64())})
    )
    assert judge.judge(_batch(1, 3, None)).rejected.column("id").to_pylist() == [3]


def test_rows_that_are_spared_pass_and_are_no_first_rows() -> None:
    specs = [
        RULE.validate_python({"rule": "unique", "column": "id", "action": "dlq"}),
        RULE.validate_python({"rule": "range", "column": "at", "min": 1, "action": "dlq"}),
    ]
    judge = Judge(compile_rules(specs, SCHEMA), spared="gone")
    batch = _batch(7, 7, 7).append_column("gone", pa.array([True, None, None]))
    verdict = judge.judge(batch)
    assert verdict.passed.column("at").to_pylist() == [0, 1]
    assert verdict.rejected.column("at").to_pylist() == [2]
    assert {c.rule: c.checked for c in judge.tally().rules} == {"range(at)": 2, "unique(id)": 2}


def test_a_row_that_another_rule_rejects_takes_no_key() -> None:
    rules = [{"rule": "unique", "column": "id"}, {"rule": "range", "column": "at", "min": 1}]
    specs = [RULE.validate_python({**rule, "action": "dlq"}) for rule in rules]
    verdict = Judge(compile_rules(specs, SCHEMA)).judge(_batch(7, 7, 7))
    assert verdict.passed.column("at").to_pylist() == [1]
    assert [[r["rule"] for r in row] for row in verdict.reasons.to_pylist()] == [
        ["range(at)"],
        ["unique(id)"],
    ]


def _sets(*batches: list[int | None]) -> None:
    seen, known = Seen(), set[Any]()
    for numbers in batches:
        want = _oracle(known, [(number,) for number in numbers])
        assert seen.first_rows([pa.array(numbers, pa.int64())]).to_pylist() == want


def test_numbers_close_together_then_far_apart() -> None:
    near: list[int | None] = list(range(1000, 3000))
    below = [500, 1000, 500, None, 2999, 3000]
    far: list[int | None] = [-(2**63), 2**63 - 1, 1000, 1001, 4000, 2**63 - 1, 500]
    _sets(near, below, far, near, [4000, 3000, 3001])
    _sets([2**63 - 1, 2**63 - 2], [2**63 - 1], [-(2**63), 2**63 - 2])
    _sets([-5, -4, -5], [-(2**40)], [-4, -(2**40)])


def test_a_span_grows_with_its_keys_only() -> None:
    seen = Seen(limit_bytes=1 << 20)
    for start in range(0, 600_000, 50_000):
        assert seen.first_rows([pa.array(range(start, start + 50_000))]).false_count == 0
        assert seen.nbytes <= 1 << 21
    assert not seen.is_on_disk
    assert seen.first_rows([pa.array([5, 599_999, 600_000])]).to_pylist() == [False, False, True]
