"""Commands are measured with all that they start, in turn, and a failure says what was said."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.measure import MIB, Contestant, Memory, compare, timed

HOLDS = "import sys; held = bytearray(64 << 20); sys.stdin.read()"


def test_the_memory_is_that_of_all_processes() -> None:
    """A shell and two programs, which hold 64 MiB each until their input ends."""
    program = f"'{sys.executable}' -c '{HOLDS}' <&3"
    script = f"exec 3<&0; {program} & {program}; wait"
    with subprocess.Popen(["bash", "-c", script], stdin=subprocess.PIPE) as process:
        memory = Memory(process.pid)
        memory.start()
        deadline = time.monotonic() + 60
        while memory.peak < 128 * MIB and time.monotonic() < deadline:
            memory.join(0.01)  # it goes on looking
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
    assert 128 * MIB <= memory.ended() < 256 * MIB


HELD = "held = bytearray(512 << 20)\nfor _ in range(3): held.count(1)"
"""It goes over what it holds, so that it is there for long enough to be looked at."""


def test_the_memory_of_one_process_is_its_own(tmp_path: Path) -> None:
    sample = timed([sys.executable, "-c", HELD], tmp_path)
    assert 512 <= sample.peak_mib < 640  # as the kernel says, where nobody looked in time


def test_processor_time_is_that_of_children_too(tmp_path: Path) -> None:
    busy = "import time\nwhile time.process_time() < 0.3: pass"
    sample = timed(["sh", "-c", f"'{sys.executable}' -c '{busy}'"], tmp_path)
    assert sample.cpu_seconds >= 0.3
    assert sample.seconds >= 0.3


def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"exited 3: .*so it is"):
        timed("echo so it is >&2; exit 3", tmp_path)
    with pytest.raises(RuntimeError, match=r"exited 1"):
        timed("false | true", tmp_path)


def test_contestants_run_in_turn_and_are_checked_at_the_end(tmp_path: Path) -> None:
    def lines() -> str:
        return (tmp_path / "log").read_text().replace("\n", " ")

    measured = compare(
        "full",
        "a row",
        [
            Contestant("ours", "echo a >> log; echo '{\"seconds\": 0.5}'", "echo b >> log", lines),
            Contestant("theirs", ["sh", "-c", 'echo "$WHO" >> log'], env={"WHO": "c"}),
        ],
        cwd=tmp_path,
        runs=2,
    )
    assert lines() == "b a c b a c b a c "
    ours, theirs = measured.sides
    assert (len(ours.seconds), ours.load_seconds, ours.check) == (2, [0.5, 0.5], lines())
    assert (len(theirs.seconds), theirs.load_seconds, theirs.check) == (2, [], "")


def test_the_command_lists_its_cases() -> None:
    told = subprocess.check_output([sys.executable, "-m", "benchmarks", "--list"], text=True)
    assert {"pg", "csv-duckdb", "upsert", "memory-duckdb-20m", "airflow"} <= set(told.split())
