"""The contracts every connector meets, and the typed facts they exchange. Small on purpose."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from conduit_core.connectors.publish import Column, Publish
from conduit_core.connectors.splits import Split, SplitBy
from conduit_core.errors import ConfigError, Retry
from conduit_core.events import Emit
from conduit_core.state.cursor import Cursor
from conduit_core.state.ledger import Counts, LedgerRecord
from conduit_core.state.window import Window
from conduit_core.types.dialect import Dialect, Landing, Table

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import pyarrow as pa

    from conduit_core.connectors.letters import Letters
    from conduit_core.connectors.staging import Staging


@dataclass(frozen=True, slots=True)
class CheckItem:
    """One thing ``conduit check`` looked at: ``name``, if it is ``ok``, what was seen (``detail``).

    Where it isn't ok: ``remedy`` says what to do (a GRANT, a path), ``retry`` if a retry helps.
    """

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    retry: Retry | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """Where a connector lives: relative paths are relative to ``base_dir``.

    Args:
        base_dir: the pipeline file's folder.
        budget_bytes: memory the connector may use for its own buffers.
    """

    base_dir: Path
    budget_bytes: int = 128 * 1024 * 1024


# --- sources --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StreamRef:
    """What a source needs to know of a stream. Exactly one of table, query, path is set."""

    table: str | None = None
    query: str | None = None
    path: str | None = None
    columns: tuple[str, ...] | None = None
    cursor: tuple[str, ...] = ()
    file_column: bool = False
    """Whether ``_conduit_file`` (the file's path) is read as the last column: files only."""

    def __str__(self) -> str:
        return self.table or self.path or "the query"


@dataclass(frozen=True, slots=True)
class Relation:
    """Something a source could load, as ``discover`` lists it; ``name`` is what a stream writes."""

    name: str
    schema: pa.Schema
    rows_estimate: int | None = None
    primary_key: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shape:
    """What reading a stream gives: the schema, exactly, and estimates where they are cheap."""

    schema: pa.Schema
    cursor_types: tuple[pa.DataType, ...] = ()
    """Types of the cursor columns; virtual columns (``_file_modified``) are not in the schema."""
    rows_estimate: int | None = None
    primary_key: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What the types lose or how they are encoded: shown by ``plan``."""
    nothing: str = ""
    """Why there is nothing to load and not even a column: the plan is then empty."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where a stream's cursor stands at the source.

    Args:
        high: the last row's cursor (``ORDER BY a DESC, b DESC LIMIT 1``, NULLs aside), at most the
            cap; None for no such row.
        null_rows: rows with a NULL in the cursor, counted.
        rows_estimate: rows in ``(low, high]``; None where counting isn't cheap.
        clock: the source's own time, with its zone (files and SQLite: this machine's); None where
            it has none, and then no stream of it can have ``settle``.
    """

    high: Cursor | None
    null_rows: int = 0
    rows_estimate: int | None = None
    clock: datetime | None = None


def file_digest(path: str) -> str:
    """Return the digest by which a loaded file (its path in its source) is known: 16 hex digits."""
    return hashlib.sha256(path.encode()).hexdigest()[:16]


UNREADABLE = "_conduit_unreadable"
"""A column that a read may be asked for, where the source ``gives_unreadable``: NULL, or a JSON
object of the row's values that aren't of their column's type, ``{"price": "n/a"}``, as texts."""

BATCH_BYTES = 4 * 1024 * 1024
"""The size of a batch where memory allows."""


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """What to read. ``schema`` is the one ``describe`` gave: read it exactly or fail.

    With a column ``UNREADABLE`` behind it, rows with a value that isn't of its column's type don't
    fail: the value is there as text, and NULL in its own column. A cursor's column fails anyway.

    ``known_files`` are digests (:func:`file_digest`) of files loaded before, for sources of files
    that must refuse a changed one (``refuse_changed``).
    """

    ref: StreamRef
    schema: pa.Schema
    window: Window
    batch_bytes: int = BATCH_BYTES
    known_files: frozenset[str] = frozenset()
    refuse_changed: bool = False
    split: Split | None = None
    """The part of the window to read; None: all of it."""
    snapshot: str | None = None
    """A snapshot of the source to read in, as :class:`Snapshots` gave it."""


@dataclass(slots=True)
class Reading:
    """An open read: batches in the request's schema, then ``close`` (always, idempotent).

    ``cancel`` ends a fetch that another thread waits for, where the system can; ``close`` follows.
    ``files`` fills up with the paths read while the batches are taken, for sources of files.
    ``threaded`` says that threads of the driver's own do the work, while the reader only waits.
    """

    reader: pa.RecordBatchReader
    close: Callable[[], None] = lambda: None
    files: list[str] = field(default_factory=list)
    cancel: Callable[[], None] = lambda: None
    threaded: bool = False


