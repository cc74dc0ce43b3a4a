"""p25: a type change makes no second column: the column widens in place, or the error names it."""

from __future__ import annotations

import pytest

from conduit_core.errors import SchemaError
from tests.lab import Lab, stream

KEYS = {"mode": "upsert", "unique_key": "id", "cursor": None}
# What comes after SMALLINT: whether one type holds both without loss.
HOLDS = {
    "INTEGER": ("1099511627776", 1_099_511_627_776),
    "REAL": ("1.5", 1.5),
    "DECIMAL TEXT(12, 2)": ("'1.25'", "1.25"),
}
HOLDS_NOT = {"TEXT": "'one'", "DATE": "'2024-01-01'", "BOOLEAN": "TRUE", "BLOB": "x'01'"}


def change(lab: Lab, kind: str, value: str) -> None:
    lab.sql(
        "DROP TABLE IF EXISTS orders",
        f"CREATE TABLE orders (id INTEGER, n {kind})",
        f"INSERT INTO orders VALUES (2, {value})",
    )


def names(lab: Lab) -> list[str]:
    pipeline = lab.pipeline(stream(**KEYS))
    with pipeline.open() as ends:
        shape = ends.destination.describe(pipeline.target(pipeline.streams[0], ends.destination))
    assert shape is not None
    return [c.name for c in shape.columns if not c.name.startswith("_conduit_")]


def test_p25_a_column_widens_in_place(each_lab: Lab) -> None:
    lab = each_lab
    pipeline = lab.pipeline(stream(**KEYS))
    for kind, (value, found) in HOLDS.items():
        into = lab.pipeline(stream(into=f"o{len(kind)}", name=f"o{len(kind)}", **KEYS))
        change(lab, "SMALLINT", "7")
        lab.sql("UPDATE orders SET id = 1")
        lab.run(into)
        change(lab, kind, value)
        result = lab.run(into)
        assert [(c.column, c.change) for c in result.schema_changes] == [("n", "widened")]
        rows = sorted(lab.rows(f"o{len(kind)}", into), key=lambda row: row["id"])
        assert [float(row["n"]) for row in rows] == [7.0, float(found)]
        assert [c for c in rows[0] if not c.startswith("_conduit_")] == ["id", "n"]
    assert lab.chain(pipeline) == []


@pytest.mark.parametrize("kind", HOLDS_NOT)
def test_p25_a_type_that_no_column_could_hold_is_a_named_error(lab: Lab, kind: str) -> None:
    pipeline = lab.pipeline(stream(**KEYS))
    change(lab, "SMALLINT", "7")
    lab.run(pipeline)
    change(lab, kind, HOLDS_NOT[kind])
    with pytest.raises(SchemaError, match="column 'n'") as caught:
        lab.run(pipeline)
    assert caught.value.exit_code == 4
    assert "no type holds both without loss" in caught.value.message
    assert names(lab) == ["id", "n"]
    assert [row["n"] for row in lab.rows("orders", pipeline)] == [7]
