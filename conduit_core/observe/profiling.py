"""A sampling profiler over all threads of this process, for ``conduit run --profile``.

It is ours because a load reads in one thread and writes in another, and most profilers that can be
installed sample one: pyinstrument and cProfile only see the thread that they were started in. One
from outside (py-spy) sees all of them, but needs a tracer's rights, which containers seldom give.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Self

SCHEMA = "https://www.speedscope.app/file-format-schema.json"
_PERIOD = 0.005
"""Seconds between two looks at first."""
_MOST_RUNS = 50_000
"""After so many runs of equal stacks looks become half as frequent, so that memory stays small."""


class _Track:
    """What one thread did: stacks in order, each with its seconds; equal neighbours are one."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.stacks: list[tuple[int, ...]] = []
        self.seconds: list[float] = []

    def add(self, stack: tuple[int, ...], seconds: float) -> bool:
        """Add a look; say whether it began a new run."""
        if self.stacks and self.stacks[-1] is stack:
            self.seconds[-1] += seconds
            return False
        self.stacks.append(stack)
        self.seconds.append(seconds)
        return True


class Profiler:
    """Samples every thread but its own, until the block ends.

    A native call that works or waits counts for the Python function that made it.

    Example::

        with Profiler() as profiler:
            run(pipeline)
        json.dumps(profiler.document("shop"))
    """

    def __init__(self) -> None:
        self._frames: dict[CodeType, int] = {}
        self._stacks: dict[tuple[int, ...], tuple[int, ...]] = {}
        self._tracks: dict[tuple[int, str], _Track] = {}
        self._period, self._runs = _PERIOD, 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="profiler", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def document(self, name: str) -> dict[str, object]:
        """Return what was seen, once the block is over, in speedscope's file format."""
        frames = [
            {"name": code.co_qualname, "file": code.co_filename, "line": code.co_firstlineno}
            for code in self._frames
        ]
        tracks = sorted(self._tracks.values(), key=lambda t: sum(t.seconds), reverse=True)
        profiles = [
            {
                "type": "sampled",
                "name": track.name,
                "unit": "seconds",
                "startValue": 0,
                "endValue": round(sum(track.seconds), 6),
                "samples": track.stacks,
                "weights": [round(seconds, 6) for seconds in track.seconds],
            }
            for track in tracks
        ]
        return {
            "$schema": SCHEMA,
            "name": name,
            "exporter": "conduit",
            "activeProfileIndex": 0,
            "shared": {"frames": frames},
            "profiles": profiles,
        }

    def _sample(self) -> None:
        looked = time.perf_counter()
        is_over = False
        while not is_over:
            is_over = self._stop.wait(self._period)
            now = time.perf_counter()
            self._look(now - looked)
            looked = now

    def _look(self, seconds: float) -> None:
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        # The only way to see other threads' frames; documented, in spite of its name.
        for ident, frame in sys._current_frames().items():  # noqa: SLF001
            if ident == self._thread.ident:
                continue
            name = names.get(ident, f"thread {ident}")
            track = self._tracks.get((ident, name))
            if track is None:
                track = self._tracks[ident, name] = _Track(name)
            self._runs += track.add(self._stack(frame), seconds)
        if self._runs >= _MOST_RUNS:
            self._period, self._runs = self._period * 2, 0

    def _stack(self, frame: FrameType) -> tuple[int, ...]:
        """Return the frames from the outermost to this one; equal stacks are one object."""
        found = [self._frames.setdefault(code, len(self._frames)) for code in _codes(frame)]
        stack = tuple(reversed(found))
        return self._stacks.setdefault(stack, stack)


def _codes(frame: FrameType | None) -> Iterator[CodeType]:
    while frame is not None:
        yield frame.f_code
        frame = frame.f_back
