"""``conduit runs`` and ``conduit clean``: what the ledger holds, and what has aged in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from conduit_core.cli import options
from conduit_core.cli.screen import Answer, Screen
from conduit_core.cli.session import Session, age_of
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
    html: Annotated[
        str | None,
        typer.Option("--html", metavar="FILE", help="Also write the report to this file, as HTML."),
    ] = None,
    last: Annotated[
        int, typer.Option("--last", min=1, help="How many loads the HTML's charts show.")
    ] = 30,
) -> Answer:
    """Show one published load: counts, window, watermark, who ran it, what its rules found."""
    pipeline = session.pipeline(file)
    from conduit_core.engine.loadreport import load_report
    from conduit_core.observe.facts import bottleneck_of, facts

    found = load_report(pipeline, load, last if html is not None else 1)
    record, quality = found.load.record, found.load.quality
    if html is not None:
        from conduit_core.cli.writing import write_file
        from conduit_core.observe.page import page

        command = f"conduit runs show --load {record.load_id} --html report.html"
        write_file(html, page(found, session.redact).encode(), command)

    def write(screen: Screen) -> None:
        for name, text in facts(record):
            screen.line(f"{name:<12} {text}")
        if quality is not None:
            screen.line()
            screen.table(_RULES, [_rule(rule) for rule in quality.rules])
        if html is not None:
            screen.line(f"wrote {html}")

    document = {
        "run": record.model_dump(mode="json"),
        "bottleneck": held.model_dump() if (held := bottleneck_of(record)) else None,
        "quality": quality.model_dump(mode="json") if quality is not None else None,
        "html": html,
    }
    return Answer(document, write)


def _rule(rule: RuleReport) -> tuple[str, ...]:
    counted = rule.checked > 0
    return (
        rule.rule,
        rule.action,
        rule.result.replace("_", " "),
        figures.count(rule.checked) if counted else "",
        figures.count(rule.failed) if counted else "",
        figures.share(rule.rate) if counted else "",
        ", ".join(rule.sample) if counted else rule.text,
    )


def _row(record: LedgerRecord) -> tuple[str, ...]:
    from conduit_core.observe.facts import took

    return (
        record.published_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        record.stream,
        str(record.version),
        record.mode,
        record.window_text,
        figures.count(record.counts.read),
        figures.kinds(record.counts.model_dump()),
        took(record),
        record.load_id,
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
        age = age_of(older_than, command)
    items = admin.clean(pipeline, age, dry_run=dry_run)
    columns = (("kind", "left"), ("name", "left"), ("why", "left"))

    def write(screen: Screen) -> None:
        screen.table(columns, [(i.kind, i.name, i.reason) for i in items])
        screen.line(f"{len(items)} {'would be removed' if dry_run else 'removed'}")

    told = [{"kind": i.kind, "name": i.name, "reason": i.reason} for i in items]
    return Answer({"pipeline": pipeline.name, "dry_run": dry_run, "items": told}, write)
