"""What is wrong with a rule or a step is said when it is compiled, by name."""

from __future__ import annotations

import traceback
from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import TypeAdapter, ValidationError

from conduit_core.errors import ConduitError, ConfigError, QualityError, SchemaError
from conduit_core.quality import Judge, Transform, compile_rules
from conduit_core.spec.rules import Rule, RuleSpec, rule_names
from conduit_core.spec.transforms import Step, StepSpec

RULE: TypeAdapter[RuleSpec] = TypeAdapter(Rule)
STEP: TypeAdapter[StepSpec] = TypeAdapter(Step)
SCHEMA = pa.schema(
    [
        ("id", pa.int32()),
        ("name", pa.string()),
        ("at", pa.timestamp("us", "UTC")),
        ("naive", pa.timestamp("us")),
        ("ok", pa.bool_()),
        ("tags", pa.list_(pa.string())),
        ("price", pa.decimal128(10, 2)),
    ]
)
BATCH = pa.RecordBatch.from_pylist([{"id": 1}, {"id": 2}], schema=SCHEMA)
MODULE = """
import pyarrow as pa
import pandera.pandas as pandera

NUMBER = 1

def short(batch):
    return pa.array([True])

def raises(batch):
    raise LookupError("no such thing")

def wrong(batch):
    return pa.array([1] * batch.num_rows)

def nothing(batch):
    return None

above = pandera.Check(lambda s: s.mean() > 10)
whole = pandera.DataFrameSchema({"id": pandera.Column("int32", above)})
broken = pandera.DataFrameSchema({"id": pandera.Column("int32", pandera.Check(lambda s: 1 / 0))})
missing = pandera.DataFrameSchema({"gone": pandera.Column(int)})
other = pandera.DataFrameSchema({"name": pandera.Column(int)})
keys = pandera.DataFrameSchema({"id": pandera.Column("int32")}, unique=["gone"])
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline's folder with functions and models of a user."""
    made = tmp_path_factory.mktemp("pipeline")
    (made / "users_rules.py").write_text(MODULE)
    (made / "users_broken.py").write_text("import no_such_module_at_all\n")
    return made


def _rule(**keys: object) -> RuleSpec:
    return RULE.validate_python(keys)


