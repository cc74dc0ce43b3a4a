"""Given windows: the slice of time, or of values, that a request asks for; and runs after them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pyarrow as pa

from conduit_core.connectors.base import Destination, Shape, Source
from conduit_core.engine.asking import placeholder, such_as
from conduit_core.engine.model import RunRequest, SliceBy
from conduit_core.errors import ConfigError, SchemaError, StateError
from conduit_core.spec import StreamSpec
from conduit_core.spec.model import MERGING_MODES
from conduit_core.spec.transforms import RenameStep
from conduit_core.state.cursor import Cursor, parse_point
from conduit_core.state.ledger import LedgerRecord, since_emptied, watermark_record
from conduit_core.state.only import Only
from conduit_core.state.window import Window
from conduit_core.types.schema import logical_type

if TYPE_CHECKING:
    from conduit_core.engine.columns import Staged
    from conduit_core.sync.strategies import Effective

_COMMAND = "conduit plan"
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d\S*(Z|[+-]\d\d:?\d\d)")


def cursor_at(stream: StreamSpec, text: str, kinds: tuple[pa.DataType, ...]) -> Cursor:
    """Return a value that a person wrote as a cursor of the first column alone.

    Raises:
        ConfigError: it isn't of the column's type.
    """
    value = parse_point(text, kinds[0], stream.cursor_timezone)
    return Cursor(stream.cursor[:1], (value,))


def given_window(
    stream: StreamSpec, request: RunRequest, shape: Shape, source: Source
) -> tuple[Window, Effective]:
    """Return the window that a request gives, and how its rows are published.

    Args:
        stream: the stream.
        request: it has a ``window_from``, ``only``, or both.
        shape: what the source said of the stream.
        source: whether it can read by value.

    Raises:
        ConfigError: the request doesn't go with the stream, or can't be read.
        SchemaError: the stream loads no such column.
    """
    _refuse_given(stream, request)
    low = high = only = None
    if request.window_from is not None:
        _refuse_bounds(stream, request, shape)
        low = cursor_at(stream, request.window_from, shape.cursor_types)
        if request.window_to is not None:
            high = cursor_at(stream, request.window_to, shape.cursor_types)
    if low is not None and high is not None and high.compare(low) <= 0:
        raise ConfigError(
            f"the window [{low.display()}, {high.display()}) is empty: --to must be after --from",
            command="conduit run --help",
        )
    if request.only is not None:
        only = _only(stream, request.only, shape.schema, source)
    effective: Effective = stream.mode if stream.mode in MERGING_MODES else "replace_window"
    return Window("given", low, high, only=only), effective


def _refuse_given(stream: StreamSpec, request: RunRequest) -> None:
    """Refuse what no slice can be loaded with, whether by time or by value."""
    option = "--from" if request.only is None else "--only"
    what = f"a window ({option})" if request.only is None else f"a slice ({option})"
    if request.full_refresh:
        raise ConfigError(
            f"--full-refresh and {option} don't go together", command="conduit run --help"
        )
    if request.window_from is None and request.window_to is not None:
        raise ConfigError(
            "--only with --to needs --from, too: it has no watermark that --to could cap",
            command="conduit run --help",
        )
    if request.window_from is not None and not stream.cursor:
        raise ConfigError("a window (--from) needs a stream with a cursor", command=_COMMAND)
    if stream.mode == "replace":
        raise ConfigError(
            f"{what} can't be loaded with `mode: replace`, which swaps the whole content:"
            " use `mode: replace_window`, upsert, or append (a window then replaces its slice)",
            command=_COMMAND,
        )
    if stream.is_by_file:
        cursor = "a cursor that is a column of the rows, not of the files"
        if request.only is not None:
            cursor = f"{cursor}, or none"
        raise ConfigError(f"{what} needs {cursor}", command=_COMMAND)
    if stream.deletes is not None and stream.deletes.detect == "snapshot":
        raise ConfigError(
            f"{what} can't be loaded with `deletes: snapshot`: the source's keys say"
            " nothing about one slice. Load without it, or with another `detect`",
            command="conduit run",
        )


def _refuse_bounds(stream: StreamSpec, request: RunRequest, shape: Shape) -> None:
    kind = shape.cursor_types[0]
    moment = next((b for b in (request.window_from, request.window_to) if _is_moment(b)), None)
    if moment is not None and _is_text(kind):
        raise ConfigError(
            f"a window of time over {stream.cursor[0]!r}, which is text: compared with"
            f" '{moment}' letter by letter, rows would be in the wrong window. Make it a column"
            " of dates or times at the source, or load the stream without windows",
            command=_COMMAND,
        )
    naive = pa.types.is_date(kind) or (pa.types.is_timestamp(kind) and kind.tz is None)
    if naive and stream.cursor_timezone is None:
        raise ConfigError(
            f"a window over {stream.cursor[0]!r} ({kind}) needs `cursor_timezone`: the column has"
            " no time zone of its own",
            command=_COMMAND,
        )


def _is_moment(bound: str | None) -> bool:
    """Say whether a bound is a time with its offset, as schedulers give it."""
    return bound is not None and _MOMENT.fullmatch(bound) is not None


def _is_text(kind: pa.DataType) -> bool:
    t = pa.types
    return bool(t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind))


# --- by value -------------------------------------------------------------------------------------


def _only(stream: StreamSpec, asked: SliceBy, schema: pa.Schema, source: Source) -> Only:
    """Return the values that a request asks for, in their column's type."""
    name = asked.column
    if not source.capabilities.slices:
        raise ConfigError(
            f"a {source.system} source can't be read by value (--only {name}=...)",
            connector=source.system,
            command=_COMMAND,
        )
    if name not in schema.names:
        raise SchemaError(
            f"--only: there is no column {name!r} among those that are loaded:"
            f" {', '.join(schema.names)}",
            command=_COMMAND,
        )
    changed = {c for step in stream.transform for c in step.touches}
    changed |= {c for s in stream.transform if isinstance(s, RenameStep) for c in s.rename.values()}
    if name in changed:
        raise ConfigError(
            f"--only: `transform` changes {name!r}, and the slice's old rows are found by what the"
            " target has in that column: name one that is loaded as it is",
            command=_COMMAND,
        )
    if name in stream.redact:
        raise ConfigError(
            f"--only: `redact` hides {name!r}, and a slice's values are written to the ledger",
            command=_COMMAND,
        )
    field = schema.field(name)
    kind = _plain(field.type)
    if not can_slice(field):
        raise ConfigError(
            f"--only: column {name!r} is {logical_type(field) or kind}; a slice is by text, whole"
            " numbers, decimals, booleans, dates or times with a date",
            command=_COMMAND,
        )
    try:
        return Only.of(name, [_value(text, kind, stream) for text in asked.values])
    except ConfigError as error:
        raise ConfigError(f"--only, column {name!r}: {error.message}", command=_COMMAND) from error


