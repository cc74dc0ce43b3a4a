"""``conduit runs`` and ``conduit clean``: what the ledger holds, and what has aged in it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from conduit_core.cli import options
from conduit_core.cli.screen import Answer, Screen
from conduit_core.cli.session import Session
from conduit_core.observe import figures

if TYPE_CHECKING:
    from conduit_core.engine.audit import RuleReport
    from conduit_core.state.ledger import LedgerRecord

_COLUMNS = (
    ("published", "left"),
    ("stream", "left"),
    ("version", "right"),
    ("mode", "left"),
    ("window", "left"),
    ("read", "right"),
    ("became", "left"),
    ("took", "right"),
    ("load id", "left"),
)
_RULES = (
    ("rule", "left"),
    ("action", "left"),
    ("result", "left"),
    ("checked", "right"),
    ("failed", "right"),
    ("rate", "right"),
    ("found", "left"),
)


def list_(
    session: Session,
    file: options.File = options.DEFAULT_FILE,
    *,
    stream: options.Streams = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many, newest first.")] = 20,
) -> Answer:
    """List what was published, newest first."""
    from conduit_core.engine import admin

    pipeline = session.pipeline(file)
    records = admin.runs(pipeline, tuple(stream) if stream else None, limit)

    def write(screen: Screen) -> None:
        screen.table(_COLUMNS, [_row(r) for r in records])
        if not records:
            screen.line("nothing published yet")

    return Answer(
        {"pipeline": pipeline.name, "runs": [r.model_dump(mode="json") for r in records]}, write
    )


def show(
    session: Session,
    file: options.File = options.DEFAULT_FILE,
    *,
    load: Annotated[str, typer.Option("--load", help="The load's id, or its beginning.")],
) -> Answer:
    """Show one published load: counts, window, watermark, who ran it, what its rules found."""
    from conduit_core.engine import admin
    from conduit_core.engine.audit import kept_report
    from conduit_core.errors import ConfigError

    pipeline = session.pipeline(file)
    found = [r for r in admin.runs(pipeline) if r.load_id.startswith(load)]
    if len(found) != 1:
        what = "no published load" if not found else f"{len(found)} published loads"
        raise ConfigError(
            f"{what} with an id that begins with {load!r}",
            command="conduit runs",
        )
    record = found[0]
    report = kept_report(pipeline, record)

    def write(screen: Screen) -> None:
        for name, text in _facts(record):
            screen.line(f"{name:<12} {text}")
        if report is not None:
            screen.line()
            screen.table(_RULES, [_rule(rule) for rule in report.rules])

    quality = report.model_dump(mode="json") if report is not None else None
    return Answer({"run": record.model_dump(mode="json"), "quality": quality}, write)


def _rule(rule: RuleReport) -> tuple[str, ...]:
    counted = rule.checked > 0
    return (
        rule.rule,
        rule.action,
        rule.result.replace("_", " "),
        figures.count(rule.checked) if counted else "",
        figures.count(rule.failed) if counted else "",
        f"{rule.rate:.2%}" if counted else "",
        ", ".join(rule.sample) if counted else rule.text,
    )


def _row(record: LedgerRecord) -> tuple[str, ...]:
    return (
        record.published_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        record.stream,
        str(record.version),
        record.mode,
        _window(record),
        figures.count(record.counts.read),
        figures.kinds(record.counts.model_dump()),
        figures.duration((record.published_at - record.started_at).total_seconds()),
        record.load_id,
    )


def _window(record: LedgerRecord) -> str:
    from conduit_core.engine.replay import MODE
    from conduit_core.state.window import Window

    is_replay = record.mode == MODE
    return "dead letters" if is_replay else Window.from_json(record.load_window).display()


def _facts(record: LedgerRecord) -> list[tuple[str, str]]:
    from conduit_core.state.cursor import Cursor

    counts = record.counts.model_dump()
    read = f"{figures.count(record.counts.read)} read"
    runner = json.loads(record.runner)
    return [
        ("load id", record.load_id),
        ("stream", f"{record.stream} ({record.pipeline})"),
        ("target", f"{record.target} version {record.version}"),
        ("mode", record.mode),
        ("window", _window(record)),
        ("watermark", Cursor.from_json(record.cursor).display() if record.cursor else "none"),
        ("rows", ", ".join(p for p in (read, figures.kinds(counts)) if p)),
        ("request", record.request),
        ("request key", record.request_key or "none"),
        ("runner", ", ".join(f"{key} {value}" for key, value in runner.items()) or "unknown"),
        *(("column", _change(change)) for change in json.loads(record.schema_changes)),
        ("started", record.started_at.isoformat()),
        ("published", record.published_at.isoformat()),
    ]


def _change(change: dict[str, str | None]) -> str:
    was = f"from {change['was']} " if change["change"] == "widened" else ""
    return f"{change['column']} {change['change']} {was}to {change['now']}".replace(
        "added to", "added as"
    )


def clean(
    session: Session,
    file: options.File = options.DEFAULT_FILE,
    *,
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", help="Age: 7d, 12h. Default: the file's `retention`."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would go.")] = False,
) -> Answer:
    """Remove old staging, old ledger records and the rows of settled dead letters."""
    from conduit_core.engine import admin
    from conduit_core.errors import ConfigError
    from conduit_core.spec import parse_duration

    pipeline = session.pipeline(file)
    command = "conduit clean --older-than 7d --dry-run"
    if older_than is None:
        age = pipeline.loaded.spec.retention
        if age is None:
            raise ConfigError(
                "how old? give --older-than, or `retention:` in the file",
                command=command,
            )
    else:
        try:
            age = parse_duration(older_than)
        except ValueError as error:
            raise ConfigError(f"--older-than {error}", command=command) from None
    items = admin.clean(pipeline, age, dry_run=dry_run)
    columns = (("kind", "left"), ("name", "left"), ("why", "left"))

    def write(screen: Screen) -> None:
        screen.table(columns, [(i.kind, i.name, i.reason) for i in items])
        screen.line(f"{len(items)} {'would be removed' if dry_run else 'removed'}")

    told = [{"kind": i.kind, "name": i.name, "reason": i.reason} for i in items]
    return Answer({"pipeline": pipeline.name, "dry_run": dry_run, "items": told}, write)
