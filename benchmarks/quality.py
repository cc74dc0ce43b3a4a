"""Rules and transforms on batches in memory, beside just going through them.

``python -m benchmarks.quality [ROWS]``; 5 million by default. CPU seconds, so that a busy machine
says about the same, and the ratio to what a load of the same rows takes: reading them from Parquet
and casting them is the least that any load does.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from conduit_core.quality import Judge, Transform, compile_rules
from conduit_core.quality.arrays import kernels as pc
from conduit_core.spec.rules import Rule, RuleSpec
from conduit_core.spec.transforms import Step, StepSpec

BATCH = 65_536
Batches: TypeAlias = "Callable[[], Iterator[pa.RecordBatch]]"
RULES: TypeAdapter[RuleSpec] = TypeAdapter(Rule)
STEPS: TypeAdapter[StepSpec] = TypeAdapter(Step)
FIVE: list[dict[str, object]] = [
    {"rule": "not_null", "columns": ["id", "customer"]},
    {"rule": "range", "column": "amount", "min": 0, "max": 100_000},
    {"rule": "regex", "column": "email", "pattern": r"^[^@\s]+@[^@\s]+$"},
    {"rule": "accepted_values", "column": "status", "values": ["new", "paid", "sent", "done"]},
    {"rule": "unique", "column": "id"},
]


def batch_of(start: int, rows: int, *, bad: int = 0) -> pa.RecordBatch:
    """Return rows made by arithmetic; one in ``bad`` has a wrong amount and status."""
    ids = pa.array(range(start, start + rows), pa.int64())
    text = ids.cast(pa.string())
    amount = pc.divide(pc.cast(pc.bit_wise_and(ids, 0xFFFFF), pa.float64()), 100.0)
    which = pc.cast(pc.bit_wise_and(ids, 3), pa.int32())
    status = pa.array(["new", "paid", "sent", "done"]).take(which)
    if bad:
        wrong = pc.equal(pc.subtract(ids, pc.multiply(pc.divide(ids, bad), bad)), 0)
        amount = pc.if_else(wrong, -1.0, amount)
        status = pc.if_else(wrong, "lost", status)
    email = pc.binary_join_element_wise("user", text, "@example.com", "")
    note = pc.binary_join_element_wise("note number ", text, "")
    columns = [ids, pc.bit_wise_and(ids, 0xFFFF), amount, email, status, note]
    names = ["id", "customer", "amount", "email", "status", "note"]
    return pa.RecordBatch.from_arrays(columns, names)


def made(rows: int, folder: Path, *, bad: int = 0) -> Batches:
    """Write the rows as Parquet and return what reads them."""
    path = folder / f"rows_{bad}.parquet"
    with pq.ParquetWriter(path, batch_of(0, 1).schema) as writer:
        for start in range(0, rows, BATCH):
            writer.write_batch(batch_of(start, min(BATCH, rows - start), bad=bad))
    return lambda: pq.ParquetFile(path).iter_batches(BATCH)


def seconds(batches: Batches, each: Callable[[pa.RecordBatch], object]) -> float:
    """Return the CPU seconds that ``each`` takes of all batches, without reading them."""
    spent = 0.0
    for batch in batches():
        began = time.process_time()
        each(batch)
        spent += time.process_time() - began
    return spent


def reading(batches: Batches) -> float:
    """Return the CPU seconds of going through the batches."""
    began = time.process_time()
    for _ in batches():
        pass
    return time.process_time() - began


def rules(batches: Batches, specs: list[dict[str, object]]) -> float:
    """Return the CPU seconds of judging all batches."""
    schema = batch_of(0, 1).schema
    judge = Judge(compile_rules([RULES.validate_python(spec) for spec in specs], schema))
    return seconds(batches, judge.judge)


def main() -> None:
    """Measure and print."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000_000
    with tempfile.TemporaryDirectory() as folder:
        clean = made(rows, Path(folder))
        base = reading(clean)
        print(f"{rows:,} rows in batches of {BATCH:,}; CPU seconds, and ratio to reading Parquet\n")
        print("| what | seconds | ratio |\n|---|---|---|")

        def show(what: str, spent: float) -> None:
            print(f"| {what} | {spent:.2f} | {spent / base:.2f} |")

        show("just reading", base)
        show("five rules", rules(clean, FIVE))
        for spec in FIVE:
            show(f"{spec['rule']} alone", rules(clean, [spec]))
        bad = made(rows, Path(folder), bad=10)
        show("five rules, 10% dead letters", rules(bad, [{**s, "action": "dlq"} for s in FIVE]))
        expression = {"rule": "expression", "sql": "amount >= 0 AND status IN ('new', 'paid')"}
        show("an expression", rules(clean, [{**expression, "action": "warn"}]))
        schema = batch_of(0, 1).schema
        for step in ({"mask": {"columns": "email", "keep_last": 4}}, {"hash": "email"}):
            transform = Transform([STEPS.validate_python(step)], schema)
            show(f"transform: {next(iter(step))}", seconds(clean, transform))


if __name__ == "__main__":
    main()
