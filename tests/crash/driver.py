"""Runs a pipeline through ``conduit_core.run`` for what the command has no option for.

With ``--replay`` it replays the pipeline's dead letters instead. Its last line on stdout is the
run's result as JSON; its exit code the first failure's.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from conduit_core import Pipeline, RunRequest, run
from conduit_core.engine import deadletters
from conduit_core.events import Event, Notice
from conduit_core.state.store import seal_of
from conduit_core.testing.faults import from_environment


class FileStore:
    """A state store in one JSON file: enough to outlive a process that is killed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def _entries(self) -> dict[str, str]:
        return json.loads(self._path.read_text()) if self._path.exists() else {}

    def get(self, key: str) -> str | None:
        """Return the text under ``key``."""
        return self._entries().get(key)

    def set(self, key: str, entry: str, expect: str | None) -> bool:
        """Write ``entry`` unless the stored text isn't the one ``expect`` identifies."""
        entries = self._entries()
        if seal_of(entries.get(key)) != expect:
            return False
        hidden = self._path.with_suffix(".new")
        hidden.write_text(json.dumps({**entries, key: entry}))
        hidden.replace(self._path)
        return True


def main() -> int:
    """Run the pipeline that the arguments name."""
    parser = argparse.ArgumentParser()
    parser.add_argument("pipeline")
    parser.add_argument("--store", type=Path)
    parser.add_argument("--attempts", type=int, default=3)
    parser.add_argument("--to")
    parser.add_argument("--replay", action="store_true")
    args = parser.parse_args()
    pipeline = Pipeline.from_file(args.pipeline)
    if args.replay:
        for replayed in deadletters.replay(pipeline, listeners=(from_environment(),)):
            sys.stdout.write(replayed.model_dump_json() + "\n")
        return 0
    notices: list[str] = []

    def hear(event: Event) -> None:
        if isinstance(event, Notice):
            notices.append(event.message)

    result = run(
        pipeline,
        request=RunRequest(window_to=args.to),
        store=FileStore(args.store) if args.store else None,
        listeners=(hear, from_environment()),
        attempts=args.attempts,
    )
    document = {**result.model_dump(mode="json"), "notices": notices}
    sys.stdout.write(json.dumps(document) + "\n")
    return result.failures[0].exit_code if result.failures else 0


if __name__ == "__main__":
    sys.exit(main())
