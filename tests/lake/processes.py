"""Starting workers, all at once where asked."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

from tests.warm import ROOT, Command


def together(*jobs: dict[str, Any]) -> list[tuple[int, str]]:
    """Run the jobs in processes of their own, let go at once; return (exit code, last word)."""
    started = [
        Command(["-m", "tests.lake.worker", json.dumps(job)], cwd=ROOT, env=os.environ)
        for job in jobs
    ]
    for command in started:
        assert command.wait_stopped(), command.communicate()
    for command in started:
        command.send_signal(signal.SIGCONT)
    ended = []
    for command in started:
        out, err = command.communicate(timeout=120)
        ended.append((command.wait(), out.strip() or err))
    return ended