def _value(text: str, kind: pa.DataType, stream: StreamSpec) -> pa.Scalar[pa.DataType]:
    return parse_point(text, kind, stream.cursor_timezone)


def refuse_inexact(only: Only | None, staged: Staged, destination: Destination) -> None:
    """Refuse a slice whose old rows the destination can't find by the same values.

    Raises:
        ConfigError: the column is of another type there, or values aren't compared exactly.
    """
    if only is None:
        return
    field = staged.schema.field(only.column)
    ddl = next(c.ddl for c in staged.columns if c.name == only.column)
    kind = _plain(field.type)
    alike = kind == only.type or (
        _family(kind) == _family(only.type) and _family(kind) in ("text", "number", "decimal")
    )
    if not alike:
        raise ConfigError(
            f"--only: column {only.column!r} is {only.type} at the source and {kind} in the target,"
            " so that the slice's old rows can't be told by the same values",
            command=_COMMAND,
        )
    if not destination.slices_by(field, ddl):
        raise ConfigError(
            f"--only: a {destination.system} destination can't find rows by the exact values of"
            f" {only.column!r} ({ddl})",
            connector=destination.system,
            command=_COMMAND,
        )


def can_slice(field: pa.Field[pa.DataType]) -> bool:
    """Say whether a column's values are equal where they are the same: no floats, no JSON."""
    return _family(_plain(field.type)) is not None and logical_type(field) is None


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _family(kind: pa.DataType) -> str | None:
    """Name the types whose values are equal where they are the same; None: no slice is by them."""
    t = pa.types
    families = {
        "text": (t.is_string, t.is_large_string),
        "number": (t.is_integer,),
        "decimal": (t.is_decimal,),
        "other": (t.is_boolean, t.is_date, t.is_timestamp),
    }
    return next((name for name, of in families.items() if any(is_one(kind) for is_one in of)), None)


