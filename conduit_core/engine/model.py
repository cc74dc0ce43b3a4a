"""What the engine's steps hand to each other and to people: frozen, JSON, no secrets."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator

from conduit_core import errors
from conduit_core.connectors.publish import Column, Publish
from conduit_core.connectors.splits import WHOLE, SplitBy
from conduit_core.engine.bottleneck import WORTH_SECONDS, Bottleneck, bottleneck
from conduit_core.errors import ConduitError, Retry
from conduit_core.state.ledger import Counts, LedgerRecord
from conduit_core.types.dialect import Table

Guarantee = Literal["exactly-once", "effectively-once (idempotent by key)", "at-least-once"]
Outcome = Literal["published", "replayed", "empty"]
MOST_VALUES = 1000
"""Of one slice: they are bound in one statement."""


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True)


class SliceBy(_Data):
    """The rows whose column has one of some values, written as in the pipeline file.

    Args:
        column: a column that the stream loads.
        values: 1 to ``MOST_VALUES``; their order doesn't matter, nor one that comes twice.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str = Field(min_length=1)
    values: tuple[str, ...] = Field(min_length=1, max_length=MOST_VALUES)

    @field_validator("values")
    @classmethod
    def _each_once(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(set(values)))

    @classmethod
    def of(cls, only: object) -> Self:
        """Return the slice that a runner's argument says.

        Args:
            only: one column with its value or values: texts, whole numbers, decimals, dates or
                times.

        Raises:
            ConfigError: it is something else.
        """
        if not isinstance(only, Mapping) or len(only) != 1:
            raise errors.ConfigError(
                f"only={only!r} is one column with its values, such as {{'region': ['eu', 'us']}}"
            )
        ((column, said),) = only.items()
        values = list(said) if isinstance(said, list | tuple | set | frozenset) else [said]
        if not all(isinstance(value, str | int | date | Decimal) for value in values):
            raise errors.ConfigError(
                f"only= of {column!r}: a value is text, a whole number, a decimal, or a date or"
                " time; a float has no exact text: write it as text or Decimal"
            )
        if not column or not 1 <= len(values) <= MOST_VALUES:
            raise errors.ConfigError(
                f"only= of {column!r} has {len(values)} values: it needs a column, and"
                f" 1 to {MOST_VALUES:,} values"
            )
        return cls(column=column, values=tuple(_written(value) for value in values))


