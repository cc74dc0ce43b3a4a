"""A file for node_exporter's textfile collector: values add up over runs and processes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from conduit_core.errors import ConfigError
from conduit_core.observe.book import SHARE, Book
from conduit_core.observe.prometheus_text import Samples, add, read, written
from conduit_core.observe.receivers import OBSERVE, need_folder

if TYPE_CHECKING:
    from conduit_core.events import Event
    from conduit_core.observe.observing import Scene
    from conduit_core.observe.receivers import Receiver

HEAD = "# Written by conduit, which adds to the values at the end of each run.\n"
END = "# EOF\n"
_LOOK = 0.02
"""Seconds between two looks whether another process has let go of the file."""


class Textfile:
    """Adds a run's values to a file, which other processes may write as well."""

    def __init__(self, file: Path, scene: Scene) -> None:
        self._file = file
        self._book = Book(scene.complain)

    def __call__(self, event: Event) -> None:
        """Take an event in."""
        self._book(event)

    def close(self, seconds: float) -> None:
        """Add to what is there, in one step that readers see whole.

        Raises:
            ConfigError: what is there isn't ours, or no longer whole: it is left as it is. Or
                there is no such folder.
            OSError: it can't be written.
            TimeoutError: another process holds it for longer than that.
        """
        if not self._book:
            return
        need_folder(self._file)
        with _held(self._file, seconds * SHARE):
            samples = self._there()
            for metric, labels, values in self._book:
                add(samples, metric, labels, values)
            _replace(self._file, f"{HEAD}{written(samples)}{END}")

    def _there(self) -> Samples:
        try:
            text = self._file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        except UnicodeDecodeError as error:
            raise self._refused(f"it isn't text: {error.reason}") from None
        if not text.startswith(HEAD):
            raise self._refused("conduit didn't write it")
        if not text.endswith(f"\n{END}"):
            raise self._refused("its end is missing")
        try:
            return read(text)
        except ValueError as error:
            raise self._refused(str(error)) from None

    def _refused(self, why: str) -> ConfigError:
        return ConfigError(
            f"{self._file} is left as it is: {why}; move it away, or give another file",
            command="conduit run --help",
        )


def open_textfile(receiver: Receiver, scene: Scene) -> Textfile:
    """Add a run's values to a file: ``textfile:///abs/conduit.prom``, ``textfile:conduit.prom``.

    Raises:
        ConfigError: the URL names no such file.
    """
    url = receiver.url
    file = Path(unquote(url.path))
    if url.netloc or file.suffix != ".prom":
        raise ConfigError(
            f"{OBSERVE}: a textfile is `textfile:///folder/conduit.prom`, with three slashes, or"
            " `textfile:conduit.prom` in this folder; node_exporter reads only names in .prom",
            command="conduit run --help",
        )
    return Textfile(file.absolute(), scene)


@contextmanager
def _held(file: Path, seconds: float) -> Iterator[None]:
    """Keep other processes from the file, by a lock on one beside it.

    Raises:
        TimeoutError: another one holds it for longer than that.
    """
    import fcntl

    deadline = time.monotonic() + seconds
    with file.with_name(f".{file.name}.lock").open("a") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise TimeoutError(f"another process holds {file}") from None
                time.sleep(_LOOK)
        yield


def _replace(file: Path, text: str) -> None:
    made = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with made.open("w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        made.replace(file)
    except OSError:
        with suppress(OSError):
            made.unlink()
        raise
