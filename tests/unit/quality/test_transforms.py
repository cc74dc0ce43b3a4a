"""Steps of a transform, one by one and together."""

from __future__ import annotations

import hashlib
import hmac
from datetime import date
from decimal import Decimal

import pyarrow as pa
from pydantic import TypeAdapter

from conduit_core.quality import Transform
from conduit_core.spec.transforms import Step, StepSpec

STEPS: TypeAdapter[tuple[StepSpec, ...]] = TypeAdapter(tuple[Step, ...])
ROWS = [
    {"nr": 1, "price": "12.50", "email": "ann@example.com", "born": "2000-01-02"},
    {"nr": None, "price": None, "email": None, "born": None},
    {"nr": 3, "price": " 7 ", "email": "é", "born": "1999-12-31"},
]
BATCH = pa.RecordBatch.from_pylist(ROWS)


def _transform(*steps: dict[str, object]) -> pa.RecordBatch:
    transform = Transform(STEPS.validate_python(steps), BATCH.schema)
    out = transform(BATCH)
    assert out.schema == transform.schema
    assert transform(BATCH.slice(0, 0)).schema == transform.schema
    out.validate(full=True)
    return out


def test_steps_are_carried_out_in_order() -> None:
    out = _transform(
        {"rename": {"nr": "number", "price": "nr"}},
        {"cast": {"nr": "decimal(8, 2)", "born": "date", "number": "text"}},
        {"drop": "email"},
        {"rename": {"born": "email"}},
    )
    assert out.to_pylist() == [
        {"number": "1", "nr": Decimal("12.50"), "email": date(2000, 1, 2)},
        {"number": None, "nr": None, "email": None},
        {"number": "3", "nr": Decimal("7.00"), "email": date(1999, 12, 31)},
    ]


def test_two_columns_swap_their_names() -> None:
    out = _transform({"rename": {"nr": "price", "price": "nr"}})
    assert out.schema.names == ["price", "nr", "email", "born"]


def test_what_a_source_column_is_called_afterwards() -> None:
    steps = STEPS.validate_python([{"rename": {"nr": "id"}}, {"drop": ["price"]}])
    transform = Transform(steps, BATCH.schema)
    assert transform.names_of("nr") == "id"
    assert transform.names_of("price") is None
    assert transform.names_of("email") == "email"


def test_a_digest_is_what_anyone_with_the_salt_computes() -> None:
    out = _transform({"hash": {"columns": ["email", "nr"], "salt": "pepper"}})
    want = hmac.new(b"pepper", b"ann@example.com", "sha256").hexdigest()
    assert out.column("email").to_pylist()[:2] == [want, None]
    assert out.column("nr").to_pylist()[2] == hmac.new(b"pepper", b"3", "sha256").hexdigest()
    plain = _transform({"hash": "email"})
    assert plain.column("email")[2].as_py() == hashlib.sha256("é".encode()).hexdigest()


def test_a_salt_is_never_shown() -> None:
    steps = STEPS.validate_python([{"hash": {"columns": "email", "salt": "pepper"}}])
    assert "pepper" not in repr(steps) + repr(Transform(steps, BATCH.schema).__dict__)
    assert b"pepper" not in STEPS.dump_json(steps)


def test_masks() -> None:
    def masked(**options: object) -> list[str | None]:
        return _transform({"mask": {"columns": "email", **options}}).column("email").to_pylist()

    assert masked() == ["*" * 15, None, "*"]
    assert masked(keep_last=4) == ["***********.com", None, "*"]
    assert masked(keep_first=1, keep_last=4, **{"with": "#"}) == ["a##########.com", None, "#"]
    assert masked(keep_last=4, keep_length=False) == ["****.com", None, "****"]
    assert masked(keep_first=2, keep_length=False) == ["an****", None, "****"]