@dataclass(frozen=True, slots=True)
class RawBatch:
    """Rows as bytes of a format that both their systems speak; nobody in between looks at them."""

    data: bytes
    num_rows: int

    @property
    def nbytes(self) -> int:
        """Their size."""
        return len(self.data)


@dataclass(slots=True)
class RawReading:
    """An open read of undecoded rows: ``pump`` once, then ``close`` (always, idempotent).

    ``pump`` hands batch after batch to its argument until the last, or until that says False.
    ``cancel`` ends a ``pump`` that runs in another thread; ``close`` follows.
    """

    pump: Callable[[Callable[[RawBatch], bool]], None]
    close: Callable[[], None] = lambda: None
    cancel: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class SourceCapabilities:
    """What a source can do, as data, so that a plan can refuse before it touches the network."""

    kinds: frozenset[str]
    """Which of ``table``, ``query``, ``path`` a stream of this source may name."""
    virtual_cursor: tuple[str, ...] = ()
    """Virtual columns usable as cursor (``_file_modified``, ``_file_path``)."""
    infers_types: bool = False
    """Whether types come from a sample of the data: one odd value then changes a column's type."""
    gives_unreadable: bool = False
    """Whether a read may be asked for the column ``UNREADABLE``, and is to be."""
    splits: frozenset[str] = frozenset()
    """Which kinds of splits (``range``, ``hash``, ``values``, ``file``) a read may be cut into."""
    slices: bool = False
    """Whether a read keeps to a window by value (``Window.only``), of any type with equality."""
    looks_by_taking: bool = False
    """Whether to describe a stream may take all its rows: not done for a load that is replayed."""


