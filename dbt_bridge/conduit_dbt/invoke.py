"""One way to run dbt, two places to run it: this process, or any ``dbt`` program."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from conduit_core.errors import ConfigError

_END_SECONDS = 10
_TAIL_LINES = 20


@dataclass(frozen=True)
class Invocation:
    """What to run: ``dbt <command> <common> <arguments>``.

    ``common`` is all that a parse depends on (project, profile, vars), so that a parsed project
    can serve the next command. ``environment`` is added to this process's for the time of the
    run; it may hold secrets.
    """

    command: tuple[str, ...]
    arguments: tuple[str, ...]
    common: tuple[str, ...]
    cwd: Path
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def words(self) -> list[str]:
        """All of dbt's arguments; the common ones last, where they win over a user's."""
        return [*self.command, *self.arguments, *self.common]


@dataclass(frozen=True)
class Ended:
    """How dbt ended: 0, 1 (a node failed) or 2 (nothing ran); ``error`` is what the runner saw."""

    code: Literal[0, 1, 2]
    error: str = ""


class Dbt(Protocol):
    """A dbt that can be run. Not to be shared by two projects: it may keep what it parsed."""

    def invoke(self, invocation: Invocation) -> Ended:
        """Run a command to its end; its artifacts are where the invocation says.

        Raises:
            ConfigError: there is no such dbt.
        """
        ...


@dataclass(frozen=True)
class Executable:
    """A ``dbt`` program, in whatever environment it lives: a name on PATH, or a path."""

    path: str

    def invoke(self, invocation: Invocation) -> Ended:
        """Run it as a process of its own, without a shell; what it prints is kept for errors.

        Raises:
            ConfigError: it isn't there, or can't be run.
        """
        with _stoppable():
            return self._invoke(invocation)

    def _invoke(self, invocation: Invocation) -> Ended:
        own_group = os.name == "posix"  # so that Ctrl-C reaches it once, from us
        try:
            process = subprocess.Popen(  # noqa: S603 - the user names the program; no shell
                [self.found(), *invocation.words],
                cwd=invocation.cwd,
                env={**os.environ, **invocation.environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=own_group,
            )
        except OSError as error:
            raise ConfigError(
                f"the dbt executable {self.path} can't be run ({error.strerror}); give the path"
                " of a dbt, such as /opt/dbt/bin/dbt"
            ) from None
        with process:
            try:
                printed, _ = process.communicate()
            except BaseException:
                _end(process)
                raise
        tail = "\n".join(printed.decode(errors="replace").strip().splitlines()[-_TAIL_LINES:])
        if process.returncode == 0:
            return Ended(0)
        if process.returncode == 1:
            return Ended(1, tail)
        how = f"dbt ended with code {process.returncode}"
        if process.returncode < 0:
            how = f"dbt was killed by signal {-process.returncode}; is there enough memory?"
        return Ended(2, tail if process.returncode == 2 and tail else f"{how}\n{tail}".strip())

    def found(self) -> str:
        """Return where it is.

        Raises:
            ConfigError: it isn't there, or can't be run.
        """
        given = str(Path(self.path).expanduser())
        found = shutil.which(given)
        if found is None:
            there = Path(given).is_file()
            raise ConfigError(
                f"the dbt executable {self.path}"
                f" {'may not be executed' if there else 'is not there'}; give the path of a dbt,"
                " such as /opt/dbt/bin/dbt, or leave `executable` out to run dbt in this process"
            )
        return str(Path(found).absolute())


@contextmanager
def _stoppable() -> Iterator[None]:
    """Let SIGTERM end us by an exception, so that dbt is ended too: a scheduler stops us so."""
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def stop(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End dbt as Ctrl-C does, so that it cancels what runs in the database; then by force."""
    if os.name != "posix":
        process.kill()
        return
    for sign in (signal.SIGINT, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
            process.communicate(timeout=_END_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            pass
        return


def quiet(folder: Path) -> Sequence[str]:
    """Return flags, good for dbt 1.8 to 1.11, that keep artifacts and log in a private folder.

    Nothing goes to the console. The log has no debug lines: those hold vars and SQL.
    """
    return (
        "--target-path", str(folder), "--log-path", str(folder), "--write-json",
        "--log-level", "none", "--log-level-file", "info", "--log-format-file", "json",
        "--no-print", "--no-use-colors", "--no-use-colors-file", "--no-send-anonymous-usage-stats",
    )  # fmt: skip
