"""Environments of their own, made by uv: for packages that a test installs."""

from __future__ import annotations

import shutil
import site
import subprocess
import sys
from pathlib import Path

import pytest

from tests.warm import ROOT

TOOLS = Path(sys.executable).parent


def uv() -> Path:
    """Return uv's command; the test is skipped where there is none."""
    found = Path(shutil.which("uv") or TOOLS / "uv")
    if not found.exists():
        pytest.skip("uv isn't installed: `make setup` installs it")
    return found


def sound(*command: str | Path, cwd: Path) -> str:
    """Run a command that must succeed, and return what it wrote."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def made_over_this_one(home: Path, *packages: Path) -> Path:
    """Return the interpreter of a new environment that has these packages, and what this one has.

    The packages are built and installed; nothing is downloaded.
    """
    sound(uv(), "venv", "--quiet", "--python", sys.executable, home, cwd=home.parent)
    (folder,) = home.glob("lib/python*/site-packages")
    lines = [f"import site; site.addsitedir({p!r})" for p in (str(ROOT), *site.getsitepackages())]
    (folder / "beneath.pth").write_text("\n".join(lines) + "\n")
    python = home / "bin" / "python"
    alone = ("--quiet", "--no-deps", "--no-build-isolation", "--offline")
    sound(uv(), "pip", "install", *alone, "--python", python, *packages, cwd=home.parent)
    return python
