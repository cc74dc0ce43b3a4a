"""Commands that only look: ``check``, ``status``, ``connectors``."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from conduit_core.cli import options
from conduit_core.cli.screen import Answer, Screen, error_document
from conduit_core.cli.session import Session
from conduit_core.observe import figures

if TYPE_CHECKING:
    from conduit_core.connectors.base import CheckItem
    from conduit_core.engine.model import LoadPlan
    from conduit_core.engine.pipeline import Pipeline
    from conduit_core.engine.standing import StreamStatus
    from conduit_core.errors import ConduitError
    from conduit_core.events import Listener


def check(
    session: Session,
    file: options.File = options.DEFAULT_FILE,
    *,
    stream: options.Streams = None,
) -> Answer:
    """Look whether both ends are reachable, rights suffice, and every stream can be planned."""
    from conduit_core.cli.planning import Planned, plan_open, with_slices
    from conduit_core.engine.checks import check_ends, ties_note
    from conduit_core.engine.hooks import unfit
    from conduit_core.engine.model import RunRequest

    pipeline = session.pipeline(file)
    chosen = pipeline.select(tuple(stream) if stream else None)
    with pipeline.open() as ends:
        items = check_ends(pipeline, ends)
        errors = [_unfit(*item) for item in items if not item[2].ok]
        planned = Planned([], ())
        if not errors:
            names = tuple(s.name for s in chosen)
            planned = with_slices(pipeline, ends, plan_open(pipeline, ends, names, RunRequest()))
    errors += planned.errors
    for hook in _check_hooks(pipeline):
        items.append(hook)
        errors += [unfit(*hook[1:])] if not hook[2].ok else []
    for told in (*_check_notify(pipeline), *_check_receivers(pipeline)):
        items.append(told)
        errors += [_misread(told[2])] if not told[2].ok else []
    specs = {spec.name: spec for spec in chosen}
    streams = [
        (p.stream, True, _plannable(p, planned.notes.get(p.stream), ties_note(specs[p.stream], p)))
        for p, _ in planned.plans
    ]
    streams += [(e.stream or "", False, e.message) for e in planned.errors]
    failed = {e.stream: error_document(e) for e in planned.errors}
    document = {
        "pipeline": pipeline.name,
        "checks": [
            {
                "end": end,
                "type": system,
                "name": item.name,
                "ok": item.ok,
                "detail": item.detail,
                "remedy": item.remedy or None,
            }
            for end, system, item in items
        ],
        "streams": [
            {"stream": name, "ok": ok, "detail": detail, "error": failed.get(name)}
            for name, ok, detail in streams
        ],
    }

    def show(screen: Screen) -> None:
        rows = [(_mark(ok=i.ok), f"{end} ({kind})", i.name, i.detail) for end, kind, i in items]
        rows += [(_mark(ok=ok), "stream", name, detail) for name, ok, detail in streams]
        headings = ("", "where", "what", "found")
        screen.table([(h, "left") for h in headings], rows)

    code = errors[0].exit_code if errors else 0
    return Answer(document, show, exit_code=code, errors=tuple(errors))


def _plannable(plan: LoadPlan, *notes: str | None) -> str:
    told = [f"note: {note}" for note in notes if note]
    return "; ".join([f"{plan.target}, {plan.mode}, {plan.guarantee}", *told])


def _mark(*, ok: bool) -> str:
    return "ok" if ok else "FAILED"


def _check_hooks(pipeline: Pipeline) -> list[tuple[str, str, CheckItem]]:
    """Look whether what follows the loads can be done."""
    if not pipeline.loaded.spec.after:
        return []
    from conduit_core.engine.checks import looked
    from conduit_core.engine.hooks import bound_hooks

    bound = bound_hooks(pipeline)
    found = [(b.hook.name, looked(partial(b.hook.check, b.options, pipeline))) for b in bound]
    return [("after", name, item) for name, items in found for item in items]


def _check_notify(pipeline: Pipeline) -> list[tuple[str, str, CheckItem]]:
    """Look whether those who are to be told can be: no one is told."""
    if not pipeline.loaded.spec.notify:
        return []
    from conduit_core.observe.alerts import check_notify

    return [("notify", "rule", item) for item in check_notify(pipeline)]


def _check_receivers(pipeline: Pipeline) -> list[tuple[str, str, CheckItem]]:
    """Look whether those who watch the loads can be told: nothing is sent."""
    from conduit_core.observe.observing import check_receivers

    return [("observe", "receiver", item) for item in check_receivers(pipeline)]


def _misread(item: CheckItem) -> ConduitError:
    from conduit_core.errors import ConfigError

    remedy = f"; {item.remedy}" if item.remedy else ""
    return ConfigError(f"{item.name}: {item.detail}{remedy}", command="conduit check")


def _unfit(end: str, system: str, item: CheckItem) -> ConduitError:
    from conduit_core.errors import ConnectionFailedError

    remedy = f"; {item.remedy}" if item.remedy else ""
    return ConnectionFailedError(
        f"{end} ({system}): {item.name}: {item.detail}{remedy}",
        connector=system,
        retry=item.retry or ("never" if item.remedy else None),  # what somebody has to mend
        command="conduit check",
    )


# --- status ---------------------------------------------------------------------------------------

_STATUS = (
    ("stream", "left"),
    ("target", "left"),
    ("watermark", "left"),
    ("source's newest", "left"),
    ("lag", "right"),
    ("freshness", "right"),
    ("last load", "left"),
    ("rows", "right"),
    ("load id", "left"),
)


def status(
    session: Session,
    file: options.File = options.DEFAULT_FILE,
    *,
    stream: options.Streams = None,
    watch: Annotated[
        float | None,
        typer.Option(
            "--watch", min=1, metavar="[SECONDS]", help="Look again every so often (10), to Ctrl-C."
        ),
    ] = None,
) -> Answer:
    """Compare each stream's watermark with its source; exit 5 where one is past its freshness."""
    pipeline = session.pipeline(file)
    streams = tuple(stream) if stream else None

    def look() -> Answer:
        # Opened for each look: receivers that are sent to, and alerts, go out when it is over.
        with session.watching(pipeline, quietly=True) as listeners:
            return _status(pipeline, streams, listeners)

    if watch is None:
        return look()
    from conduit_core.cli.watching import watch as watching

    return watching(session, look, watch)


