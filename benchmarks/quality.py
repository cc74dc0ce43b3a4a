"""Loads held to rules against the same loads without; dead letters; pandera beside our kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measure import Row, compare
from conduit_core.quality.arrays import kernels as pc

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.__main__ import Bench

MILLION = 1_000_000
ROWS = 5 * MILLION
BATCH = 65_536
FIVE = (
    "{rule: not_null, columns: [id, customer]@}",
    "{rule: range, column: amount, min: 0, max: 100000@}",
    r"{rule: regex, column: email, pattern: '^[^@\s]+@[^@\s]+$'@}",
    "{rule: accepted_values, column: status, values: [new, paid, sent, done]@}",
    "{rule: unique, column: id@}",
)
MODEL = """
import pandera.pandas as pa
Rows = pa.DataFrameSchema(
    {
        "amount": pa.Column(float, pa.Check.in_range(0, 100000)),
        "status": pa.Column(str, pa.Check.isin(["new", "paid", "sent", "done"])),
    }
)
"""


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


class QualityBench:
    """The cases over one bench's folder."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    def rows(self, count: int, *, bad: int = 0) -> str:
        """Return a Parquet file of the rows, made when first asked for."""
        path = self.bench.folder / f"rows_{count}_{bad}.parquet"
        if not path.exists():
            with pq.ParquetWriter(path, batch_of(0, 1).schema) as writer:
                for start in range(0, count, BATCH):
                    writer.write_batch(batch_of(start, min(BATCH, count - start), bad=bad))
        return path.name

    def load(self, name: str, path: str, rules: list[str], action: str = "fail") -> list[str]:
        """Return the command that loads a file under rules."""
        told = "".join(f"\n      - {rule.replace('@}', f', action: {action}}}')}" for rule in rules)
        quality = f"\n    quality:{told}" if rules else ""
        return self.bench.pipeline(
            name,
            "{type: parquet, path: .}",
            f"{{type: duckdb, path: {name}.duckdb}}",
            f"path: {path}\n    into: rows\n    mode: replace{quality}",
        )

    def five(self) -> Row:
        """Five rules on 5M rows, against the same load without."""
        path = self.rows(ROWS)
        return self._compared(
            "parquet 5M rows to DuckDB, five rules; without",
            self.load("ruled", path, list(FIVE)),
            self.load("plain", path, []),
            "load 1.15x",
        )

    def letters(self) -> Row:
        """A load of which every tenth row becomes a dead letter, against the clean load."""
        return self._compared(
            "five rules, 10% dead letters of 5M; none",
            self.load("letters", self.rows(ROWS, bad=10), list(FIVE), "dlq"),
            self.load("clean", self.rows(ROWS), list(FIVE), "dlq"),
            "load 1.5x",
        )

    def pandera(self) -> Row:
        """Two checks by a pandera schema, against the same two built in."""
        (self.bench.folder / "bench_model.py").write_text(MODEL)
        path = self.rows(MILLION)
        return self._compared(
            "pandera, two checks on 1M rows; built in",
            self.load("pandera", path, ["{rule: pandera, model: 'bench_model:Rows'@}"]),
            self.load("built_in", path, [FIVE[1], FIVE[3]]),
            "measured",
        )

    def _compared(self, name: str, ours: list[str], reference: list[str], limit: str) -> Row:
        mine, theirs = (command[2].removesuffix(".yml") for command in (ours, reference))
        return compare(
            name,
            ours,
            reference,
            cwd=self.bench.folder,
            limit=limit,
            runs=self.bench.runs,
            before=f"rm -f {mine}.duckdb*",
            before_reference=f"rm -f {theirs}.duckdb*",
        )


def cases(bench: Bench) -> dict[str, Callable[[], Row]]:
    """Return the cases by name."""
    made = QualityBench(bench)
    return {
        "rules": made.five,
        "letters": made.letters,
        "pandera": made.pandera,
    }