# --- runs after slices ----------------------------------------------------------------------------


def has_only_slices(chain: list[LedgerRecord]) -> bool:
    """Say whether a target has no watermark since only slices and given windows have filled it."""
    return bool(chain) and watermark_record(chain) is None


def refuse_slices(
    stream: StreamSpec, chain: list[LedgerRecord], kinds: tuple[pa.DataType, ...]
) -> None:
    """Refuse a watermark run of a target of slices.

    Args:
        stream: whose target it is.
        chain: the target's ledger records.
        kinds: types of the cursor's columns.

    Raises:
        StateError: it has no other records.
    """
    if has_only_slices(chain):
        by_value = any(Window.from_json(r.load_window).only is not None for r in chain)
        raise StateError(
            f"the target has only records of {'slices' if by_value else 'given windows'}, so it has"
            f" no watermark: say where to go on from ({such_as(stream.cursor, kinds)}), or load"
            " everything again",
            command=f"conduit state set --cursor {placeholder(stream.cursor)}",
        )


def last_slice(chain: list[LedgerRecord]) -> RunRequest:
    """Return the request of the last slice that was published: what the next will be like."""
    for record in reversed(chain):
        asked = json.loads(record.request)
        if record.is_given and asked.get("kind") == "given":
            only = SliceBy.model_validate(asked["only"]) if "only" in asked else None
            return RunRequest(window_from=asked.get("from"), window_to=asked.get("to"), only=only)
    return RunRequest(full_refresh=True)


def refuse_overlap(stream: StreamSpec, chain: list[LedgerRecord], window: Window) -> None:
    """Refuse an append over published slices: their rows would be there twice.

    Raises:
        StateError: it lists the slices, and says how to go on.
    """
    slices = [Window.from_json(r.load_window) for r in since_emptied(chain) if r.is_given]
    if not stream.cursor:
        slices = [w for w in slices if w.only is not None]
    hit = [w for w in slices if _shares_rows(window, w)]
    if not hit:
        return
    listed = ", ".join(w.display() for w in hit[:10])
    over = (
        f"the window {window.display()} overlaps slices that were published on their own"
        f" ({listed}): appending would double their rows"
    )
    if any(w.only is not None for w in hit):
        raise StateError(
            f"{over}. Load the other values with --only, too, or everything again",
            command="conduit run --full-refresh",
        )
    raise StateError(
        f"{over}. Load what lies before the first slice"
        " with --to, then set the watermark to the last value in it, and so on",
        command=_way_round(stream, window, hit),
    )


def _shares_rows(window: Window, part: Window) -> bool:
    """Say whether a row may lie both in ``(low, high]`` and in a slice ``[start, end)``."""
    low, high = _first_column(window.low), _first_column(window.high)
    if part.low is not None and high is not None and part.low.compare(high) > 0:
        return False
    if part.high is None or low is None or window.low is None:
        return True
    last = part.high.before()
    if last is None or window.closed_low or len(window.low.columns) > 1:
        return low.compare(part.high) < 0
    return low.compare(last) < 0


def _way_round(stream: StreamSpec, window: Window, slices: list[Window]) -> str:
    """Return the step past the first slice: load what lies before it, set the watermark over it."""
    first = slices[0]
    for other in slices[1:]:
        if other.low is None or (first.low is not None and other.low.compare(first.low) < 0):
            first = other
    last = first.high.before() if first.high and len(stream.cursor) == 1 else None
    value = last.display() if last else "VALUE"
    step = f"conduit state set --cursor '{value}' --skip"
    before, low = first.low.before() if first.low else None, _first_column(window.low)
    if before is not None and (low is None or before.compare(low) >= (not window.closed_low)):
        return f"conduit run --to '{before.display()}' && {step}"
    return step


def _first_column(bound: Cursor | None) -> Cursor | None:
    return Cursor(bound.columns[:1], bound.values[:1]) if bound is not None else None
