"""The command line as a runner: the command in a process of its own."""

from __future__ import annotations

import os

from conduit_core import Pipeline, state_entry
from tests.conformance.cases import Scene
from tests.conformance.place import Place
from tests.warm import Command

TIMEOUT_SECONDS = 120


class CommandLine:
    """``conduit`` in a place's folder. Its state is the ledger: it keeps no other."""

    name = "command line"
    mark = "cli"

    def __init__(self, place: Place) -> None:
        self.place = place
        self.said = ""
        self.fault = ""
        """Where the next commands are killed: a fault point."""

    def load(self, scene: Scene) -> bool:
        """Run ``conduit run``."""
        more = ["--full-refresh"] if scene.full_refresh else []
        more += [] if scene.hooks else ["--no-after"]
        if scene.day is not None:
            more += ["--from", f"2026-01-{scene.day:02}", "--to", f"2026-01-{scene.day + 1:02}"]
        return self._run("run", *more)

    def replay(self) -> bool:
        """Run ``conduit dlq replay``."""
        return self._run("dlq", "replay")

    def edit(self, target: str, values: str) -> None:
        """Run ``conduit state set``."""
        stream = self._stream(target)
        assert self._run("state", "set", "--stream", stream, "--cursor", values), self.said

    def entry(self, target: str) -> str | None:
        """Return what a store would hold, as the ledger says it."""
        return state_entry(Pipeline.from_file(self.place.file), self._stream(target))

    def _stream(self, target: str) -> str:
        (name,) = [s["name"] for s in self.place.mapping["streams"] if s["into"] == target]
        return str(name)

    def _faults(self) -> dict[str, str]:
        listener = {"CONDUIT_LISTENERS": "conduit_core.testing.faults:from_environment"}
        return {**listener, "CONDUIT_FAULT": self.fault} if self.fault else {}

    def _run(self, *arguments: str) -> bool:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("CONDUIT_")}
        command = Command(
            ["-m", "conduit_core.cli", *arguments],
            cwd=self.place.folder,
            env={**kept, "HOME": str(self.place.folder), **self._faults()},
            more="tests.dbt.warmed" if self.place.case.dbt else "",
        )
        out, err = command.communicate(TIMEOUT_SECONDS)
        self.said = out + err
        return command.returncode == 0
