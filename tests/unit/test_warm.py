"""A command that is a fork: a process of its own, told of as Popen tells."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.warm import Command

LOOK = """
import os, sys, tempfile
print(os.getcwd(), sys.argv[1:], os.environ.get("WORD"), tempfile.gettempdir(), sys.path[0])
print(sys.stdin.read() == "", file=sys.stderr)
sys.exit(3)
"""
FREEZE = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP); print('awake')"
WAIT = "import os, signal; print('here', flush=True); signal.pause()"


def start(*args: str, cwd: Path, **more: str) -> Command:
    return Command(args, cwd=cwd, env={**os.environ, **more})


def test_it_is_as_an_interpreter_of_its_own(tmp_path: Path) -> None:
    env = {**os.environ, "WORD": "näme", "TMPDIR": str(tmp_path), "PYTHONUTF8": "1"}
    fork = Command(["-c", LOOK, "a", "b c"], cwd=tmp_path, env=env)
    fresh = subprocess.run(
        [sys.executable, "-c", LOOK, "a", "b c"],
        cwd=tmp_path, env=env, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert fork.communicate(60) == (fresh.stdout, fresh.stderr)
    assert fork.returncode == fresh.returncode == 3


def test_it_is_frozen_and_woken_and_killed(tmp_path: Path) -> None:
    frozen = start("-c", FREEZE, cwd=tmp_path)
    assert frozen.wait_stopped()
    assert frozen.poll() is None
    frozen.send_signal(signal.SIGCONT)
    assert (frozen.communicate(60)[0], frozen.returncode) == ("awake\n", 0)
    ended = start("-c", "", cwd=tmp_path)
    assert not ended.wait_stopped()
    assert ended.communicate() == ("", "")
    waiting = start("-c", WAIT, cwd=tmp_path)
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(0)
    waiting.kill()
    waiting.communicate(60)
    assert waiting.returncode == -signal.SIGKILL
    waiting.kill()  # there is nobody any more


def test_an_error_is_told_as_python_tells_it(tmp_path: Path) -> None:
    failed = start("-m", "conduit_core.cli", "run", "nowhere.yml", cwd=tmp_path)
    assert "nowhere.yml" in failed.communicate(60)[1]
    assert failed.returncode == 2
    broken = start("-c", "1 / 0", cwd=tmp_path)
    assert broken.communicate(60)[1].splitlines()[-1].startswith("ZeroDivisionError")
    assert broken.returncode == 1
