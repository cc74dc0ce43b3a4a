"""dbt in this process, which is left as it was found."""

from __future__ import annotations

import contextvars
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TextIO, cast

from conduit_core.errors import ConfigError
from conduit_dbt.invoke import Ended, Invocation

# dbt keeps its settings, loggers and connections in globals: one run at a time.
_LOCK = threading.Lock()
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class InProcess:
    """dbt's own Python entry point, imported when it is first used.

    What a ``parse`` read serves the commands that follow with the same project, profile, vars and
    environment. So one object belongs to one caller, and isn't kept longer than its files stay.
    """

    def __init__(self) -> None:
        self._parsed: tuple[object, object] | None = None

    def invoke(self, invocation: Invocation) -> Ended:
        """Run a command while no other thread runs dbt here; give back the console and files.

        Raises:
            ConfigError: dbt isn't installed beside us.
        """
        with _LOCK, _as_found(invocation.cwd, invocation.environment):
            try:
                # dbt leaves its environment, secrets included, in context variables.
                return contextvars.copy_context().run(self._run, invocation)
            finally:
                _release()

    def _run(self, invocation: Invocation) -> Ended:
        try:
            from dbt.cli.main import dbtRunner
        except ImportError as error:
            raise ConfigError(
                f"dbt can't be imported ({error}); install it beside us with"
                " `pip install 'conduit-dbt[dbt]' dbt-duckdb` (or your database's adapter), or"
                " name a dbt of another environment as `executable:`"
            ) from None
        from dbt_common.events.functions import reset_metadata_vars

        reset_metadata_vars()  # who ran dbt in this process before us left its environment there
        asked = (invocation.common, dict(invocation.environment))
        manifest = self._parsed[1] if self._parsed and self._parsed[0] == asked else None
        result = dbtRunner(manifest=manifest).invoke(invocation.words)  # type: ignore[arg-type]
        if result.exception is not None and not isinstance(result.exception, Exception):
            raise result.exception  # Ctrl-C, or a runner's order to stop
        if invocation.command == ("parse",):
            self._parsed = (asked, result.result) if result.success else None
        if result.success:
            return Ended(0)
        return Ended(1) if result.exception is None else Ended(2, str(result.exception).strip())


def _release() -> None:
    """Close dbt's connections and its log, so that others may open the database file."""
    if events := sys.modules.get("dbt_common.events.event_manager_client"):
        events.cleanup_event_logger()
    if functions := sys.modules.get("dbt_common.events.functions"):
        functions.reset_metadata_vars()  # else artifacts of the next run have this one's load ids
    if factory := sys.modules.get("dbt.adapters.factory"):
        factory.reset_adapters()
    if duckdb := sys.modules.get("dbt.adapters.duckdb.connections"):
        duckdb.DuckDBConnectionManager.close_all_connections()


@contextmanager
def _as_found(cwd: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """Give dbt a folder and an environment, and undo all that it changes in the process."""
    with (
        _environment(environment),
        _folder(cwd),
        _logging(),
        _signals(),
        _silence(),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _environment(added: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(added)
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        for name, value in before.items():
            if os.environ.get(name) != value:
                os.environ[name] = value


@contextmanager
def _folder(cwd: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(cwd)
    try:
        yield
    finally:
        os.chdir(before)


@contextmanager
def _logging() -> Iterator[None]:
    """Undo what dbt and its libraries do to loggers: to the root's, and to their own files."""
    loggers = [logging.getLogger(name) for name in (None, "file_log", "stdout_log")]
    before = [(each, each.handlers[:], each.level, each.propagate) for each in loggers]
    try:
        yield
    finally:
        for logger, handlers, level, propagate in before:
            for handler in logger.handlers:
                if handler not in handlers:
                    handler.close()
            logger.handlers[:] = handlers
            logger.propagate = propagate
            logger.setLevel(level)


@contextmanager
def _signals() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.getsignal(each) for each in _SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            if handler is not None and signal.getsignal(each) != handler:
                signal.signal(each, handler)


@contextmanager
def _silence() -> Iterator[None]:
    others = frozenset(each.ident for each in threading.enumerate()) - {threading.get_ident()}
    out, err = (cast("TextIO", _Silent(each, others)) for each in (sys.stdout, sys.stderr))
    with redirect_stdout(out), redirect_stderr(err):
        yield


class _Silent:
    """A stream that drops what dbt prints, and passes on what threads print that were there before.

    Another load of this process may show its progress meanwhile.
    """

    def __init__(self, stream: TextIO, others: frozenset[int | None]) -> None:
        self._stream = stream
        self._others = others

    def write(self, text: str) -> int:
        if threading.get_ident() in self._others:
            return self._stream.write(text)
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)
