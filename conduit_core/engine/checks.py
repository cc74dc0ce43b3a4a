"""Whether ends and connections are fit for loads: what ``conduit check`` and test buttons ask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as pa
from pydantic import BaseModel, ValidationError

from conduit_core.connectors import registry
from conduit_core.connectors.base import CheckItem, Context
from conduit_core.connectors.checking import failed
from conduit_core.engine.model import LoadPlan
from conduit_core.engine.pipeline import Ends, Pipeline
from conduit_core.errors import ConduitError, ConfigError
from conduit_core.spec import ConnectionSpec, StreamSpec
from conduit_core.spec import explain as explaining
from conduit_core.spec.names import FILE_TYPES
from conduit_core.state.cursor import Cursor

Look = Callable[[], list[CheckItem]]
_REACHABLE = "reachable"


def check(pipeline: Pipeline) -> list[CheckItem]:
    """Look whether both ends of a pipeline are reachable and rights suffice. Changes nothing.

    Each item's name begins with its end: ``source: reachable``.

    Args:
        pipeline: whose ends.

    Raises:
        ConfigError: an end can't be made: its connector isn't installed, or its options are wrong.
    """
    with pipeline.open() as ends:
        found = check_ends(pipeline, ends)
    return [replace(item, name=f"{end}: {item.name}") for end, _, item in found]


def check_ends(pipeline: Pipeline, ends: Ends) -> list[tuple[str, str, CheckItem]]:
    """Look at open ends, and at the place of staging; return each item with its end and system."""
    targets = [pipeline.target(s, ends.destination).schema for s in pipeline.streams]
    schemas = tuple(dict.fromkeys(targets))
    tried: list[tuple[str, str, Look]] = [
        ("source", ends.source.system, ends.source.check),
        ("destination", ends.destination.system, lambda: ends.destination.check(schemas)),
    ]
    if ends.staging_url is not None:
        tried.append(("staging", ends.destination.system, lambda: _check_staging(ends)))
    return [(end, system, item) for end, system, look in tried for item in looked(look)]


def ties_note(stream: StreamSpec, plan: LoadPlan) -> str:
    """Say which rows a cursor of one time loses: many rows share a second, and some come later.

    Nothing is said where the column is the key itself, where loads read again what lies behind the
    watermark, or end behind the clock.

    Args:
        stream: whose cursor.
        plan: its plan, which knows the cursor's type.
    """
    covered = stream.lookback or stream.settle or stream.is_by_file or stream.key == stream.cursor
    if len(stream.cursor) != 1 or covered or plan.cursor is None:
        return ""
    kind = Cursor.from_json(plan.cursor).values[0].type
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        return ""
    (column,) = stream.cursor
    return (
        f"a row that comes later with the newest {column} of a load isn't read: end the cursor"
        f" with a column that tells rows apart, such as [{column}, id]"
    )


def looked(look: Look) -> list[CheckItem]:
    """Look; an error that is raised is one more thing that isn't fine."""
    try:
        return look()
    except ConduitError as error:
        return [failed(_REACHABLE, error)]


def _check_staging(ends: Ends) -> list[CheckItem]:
    """Write the file by which workers know the place."""
    ends.staging().probe(write=True)
    return [CheckItem("write", ok=True, detail="can be written, and told from any other place")]


def check_connection(spec: ConnectionSpec, base_dir: str | Path = ".") -> list[CheckItem]:
    """Look whether a connection is fit for a destination, else for a source.

    A source that is no destination is fine: an item says what it lacks. What is wrong with the
    options is an item too, so that nothing is raised. A connection without a type, which says where
    files are, is looked at as a source.

    Args:
        spec: the connection.
        base_dir: what a relative path is relative to.
    """
    try:
        connector = registry.get(spec.type or min(FILE_TYPES))
    except ConfigError as error:
        return _unfit(error.message)
    try:
        options = connector.options.model_validate(spec.reveal())
    except ValidationError as error:
        found = explaining.problems(error, model=connector.options)
        return _unfit("; ".join(text for _, text in found))
    context = Context(Path(base_dir).resolve())
    ask_source = partial(_as_source, connector, options, context)
    if connector.destination is None or not spec.type:
        return _made(ask_source)
    items = _made(partial(_as_destination, connector, options, context, spec))
    lacking = next((item for item in items if not item.ok), None)
    if lacking is None or lacking.name == _REACHABLE or connector.source is None:
        return items
    as_source = _made(ask_source)
    if not all(item.ok for item in as_source):
        return items
    note = f"can't be one: {lacking.name}: {lacking.detail}"
    return [*as_source, CheckItem("destination", ok=True, detail=note, remedy=lacking.remedy)]


def _unfit(text: str) -> list[CheckItem]:
    return [CheckItem("options", ok=False, detail=text)]


def _made(look: Look) -> list[CheckItem]:
    def fit() -> list[CheckItem]:
        try:
            return look()
        except ConfigError as error:
            return _unfit(error.message)

    return looked(fit)


def _as_destination(
    connector: registry.Connector, options: BaseModel, context: Context, spec: ConnectionSpec
) -> list[CheckItem]:
    assert connector.destination is not None  # noqa: S101 - the caller looked
    wait = spec.lock_wait.total_seconds()
    end = connector.destination(options, context, spec.schema_name, spec.internal_schema, wait)
    try:
        return end.check((spec.schema_name or end.capabilities.default_schema,))
    finally:
        end.close()


def _as_source(
    connector: registry.Connector, options: BaseModel, context: Context
) -> list[CheckItem]:
    if connector.source is None:
        return _unfit(f"{connector.name} can be neither source nor destination")
    end = connector.source(options, context)
    try:
        return end.check()
    finally:
        end.close()
