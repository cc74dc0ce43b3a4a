"""What each kind of rule says of values of each type."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import TypeAdapter

from conduit_core.errors import ConfigError
from conduit_core.quality import Capacity, Judge, compile_rules
from conduit_core.spec.rules import Rule, RuleSpec
from conduit_core.types.schema import tagged

RULE: TypeAdapter[RuleSpec] = TypeAdapter(Rule)


def _judge(batch: pa.RecordBatch, *rules: dict[str, object], **more: Any) -> Judge:
    specs = [RULE.validate_python({"action": "dlq", **rule}) for rule in rules]
    return Judge(compile_rules(specs, batch.schema, **more))


def _passing(values: list[Any], kind: pa.DataType, /, **rule: object) -> list[Any]:
    batch = pa.RecordBatch.from_arrays([pa.array(values, kind)], ["x"])
    return _judge(batch, {"column": "x", **rule}).judge(batch).passed.column("x").to_pylist()


@pytest.mark.parametrize(
    ("values", "kind", "low", "high", "passing"),
    [
        ([1, 2, None, 3], pa.int64(), 2, None, [2, None, 3]),
        ([1, 2, 3], pa.int64(), 1.5, 2.5, [2]),
        ([0, 255], pa.uint8(), -1, 300, [0, 255]),
        ([0, 255], pa.uint8(), 256, None, []),
        ([0, None, 255], pa.uint8(), None, -1, [None]),
        ([2**63 - 1, -(2**63)], pa.int64(), 0, 2**80, [2**63 - 1]),
        ([2**53 + 1, 2**53], pa.int64(), 2**53 + 1, None, [2**53 + 1]),
        ([0.1, float("inf"), float("-inf")], pa.float64(), 0.1, None, [0.1, float("inf")]),
        ([float("nan"), 5.0], pa.float64(), 0, None, [5.0]),
        ([0.5, 0.75], pa.float32(), 0.75, 1, [0.75]),
        ([Decimal("1.00"), Decimal("1.01")], pa.decimal128(5, 2), "1.005", None, [Decimal("1.01")]),
        ([Decimal("9.99")], pa.decimal128(3, 2), None, "9.994", [Decimal("9.99")]),
        ([Decimal("9.99")], pa.decimal256(50, 2), None, 10**60, [Decimal("9.99")]),
        ([date(2024, 1, 1), date(2023, 1, 1)], pa.date32(), "2024-01-01", None, [date(2024, 1, 1)]),
        ([time(1), time(3)], pa.time64("us"), "02:00:00", None, [time(3)]),
        (
            [datetime(2024, 1, 1, tzinfo=UTC), datetime(2023, 1, 1, tzinfo=UTC)],
            pa.timestamp("us", "UTC"),
            date(2024, 1, 1),
            "2024-06-01T00:00:00+02:00",
            [datetime(2024, 1, 1, tzinfo=UTC)],
        ),
    ],
)
def test_range(
    values: list[Any], kind: pa.DataType, low: object, high: object, passing: list[Any]
) -> None:
    assert _passing(values, kind, rule="range", min=low, max=high) == passing


def test_range_of_a_decimal_that_travels_as_text() -> None:
    field = tagged(pa.field("x", pa.string()), logical="numeric")
    for values, passing in (
        (["0.5", "100.00000000000000000001", "100", None], ["0.5", "100", None]),
        (["0.5", "NaN", "-Infinity", "1e60", "100"], ["0.5", "100"]),
    ):
        batch = pa.RecordBatch.from_arrays([pa.array(values)], schema=pa.schema([field]))
        judge = _judge(batch, {"rule": "range", "column": "x", "min": 0, "max": 100})
        assert judge.judge(batch).passed.column(0).to_pylist() == passing


@pytest.mark.parametrize(
    ("values", "kind", "allowed", "passing"),
    [
        (["a", None, "b", "A"], pa.string(), ["a"], ["a", None]),
        (["1", "2"], pa.large_string(), [1], ["1"]),
        ([1, 2, None], pa.int16(), ["1", 99999, 1.5], [1, None]),
        ([True, False, None], pa.bool_(), [True], [True, None]),
        ([Decimal("1.10")], pa.decimal128(4, 2), [1.1], [Decimal("1.10")]),
        ([date(2024, 1, 1), date(2024, 1, 2)], pa.date32(), [date(2024, 1, 1)], [date(2024, 1, 1)]),
        (["a", "b"], pa.dictionary(pa.int32(), pa.string()), ["b"], ["b"]),
        (["a", "b"], pa.string_view(), ["b"], ["b"]),
    ],
)
def test_accepted_values(
    values: list[Any], kind: pa.DataType, allowed: list[Any], passing: list[Any]
) -> None:
    assert _passing(values, kind, rule="accepted_values", values=allowed) == passing


def test_length_counts_characters_bytes_and_items() -> None:
    assert _passing(["é" * 3, "abcd", None], pa.string(), rule="length", max=3) == ["é" * 3, None]
    assert _passing([b"\xc3\xa9", b"a"], pa.binary(), rule="length", min=2) == [b"\xc3\xa9"]
    assert _passing([[1], [1, 2]], pa.list_(pa.int8()), rule="length", min=2) == [[1, 2]]


def test_a_pattern_takes_no_time_that_explodes() -> None:
    text = "a" * 50_000 + "!"
    assert _passing([text, "aa"], pa.string(), rule="regex", pattern=r"^(a+)+$") == ["aa"]


def test_every_reason_of_a_row_is_told_and_it_is_rejected_once() -> None:
    batch = pa.RecordBatch.from_pylist(
        [{"id": None, "n": 7, "s": "x"}, {"id": 1, "n": 1, "s": "ok"}, {"id": 2, "n": 9, "s": "ok"}]
    )
    judge = _judge(
        batch,
        {"rule": "not_null", "column": "id"},
        {"rule": "range", "column": "n", "max": 5, "action": "warn"},
        {"rule": "regex", "column": "s", "pattern": "^ok$", "name": "well formed"},
    )
    verdict = judge.judge(batch)
    assert verdict.passed.column("id").to_pylist() == [1, 2]
    assert verdict.rejected.to_pylist() == [{"id": None, "n": 7, "s": "x"}]
    assert verdict.reasons.to_pylist() == [
        [
            {"rule": "not_null(id)", "column": "id", "reason": "is NULL"},
            {"rule": "range(n)", "column": "n", "reason": "is above 5"},
            {"rule": "well formed", "column": "s", "reason": "doesn't match ^ok$"},
        ]
    ]
    tally = judge.tally()
    assert (tally.read, tally.passed, tally.rejected) == (3, 2, 1)
    assert [(c.failed, c.sample) for c in tally.rules] == [
        (1, ("NULL",)),
        (2, ("7", "9")),
        (1, ("x",)),
    ]


def test_a_redacted_column_shows_in_no_sample() -> None:
    batch = pa.RecordBatch.from_pylist([{"card": "4000-1234"}])
    spec = RULE.validate_python({"rule": "length", "column": "card", "max": 3, "action": "dlq"})
    judge = Judge(compile_rules([spec], batch.schema), redact=frozenset({"card"}))
    verdict = judge.judge(batch)
    assert "4000" not in judge.tally().model_dump_json()
    assert "4000" not in str(verdict.reasons)


def test_clean_batches_pass_as_they_are() -> None:
    batch = pa.RecordBatch.from_pylist([{"id": 1}, {"id": 2}])
    rules = ({"rule": "not_null", "column": "id"}, {"rule": "unique", "column": "id"})
    assert _judge(batch, *rules).judge(batch).passed is batch


def test_what_a_destination_would_choke_on() -> None:
    schema = pa.schema([("a", pa.string()), ("b", pa.string()), ("c", pa.string())])
    rows = [
        {"a": "x", "b": "x\0y", "c": "\0"},
        {"a": "é" * 3, "b": None, "c": None},
        {"a": "xxxx", "b": "\0", "c": ""},
        {"a": None, "b": "", "c": "x"},
    ]
    batch = pa.RecordBatch.from_pylist(rows, schema=schema)
    limits = {"a": Capacity(max_chars=3), "b": Capacity(takes_nul=False), "c": Capacity()}
    judge = _judge(batch, capacities=limits, storable_action="dlq")
    for piece in (batch, batch.slice(1, 3)):
        verdict = judge.judge(piece)
        assert verdict.passed.to_pylist() == [rows[1], rows[3]]
    assert [[r["reason"] for r in row] for row in verdict.reasons.to_pylist()] == [
        ["has more than 3 characters", "has a NUL character"]
    ]


def test_custom_functions(tmp_path: Path) -> None:
    (tmp_path / "users_odd.py").write_text(
        "import pyarrow.compute as pc\n"
        "def odd(batch):\n    return pc.equal(pc.bit_wise_and(batch.column('n'), 1), 1)\n"
    )
    batch = pa.RecordBatch.from_pylist([{"n": n} for n in (1, 2, None, 3, 4)])
    rule = {"rule": "custom", "function": "users_odd:odd", "where": "n < 4"}
    judge = _judge(batch, rule, folder=tmp_path)
    assert judge.judge(batch).passed.column("n").to_pylist() == [1, None, 3, 4]
    assert judge.tally().rules[0].checked == 3


def test_pandera_finds_rows_and_reasons(tmp_path: Path) -> None:
    (tmp_path / "users_models.py").write_text(
        "import pandera.pandas as pa\n"
        "class Orders(pa.DataFrameModel):\n"
        "    id: int = pa.Field(unique=True)\n"
        "    n: int = pa.Field(ge=0, nullable=True, coerce=False)\n"
        "    s: str = pa.Field(str_startswith='a', nullable=True)\n"
        "    @pa.dataframe_check\n"
        "    def small(cls, frame):\n        return frame['id'] < 100\n"
    )
    big = 2**53 + 1
    rows = [
        {"id": 1, "n": None, "s": "ab"},
        {"id": 2, "n": -1, "s": "xb"},
        {"id": 3, "n": big, "s": None},
        {"id": 200, "n": -5, "s": "a"},
        {"id": 1, "n": 1, "s": "a"},
    ]
    batch = pa.RecordBatch.from_pylist(rows)
    judge = _judge(batch, {"rule": "pandera", "model": "users_models:Orders"}, folder=tmp_path)
    verdict = judge.judge(batch)
    assert verdict.passed.to_pylist() == [rows[0], rows[2]]
    assert verdict.rejected.to_pylist() == [rows[1], rows[3], rows[4]]
    told = [{(r["rule"], r["column"]) for r in row} for row in verdict.reasons.to_pylist()]
    assert told == [
        {("pandera", "n"), ("pandera", "s")},
        {("pandera", "n"), ("pandera", None)},
        {("pandera.unique(id)", "id")},
    ]
    assert "greater_than_or_equal_to(0)" in str(verdict.reasons)


def test_pandera_says_of_rows_what_it_would_drop_and_of_columns_that_are_there(
    tmp_path: Path,
) -> None:
    (tmp_path / "users_quiet.py").write_text(
        "import pandera.pandas as pa\n"
        "text = pa.Column(str, regex=True, unique=True)\n"
        "gone = pa.Column(str, unique=True, required=False)\n"
        "quiet = pa.DataFrameSchema({'^s$': text, 'gone': gone}, drop_invalid_rows=True)\n"
    )
    batch = pa.RecordBatch.from_pylist([{"s": "a"}, {"s": None}, {"s": "a"}])
    judge = _judge(batch, {"rule": "pandera", "model": "users_quiet:quiet"}, folder=tmp_path)
    verdict = judge.judge(batch)
    assert verdict.passed.to_pylist() == [{"s": "a"}]
    told = [[r["rule"] for r in row] for row in verdict.reasons.to_pylist()]
    assert told == [["pandera"], ["pandera.unique(s)"]]


def test_rules_without_conditions_or_models_import_nothing_heavy() -> None:
    program = (
        "import sys, pyarrow as pa\n"
        "from conduit_core.quality import compile_rules, Judge\n"
        "from conduit_core.spec.rules import NotNull\n"
        "schema = pa.schema([('a', pa.int64())])\n"
        "judge = Judge(compile_rules([NotNull(rule='not_null', columns=('a',))], schema))\n"
        "judge.judge(pa.RecordBatch.from_pylist([{'a': 1}], schema=schema))\n"
        "print([name for name in ('pandera', 'sqlglot', 'duckdb') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_without_numpy_a_unique_rule_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    batch = pa.RecordBatch.from_pylist([{"id": 1}, {"id": 1}])
    with pytest.raises(ConfigError, match=r"needs numpy: pip install 'conduit-load\[quality\]'"):
        _judge(batch, {"rule": "unique", "column": "id"})
