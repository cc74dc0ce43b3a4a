"""``conduit state``: watermarks as the destination's ledger has them, and mending them there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from conduit_core.cli import options
from conduit_core.cli.screen import Answer, Screen
from conduit_core.cli.session import Session, runner_text

if TYPE_CHECKING:
    from conduit_core.engine.admin import StateView
    from conduit_core.state.ledger import LedgerRecord


def show(
    session: Session,
    file: options.File = options.DEFAULT_FILE,
    *,
    stream: options.Streams = None,
) -> Answer:
    """Show each target's version, watermark, owner, and what slices cover and leave out."""
    from conduit_core.engine import admin

    pipeline = session.pipeline(file)
    views = admin.state_show(pipeline, tuple(stream) if stream else None)
    columns = [
        ("stream", "left"),
        ("target", "left"),
        ("version", "right"),
        ("watermark", "left"),
        ("published", "left"),
        ("load id", "left"),
        ("owner", "left"),
    ]

    def write(screen: Screen) -> None:
        screen.table(columns, [_row(v) for v in views])
        for view in views:
            for stretch in view.covered:
                screen.line(f"{view.stream}: covered {stretch}")
            for gap in view.gaps:
                screen.line(f"{view.stream}: gap {gap}")

    document = {"pipeline": pipeline.name, "streams": [v.model_dump(mode="json") for v in views]}
    return Answer(document, write)


def _row(view: StateView) -> tuple[str, ...]:
    published = view.published_at.strftime("%Y-%m-%dT%H:%M:%SZ") if view.published_at else "never"
    return (
        view.stream,
        view.target,
        str(view.version),
        view.watermark or "",
        published,
        view.load_id or "",
        view.owner or "",
    )


def set_(
    session: Session,
    file: options.File = options.DEFAULT_FILE,
    *,
    stream: options.OneStream,
    cursor: Annotated[
        str,
        typer.Option("--cursor", help="The watermark; a comma between the values of two columns."),
    ],
    replace_after: options.ReplaceAfter = False,
    skip: Annotated[
        bool, typer.Option("--skip", help="Allow a move forward: rows between never load.")
    ] = False,
) -> Answer:
    """Set a stream's watermark, recorded in the ledger."""
    from conduit_core.engine import admin

    pipeline = session.pipeline(file)
    record = admin.state_set(
        pipeline, stream, cursor, replace_after=replace_after, skip=skip, runner=runner_text()
    )
    return _recorded(record)


def reset(
    session: Session,
    file: options.File = options.DEFAULT_FILE,
    *,
    stream: options.OneStream,
    replace_after: options.ReplaceAfter = False,
) -> Answer:
    """Forget a stream's watermark: the next run reads from the start."""
    from conduit_core.engine import admin

    pipeline = session.pipeline(file)
    record = admin.state_reset(pipeline, stream, replace_after=replace_after, runner=runner_text())
    return _recorded(record)


def adopt(
    session: Session,
    file: options.File = options.DEFAULT_FILE,
    *,
    stream: options.OneStream,
) -> Answer:
    """Take over a target whose ledger belongs to another stream or pipeline."""
    from conduit_core.engine import admin

    pipeline = session.pipeline(file)
    return _recorded(admin.state_adopt(pipeline, stream, runner=runner_text()))


def _recorded(record: LedgerRecord) -> Answer:
    from conduit_core.errors import number
    from conduit_core.state.cursor import Cursor

    mark = Cursor.from_json(record.cursor).display() if record.cursor else "the start"
    text = f"{record.stream}: {record.target} is at version {record.version}, watermark {mark}"
    if record.counts.removed:
        text += f", {number(record.counts.removed, 'row was', 'rows were')} removed"
    return Answer({"record": record.model_dump(mode="json")}, lambda screen: screen.line(text))