def _written(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if isinstance(value, date) else str(value)


class RunRequest(_Data):
    """What the runner asks for; the rest is in the pipeline file. Unknown fields are refused.

    Args:
        window_from, window_to: a given window ``[from, to)``; ``window_to`` alone caps the
            watermark window (inclusive).
        only: a given window by value: the rows that have the values; with ``window_from``, those
            that lie in the window, too.
        full_refresh: read everything and replace the target's content.
        reload: load again what a request key has loaded already.
        request_key: the runner's identity of this request, unique per target.
        allow_empty: let an empty extract empty the target.
        allow_deletes: let a load delete any share of the target's rows.
        runner: who asks, as JSON (ids, actor), recorded in the ledger.
        after: whether ``after:`` is done; False where the runner does that in a way of its own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    window_from: str | None = None
    window_to: str | None = None
    only: SliceBy | None = None
    full_refresh: bool = False
    reload: bool = False
    request_key: str | None = None
    allow_empty: bool = False
    allow_deletes: bool = False
    runner: str = "{}"
    after: bool = True


class LoadPlan(_Data):
    """One stream's frozen plan: what will be read and what publish will do.

    ``window`` and ``cursor`` are their classes' JSON text, schemas the JSON of
    ``types.schema_to_json``. ``empty`` plans read nothing and change nothing; ``replayed`` holds
    the record of a load that the request key has published before. ``last_load_id`` and
    ``last_watermark_text`` are where the target stands when the plan is made.

    ``schema_changes`` are the differences found between source, target and what is expected, as
    ``Change.as_json`` says them; ``warnings`` those that are not applied; ``history`` is what the
    rules of whole loads compare with: facts of earlier loads as JSON.

    ``key_source`` and ``key_staged`` are the schemas of the key rows, as read and as staged, where
    the load looks for deletes by key.

    ``staged`` says whether the rows are staged split by split before they are published. Then
    ``plan_id`` is the plan's own digest, ``probe`` tells the place of staging, ``supersedes`` names
    the open load that this plan doesn't take up, and ``adopted`` says that it took one up.

    Args:
        version: of this format.
        pipeline, stream: whose load it is.
        target_schema, target_table: where rows go.
        load_id: the load's id, which the ledger holds once.
        request, request_key: what was asked for, as JSON, and the runner's name for it.
        mode, guarantee: how rows are published, and what that promises.
        window_text, watermark_text: what is read, and the watermark after it, for people.
        cursor_timezone: the zone of a cursor without one.
        source_schema, staged_schema: the columns as they are read, and as they are handed over.
        refuse_changed_files, remember_files: whether a file that changed since it was loaded is an
            error, and whether the record is to remember the files.
        target_fingerprint: what makes the target this one.
        rows_estimate: about how many rows will be read; None: not known.
        null_rows: rows without a cursor value.
        loaded_at: the load's moment, which is written into its rows.
        publish: what the destination is to require and do.
        state_text: the entry of the runner's state store that was seen.
        notes: what people should know.
        staged_columns: the columns of staged rows, as the place of staging spells them.
        splits, keeps_splits: how the window is cut, and whether a later plan has to cut it the
            same.
    """

    version: Literal[1] = 1
    pipeline: str
    stream: str
    target_schema: str
    target_table: str
    load_id: str
    last_load_id: str | None
    last_watermark_text: str | None
    request: str
    request_key: str | None
    mode: str
    guarantee: Guarantee
    window: str
    window_text: str
    cursor: str | None
    cursor_timezone: str | None = None
    watermark_text: str | None
    source_schema: list[dict[str, object]]
    staged_schema: list[dict[str, object]]
    key_source: list[dict[str, object]] | None = None
    key_staged: list[dict[str, object]] | None = None
    refuse_changed_files: bool = False
    remember_files: bool = False
    target_fingerprint: str
    rows_estimate: int | None
    null_rows: int
    loaded_at: datetime
    publish: Publish
    state_text: str | None
    notes: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    schema_changes: list[dict[str, str | None]] = []
    history: tuple[str, ...] = ()
    empty: bool
    replayed: LedgerRecord | None = None
    staged: bool = False
    staged_columns: tuple[Column, ...] = ()
    splits: SplitBy = WHOLE
    keeps_splits: bool = False
    plan_id: str = ""
    probe: str = ""
    supersedes: str | None = None
    adopted: bool = False

    @property
    def target(self) -> Table:
        """The target."""
        return Table(self.target_schema, self.target_table)


class AuditReport(_Data):
    """What the rules for a whole load found, and that every split is there.

    Args:
        load_id, plan_id: the load.
        splits: how many were staged.
        counts: rows by what became of them so far, over all splits.
        bytes: their Arrow size.
        seconds: the time of staging, summed over splits.
        quality: what the rules found, as JSON; "" where there are none.
        version: of this format.
    """

    version: Literal[1] = 1
    load_id: str
    plan_id: str
    splits: int
    counts: Counts
    bytes: int
    seconds: float
    quality: str = ""


class ColumnChange(_Data):
    """A column of the target that a load changed: ``added``, ``widened`` or ``nullable``."""

    column: str
    change: Literal["added", "widened", "nullable"]
    was: str | None
    now: str


class LoadResult(_Data):
    """One stream's end: what became of its rows and where its watermark is.

    ``load_id`` is the load the target stands at: with nothing new, an earlier one.

    Args:
        format: the version of this format.
        pipeline, stream: whose load it was.
        target: ``schema.table``.
        outcome: ``published``; ``replayed``: the ledger had it already; ``empty``: nothing was new.
        mode, guarantee: how rows were published, and what that promises.
        version: the target's version, which counts its loads; None before the first.
        window, watermark: what was read, and where the watermark is now, for people.
        counts: rows by what became of them.
        bytes_read: Arrow bytes that were read.
        seconds, stages: the whole time, and seconds by stage.
        notes: what people should know.
        schema_changes: columns of the target that the load changed.
    """

    format: Literal[1] = 1
    pipeline: str
    stream: str
    target: str
    outcome: Outcome
    mode: str
    load_id: str | None
    version: int | None
    window: str
    watermark: str | None
    watermark_at: datetime | None = None
    """The watermark's moment, for cursors over time."""
    guarantee: Guarantee
    counts: Counts
    bytes_read: int
    seconds: float
    stages: dict[str, float]
    notes: tuple[str, ...] = ()
    schema_changes: tuple[ColumnChange, ...] = ()
    quality: dict[str, object] = {}
    """What the rules found, as plain data.

    Of a load that this call has published, ``quality["rules"]`` has every rule of the stream, also
    those it passed, each with the fields of ``conduit_core.RuleReport``. Empty without rules,
    and for loads that were empty or published before. What stops a load is an error, which has the
    same as ``conduit_core.errors.QualityError.reports``."""
    state_text: str | None = None
    """The entry of the runner's state store that the plan saw; ``after`` overwrites no other."""

    @property
    def rows_per_second(self) -> float:
        """Rows read per second of the stream's whole time."""
        return self.counts.read / self.seconds if self.seconds else 0.0

    @property
    def bottleneck(self) -> Bottleneck | None:
        """What held the load up, and the setting to try; None where nothing was published."""
        return bottleneck(self.stages) if self.outcome == "published" else None

    @property
    def held_up(self) -> str:
        """The bottleneck and what to try, in one line; "" for a load of a few seconds."""
        found = self.bottleneck if self.seconds >= WORTH_SECONDS else None
        return f"{found.text}; to try: {found.setting}" if found else ""


class StreamFailure(_Data):
    """A failed stream: the error's class, exit code and four lines.

    Args:
        stream: the stream's name, or a hook's.
        error: the name of the error's class.
        exit_code: what the command ends with.
        retry: whether the same step, a new plan, or nothing helps.
        lines: the four lines that close every failure.
    """

    stream: str
    error: str
    exit_code: int
    retry: Retry
    lines: tuple[str, ...]
    _error: ConduitError | None = PrivateAttr(default=None)

    @classmethod
    def of(cls, stream: str, error: ConduitError) -> Self:
        """Describe an error whose place is filled in; the error itself stays in this process.

        Args:
            stream: the stream's name.
            error: what ended it.
        """
        failure = cls(
            stream=stream,
            error=type(error).__name__,
            exit_code=error.exit_code,
            retry=error.retry,
            lines=tuple(error.lines()),
        )
        failure._error = error
        return failure

    def to_error(self) -> ConduitError:
        """Return the error as it was raised, or rebuilt from its lines in another process."""
        if self._error is not None:
            return self._error
        kind = getattr(errors, self.error, ConduitError)
        what, state, _, command = self.lines
        error: ConduitError = kind(what, state=state, retry=self.retry, command=command)
        return error


class HookResult(_Data):
    """What became of a hook of ``after:``.

    Args:
        hook: its name.
        outcome: ``skipped``: nothing was to be done, or it wasn't allowed; ``text`` says why.
        text: in one line, for people.
        tables: the targets that had changed since it last finished.
        details: what it did, as plain data; each hook's own.
        seconds: its time.
        failure: its error.
    """

    hook: str
    outcome: Literal["succeeded", "skipped", "failed"]
    text: str
    tables: tuple[str, ...] = ()
    details: dict[str, object] = {}
    seconds: float = 0.0
    failure: StreamFailure | None = None


class RunResult(_Data):
    """A run's end: results in the file's order, failures beside them, streams never started.

    ``hooks`` are what followed, in the order of ``after:``.

    Args:
        pipeline: its name.
        results: what became of the streams that didn't fail.
        failures: the streams that failed.
        not_started: streams that ``on_error: stop`` or Ctrl-C left out.
        interrupted: whether Ctrl-C ended the run.
        seconds: the whole time.
    """

    pipeline: str
    results: tuple[LoadResult, ...]
    failures: tuple[StreamFailure, ...] = ()
    not_started: tuple[str, ...] = ()
    hooks: tuple[HookResult, ...] = ()
    interrupted: bool = False
    seconds: float

    @property
    def failed(self) -> tuple[StreamFailure, ...]:
        """The streams that failed, then the hooks."""
        return (*self.failures, *(h.failure for h in self.hooks if h.failure is not None))

    @property
    def exit_code(self) -> int:
        """0, or the first failure's code, or 130 after Ctrl-C."""
        if self.interrupted:
            return 130
        return self.failed[0].exit_code if self.failed else 0
