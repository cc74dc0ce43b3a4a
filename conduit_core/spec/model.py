"""The pipeline file as a model: what every runner reads, the same from YAML, TOML and Python."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)

from conduit_core.spec.amounts import Amount
from conduit_core.spec.deletes import DELETING_MODES, Deletes
from conduit_core.spec.durations import PATTERN, format_duration, parse_duration
from conduit_core.spec.endpoints import MODEL_CONFIG, ConnectionSpec, Duration
from conduit_core.spec.later import Rule, Step
from conduit_core.spec.names import FILE_TYPES, file_stem, looks_like_path, quote_name, split_table
from conduit_core.spec.notify import NotifyRule
from conduit_core.spec.problems import Loc, refusal
from conduit_core.spec.scalars import many, zone
from conduit_core.spec.schema_changes import OnSchemaChange, SchemaChangeSpec
from conduit_core.spec.splits import SplitsSpec, spread

Mode = Literal["append", "replace", "insert_only", "upsert", "replace_window", "scd2"]
Metadata = Literal["load", "file"]
# What a stream inherits from `defaults` only if it has a cursor.
_CURSOR_KEYS = frozenset({"cursor_timezone", "initial", "lookback", "null_cursor", "settle"})
_WITHOUT_DELETES = {
    "replace": "holds just what the source has",
    "replace_window": "holds just what the source has in each slice it loads",
}
MERGING_MODES = frozenset({"insert_only", "upsert", "scd2"})
KEYED_MODES = MERGING_MODES | {"replace_window"}


def _steps(value: object) -> object:
    """Read one step, or one rule, without a list around it."""
    return (value,) if isinstance(value, Mapping) else many(value)


def _some(value: object) -> object:
    """Refuse an empty list here: pydantic's min_length also counts items that are wrong."""
    value = many(value) if value is not None else None
    if isinstance(value, list | tuple) and not value:
        raise ValueError("must not be empty")
    return value


def _point(value: object) -> object:
    """Dates and numbers become the text that the cursor's type parses later."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value


def _hooks(value: object) -> object:
    """Read a hook without options."""
    if not isinstance(value, Mapping):
        return value
    return {name: {} if options is None else options for name, options in value.items()}


def _distinct(value: tuple[str, ...]) -> tuple[str, ...]:
    twice = [name for name, count in Counter(value).items() if count > 1]
    if twice:
        raise ValueError("names the same column twice")
    return value


def _distance(value: object) -> object:
    """Read a lookback: a number in the cursor's unit (as text too), else a duration."""
    if isinstance(value, str) and value.strip().replace(".", "", 1).isdecimal():
        value = Decimal(value.strip())
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        number = Decimal(str(value))
        if not number.is_finite() or number < 0:
            raise ValueError("must be a duration such as 10m, or a number of 0 or more")
        return number
    return parse_duration(value)


def _distance_text(value: timedelta | Decimal) -> str:
    return format_duration(value) if isinstance(value, timedelta) else f"{value:f}"


Distance = Annotated[
    timedelta | Decimal,
    BeforeValidator(_distance),
    PlainSerializer(_distance_text, return_type=str, when_used="json"),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "pattern": PATTERN}, {"type": "number", "minimum": 0}]}
    ),
]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^\S(.*\S)?$")]
Column = Annotated[str, Field(min_length=1)]


