"""Commands as forks of a process that has imported everything: a start costs no second of imports.

Each is a process of its own all the same, with its own folder, environment, outputs and signals,
and can be killed and frozen. What an interpreter does at its start (``PYTHON...`` in the
environment, what is imported when) is no part of it, nor how it frees its memory at its end: tests
of that start an interpreter.

The warm process opens nothing and starts no thread, so that a fork of it is whole. It is started
with the first command, and ends with the process that started it. A command's parent is a keeper,
which tells in a pipe what becomes of it.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DRIVERS = (
    "adbc_driver_postgresql.dbapi", "adbc_driver_sqlite.dbapi", "duckdb", "psycopg2", "sqlite3",
    "pyarrow.compute", "pyarrow.csv", "pyarrow.dataset", "pyarrow.parquet",
)  # fmt: skip


class Command:
    """A command under way, or ended: as much of ``subprocess.Popen`` as tests use.

    Args:
        args: what stands behind ``python``: ``-m module``, ``-c code`` or a script; its arguments.
        cwd: its folder.
        env: its whole environment.
        more: a module to import before, where a process of its own has all that imports.
    """

    def __init__(
        self, args: Sequence[str], *, cwd: Path, env: Mapping[str, str], more: str = ""
    ) -> None:
        # Closed when it has ended.
        self._outputs = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
        self._said: tuple[str, str] | None = None
        self._news, told = os.pipe()
        files = [*(output.fileno() for output in self._outputs), told]
        _warm(more).ask({"args": list(args), "cwd": str(cwd), "env": dict(env)}, files)
        os.close(told)
        self.returncode: int | None = None
        self.pid = int(self._next_word())

    def _next_word(self) -> str:
        word = b""
        while not word.endswith(b"\n"):  # no byte more, so that what waits can be waited for
            if not (byte := os.read(self._news, 1)):
                raise AssertionError("the keeper of a command has died")
            word += byte
        return word.decode().strip()

    def wait_stopped(self) -> bool:
        """Wait until it has frozen itself; False if it ended before."""
        word = self._next_word()
        if word != "stopped":
            self.returncode = int(word)
        return word == "stopped"

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end.

        Raises:
            subprocess.TimeoutExpired: it didn't end in time.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while self.returncode is None:
            left = None if until is None else max(0.0, until - time.monotonic())
            if not select.select([self._news], [], [], left)[0]:
                raise subprocess.TimeoutExpired("conduit", timeout or 0)
            self.wait_stopped()
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end, and return what it said on both outputs."""
        self.wait(timeout)
        if self._said is None:
            texts = []
            for output in self._outputs:
                with output:
                    output.seek(0)
                    texts.append(output.read().decode())
            os.close(self._news)
            self._said = (texts[0], texts[1])
        return self._said

    def poll(self) -> int | None:
        """Return its code, None while it runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def send_signal(self, number: int) -> None:
        """Send it a signal; none if it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it, if it hasn't."""
        self.send_signal(signal.SIGKILL)


class _Warm:
    """The warm process, seen from the one that started it.

    Its output goes into a pipe from the start, as a command's does: Python keeps what it has once
    found out about its streams. What it says there itself is shown if it dies.

    Args:
        more: a module that it imports as well.
    """

    def __init__(self, more: str) -> None:
        self._requests, theirs = socket.socketpair()
        kept = {k: v for k, v in os.environ.items() if not k.startswith("CONDUIT_")}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.warm", str(theirs.fileno()), *more.split()],
                cwd=ROOT,
                env={**kept, "PYDANTIC_DISABLE_PLUGINS": "__all__", "MIMALLOC_PURGE_DELAY": "0"},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        atexit.register(self._end)

    def ask(self, job: Mapping[str, object], files: Sequence[int]) -> None:
        """Let it start a command that has these files as stdout, stderr, and for news of it."""
        try:
            with tempfile.TemporaryFile() as paper:
                paper.write(json.dumps(job).encode())
                paper.seek(0)
                socket.send_fds(self._requests, [b"!"], [paper.fileno(), *files])
        except BrokenPipeError:
            said, _ = self._process.communicate()
            raise AssertionError(f"the warm process has died:\n{said.decode()}") from None

    def _end(self) -> None:
        self._requests.close()
        self._process.communicate()


