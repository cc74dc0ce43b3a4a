"""``conduit files``: the data files that are a target's content, for other tools to read."""

from __future__ import annotations

from conduit_core.cli import options
from conduit_core.cli.screen import Answer, Screen
from conduit_core.cli.session import Session
from conduit_core.observe import figures

_COLUMNS = (("file", "left"), ("rows", "right"), ("size", "right"))


def files(
    session: Session,
    file: options.File = options.DEFAULT_FILE,
    *,
    stream: options.OneStream,
) -> Answer:
    """List the published data files of a stream's target: what other tools may read."""
    from conduit_core.engine.read import files as published

    pipeline = session.pipeline(file)
    found = published(pipeline, stream)

    def show(screen: Screen) -> None:
        rows = [(f.path, figures.count(f.rows), figures.size(f.bytes)) for f in found.files]
        screen.table(_COLUMNS, rows)
        screen.line(
            f"{found.target} version {found.version}: {len(found.files)} files,"
            f" {figures.count(found.rows)} rows, {figures.size(found.bytes)}"
        )

    document = {
        "pipeline": pipeline.name,
        "stream": stream,
        **found.model_dump(mode="json"),
        "paths": list(found.paths),
    }
    return Answer(document, show)
