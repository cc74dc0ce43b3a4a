"""The real command in a process of its own: run, killed at a fault point, frozen, woken."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.warm import Command

if TYPE_CHECKING:
    from tests.crash.systems import System

KILLED = -signal.SIGKILL
TIMEOUT_SECONDS = 120
DRIVER = Path(__file__).with_name("driver.py")


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    def fine(self) -> Self:
        """Return it, if it ended well."""
        assert self.code == 0, f"exit code {self.code}\n{self.out}\n{self.err}"
        return self

    def killed(self) -> Self:
        """Return it, if SIGKILL ended it: the fault point was reached."""
        assert self.code == KILLED, f"exit code {self.code}\n{self.out}\n{self.err}"
        return self

    @property
    def document(self) -> dict[str, Any]:
        """The JSON document on stdout."""
        found: dict[str, Any] = json.loads(self.out)
        return found


class Running:
    """A command under way."""

    def __init__(self, process: Command) -> None:
        self.process = process

    def stopped(self) -> Self:
        """Wait until it has frozen itself at its fault point."""
        if not self.process.wait_stopped():
            raise AssertionError(f"it ended before its fault point: {self.end()}")
        return self

    def go_on(self) -> Self:
        """Wake it."""
        self.process.send_signal(signal.SIGCONT)
        return self

    def wait(self) -> None:
        """Wait for its end; its output must fit a pipe."""
        self.process.wait(TIMEOUT_SECONDS)

    def end(self) -> Ended:
        """Wait for its end."""
        out, err = self.process.communicate(timeout=TIMEOUT_SECONDS)
        return Ended(self.process.returncode, out, err)

    def kill_after(self, seconds: float) -> Ended:
        """Kill it, unless it ends by itself before."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        self.process.kill()
        return self.end()


@dataclass
class Worker:
    """A machine that runs pipelines: a disk of its own, and nothing on it that must survive.

    ``more`` is a module that its processes have imported from the start.
    """

    disk: Path
    started: list[Running] = field(default_factory=list)
    more: str = ""

    def start(
        self, pipeline: Path, *args: str, fault: str | None = None, freeze: str | None = None
    ) -> Running:
        """Start ``conduit run``, to be killed at ``fault`` or frozen at ``freeze``."""
        arguments = ["-m", "conduit_core.cli", "run", str(pipeline), *args]
        return self.launch(arguments, fault=fault, freeze=freeze)

    def launch(
        self, arguments: list[str], *, fault: str | None = None, freeze: str | None = None
    ) -> Running:
        """Start here what stands behind ``python``."""
        self.disk.mkdir(exist_ok=True)
        disk = str(self.disk)
        env = {**os.environ, "HOME": disk, "TMPDIR": disk, "XDG_CACHE_HOME": disk, "COLUMNS": "200"}
        if at := fault or freeze:
            env["CONDUIT_LISTENERS"] = "conduit_core.testing.faults:from_environment"
            env["CONDUIT_FAULT"] = at
            env["CONDUIT_FAULT_SIGNAL"] = "KILL" if fault else "STOP"
        process = Command(arguments, cwd=self.disk, env=env, more=self.more)
        self.started.append(Running(process))
        return self.started[-1]

    def run(self, pipeline: Path, *args: str, fault: str | None = None) -> Ended:
        """Run ``conduit run`` to its end, or to the fault."""
        return self.start(pipeline, *args, fault=fault).end()

    def drive(self, pipeline: Path, *args: str, fault: str | None = None) -> Ended:
        """Run ``driver.py``, which has what the command has no option for."""
        return self.launch([*self.driver(pipeline), *args], fault=fault).end()

    def driver(self, pipeline: Path) -> list[str]:
        """Return the command line of ``driver.py``."""
        return [str(DRIVER), str(pipeline)]

    def fresh(self) -> Worker:
        """Return another machine, with an empty disk."""
        return Worker(self.disk.with_name(f"{self.disk.name}-again"), self.started, self.more)

    def files(self) -> list[str]:
        """List what is on the disk."""
        return sorted(str(p.relative_to(self.disk)) for p in self.disk.rglob("*"))

    def stop_all(self) -> None:
        """Kill what a failed test has left running or frozen."""
        for running in self.started:
            if running.process.poll() is None:
                running.process.kill()
                running.process.communicate()


@dataclass(frozen=True)
class Loaded:
    """A destination's content, comparable with another's: a load id is told by its version."""

    rows: list[tuple[object, ...]]
    chain: list[dict[str, object]]

    @property
    def versions(self) -> list[object]:
        """The chain's versions in order."""
        return [record["version"] for record in self.chain]


_SAME_EVERYWHERE = (
    "version", "pipeline", "stream", "request", "request_key", "mode", "load_window", "cursor",
    "rows_read", "rows_inserted", "rows_updated", "rows_unchanged", "rows_deleted",
    "rows_deduplicated", "rows_superseded", "rows_rejected", "schema_fingerprint",
)  # fmt: skip


def loaded(system: System, table: str = "items") -> Loaded:
    """Return a target's rows and its ledger chain, and check that the two agree."""
    if "_conduit_ledger" not in system.relations():
        assert table not in system.relations()
        return Loaded([], [])
    names = ", ".join(("load_id", *_SAME_EVERYWHERE))
    found = system.query(
        f"SELECT {names} FROM {system.place('_conduit_ledger')}"
        f" WHERE target_table = '{table}' ORDER BY version"
    )
    chain = [dict(zip(("load_id", *_SAME_EVERYWHERE), row, strict=True)) for row in found]
    version_of = {record.pop("load_id"): record["version"] for record in chain}
    assert [record["version"] for record in chain] == list(range(1, len(chain) + 1))
    if table not in system.relations():
        assert chain == []
        return Loaded([], [])
    rows = system.query(
        'SELECT _conduit_load_id, id, "at", amount, note'
        f" FROM {system.place(table)} ORDER BY id, note"
    )
    # A KeyError is a row that no record tells of.
    told = [(version_of[load_id], *rest) for load_id, *rest in rows]
    for record in chain:
        mine = sum(1 for version, *_ in told if version == record["version"])
        replaced = record["mode"] == "replace" and record["version"] != len(chain)
        assert mine == (0 if replaced else record["rows_inserted"])
    return Loaded(told, chain)
