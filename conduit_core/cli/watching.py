"""``conduit status --watch``: look again and again, in place on a terminal, until Ctrl-C."""

from __future__ import annotations

import io
import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from conduit_core.cli.screen import Answer, Screen, error_document
from conduit_core.errors import ConduitError

if TYPE_CHECKING:
    from conduit_core.cli.session import Session

EVERY = "10"
"""Seconds between two looks where none are given."""


def watch(session: Session, look: Callable[[], Answer], seconds: float) -> Answer:
    """Show one look after the other, until Ctrl-C.

    Each look opens its own connections, so that none is held in between. What goes wrong with one
    is shown, and the next one comes.

    Returns:
        The last look's exit code and errors: its answer has been shown.
    """
    show = _documents if session.common.json else None
    last = Answer({})
    with _drawing(session) as draw:
        try:
            while True:
                last = _looked(session, look)
                if show is not None:
                    show(session, last)
                else:
                    draw(_block(session, last, seconds))
                threading.Event().wait(seconds)
        except KeyboardInterrupt:
            pass
    return Answer({}, exit_code=last.exit_code, errors=last.errors, shown=True)


def _looked(session: Session, look: Callable[[], Answer]) -> Answer:
    try:
        return look()
    except ConduitError as error:
        session.placed(error)
        document = {"error": error_document(error)}
        return Answer(document, exit_code=error.exit_code, errors=(error,))


def _block(session: Session, answer: Answer, seconds: float) -> str:
    """Return what a look has found, as text; of errors the line that says what."""
    out = io.StringIO()
    screen = Screen(session.redact)
    terminal = sys.stdout
    out.isatty = terminal.isatty  # type: ignore[method-assign]  # tables ask how wide they may be
    with redirect_stdout(out):
        screen.line(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}, every {seconds:g} s")
        answer.show(screen)
        for error in answer.errors:
            screen.line(error.lines()[0])
    return out.getvalue()


def _documents(session: Session, answer: Answer) -> None:
    """Write one line of JSON for a look."""
    from conduit_core.observe.jsonlog import redacted

    document = {"at": datetime.now(UTC).isoformat(), **answer.document}
    sys.stdout.write(json.dumps(redacted(document, session.redact), default=str) + "\n")
    sys.stdout.flush()


@contextmanager
def _drawing(session: Session) -> Iterator[Callable[[str], None]]:
    """Yield what shows a block: in place of the last one on a terminal, else below it."""
    if session.common.json or not sys.stdout.isatty():

        def below(block: str) -> None:
            sys.stdout.write(f"{block}\n")
            sys.stdout.flush()

        yield below
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
    live = Live(
        console=console,
        auto_refresh=False,
        redirect_stderr=False,  # what is written there is masked
        vertical_overflow="ellipsis",
    )
    with live:
        yield lambda block: live.update(Text(block.rstrip("\n")), refresh=True)
