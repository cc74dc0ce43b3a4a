"""Publish as data: JSON round trip, and the guard's evaluator, which is no `eval`."""

from __future__ import annotations

import operator
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conduit_core.connectors.publish import (
    BALANCE,
    AppendStaged,
    Column,
    CreateTable,
    DeleteMatching,
    DeleteWindow,
    Guard,
    NoNewerRecord,
    NoOverlappingRecord,
    OwnedBy,
    Publish,
    RecordLoad,
    ReplaceWithStaged,
    TargetIs,
    check_guard,
)
from conduit_core.errors import GuardError
from conduit_core.state.ledger import Counts
from tests.unit.state.records import record

COLUMN = Column(name='a "b"', ddl="VARCHAR(20)", nullable=False)
WHOLE = Publish(
    target_schema="raw",
    target_table="orders",
    staged_columns=('a "b"',),
    requirements=(
        NoNewerRecord(version=3),
        NoOverlappingRecord(version=3, window='{"kind":"full"}'),
        OwnedBy(pipeline="p", stream="s"),
        TargetIs(columns=None),
        TargetIs(columns=("a",)),
    ),
    actions=(
        CreateTable(columns=(COLUMN,)),
        DeleteWindow(window='{"kind":"full"}'),
        DeleteMatching(columns=("f",)),
        AppendStaged(),
        ReplaceWithStaged(how="swap", columns=(COLUMN,)),
        ReplaceWithStaged(how="in_place", columns=()),
        BALANCE,
        RecordLoad(record=record(1), schema_text="[]"),
    ),
)


def test_every_requirement_and_action_survives_json() -> None:
    assert Publish.model_validate_json(WHOLE.model_dump_json()) == WHOLE


def test_an_action_nobody_knows_is_refused() -> None:
    text = WHOLE.model_dump_json().replace('"append_staged"', '"drop_database"')
    with pytest.raises(ValueError, match="drop_database"):
        Publish.model_validate_json(text)


def test_the_record_is_the_record_loads() -> None:
    assert WHOLE.record == record(1)
    with pytest.raises(ValueError, match="RecordLoad"):
        _ = WHOLE.model_copy(update={"actions": ()}).record


# --- guards -----------------------------------------------------------------------------------

COUNTS = {name: n for n, name in enumerate((*Counts.model_fields, "removed", "target_has_rows"))}


def holds(expr: str, counts: dict[str, int] | None = None) -> bool:
    try:
        check_guard(Guard(expr=expr, message="no"), COUNTS if counts is None else counts)
    except GuardError:
        return False
    return True


NUMBERS = st.one_of(
    st.integers(0, 99).map(lambda n: (str(n), n)),
    st.floats(0, 9, allow_nan=False).map(lambda x: (repr(x), x)),
    st.sampled_from(sorted(COUNTS)).map(lambda name: (name, COUNTS[name])),
)
BINARY: dict[str, Callable[[float, float], float]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
}  # fmt: skip
COMPARE: dict[str, Callable[[float, float], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt,
    ">=": operator.ge,
}  # fmt: skip
Numbers = st.SearchStrategy[tuple[str, float]]
Truths = st.SearchStrategy[tuple[str, bool]]


def _apply(a: tuple[str, float], op: str, b: tuple[str, float]) -> tuple[str, float]:
    divides = op == "/" and b[1] == 0
    op = "+" if divides else op
    return f"({a[0]} {op} {b[0]})", BINARY[op](a[1], b[1])


ARITHMETIC: Numbers = st.recursive(
    NUMBERS, lambda inner: st.builds(_apply, inner, st.sampled_from(sorted(BINARY)), inner),
    max_leaves=6,
)  # fmt: skip
TRUTHS: Truths = st.recursive(
    st.builds(
        lambda a, op, b: (f"{a[0]} {op} {b[0]}", COMPARE[op](a[1], b[1])),
        ARITHMETIC, st.sampled_from(sorted(COMPARE)), ARITHMETIC,
    ),
    lambda inner: st.one_of(
        inner.map(lambda t: (f"not ({t[0]})", not t[1])),
        st.builds(lambda a, b: (f"({a[0]}) and ({b[0]})", a[1] and b[1]), inner, inner),
        st.builds(lambda a, b: (f"({a[0]}) or ({b[0]})", a[1] or b[1]), inner, inner),
    ),
    max_leaves=6,
)  # fmt: skip


@given(TRUTHS)
def test_a_guard_is_what_arithmetic_says(case: tuple[str, bool]) -> None:
    expr, expected = case
    assert holds(expr) == expected


@pytest.mark.parametrize(
    "expr",
    [
        "read", "1", "True", "", " ", "read ==", "read = 1", "read == 1; read == 1",
        "read == inserted == updated", "nothing == 1", "read == 'a'", "read is 1", "read in (1, 2)",
        "read == True", "read == None", "read ** 2 == 4", "read // 2 == 1", "read % 2 == 0",
        "-read == 1", "read == abs(1)", "__import__('os').system('true') == 0",
        "(lambda: 1)() == 1", "[1][0] == 1", "read.real == 0", "(read := 1) == 1",
        "1 if read == 0 else 2 == 2", "read == 1j", "f'{read}' == 1", "not read",
        "0 == 0 or evil() == 1", "1 == 0 and missing > 1", "(read == 0) + 1 == 2", "\0",
    ],
)  # fmt: skip
def test_anything_but_counts_numbers_and_comparisons_is_refused(expr: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        check_guard(Guard(expr=expr, message="no"), COUNTS)


def test_a_guard_that_divides_by_zero_does_not_hold() -> None:
    assert not holds("removed / read < 0.5", {"removed": 1, "read": 0})
    assert holds("read == 0 or removed / read < 0.5", {"removed": 1, "read": 0})


def test_a_guard_that_fails_shows_message_counts_and_command() -> None:
    guard = Guard(expr="read == inserted + removed", message="lost", command="conduit plan")
    with pytest.raises(GuardError) as caught:
        check_guard(guard, {"read": 3, "inserted": 1, "removed": 1, "updated": 7})
    assert caught.value.message == "lost (read 3, inserted 1, removed 1)"
    assert caught.value.command == "conduit plan"


@given(st.fixed_dictionaries({n: st.integers(0, 9) for n in (*Counts.model_fields, "flagged")}))
def test_the_balance_holds_just_where_every_row_read_is_somewhere(counts: dict[str, int]) -> None:
    aside = {"read", "deleted", "removed"}  # of the deleted, those with a flag are rows read
    places = sum(n for name, n in counts.items() if name not in aside)
    assert holds(BALANCE.expr, counts) == (counts["read"] == places)
    assert holds(BALANCE.expr, {**counts, "read": places})