def _status(
    pipeline: Pipeline, streams: tuple[str, ...] | None, listeners: tuple[Listener, ...]
) -> Answer:
    from conduit_core.engine import standing

    looked = standing.status(pipeline, streams, listeners=listeners)
    found, stale = looked.streams, [s for s in looked.streams if s.is_stale]
    errors = (*looked.failed, *((_stale(stale),) if stale else ()))
    return Answer(
        {"pipeline": pipeline.name, "streams": [s.model_dump(mode="json") for s in found]},
        lambda screen: screen.table(_STATUS, [_status_row(s) for s in found]),
        exit_code=errors[0].exit_code if errors else 0,
        errors=errors,
    )


def _status_row(s: StreamStatus) -> tuple[str, ...]:
    lag = figures.duration(s.lag_seconds) if s.lag_seconds is not None else ""
    if s.is_behind and not s.lag_seconds:
        lag = "behind"
    return (
        s.stream,
        s.target,
        s.watermark or "",
        s.source_newest or "",
        lag,
        figures.duration(s.freshness_seconds) if s.freshness_seconds is not None else "",
        s.last_published_at.strftime("%Y-%m-%dT%H:%M:%SZ") if s.last_published_at else "never",
        figures.count(s.last_rows_read) if s.last_rows_read is not None else "",
        s.last_load_id or "",
    )


def _stale(stale: list[StreamStatus]) -> ConduitError:
    from conduit_core.errors import QualityError

    told = ", ".join(
        f"{s.stream} ({figures.duration(s.lag_seconds)} behind)" if s.lag_seconds else s.stream
        for s in stale
    )
    marks = "; ".join(f"{s.stream}: watermark {s.watermark or 'none'}" for s in stale)
    return QualityError(
        f"past its freshness: {told}",
        state=marks,
        retry="plan",
        command="conduit run",
    )


# --- connectors -----------------------------------------------------------------------------------


def connectors(session: Session) -> Answer:
    """List the connector types, what each can be, and whether its driver is installed."""
    from conduit_core.cli.drivers import missing_drivers
    from conduit_core.connectors import registry

    found = []
    for name in registry.names():
        connector = registry.get(name)
        missing = missing_drivers(connector.extra)
        found.append(
            {
                "type": name,
                "title": connector.title,
                "source": connector.source is not None,
                "destination": connector.destination is not None,
                "installed": not missing,
                "missing": missing,
                "install": f"pip install 'conduit-load[{connector.extra}]'" if missing else None,
            }
        )

    def show(screen: Screen) -> None:
        columns = [(h, "left") for h in ("type", "source", "destination", "driver", "title")]
        rows = [
            (
                str(c["type"]),
                "yes" if c["source"] else "",
                "yes" if c["destination"] else "",
                "installed" if c["installed"] else str(c["install"]),
                str(c["title"]),
            )
            for c in found
        ]
        screen.table(columns, rows)

    return Answer({"connectors": found}, show)


def json_schema(session: Session) -> Answer:
    """Print the JSON Schema of a pipeline file, for editors."""
    from conduit_core.engine.hooks import get, installed
    from conduit_core.spec import json_schema as pipeline_schema
    from conduit_core.spec.jsonschema import open_scalars

    schema = pipeline_schema()
    for name in installed():
        options = get(name).options.model_json_schema()
        open_scalars(options["properties"])
        schema["$defs"] |= options.pop("$defs", {})
        schema["$defs"][f"after_{name}"] = options
        known = schema["properties"]["after"].setdefault("properties", {})
        known[name] = {"anyOf": [{"$ref": f"#/$defs/after_{name}"}, {"type": "null"}]}
    return Answer(schema, lambda screen: screen.line(json.dumps(schema, indent=2)))
