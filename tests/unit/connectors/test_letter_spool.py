"""Rejected rows as letters: their ids, their keys, what isn't kept of them."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from conduit_core.connectors.letters import LETTER_SCHEMA
from conduit_core.testing.ruled import KINDS, Rows, told
from conduit_core.types.dialect import Table

T = Table("raw", "t")


def _letters(rows: Rows, **more: object) -> list[dict[str, object]]:
    spool = told(T, rows, **more)  # type: ignore[arg-type]
    try:
        assert spool.reader().schema == LETTER_SCHEMA
        found = spool.reader().read_all().to_pylist()
        assert len(found) == spool.rows == len(rows)
        return found
    finally:
        spool.close()
        spool.close()


def test_no_letters() -> None:
    assert _letters([]) == []


def test_an_id_is_of_target_key_and_payload() -> None:
    row = (1, 2, "x")
    (one,), (again,) = _letters([row]), _letters([row], rules=("other",))
    assert one["letter_id"] == again["letter_id"]
    assert len(str(one["letter_id"])) == 32
    assert one["row_key"] == "[1]"
    others = [
        _letters([(1, 2, "y")]), _letters([row], key=()), _letters([row], key=("at",)),
    ]  # fmt: skip
    spool = told(Table("raw", "u"), [row])
    others.append(spool.reader().read_all().to_pylist())
    spool.close()
    assert len({one["letter_id"], *(found[0]["letter_id"] for found in others)}) == 5


def test_a_key_with_a_null_is_none() -> None:
    found = _letters([(1, None, "x"), (1, 2, "x")], key=("id", "at"))
    assert [one["row_key"] for one in found] == [None, "[1,2]"]


@pytest.mark.parametrize("hidden", ["id", "v"])
def test_nothing_is_kept_of_hidden_values(hidden: str) -> None:
    rows = [(1, 2, "x"), (7, 2, "x")] if hidden == "id" else [(1, 2, "x"), (1, 2, "y")]
    one, other = _letters(rows, redact=frozenset({hidden, "nowhere"}))
    assert one == other
    assert json.loads(str(one["redacted"])) == [hidden]
    assert json.loads(str(one["payload"]))[hidden] is None
    assert one["row_key"] == (None if hidden == "id" else "[1]")


def test_only_columns_of_the_schema_are_kept() -> None:
    spool = told(T, [], KINDS.remove(1))
    batch = pa.RecordBatch.from_pylist([{"id": 1, "at": 2, "v": "x"}], KINDS)
    spool.add(batch, pa.array([[]], pa.list_(pa.struct([("rule", pa.string())]))))
    (found,) = spool.reader().read_all().to_pylist()
    assert (found["payload"], found["reasons"]) == ('{"id":1,"v":"x"}', "[]")
    with pytest.raises(ValueError, match="taken"):
        spool.add(batch, pa.array([[]], pa.list_(pa.struct([("rule", pa.string())]))))
    spool.close()
