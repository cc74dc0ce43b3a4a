"""The ledger record: what one published load did to its target."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from conduit_core.types.dialect import Table


class Counts(BaseModel):
    """Rows of a load by what became of them; their sum is ``read`` (the balance), but for two.

    ``deleted`` are rows that carried a delete flag and, beside the rows read, rows of the target
    that were found to be gone at the source. ``removed`` are rows of the target that made room: its
    old content, the old slice, a replaced file's rows, those above a watermark that was set back.
    """

    model_config = ConfigDict(frozen=True)

    read: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    deduplicated: int = 0
    superseded: int = 0
    rejected: int = 0
    removed: int = 0


class LedgerRecord(BaseModel):
    """One row of ``_conduit_ledger``; ``cursor`` and ``load_window`` are JSON text.

    ``schema_changes`` is a JSON list of what the load changed of the target's columns:
    ``{"column", "change", "was", "now"}``; ``change`` is ``added``, ``widened`` or ``nullable``.
    ``stages`` are seconds by stage as JSON: the commit's, as far as they were known inside of it.

    Args:
        target_schema, target_table: which target it is of.
        version: the target's version after the load: 1, 2, ...
        pipeline, stream: who loaded.
        load_id: the load's id, once in the ledger.
        request, request_key: what was asked for, as JSON, and the runner's name for it.
        mode: how rows were published; ``state_...`` and ``replay`` for what is no load of the
            source.
        counts: rows by what became of them.
        schema_fingerprint, spec_fingerprint, target_fingerprint: digests of the columns, of the
            stream in the file, and of the target.
        runner: who asked, as JSON.
        started_at, published_at: when it was planned, and when it was committed.
    """

    model_config = ConfigDict(frozen=True)

    target_schema: str
    target_table: str
    version: int
    pipeline: str
    stream: str
    load_id: str
    request: str
    request_key: str | None = None
    mode: str
    load_window: str
    cursor: str | None = None
    counts: Counts = Counts()
    schema_fingerprint: str
    spec_fingerprint: str
    target_fingerprint: str
    runner: str = "{}"
    schema_changes: str = "[]"
    stages: str = "{}"
    started_at: datetime
    published_at: datetime

    @property
    def target(self) -> Table:
        """The target."""
        return Table(self.target_schema, self.target_table)

    @property
    def window_text(self) -> str:
        """What the load covered, for people; of a record that read nothing, the watermark."""
        from conduit_core.state.window import Window  # it reads Arrow's types

        if self.mode == "replay":
            return "dead letters"
        if self.is_aside:  # what it holds as its window would read as everything
            return f"watermark {self.watermark_text}" if self.cursor else "no watermark"
        return Window.from_json(self.load_window).display()

    @property
    def watermark_text(self) -> str | None:
        """The watermark after the load, for people; None: it has none."""
        from conduit_core.state.cursor import Cursor  # as above

        return Cursor.from_json(self.cursor).display() if self.cursor else None

    @property
    def seconds_by_stage(self) -> dict[str, float] | None:
        """What ``stages`` says; None: it can't be read, as somebody wrote into the ledger."""
        try:
            found = json.loads(self.stages)
        except ValueError:
            return None
        if not isinstance(found, dict):
            return None
        known = all(isinstance(v, int | float) for v in found.values())
        return found if known else None

    @property
    def empties_target(self) -> bool:
        """Whether rows of earlier records are no more: replaced, or deleted and to be loaded again.

        After ``--replace-after`` those below the new watermark are still there, but no watermark
        load reads below it.
        """
        return self.mode in ("replace", "state_reset") or '"replace_after":true' in self.request

    @property
    def is_aside(self) -> bool:
        """Whether it was written beside loads of the source: state mended, dead letters replayed.

        It carries its base's watermark on, and covers nothing by itself.
        """
        return self.mode.startswith("state_") or self.mode == "replay"

    @property
    def is_given(self) -> bool:
        """Whether the record covers a given window: it leaves the watermark as it was."""
        return '"kind":"given"' in self.load_window


def stages_text(stages: Mapping[str, float], publish_seconds: float, *, in_splits: bool) -> str:
    """Return a load's seconds by stage as its record keeps them.

    Args:
        stages: what the rows took on their way.
        publish_seconds: how long the publish has lasted so far.
        in_splits: whether the rows had come before it began.
    """
    rows = 0.0 if in_splits else stages.get("write", 0.0) + stages.get("queue_empty", 0.0)
    known = {**stages, "commit": max(publish_seconds - rows, 0.0)}
    return json.dumps({k: round(v, 4) for k, v in known.items()}, separators=(",", ":"))


def newest(chain: list[LedgerRecord]) -> LedgerRecord | None:
    """Return the record with the highest version."""
    return max(chain, key=lambda r: r.version, default=None)


def watermark_record(chain: list[LedgerRecord]) -> LedgerRecord | None:
    """Return the newest record that isn't a given-window one: the base of a watermark load."""
    return newest([r for r in chain if not r.is_given])


def since_emptied(chain: list[LedgerRecord]) -> list[LedgerRecord]:
    """Return the records from the newest on that emptied the target: what rows can come from."""
    start = max((r.version for r in chain if r.empties_target), default=0)
    return [r for r in chain if r.version >= start]


def known_files(chain: list[LedgerRecord]) -> frozenset[str]:
    """Return the digests of every file whose rows the target can hold."""
    digests: set[str] = set()
    for record in since_emptied(chain):
        digests.update(json.loads(record.load_window).get("files", ()))
    return frozenset(digests)
