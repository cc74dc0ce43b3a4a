"""CloudWatch's embedded metric format: metrics as JSON lines, in a log that an agent ships.

Each line is a line of our own log as well: event ``metrics`` of ``log.schema.json``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from conduit_core.errors import ConfigError
from conduit_core.observe.book import Book
from conduit_core.observe.receivers import OBSERVE, need_folder

if TYPE_CHECKING:
    from conduit_core.events import Event
    from conduit_core.observe.metrics import Metric
    from conduit_core.observe.observing import Scene
    from conduit_core.observe.receivers import Receiver

NAMESPACE = "Conduit"
UNITS = {"seconds": "Seconds", "bytes": "Bytes", "": "None"}
"""CloudWatch's units; what isn't here is a count."""

_AT_MOST = 100
"""Metrics of one line, and values of one metric: CloudWatch takes no more."""
_LONGEST = 1024


class Emf:
    """Writes a run's values to a file, or to this process's stderr."""

    def __init__(self, file: Path | None, scene: Scene) -> None:
        self._file = file
        self._book = Book(scene.complain)

    def __call__(self, event: Event) -> None:
        """Take an event in."""
        self._book(event)

    def close(self, seconds: float) -> None:
        """Write a line for each set of labels; lines of other processes stay whole.

        Raises:
            ConfigError: there is no such folder.
            OSError: the file can't be written.
        """
        text = "".join(f"{line}\n" for line in lines(self._book, datetime.now(UTC)))
        if self._file is not None:
            need_folder(self._file)
            with self._file.open("ab", buffering=0) as out:
                out.write(text.encode())
        elif sys.__stderr__ is not None:  # not what stands in for it, which makes records of lines
            sys.__stderr__.write(text)
            sys.__stderr__.flush()


def open_emf(receiver: Receiver, scene: Scene) -> Emf:
    """Write to stderr, ``emf:``, or to a file, ``emf:///path.log``.

    Raises:
        ConfigError: the URL is wrong.
    """
    url = receiver.url
    if url.netloc or url.query or receiver.transport:
        raise ConfigError(
            f"{OBSERVE}: CloudWatch's format goes to stderr, `emf:`, or to a file,"
            " `emf:///folder/metrics.log` with three slashes",
            command="conduit run --help",
        )
    path = unquote(url.path)
    return Emf(Path(path).absolute() if path not in {"", "/"} else None, scene)


def lines(book: Book, now: datetime) -> Iterator[str]:
    """Yield what was measured, a line for each set of labels. Pure."""
    sets: dict[tuple[tuple[str, str], ...], dict[Metric, list[float]]] = {}
    for metric, labels, values in book:
        pairs = zip(metric.labels, labels, strict=True)
        named = tuple((name, _dimension(value)) for name, value in pairs if value)
        sets.setdefault(named, {})[metric] = values
    for dimensions, found in sets.items():
        rest = list(found.items())
        while rest:
            yield _line(dimensions, dict(rest[:_AT_MOST]), now)
            cut = [(metric, values[_AT_MOST:]) for metric, values in rest[:_AT_MOST]]
            rest = [(metric, values) for metric, values in cut if values] + rest[_AT_MOST:]


def _line(
    dimensions: tuple[tuple[str, str], ...], found: dict[Metric, list[float]], now: datetime
) -> str:
    named = dict(dimensions)
    about = ".".join(named[name] for name in ("pipeline", "stream") if name in named)
    record: dict[str, object] = {
        "at": now.isoformat(),
        "level": "info",
        "event": "metrics",
        "message": f"metrics of {about}",
        **named,
        "_aws": {
            "Timestamp": int(now.timestamp() * 1000),
            "CloudWatchMetrics": [
                {
                    "Namespace": NAMESPACE,
                    "Dimensions": [list(named)],
                    "Metrics": [
                        {"Name": m.name, "Unit": UNITS.get(m.unit, "Count")} for m in found
                    ],
                }
            ],
        },
    }
    for metric, values in found.items():
        record[metric.name] = values[0] if len(values) == 1 else values[:_AT_MOST]
    return json.dumps(record, separators=(",", ":"))


def _dimension(value: str) -> str:
    """Return a label as CloudWatch takes it: printable ASCII, of a bounded length."""
    plain = "".join(c if c.isprintable() else " " for c in value)
    return plain.encode("ascii", "backslashreplace").decode()[:_LONGEST]