class Source(ABC):
    """A system rows come from, with its ``capabilities``. Safe to use from several threads."""

    system: str
    """The connector's type, as in ``type: postgres``."""
    capabilities: SourceCapabilities
    default_schema: str = ""
    """The schema of a table that is named without one."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """What makes this source itself (host, database, path), without secrets."""

    @abstractmethod
    def check(self) -> list[CheckItem]:
        """Look whether it is reachable, its version, the round-trip time and the rights to read."""

    @abstractmethod
    def discover(self) -> list[Relation]:
        """List what can be loaded.

        Raises:
            ConnectionFailedError: the system can't be reached.
        """

    @abstractmethod
    def describe(self, ref: StreamRef) -> Shape:
        """Return the exact schema of ``ref`` without reading it (files: a bounded sample).

        Raises:
            SchemaError: the table, file or a named column doesn't exist, or a cursor column can't
                be ordered; the message lists what does exist.
            SourceDataError: a file isn't what its name says.
        """

    @abstractmethod
    def bounds(self, ref: StreamRef, low: Cursor | None, cap: Cursor | None) -> Bounds:
        """Return the high bound of the cursor of ``ref`` above ``low``; ``cap`` is inclusive."""

    @abstractmethod
    def read(self, request: ReadRequest) -> Reading:
        """Open the window of ``request`` for reading, in batches of about its ``batch_bytes``.

        Raises:
            SourceDataError: from the reader, where data isn't what it claims to be.
        """

    def cut(
        self,
        ref: StreamRef,
        window: Window,
        kind: Literal["range", "file"],
        column: str | None,
        count: int,
    ) -> SplitBy:
        """Cut a ``window`` of ``ref`` into at most ``count`` parts of about as many rows or bytes.

        ``kind`` is by files, or by values of ``column`` that there are, never by what lies between.

        Raises:
            ConfigError: the source can't be cut this way (see ``capabilities.splits``).
            SchemaError: the column doesn't exist or has no order.
        """
        raise ConfigError(f"a {self.system} source can't be split by {kind}")

    def close(self) -> None:  # noqa: B027 - closing nothing is right for most sources
        """Give back connections. Idempotent."""


@runtime_checkable
class Snapshots(Protocol):
    """Trait: a source that several reads may see at one moment."""

    def snapshot(self) -> AbstractContextManager[str]:
        """Hold a snapshot open; ``ReadRequest.snapshot`` takes what it gives, in any process."""
        ...


@dataclass(frozen=True, slots=True)
class Inferred:
    """What looking at a stream's rows said of its columns.

    Args:
        schema: the columns; nullable only where a NULL was seen, or where none was looked for.
        rows: how many rows were looked at; None: none, the files say their types themselves.
        whole: whether these are all the rows there are.
        nulls: in how many of these rows each column is NULL.
        rows_estimate: how many rows there are.
        notes: for people.
    """

    schema: pa.Schema
    rows: int | None
    whole: bool
    nulls: Mapping[str, int] = field(default_factory=dict)
    rows_estimate: int | None = None
    notes: tuple[str, ...] = ()


SAMPLE_BYTES = 2 * 1024 * 1024
"""How much of a stream is looked at to infer types, unless someone asks for more."""


@runtime_checkable
class InfersTypes(Protocol):
    """Trait: a source that tells types from values, and can look at more of them."""

    def infer(self, ref: StreamRef, limit: int | None = SAMPLE_BYTES) -> Inferred:
        """Look at about ``limit`` bytes of the stream, or at everything (None)."""
        ...


@runtime_checkable
class ReadsRaw(Protocol):
    """Trait: a source that can hand over rows undecoded, in a format it shares with others."""

    def raw_format(self, ref: StreamRef) -> str | None:
        """Return the format's name, None where the stream can't be read so."""
        ...

    def read_raw(
        self, request: ReadRequest, columns: tuple[Column, ...], constants: Mapping[str, str]
    ) -> RawReading:
        """Open the window; rows have just these columns, in this order and of these types.

        Args:
            request: what to read.
            columns: the source's own columns and constants; ``ddl`` as in the source's system.
            constants: columns with one value in every row, as text; they aren't in the source.

        Raises:
            SchemaError: a column of the source isn't of that type any more.
        """
        ...


# --- destinations ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TargetColumn:
    """A column of an existing target; ``arrow`` is the type to hand batches over in."""

    name: str
    ddl: str
    arrow: pa.DataType
    nullable: bool = True
    has_default: bool = False


@dataclass(frozen=True, slots=True)
class TargetShape:
    """An existing target. ``dependants`` are what a swap would break (views, foreign keys ...)."""

    columns: tuple[TargetColumn, ...]
    rows_estimate: int | None = None
    dependants: tuple[str, ...] = ()
    is_table: bool = True


@dataclass(frozen=True, slots=True)
class DestinationCapabilities:
    """What a destination can do, as data."""

    actions: frozenset[str]
    """The kinds of publish actions it carries out, all in one transaction."""
    transactional: bool = True
    max_identifier_bytes: int | None = None
    max_columns: int | None = None
    case_sensitive_names: bool = True
    """Whether two columns may differ by case only."""
    default_schema: str = ""
    takes_nul: bool = True
    """Whether a text may have a NUL character."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What reader and rules counted, and the digests of files to remember with the record.

    ``complete`` is False where the destination stopped taking batches before the last one;
    ``bytes`` is the size of what was read. ``letters`` are the rejected rows, to be read by the
    destination before it commits; ``report`` is what the audit found, as JSON, kept with the load.
    ``stages`` are seconds by stage, as far as the rows have come.
    """

    counts: Counts
    files: tuple[str, ...] = ()
    complete: bool = True
    bytes: int = 0
    letters: Letters | None = None
    report: str = ""
    stages: Mapping[str, float] = field(default_factory=dict)


class StagedRows(Protocol):
    """The rows of one load on their way into a destination."""

    schema: pa.Schema
    """Names and types as the destination's ``landing``/``describe`` asked for."""

    def reader(self) -> pa.RecordBatchReader:
        """Return the batches; taken once."""
        ...

    def finish(self) -> Tally:
        """After the last batch: audit, and return what reader and rules counted.

        Called too when the destination gave up before the last batch; then it only stops reading.

        Raises:
            ConduitError: what broke the read (the driver in between only saw a broken stream), or
                a rule for the whole load.
        """
        ...


@runtime_checkable
class RawRows(Protocol):
    """Staged rows that can also be had undecoded, where the publish has a ``wire``."""

    def raw(self, columns: tuple[Column, ...], constants: Mapping[str, str]) -> Iterator[RawBatch]:
        """Return the rows in the wire's format; taken once, instead of ``reader``.

        Args:
            columns: names and types, in the order the destination wants them in.
            constants: values, as text, of those that the source doesn't have.
        """
        ...


class KeyRows(Protocol):
    """What the source says of keys, beside the rows: for publishes with ``deletes`` by key."""

    def all(self) -> StagedRows:
        """Return the key rows, with the columns of ``Deletes.keys``; asked for after the rows."""
        ...

    def again(self, keys: Sequence[tuple[object, ...]]) -> StagedRows:
        """Read the rows of some keys as they are now; columns as of the load's own rows.

        Args:
            keys: at most 1,000, as the destination's session gives the key's columns.
        """
        ...