class StreamDefaults(BaseModel):
    """What every stream may set, and ``defaults`` for all of them."""

    model_config = MODEL_CONFIG

    mode: Mode = Field(
        default="replace", description="How rows are published. A cursor needs it said."
    )
    unique_key: Annotated[tuple[Column, ...], BeforeValidator(many)] = Field(
        default=(), description="The column or columns that identify a row in the target."
    )
    cursor: Annotated[tuple[Column, ...], BeforeValidator(many)] = Field(
        default=(),
        description="The column or columns that order change; a load reads what lies above the "
        "watermark. Files: [_file_modified, _file_path].",
    )
    cursor_timezone: Annotated[str | None, BeforeValidator(zone)] = Field(
        default=None, description="The time zone of a cursor without one: UTC, Europe/Oslo."
    )
    initial: Annotated[str | None, BeforeValidator(_point)] = Field(
        default=None, description="The first cursor value: the first load starts at it."
    )
    null_cursor: Literal["fail", "include"] = Field(
        default="fail", description="What happens to rows whose cursor is NULL."
    )
    settle: Duration | None = Field(
        default=None,
        description="How long a time cursor's rows may still come in: a load ends that far behind "
        "the source's clock.",
    )
    lookback: Distance | None = Field(
        default=None,
        description="How far behind the watermark a load reads again: 10m, or a number for a "
        "cursor of numbers. Needs a unique_key.",
    )
    metadata: Annotated[tuple[Metadata, ...], BeforeValidator(many)] = Field(
        default=("load",),
        description="Columns added to each row: load (_conduit_load_id, _conduit_loaded_at), "
        "file (the file's path); [] for none.",
    )
    freshness: Duration | None = Field(
        default=None, description="How far the watermark may lag: 24h. Past it, status exits 5."
    )
    deletes: Deletes | None = Field(
        default=None, description="How rows that are gone at the source are found, and what then."
    )
    ignore_columns: Annotated[tuple[Column, ...], BeforeValidator(many)] = Field(
        default=(), description="scd2: columns whose change alone makes no new version."
    )
    splits: Annotated[SplitsSpec | None, BeforeValidator(spread)] = Field(
        default=None, description="Into how many parts a load is cut, read side by side: 8."
    )
    on_schema_change: OnSchemaChange = Field(
        default_factory=SchemaChangeSpec,
        description="What becomes of the target when the source's columns change: auto, warn, "
        "fail or ignore, one word or one for each of added, removed, type_changed.",
    )
    dependents: Literal["fail", "recreate"] = Field(
        default="fail",
        description="Views that keep a column from being widened. fail: they are listed. recreate: "
        "they are dropped and made anew in the same transaction.",
    )
    max_rejected: Amount | None = Field(
        default=None,
        description="How many rows, or which share (1%), may become dead letters; more fail the "
        "load.",
    )
    redact: Annotated[tuple[Column, ...], BeforeValidator(many)] = Field(
        default=(),
        description="Columns whose values no dead letter, sample or report may hold.",
    )
    keep_rejected_staging: bool = Field(
        default=False,
        description="Whether the rows of a load that its rules stop stay where they are staged, "
        "with a query to look at them.",
    )

    @model_validator(mode="after")
    def _check_lists(self) -> Self:
        for key in ("unique_key", "cursor", "metadata", "ignore_columns", "redact"):
            try:
                _distinct(getattr(self, key))
            except ValueError as error:
                raise refusal([((key,), f"`{key}` {error}")]) from None
        return self