@pytest.mark.parametrize(
    ("keys", "kind", "says"),
    [
        ({"rule": "not_null", "column": "nmae"}, SchemaError, "'nmae'"),
        ({"rule": "unique", "columns": ["id", "x"]}, SchemaError, "'x'"),
        ({"rule": "unique", "column": "tags"}, ConfigError, "'tags'"),
        ({"rule": "regex", "column": "name", "pattern": "(a"}, ConfigError, "doesn't compile"),
        ({"rule": "regex", "column": "name", "pattern": r"(a)\1"}, ConfigError, "back-references"),
        ({"rule": "regex", "column": "name", "pattern": "(?=a)"}, ConfigError, "look-around"),
        ({"rule": "regex", "column": "id", "pattern": "a"}, ConfigError, "is no text"),
        ({"rule": "range", "column": "name", "min": 1}, ConfigError, "'name' (string)"),
        ({"rule": "range", "column": "id", "min": "a"}, ConfigError, "'a' is no number"),
        ({"rule": "range", "column": "at", "min": "soon"}, ConfigError, "'soon' can't be read"),
        ({"rule": "range", "column": "naive", "min": "2024-01-01T00:00:00Z"}, ConfigError, "naive"),
        ({"rule": "range", "column": "ok", "min": 1}, ConfigError, "has no range"),
        ({"rule": "length", "column": "id", "min": 1}, ConfigError, "has no length"),
        ({"rule": "accepted_values", "column": "name", "values": [False]}, ConfigError, "quotes"),
        ({"rule": "accepted_values", "column": "ok", "values": ["yes"]}, ConfigError, "no boolean"),
        ({"rule": "accepted_values", "column": "id", "values": ["a"]}, ConfigError, "no number"),
        ({"rule": "not_null", "column": "id", "where": "id >"}, ConfigError, "read as SQL"),
        ({"rule": "not_null", "column": "id", "where": "gone = 1"}, SchemaError, "'gone'"),
        ({"rule": "not_null", "column": "id", "where": "name > 1"}, ConfigError, "(string, int64)"),
        ({"rule": "expression", "sql": "id + 1"}, ConfigError, "is no condition"),
        ({"rule": "expression", "sql": "sum(id) > 1"}, ConfigError, "`SUM(id)`"),
        ({"rule": "expression", "sql": "id IN (SELECT 1)"}, ConfigError, "isn't part"),
        ({"rule": "expression", "sql": "id = 1; DROP TABLE x"}, ConfigError, "one condition"),
        ({"rule": "custom", "function": "no_such.module:f"}, ConfigError, "doesn't import"),
        ({"rule": "custom", "function": "users_broken:f"}, ConfigError, "no_such_module_at_all"),
        ({"rule": "custom", "function": "users_rules:gone"}, ConfigError, "has no 'gone'"),
        ({"rule": "custom", "function": "users_rules:NUMBER"}, ConfigError, "can't be called"),
        ({"rule": "pandera", "model": "no_such.module:M"}, ConfigError, "doesn't import"),
        ({"rule": "pandera", "model": "users_rules:short"}, ConfigError, "not a DataFrameSchema"),
        ({"rule": "pandera", "model": "users_rules:missing"}, SchemaError, "gone"),
        ({"rule": "pandera", "model": "users_rules:other"}, SchemaError, "name"),
        ({"rule": "pandera", "model": "users_rules:keys"}, SchemaError, "'gone'"),
        ({"rule": "expression", "sql": " AND ".join(["id = 1"] * 3000)}, ConfigError, "too deep"),
        ({"rule": "freshness", "column": "id", "max_age": "1h"}, ConfigError, "no date"),
        ({"rule": "freshness", "column": "naive", "max_age": "1h"}, ConfigError, "`timezone`"),
        ({"rule": "drift", "column": "tags", "max_shift": 1}, ConfigError, "has no mean"),
    ],
)
def test_of_rules(
    keys: dict[str, object], kind: type[ConduitError], says: str, folder: Path
) -> None:
    with pytest.raises(kind) as caught:
        compile_rules([_rule(**keys)], SCHEMA, folder=folder)
    assert says in caught.value.message


def test_all_wrong_rules_are_named_at_once() -> None:
    bad = [_rule(rule="not_null", column="gone"), _rule(rule="length", column="id", max=1)]
    with pytest.raises(SchemaError) as caught:
        compile_rules(bad, SCHEMA)
    head, first, second = caught.value.message.split("\n  ")
    assert head == "2 rules are wrong"
    assert first.startswith("rule 'not_null(gone)' looks at column 'gone'")
    assert second.startswith("rule 'length(id)': ")
    assert "has no length" in second


def test_the_nearest_column_is_named() -> None:
    with pytest.raises(SchemaError, match=r"'nmae', which .* have, did you mean 'name'\? they"):
        compile_rules([_rule(rule="not_null", column="nmae")], SCHEMA)
    with pytest.raises(SchemaError, match=r"did you mean 'price'\? they have"):
        compile_rules([_rule(rule="expression", sql="prce > 1")], SCHEMA)
    with pytest.raises(SchemaError, match=r"did you mean 'tags'\? they have"):
        Transform([STEP.validate_python({"drop": ["tgas"]})], SCHEMA)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"rule": "range", "column": "id"}, "needs a `min`, a `max`, or both"),
        ({"rule": "range", "column": "id", "min": 2, "max": 1}, "`min` is above `max`"),
        ({"rule": "range", "column": "id", "min": True}, "must be a number"),
        ({"rule": "range", "min": 1}, "needs a `column`"),
        ({"rule": "not_null", "column": "a", "columns": ["b"]}, "not both"),
        ({"rule": "not_null", "columns": ["a", "a"]}, "same column twice"),
        ({"rule": "not_null", "column": "a", "max_rejected": 1}, "`action: fail`"),
        ({"rule": "not_null", "column": "a", "max_rejected": "x", "action": "dlq"}, "such as 1%"),
        ({"rule": "row_count", "min": 1, "action": "dlq"}, "judges the whole load"),
        ({"rule": "row_count"}, "needs a `min`"),
        ({"rule": "drift", "column": "a"}, "needs a `max_shift`"),
        ({"rule": "accepted_values", "column": "a", "values": [None]}, "NULL passes"),
        ({"rule": "accepted_values", "column": "a", "values": []}, "must not be empty"),
        ({"rule": "custom", "function": "os.system"}, "pattern"),
        ({"rule": "custom", "function": "a:b", "column": "x"}, "takes no `column`"),
        ({"rule": "no_such"}, "no_such"),
    ],
)
def test_of_the_file(keys: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError) as caught:
        _rule(**keys)
    assert says in str(caught.value)


