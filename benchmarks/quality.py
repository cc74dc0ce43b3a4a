"""Loads held to rules against the same loads without; dead letters; pandera beside our kernels."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.bench import Bench, counted
from benchmarks.measure import Contestant, compare
from benchmarks.results import Measured, Wanted
from conduit_core.quality.arrays import kernels as pc

KINDS = {
    "id": "integer", "customer": "integer", "amount": "double", "email": "text", "status": "text",
    "note": "text",
}  # fmt: skip
"""What each column of the rows holds, for checksums."""
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

    def five(self) -> Measured:
        """Five rules on 5M rows, against the same load without."""
        path = self.rows(5 * self.bench.million)
        return self._compared(
            f"five rules on {counted(5 * self.bench.million)} rows",
            "without rules",
            self.load("ruled", path, list(FIVE)),
            self.load("plain", path, []),
            Wanted(load_ratio=1.15),
            path,
        )

    def letters(self) -> Measured:
        """A load of which every tenth row becomes a dead letter, against the clean load."""
        rows = 5 * self.bench.million
        return self._compared(
            f"five rules, every tenth row of {counted(rows)} a dead letter",
            "clean rows under the same rules",
            self.load("letters", self.rows(rows, bad=10), list(FIVE), "dlq"),
            self.load("clean", self.rows(rows), list(FIVE), "dlq"),
            Wanted(load_ratio=1.5),
        )

    def pandera(self) -> Measured:
        """Two checks by a pandera schema, against the same two built in."""
        (self.bench.folder / "bench_model.py").write_text(MODEL)
        path = self.rows(self.bench.million)
        return self._compared(
            f"a pandera schema of two checks on {counted(self.bench.million)} rows",
            "the same two built in",
            self.load("pandera", path, ["{rule: pandera, model: 'bench_model:Rows'@}"]),
            self.load("built_in", path, [FIVE[1], FIVE[3]]),
            Wanted(),
            path,
        )

    def _compared(
        self,
        what: str,
        against: str,
        ours: list[str],
        reference: list[str],
        wanted: Wanted,
        all_of: str | None = None,
    ) -> Measured:
        """Compare two loads, which end with all rows of a file, if one is named."""
        sides = []
        for name, command in (("conduit", ours), (against, reference)):
            file = f"{command[2].removesuffix('.yml')}.duckdb"
            same = self.bench.same_as_file(all_of, "rows", file, KINDS) if all_of else None
            sides.append(Contestant(name, command, f"rm -f {file}*", same))
        return compare(
            "rules", what, sides, cwd=self.bench.folder, wanted=wanted, runs=self.bench.few
        )


def cases(bench: Bench) -> dict[str, Callable[[], Measured]]:
    """Return the cases by name."""
    made = QualityBench(bench)
    return {
        "rules": made.five,
        "letters": made.letters,
        "pandera": made.pandera,
    }
