"""What was measured, as data: the page is made of it, and `results.json` keeps it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

EQUAL = "equal"


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Side(_Data):
    """One of those that were run in turn: what each turn took.

    ``load_seconds`` is the load's own time, without start-up, where the program tells it;
    ``cpu_seconds`` is the processor time of the whole process and its children.
    ``check`` says of the rows at the end: "equal" to the source's, why not, or "" (not compared).
    """

    name: str
    seconds: list[float]
    load_seconds: list[float] = []
    cpu_seconds: list[float] = []
    peak_mib: float | None = None
    check: str = ""

    @property
    def took(self) -> float:
        """The median of the whole process, in seconds."""
        return statistics.median(self.seconds)

    @property
    def cpu(self) -> float | None:
        """The median of the processor time, in seconds."""
        return statistics.median(self.cpu_seconds) if self.cpu_seconds else None

    @property
    def load(self) -> float | None:
        """The median of the load alone, in seconds."""
        return statistics.median(self.load_seconds) if self.load_seconds else None


class Wanted(_Data):
    """What the project promises of a row; None where it promises nothing."""

    ratio: float | None = None
    load_ratio: float | None = None
    seconds: float | None = None
    more_seconds: float | None = None
    peak_mib: float | None = None


class Measured(_Data):
    """One row: ours first, then what it was held against, turn by turn."""

    section: str
    what: str
    sides: list[Side]
    wanted: Wanted = Wanted()
    note: str = ""
    rows: int | None = None
    busy: bool = False
    run: str = ""

    @property
    def ours(self) -> Side:
        return self.sides[0]

    @property
    def reference(self) -> Side | None:
        return self.sides[1] if len(self.sides) > 1 else None

    def ratio(self, other: Side | None = None) -> float | None:
        """Ours by the other's time, the whole process: the median of the turns' ratios."""
        other = other or self.reference
        return None if other is None else _ratio(self.ours.seconds, other.seconds)

    def load_ratio(self) -> float | None:
        """The same without our start-up, and without the other's where it tells its own time."""
        other = self.reference
        if other is None or not self.ours.load_seconds:
            return None
        return _ratio(self.ours.load_seconds, other.load_seconds or other.seconds)

    def more(self) -> float | None:
        """How many seconds more ours takes: the median of the turns' differences."""
        other = self.reference
        if other is None:
            return None
        return _more(self.ours.seconds, other.seconds)

    def more_cpu(self) -> float | None:
        """How many seconds of processor time more ours takes."""
        other = self.reference
        if other is None or not self.ours.cpu_seconds or not other.cpu_seconds:
            return None
        return _more(self.ours.cpu_seconds, other.cpu_seconds)

    def verdict(self) -> list[tuple[str, bool]]:
        """Return each promise as the page words it, and whether it was met."""
        wanted = self.wanted
        held = (
            ("process {}x", wanted.ratio, self.ratio()),
            ("load {}x", wanted.load_ratio, self.load_ratio()),
            ("{} s", wanted.seconds, self.ours.took),
            ("{} s more", wanted.more_seconds, self.more()),
            ("{} MiB", wanted.peak_mib, self.ours.peak_mib),
        )
        return [
            (words.format(f"{limit:g}"), found is not None and found <= limit)
            for words, limit, found in held
            if limit is not None
        ]


def _ratio(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def _more(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(a - b for a, b in zip(ours, theirs, strict=True))


class Run(_Data):
    """One call of the command: when, where, with what, beside how much else."""

    date: str
    command: str
    turns: int
    machine: str
    load_before: float
    versions: dict[str, str]


class Results(_Data):
    """All rows by their case, and the runs that measured them by their key."""

    runs: dict[str, Run] = {}
    rows: dict[str, Measured] = {}

    @classmethod
    def read(cls, path: Path) -> Results:
        """Read the file; nothing was measured where there is none."""
        return cls.model_validate_json(path.read_bytes()) if path.exists() else cls()

    def write(self, path: Path) -> None:
        """Write the file, as short lines for people who compare two of them."""
        path.write_text(self.model_dump_json(indent=1, exclude_defaults=True) + "\n")

    def renewed(self, run: Run, rows: dict[str, Measured], order: Sequence[str] = ()) -> Results:
        """Return these with a run's rows in place of older ones; runs without rows are gone.

        Args:
            run: what measured them.
            rows: its rows by their case.
            order: cases in the order of the page; others come behind them, as they were.
        """
        key = f"{run.date} {run.command}"
        kept = self.rows | {name: row.model_copy(update={"run": key}) for name, row in rows.items()}
        place = {name: at for at, name in enumerate(order)}
        kept = dict(sorted(kept.items(), key=lambda item: place.get(item[0], len(place))))
        used = {row.run for row in kept.values()}
        runs = {name: one for name, one in {**self.runs, key: run}.items() if name in used}
        return Results(runs=runs, rows=kept)