@dataclass(frozen=True, slots=True)
class Commit:
    """What a commit ended with; ``replayed`` when the ledger had the load already.

    ``record`` is None where nothing was read, deleted or created. ``notes`` are for people.
    """

    record: LedgerRecord | None
    replayed: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CleanItem:
    """What ``conduit clean`` removes: kind, name, why.

    Kinds are ``staging``, ``record``, ``incidents`` and ``letters``.
    """

    kind: str
    name: str
    reason: str


class Destination(ABC):
    """A ``system`` rows go to, its ``capabilities`` and ``dialect``; safe in several threads."""

    system: str
    capabilities: DestinationCapabilities
    dialect: Dialect

    @property
    @abstractmethod
    def identity(self) -> str:
        """What makes this destination itself, without secrets; in each target's fingerprint."""

    @abstractmethod
    def check(self, schemas: tuple[str, ...]) -> list[CheckItem]:
        """Look at reach, version, round trip and the rights a load into ``schemas`` needs."""

    @abstractmethod
    def describe(self, target: Table) -> TargetShape | None:
        """Return ``target`` as it is on the primary, or None where it isn't. Read-only."""

    @abstractmethod
    def landing(self, field: pa.Field[pa.DataType]) -> Landing:
        """Return where a source's column, ``field``, lands in a new table.

        Raises:
            SchemaError: there is no place for its type.
        """

    @abstractmethod
    def records(self, target: Table | None) -> list[LedgerRecord]:
        """Return the ledger of ``target``, or of all, by version. Read-only; none: empty."""

    def kept_schema(self, target: Table, fingerprint: str) -> str | None:
        """Return the text of the schema that a load of ``target`` kept under ``fingerprint``."""
        return None

    @abstractmethod
    def render(self, publish: Publish) -> list[str]:
        """Return, as text, exactly what ``commit`` does for ``publish``. Read-only."""

    @abstractmethod
    def commit(
        self,
        publish: Publish,
        rows: StagedRows | None,
        emit: Emit,
        keys: KeyRows | None = None,
    ) -> Commit:
        """Carry out ``publish`` in one transaction and record it; ``rows`` None: a record alone.

        ``keys`` are there where an action's ``deletes`` names key rows. Emits ``PublishStarted``
        (lock held) and ``CommitStarted`` to ``emit``.

        Raises:
            ConcurrentLoadError: a requirement doesn't hold under the lock.
            StateError: the target belongs to another stream.
            GuardError: a guard doesn't hold.
            PublishUnknownError: the commit's outcome can't be asked for now.
            PublishError: the destination refused; nothing was published.
        """

    @abstractmethod
    def scan(self, target: Table, columns: tuple[str, ...] | None = None) -> pa.RecordBatchReader:
        """Read ``columns`` of ``target``; the reader holds its connection until it is closed."""

    def holders(self, target: Table, columns: tuple[str, ...]) -> tuple[str, ...]:
        """Return what keeps types of ``columns`` of ``target`` (views ...). Read-only."""
        return ()

    def slices_by(self, field: pa.Field[pa.DataType], ddl: str) -> bool:
        """Say whether ``DeleteWindow`` keeps to values (``Window.only``) of a column, exactly.

        Args:
            field: the column as it is staged.
            ddl: as it is in the target: a type that changes texts (blank-padded ones) won't do.
        """
        return False

    def staging(self) -> Staging | None:
        """Return the destination's own place for staged rows; None: it has none."""
        return None

    def close(self) -> None:  # noqa: B027 - closing nothing is right for some destinations
        """Give back connections and file locks. Idempotent; the next call opens again."""


@runtime_checkable
class TakesRaw(Protocol):
    """Trait: a destination that can take rows undecoded, where their types are the target's own."""

    def takes_raw(
        self, schema: pa.Schema, columns: tuple[Column, ...], constants: Mapping[str, str]
    ) -> str | None:
        """Return the name of the format in which it takes such rows, None if it doesn't.

        Args:
            schema: the staged schema, with the tags that tell each column's type in the source.
            columns: the staged columns as they are, or will be, in the target.
            constants: staged columns with one value in every row.
        """
        ...


@runtime_checkable
class Cleans(Protocol):
    """Trait: a destination that leaves things behind that age away."""

    def clean(self, older_than: timedelta, *, dry_run: bool) -> list[CleanItem]:
        """Remove staging and old ledger records, never a chain's newest; return what went."""
        ...