def test_names() -> None:
    twice = [_rule(rule="not_null", column="a"), _rule(rule="not_null", column="a", where="b = 1")]
    assert rule_names(twice) == ("not_null(a)", "not_null(a)#2")
    named = [_rule(rule="not_null", column=c, name="mine") for c in ("a", "b")]
    with pytest.raises(ValueError, match="'mine'"):
        rule_names(named)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"rule": "custom", "function": "users_rules:short"}, "returned 1 values"),
        ({"rule": "custom", "function": "users_rules:raises"}, "LookupError: no such thing"),
        ({"rule": "custom", "function": "users_rules:wrong"}, "returned int64"),
        ({"rule": "custom", "function": "users_rules:nothing"}, "returned NoneType"),
        ({"rule": "pandera", "model": "users_rules:whole"}, "judged a batch as a whole"),
        ({"rule": "pandera", "model": "users_rules:broken"}, "ZeroDivisionError"),
        ({"rule": "expression", "sql": "id * 2147483647 * 2147483647 * 9 > 0"}, "overflow"),
    ],
)
def test_of_rows(keys: dict[str, object], says: str, folder: Path) -> None:
    judge = Judge(compile_rules([_rule(**keys)], SCHEMA, folder=folder))
    with pytest.raises(QualityError) as caught:
        judge.judge(BATCH)
    assert says in caught.value.message


@pytest.mark.parametrize(
    ("step", "kind", "says"),
    [
        ({"rename": {"gone": "x"}}, SchemaError, "'gone'"),
        ({"rename": {"id": "name"}}, SchemaError, "second column 'name'"),
        ({"drop": ["gone"]}, SchemaError, "'gone'"),
        ({"drop": SCHEMA.names}, ConfigError, "leaves no column"),
        ({"cast": {"id": "number"}}, ConfigError, "'number' is no type"),
        ({"cast": {"id": "decimal(2, 3)"}}, ConfigError, "more decimals than digits"),
        ({"cast": {"ok": "date"}}, ConfigError, "can't be cast"),
        ({"hash": "tags"}, ConfigError, "no one text"),
        ({"mask": "id"}, ConfigError, "is no text"),
    ],
)
def test_of_steps(step: dict[str, object], kind: type[ConduitError], says: str) -> None:
    with pytest.raises(kind) as caught:
        Transform([STEP.validate_python(step)], SCHEMA)
    assert says in caught.value.message


def test_a_value_that_does_not_fit_its_cast() -> None:
    transform = Transform([STEP.validate_python({"cast": {"name": "int64"}})], SCHEMA)
    rows = pa.RecordBatch.from_pylist([{"name": "12x"}], schema=SCHEMA)
    with pytest.raises(SchemaError, match="'name' to int64"):
        transform(rows)


def test_a_value_of_a_redacted_column_is_in_no_error() -> None:
    steps = [
        STEP.validate_python(s) for s in ({"cast": {"name": "int64"}}, {"rename": {"name": "n"}})
    ]
    transform = Transform(steps, SCHEMA, redact=["n"])
    rows = pa.RecordBatch.from_pylist([{"name": "12x"}], schema=SCHEMA)
    with pytest.raises(SchemaError, match="'n': a value doesn't fit int64") as caught:
        transform(rows)
    assert "12x" not in "".join(traceback.format_exception(caught.value))


def test_an_unknown_step() -> None:
    with pytest.raises(ValidationError, match="rename, cast, drop, hash, mask"):
        STEP.validate_python({"renmae": {"a": "b"}})
