"""One command's surroundings: common options, stderr in the wanted form, the secrets read."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, TextIO, cast

from conduit_core.cli.options import Common, LogFormat
from conduit_core.cli.redact import Redactor
from conduit_core.cli.startup import arrow_without_pandas, imports_are_done
from conduit_core.errors import ConduitError, ConfigError

if TYPE_CHECKING:
    from datetime import timedelta

    from conduit_core.engine.pipeline import Pipeline
    from conduit_core.events import Event, Listener
    from conduit_core.observe.jsonlog import JsonLog


class Session:
    """What a command asks for a pipeline and for listeners, and what tells its errors.

    Args:
        common: the options of every command.
    """

    def __init__(self, common: Common) -> None:
        self.common = common
        self.redact = Redactor()
        self._log: JsonLog | None = None
        self._pipeline: Pipeline | None = None

    def pipeline(self, file: str) -> Pipeline:
        """Read a pipeline file, and remember its secrets so that nothing shows them.

        Raises:
            ConfigError: it is missing or wrong.
        """
        arrow_without_pandas()
        from conduit_core.engine.pipeline import Pipeline
        from conduit_core.spec import FileConnections, resolve_connections

        imports_are_done()
        pipeline = self._pipeline = Pipeline.from_file(file)
        ends = (pipeline.loaded.spec.source, pipeline.loaded.spec.destination)
        self.redact.learn(ends, pipeline.receiver_secrets())
        try:
            named = resolve_connections(pipeline.loaded, FileConnections())
        except ConduitError:
            return pipeline  # whoever opens the pipeline raises it again
        self.redact.learn((named.spec.source, named.spec.destination))
        return pipeline

    def placed(self, error: ConduitError) -> ConduitError:
        """Return the error with the pipeline filled in, if one was read."""
        return self._pipeline.at(error, command="conduit check") if self._pipeline else error

    @contextmanager
    def stderr(self) -> Iterator[None]:
        """Write stderr in the wanted form, and without secrets, until the block ends."""
        if self.common.log_format is not LogFormat.json:
            real = sys.stderr
            sys.stderr = cast("TextIO", _Masked(real, self.redact))
            try:
                yield
            finally:
                sys.stderr = real
            return
        from conduit_core.observe.jsonlog import JsonLog, route_everything

        self._log = JsonLog(sys.stderr, redact=self.redact, debug=self.common.debug)
        with route_everything(self._log):
            yield

    @contextmanager
    def watching(
        self, pipeline: Pipeline, *, quietly: bool = False
    ) -> Iterator[tuple[Listener, ...]]:
        """Open the listeners of a run: one that shows it, and those that the environment names.

        Args:
            pipeline: what runs, or is looked at.
            quietly: show warnings only: the answer tells the rest. A log has all of it.

        Raises:
            ConfigError: ``CONDUIT_LISTENERS`` names something that isn't a listener's factory.
        """
        from conduit_core.observe.observing import observing

        with (
            self._listeners(quietly=quietly) as listeners,
            observing(pipeline, listeners) as observation,
        ):
            yield observation.listeners

    @contextmanager
    def _listeners(self, *, quietly: bool) -> Iterator[tuple[Listener, ...]]:
        from conduit_core.engine.listening import listeners_from_environment

        named = listeners_from_environment()
        with ExitStack() as stack:
            if self._log is not None:
                yield (self._log, *named)
            elif quietly:
                yield (self._warn, *named)
            elif sys.stderr.isatty():
                from rich.console import Console

                from conduit_core.observe.progress import LiveProgress

                live = stack.enter_context(LiveProgress(Console(stderr=True)))
                yield (live, *named)
            else:
                from conduit_core.observe.lines import PlainLines

                yield (PlainLines(self._write, debug=self.common.debug), *named)

    def _warn(self, event: Event) -> None:
        from conduit_core.events import Notice

        if isinstance(event, Notice) and event.level == "warning":
            self._write(f"{event.stream or event.pipeline}: warning: {event.message}")

    def tell(self, lines: tuple[str, ...], *, event: str, facts: dict[str, object]) -> None:
        """Write lines to stderr: as they are, or as one record of the log."""
        if self._log is not None:
            self._log.write("error", event, lines[0], {**facts, "lines": lines})
            return
        for line in lines:
            self._write(line)

    def _write(self, line: str) -> None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


class _Masked:
    """Stderr with secrets masked, also in what Python and libraries write to it themselves."""

    def __init__(self, real: TextIO, redact: Redactor) -> None:
        self._real = real
        self._redact = redact

    def write(self, text: str) -> int:
        """Write the text, masked."""
        return self._real.write(self._redact(text))

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)


def runner_text() -> str:
    """Return who runs, for the ledger: no secrets, and nothing that must be there."""
    import getpass
    import os
    import socket

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = str(os.getuid())
    facts = {"runner": "cli", "host": socket.gethostname(), "pid": os.getpid(), "user": user}
    return json.dumps(facts)


def age_of(text: str, command: str, option: str = "--older-than") -> timedelta:
    """Return an ``--older-than``, or another option's age.

    Raises:
        ConfigError: it is no duration; with the command that shows one.
    """
    from conduit_core.spec import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise ConfigError(f"{option} {error}", command=command) from None