class StreamSpec(StreamDefaults):
    """One table, query or file set, and the target it feeds."""

    table: str | None = Field(
        default=None, min_length=1, description="The source table: orders, or public.orders."
    )
    query: str | None = Field(
        default=None, min_length=1, description="A SELECT to load instead of a table."
    )
    path: str | None = Field(
        default=None,
        min_length=1,
        description="A file, folder or glob, relative to the source's path.",
    )
    name: Name = Field(
        default="", description="The stream's name. Default: the table, or the file's stem."
    )
    into: str = Field(
        default="", description="The target: table, or schema.table. Default: the stream's name."
    )
    columns: Annotated[tuple[Column, ...] | None, BeforeValidator(_some)] = Field(
        default=None, description="The columns to load. Default: all."
    )
    transform: Annotated[tuple[Step, ...], BeforeValidator(_steps)] = Field(
        default=(),
        description="What is done to the rows before the rules: rename, cast, drop, hash, mask.",
    )
    quality: Annotated[tuple[Rule, ...], BeforeValidator(_steps)] = Field(
        default=(), description="The rules that the rows are held to."
    )
    expected: str | None = Field(
        default=None, min_length=1, description="A schema file that source and target must match."
    )

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: object) -> object:
        if isinstance(data, str):
            data = {"table": data}
        if not isinstance(data, Mapping):
            return data
        out: dict[str, Any] = {key: item for key, item in data.items() if item is not None}
        if not out.get("name"):
            name = _default_name(out)
            if name:
                out["name"] = name
        if not out.get("into") and isinstance(out.get("name"), str):
            out["into"] = quote_name(out["name"])
        return out

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems: list[tuple[Loc, str]] = []
        given = [key for key in ("table", "query", "path") if getattr(self, key) is not None]
        if len(given) != 1:
            found = f", not {' and '.join(given)}" if given else ""
            problems.append(
                ((given[1],) if given else (), f"needs exactly one of table, query, path{found}")
            )
        if not self.name and len(given) == 1:
            problems.append(((), f"needs a `name`: its {given[0]} gives none"))
        for key in ("table", "into"):
            value = getattr(self, key)
            if value:
                try:
                    split_table(value)
                except ValueError as error:
                    problems.append(((key,), f"`{key}` {error}"))
        problems.extend(self._mode_problems())
        problems.extend(self._deletes_problems())
        problems.extend(self._cursor_problems())
        problems.extend(self._quality_problems())
        if self.columns is not None:
            problems.extend((("columns",), f"`columns` {p}") for p in self._left_out(self.columns))
        if problems:
            raise refusal(problems)
        return self

    def _left_out(self, columns: tuple[str, ...]) -> Iterator[str]:
        if len(set(columns)) < len(columns):
            yield "names the same column twice"
        flag = (self.deletes.column,) if self.deletes and self.deletes.column else ()
        if lost := [c for c in flag if c not in columns]:
            yield f"leaves out {lost[0]}, which `deletes` looks at"
        hidden = [c for c in (*self.unique_key, *self.cursor) if c not in columns]
        lost = [c for c in hidden if not c.startswith("_file_")]
        if lost:
            yield f"leaves out {', '.join(dict.fromkeys(lost))}, a key or cursor"
        split_by = self.splits.column if self.splits else None
        if split_by is not None and split_by not in columns:
            yield f"leaves out {split_by}, which `splits` compares"

    def _mode_problems(self) -> Iterator[tuple[Loc, str]]:
        if self.mode in MERGING_MODES and not self.unique_key:
            yield (
                ("mode",),
                f"`mode: {self.mode}` needs a `unique_key`: the columns that identify a row",
            )
        if self.mode == "replace_window" and not self.cursor and not self.unique_key:
            text = "needs a `cursor`, which says what a slice is, or a `unique_key`"
            yield ("mode",), f"`mode: replace_window` {text}"

    def _deletes_problems(self) -> Iterator[tuple[Loc, str]]:
        if self.ignore_columns and self.mode != "scd2":
            yield ("ignore_columns",), f"`ignore_columns` is for mode: scd2, not {self.mode}"
        deletes = self.deletes
        if deletes is None:
            return
        at: Loc = ("deletes",)
        if self.mode not in DELETING_MODES:
            why = _WITHOUT_DELETES.get(self.mode, "never takes a row away")
            yield at, f"`deletes` is for mode: upsert and scd2; {self.mode} {why}"
        if deletes.detect == "tracking_table" and self.cursor and deletes.cursor is None:
            text = "needs a `cursor` of its own: when a key was deleted, to compare with the rows'"
            yield at, f"`detect: tracking_table` of a stream with a cursor {text}"
        if deletes.unique_key and len(deletes.unique_key) != len(self.unique_key):
            text = f"has {len(deletes.unique_key)} columns, the stream's {len(self.unique_key)}"
            yield (*at, "unique_key"), f"`unique_key` of the tracking table {text}"

    def _quality_problems(self) -> Iterator[tuple[Loc, str]]:
        if self.quality:
            from conduit_core.spec.rules import rule_names

            try:
                rule_names(self.quality)
            except ValueError as error:
                yield ("quality",), f"`quality`: {error}"
        touched = {name for step in self.transform for name in step.touches}
        if lost := sorted(touched & set(self.cursor)):
            text = "is read and compared at the source: change it in a `query:` instead"
            yield ("transform",), f"`transform` names {lost[0]}, the cursor, which {text}"
        renamed = {name for step in self.transform for name in step.takes_away}
        if lost := sorted(renamed & set(self.unique_key)):
            text = "would take its name away: rename it in a `query:`"
            yield ("transform",), f"`transform` of {lost[0]}, of the unique_key, {text}"
        by_key = self.deletes is not None and self.deletes.detect != "flag"
        if by_key and (lost := sorted(touched & set(self.unique_key))):
            text = "and `deletes` compares keys as the source has them"
            yield ("transform",), f"`transform` changes {lost[0]}, of the unique_key, {text}"

    def _cursor_problems(self) -> list[tuple[Loc, str]]:
        found: list[tuple[Loc, str]] = []
        if self.cursor and "mode" not in self.model_fields_set:
            found.append((("cursor",), "a `cursor` needs a `mode`: append, upsert, replace ..."))
        if not self.cursor:
            found.extend(
                ((key,), f"`{key}` needs a `cursor`")
                for key in sorted(_CURSOR_KEYS & self.model_fields_set)
                if getattr(self, key) not in (None, "fail")
            )
        keyed = bool(self.key)
        if self.null_cursor == "include" and self.mode == "scd2":
            text = "`null_cursor: include`: a version of mode scd2 begins at its cursor; leave such"
            text += " rows out in a `query:`"
            found.append((("null_cursor",), text))
        if self.null_cursor == "include" and self.mode != "replace" and not keyed:
            text = "`null_cursor: include` would add the same rows in each load; use mode: replace"
            found.append((("null_cursor",), text))
        if self.lookback and self.cursor and not keyed:
            text = (
                "`lookback` would add rows again: it needs a `unique_key` and a mode that uses it"
            )
            hint = "" if self.mode == "append" else f"; mode: {self.mode} doesn't"
            found.append((("lookback",), text + hint))
        return found

    @property
    def key(self) -> tuple[str, ...]:
        """The unique key, where the mode goes by it; else nothing."""
        return self.unique_key if self.mode in KEYED_MODES else ()

    @property
    def is_by_file(self) -> bool:
        """Whether its cursor is of the files, not of their rows."""
        return bool(self.cursor) and self.cursor[0].startswith("_file_")

    @property
    def into_schema(self) -> str | None:
        """The target's schema; None is the destination's own."""
        return split_table(self.into)[0]

    @property
    def into_table(self) -> str:
        """The target's table."""
        return split_table(self.into)[1]

    @property
    def source_table(self) -> tuple[str | None, str] | None:
        """The source's schema (None: the source's own) and table; None for a query or files."""
        return split_table(self.table) if self.table else None


