"""p24: columns that a load changes are compared with what the dbt project says of them."""

from __future__ import annotations

import pytest

from conduit_dbt.drift import ColumnDrift, drift, same_type

SOURCE = "source.jaffle.raw.orders"


def manifest(*, data_type: str = "bigint", contract: bool = True) -> dict[str, object]:
    columns = {"id": {"name": "id", "data_type": "bigint"}, "amount": {"data_type": data_type}}
    constraints = [{"type": "not_null"}]
    model = {
        "resource_type": "model",
        "name": "fct_orders",
        "config": {"contract": {"enforced": contract}},
        "columns": {"Amount": {"data_type": "int", "constraints": constraints}},
    }
    test = {
        "resource_type": "test",
        "name": "source_not_null_raw_orders_amount",
        "column_name": "amount",
        "test_metadata": {"name": "not_null"},
    }
    return {
        "sources": {SOURCE: {"columns": columns}},
        "nodes": {"model.jaffle.fct_orders": model, "test.jaffle.t": test},
        "child_map": {SOURCE: ["model.jaffle.fct_orders", "test.jaffle.t", "model.jaffle.gone"]},
    }


def problems(item: ColumnDrift, **keys: object) -> list[str]:
    return list(drift("raw.orders", [SOURCE], [item], manifest(**keys)).problems)  # type: ignore[arg-type]


def test_p24_a_wider_type_against_declared_type_and_contract() -> None:
    declared, contracted = problems(ColumnDrift("amount", "type", "DOUBLE"))
    assert "becomes DOUBLE, but the dbt source declares bigint" in declared
    assert "the contract of model fct_orders says int" in contracted
    assert problems(ColumnDrift("amount", "type", "DOUBLE"), contract=False) == [declared]
    assert problems(ColumnDrift("amount", "type", "int"), data_type="") == []


def test_p24_nulls_against_a_test_and_a_contract() -> None:
    tested, contracted = problems(ColumnDrift("amount", "nullable"))
    assert "the dbt test source_not_null_raw_orders_amount forbids them" in tested
    assert "the contract of model fct_orders forbids it" in contracted
    assert problems(ColumnDrift("id", "nullable")) == []


def test_p24_a_column_that_is_gone() -> None:
    declared, *more = problems(ColumnDrift("amount", "removed"))
    assert "is declared in the dbt source, but new rows will have no value in it" in declared
    assert len(more) == 2
    assert problems(ColumnDrift("note", "removed")) == []


def test_p24_a_new_column() -> None:
    found = drift("raw.orders", [SOURCE], [ColumnDrift("note", "added", "VARCHAR")], manifest())
    assert "no dbt source declares it" in found.notes[0]
    assert "has a contract without it" in found.problems[0]
    nothing = drift("raw.orders", [], [ColumnDrift("note", "added", "VARCHAR")], manifest())
    assert (nothing.notes, nothing.problems) == ((), ())
    assert problems(ColumnDrift("id", "added", "BIGINT"), contract=False) == []
    assert len(problems(ColumnDrift("id", "added", "TEXT"), contract=False)) == 1


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("DECIMAL(10,2)", "numeric(10, 2)", True),
        ("DECIMAL(10,2)", "numeric(12,2)", False),
        ("TIMESTAMP WITH TIME ZONE", "timestamptz", True),
        ("timestamp(6) with time zone", "TIMESTAMPTZ(6)", True),
        ("character varying(10)", "varchar(10)", True),
        ("INTEGER[]", "int[]", False),
        ("bigint", "integer", False),
    ],
)
def test_types_are_the_same_by_their_aliases(one: str, other: str, same: bool) -> None:
    assert same_type(one, other) is same
