"""Starting workers, all at once where asked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def together(*jobs: dict[str, Any]) -> list[tuple[int, str]]:
    """Run the jobs in processes of their own, let go at once; return (exit code, last word)."""
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.lake.worker", json.dumps(job)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            cwd=Path(__file__).parents[2],
        )
        for job in jobs
    ]  # fmt: skip
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    ended = []
    for process in started:
        out, _ = process.communicate(timeout=120)
        ended.append((process.returncode, out.strip()))
    return ended