@cache
def _warm(more: str) -> _Warm:
    return _Warm(more)


# --- in the warm process --------------------------------------------------------------------------


def _serve(requests: socket.socket) -> list[str] | None:
    """Fork for each request; return in a command's process, with its arguments."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    while True:
        request, files, _, _ = socket.recv_fds(requests, 1, 4)
        if not request:
            return None
        keeper = os.fork()
        if keeper == 0:
            requests.close()
            return _keep(*files)
        for file in files:
            os.close(file)
        _reap()


def _reap() -> None:
    """Let go of the keepers that have ended."""
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return


def _keep(paper: int, out: int, err: int, news: int) -> list[str]:
    """Fork once more: the child returns its arguments, the keeper tells what becomes of it."""
    with os.fdopen(paper, "rb") as file:
        job = json.load(file)
    pid = os.fork()
    if pid == 0:
        os.close(news)
        return _become(job, out, err)
    os.close(out)
    os.close(err)
    with suppress(BrokenPipeError):  # nobody asks any more
        os.write(news, f"{pid}\n".encode())
        ended = False
        while not ended:
            _, status = os.waitpid(pid, os.WUNTRACED)
            ended = not os.WIFSTOPPED(status)
            word = str(os.waitstatus_to_exitcode(status)) if ended else "stopped"
            os.write(news, f"{word}\n".encode())
    os._exit(0)


def _become(job: dict[str, Any], out: int, err: int) -> list[str]:
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.close(out)
    os.close(err)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(job["env"])
    time.tzset()
    tempfile.tempdir = None
    os.chdir(job["cwd"])
    return list(job["args"])


def modules(package: str = "conduit_core") -> list[str]:
    """Return every module a command may import, but what is run and not imported."""
    places = importlib.import_module(package).__path__
    found = [m.name for m in pkgutil.walk_packages(places, f"{package}.")]
    wanted = [name for name in found if not name.endswith("__main__")]
    testing = "conduit_core.testing"  # needs pytest
    faults = [f"{testing}.faults"] if package == "conduit_core" else []
    return [n for n in wanted if not n.startswith(testing)] + faults


def _main() -> None:
    """Import, serve, and in each fork run what it was asked for, as ``python`` would."""
    from conduit_core.cli.startup import arrow_without_pandas

    arrow_without_pandas()  # as the command does
    for name in (*modules(), *DRIVERS, *sys.argv[2:]):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    # An allocator of Arrow has a thread, and a handler for forks.
    warnings.filterwarnings("ignore", ".*multi-threaded, use of fork", DeprecationWarning)
    arguments = _serve(socket.socket(fileno=int(sys.argv[1])))
    if arguments is None:
        return
    try:
        _run(*arguments)
        code: object = 0
    except SystemExit as ended:
        code = ended.code or 0
    except Exception:  # noqa: BLE001 - Python's own end of it
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        code = 1
    _end(code)


def _run(kind: str, *rest: str) -> None:
    sys.path[0] = "" if kind in {"-m", "-c"} else str(Path(kind).parent)
    sys.argv = [kind, *rest[kind in {"-m", "-c"} :]]
    if kind == "-m":
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        exec(rest[0], {"__name__": "__main__"})  # noqa: S102 - what a test gives
    else:
        runpy.run_path(kind, run_name="__main__")


def _end(code: object) -> None:
    """End as Python would, but let the kernel take the memory.

    To free each object copies nearly all of it, since it is shared with the warm process: that
    takes longer than most commands.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    if not isinstance(code, int):
        print(code, file=sys.stderr)  # noqa: T201 - as Python does
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code & 0xFF)


if __name__ == "__main__":
    _main()