def _default_name(stream: Mapping[str, Any]) -> str:
    table, path = stream.get("table"), stream.get("path")
    if isinstance(table, str):
        try:
            return split_table(table)[1]
        except ValueError:
            return table  # the table's own error says more than a missing name
    return file_stem(path) if isinstance(path, str) else ""


class PipelineSpec(BaseModel):
    """A named set of streams from one source to one destination."""

    model_config = MODEL_CONFIG

    name: Name = Field(description="The pipeline's name; the ledger records it.")
    source: ConnectionSpec = Field(description="Where rows come from.")
    destination: ConnectionSpec = Field(description="Where rows go.")
    defaults: StreamDefaults = Field(
        default_factory=StreamDefaults, description="What holds for every stream that doesn't say."
    )
    streams: Annotated[tuple[StreamSpec, ...], BeforeValidator(_some)] = Field(
        description="What to load."
    )
    after: Annotated[dict[str, dict[str, object]], BeforeValidator(_hooks)] = Field(
        default_factory=dict,
        description="What follows the loads, by hook: dbt: {project_dir: dbt, select: changed+}.",
    )
    notify: Annotated[tuple[NotifyRule, ...], BeforeValidator(_steps)] = Field(
        default=(), description="Who is told of failures, rejected rows, changed columns and more."
    )
    on_error: Literal["continue", "stop"] = Field(
        default="continue", description="What happens to the other streams when one fails."
    )
    resume_within: Duration = Field(
        default=timedelta(hours=24),
        description="How old an open load may be to be taken up. Default: 24h.",
    )
    freshness: Duration | None = Field(
        default=None, description="How far a stream's watermark may lag, unless it says itself."
    )
    retention: Duration | None = Field(
        default=None, description="How long conduit clean keeps staging and old records: 90d."
    )

    @model_validator(mode="before")
    @classmethod
    def _spread(cls, data: object) -> object:
        if not isinstance(data, Mapping):
            return data
        out: dict[str, Any] = {key: item for key, item in data.items() if item is not None}
        streams = many(out["streams"]) if "streams" in out else None
        if isinstance(streams, list | tuple):
            kind = _type_of(out.get("source"))
            inherited = _inherited(out)
            out["streams"] = tuple(_complete(item, kind, inherited) for item in streams)
        return out

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems: list[tuple[Loc, str]] = []
        for key in ("schema_name", "internal_schema", "staging"):
            if key in self.source.model_fields_set:
                shown = key.removesuffix("_name")
                hint = "; write table: schema.table" if shown == "schema" else ""
                text = f"`{shown}` belongs to the destination{hint}"
                problems.append((("source", shown), text))
        for position, stream in enumerate(self.streams):
            at: Loc = ("streams", position)
            problems.extend(self._twin_problems(position, at))
            wrong = "table" if stream.table else "query" if stream.query else None
            if self.source.type in FILE_TYPES and wrong:
                text = f"a {self.source.type} source has files: write `path`, not `{wrong}`"
                problems.append(((*at, wrong), text))
        if problems:
            raise refusal(problems)
        return self

    def _twin_problems(self, position: int, at: Loc) -> list[tuple[Loc, str]]:
        mine = self.streams[position]
        for other in self.streams[:position]:
            if other.name == mine.name:
                return [((*at, "name"), "two streams have the same name; give one a `name`")]
            if _target(other, self.destination) == _target(mine, self.destination):
                text = "two streams feed the same target; give one another `into`"
                return [((*at, "into"), text)]
        return []

    def stream(self, name: str) -> StreamSpec | None:
        """Return the stream of that name, or None."""
        return next((stream for stream in self.streams if stream.name == name), None)


