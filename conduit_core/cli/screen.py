"""What a command answers: a document for programs, and the same for people, on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conduit_core.errors import ConduitError

_ANY_WIDTH = 100_000
"""Columns where no terminal limits them: tables take what they need."""

Column = tuple[str, str]
"""A heading and ``left`` or ``right``."""


@dataclass(slots=True)
class Screen:
    """Stdout for people: lines and tables, masked before they are written."""

    redact: Callable[[str], str]

    def line(self, text: str = "") -> None:
        """Write one line."""
        sys.stdout.write(self.redact(text) + "\n")

    def table(self, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
        """Write a table; nothing where there are no rows."""
        from rich import box
        from rich.console import Console
        from rich.measure import Measurement
        from rich.table import Table
        from rich.text import Text

        if not rows:
            return
        console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for heading, side in columns:
            table.add_column(heading, justify="right" if side == "right" else "left")
        for row in rows:
            table.add_row(*(Text(self.redact(cell)) for cell in row))
        needed = Measurement.get(console, console.options.update(max_width=_ANY_WIDTH), table)
        if not console.is_terminal:
            console.width = needed.maximum
        elif needed.maximum > console.width:
            self._records(columns, rows)
            return
        with console.capture() as captured:
            console.print(table)
        sys.stdout.write("\n".join(line.rstrip() for line in captured.get().split("\n")))

    def _records(self, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
        """Write a line per cell: for terminals too narrow for the table."""
        longest = max(len(heading) for heading, _ in columns)
        for row in rows:
            for (heading, _), cell in zip(columns, row, strict=True):
                if cell:
                    self.line(f"{heading:<{longest}}  {cell}")
            self.line()


def _nothing(screen: Screen) -> None:
    return


@dataclass(frozen=True, slots=True)
class Answer:
    """A command's outcome.

    Args:
        document: plain JSON data, printed whole with ``--json``.
        show: writes the same for people.
        exit_code: the process's.
        errors: told on stderr after the answer, four lines each.
        interrupted: Ctrl-C ended it: what was and wasn't published, told on stderr.
        shown: the document was written already, by the command itself.
    """

    document: Mapping[str, object]
    show: Callable[[Screen], None] = _nothing
    exit_code: int = 0
    errors: tuple[ConduitError, ...] = field(default=())
    interrupted: tuple[str, ...] = ()
    shown: bool = False


def error_document(error: ConduitError, exit_code: int | None = None) -> dict[str, object]:
    """Return an error as plain data: class, exit code, where, and its four lines."""
    return {
        "class": type(error).__name__,
        "message": error.message,
        "exit_code": error.exit_code if exit_code is None else exit_code,
        "pipeline": error.pipeline,
        "stream": error.stream,
        "connector": error.connector,
        "retry": error.retry,
        "state": error.lines()[1],
        "command": error.lines()[3],
        "lines": error.lines(),
    }


def print_document(document: Mapping[str, object], redact: Callable[[str], str]) -> None:
    """Write the one JSON document of ``--json`` to stdout."""
    from conduit_core.observe.jsonlog import redacted

    ascii_only = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    plain = redacted(document, redact)
    text = json.dumps(plain, indent=2, ensure_ascii=ascii_only, default=str)
    sys.stdout.write(f"{text}\n")