def _target(stream: StreamSpec, destination: ConnectionSpec) -> tuple[str | None, str]:
    return stream.into_schema or destination.schema_name, stream.into_table


def _type_of(source: object) -> str:
    """The source's type as far as it is known before the source itself is checked."""
    if isinstance(source, ConnectionSpec):
        return source.type
    try:
        return ConnectionSpec.model_validate(source).type
    except ValueError:
        return ""


def _inherited(pipeline: Mapping[str, Any]) -> dict[str, Any]:
    defaults = pipeline.get("defaults")
    if isinstance(defaults, StreamDefaults):
        defaults = {name: getattr(defaults, name) for name in defaults.model_fields_set}
    known = StreamDefaults.model_fields
    out = (
        {key: item for key, item in defaults.items() if key in known and item is not None}
        if isinstance(defaults, Mapping)
        else {}
    )
    if "freshness" in pipeline:
        out.setdefault("freshness", pipeline["freshness"])
    return out


def _complete(item: object, kind: str, inherited: Mapping[str, Any]) -> object:
    """Return a stream as a mapping, with what it inherits; its own keys win, even as null."""
    if isinstance(item, str):
        is_path = kind in FILE_TYPES or (not kind and looks_like_path(item))
        item = {"path" if is_path else "table": item}
    if not isinstance(item, Mapping):
        return item
    has_cursor = bool(item["cursor"] if "cursor" in item else inherited.get("cursor"))
    mode = item.get("mode", inherited.get("mode"))
    left = set() if has_cursor else set(_CURSOR_KEYS)
    left |= set() if mode in DELETING_MODES else {"deletes"}
    left |= set() if mode == "scd2" else {"ignore_columns"}
    return {
        **{k: v for k, v in inherited.items() if k not in left},
        **item,
    }
