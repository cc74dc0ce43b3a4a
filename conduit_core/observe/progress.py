"""Live progress on a terminal: a row per stream with rows, bytes, rows/s and the time left."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, Progress, Task, TaskID, TextColumn
from rich.text import Text

from conduit_core.events import (
    BatchWritten,
    CommitStarted,
    Event,
    HookFailed,
    HookFinished,
    HookStarted,
    Notice,
    PlanReady,
    Retrying,
    RunFinished,
    RunStarted,
    SplitStaged,
    StreamFailed,
    StreamFinished,
    StreamStarted,
)
from conduit_core.observe import figures, words
from conduit_core.observe.tally import StreamTally, Tally

if TYPE_CHECKING:
    from rich.console import Console

_DONE = {"published": "published", "empty": "nothing new", "replayed": "loaded before"}


class LiveProgress:
    """A listener that draws; use it as a context manager so that the terminal is given back.

    Example::

        with LiveProgress(Console(stderr=True)) as progress:
            run(pipeline, listeners=(progress,))
    """

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=16),
            TextColumn("{task.fields[rows]}", justify="right", markup=False),
            TextColumn("{task.fields[size]}", justify="right", markup=False),
            TextColumn("{task.fields[rate]}", justify="right", markup=False),
            TextColumn("{task.fields[note]}", markup=False),
            console=console,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._tasks: dict[str, TaskID] = {}
        self._tally = Tally()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        """Draw what the event changes."""
        tally = self._tally.add(event)
        match event:
            case RunStarted():
                for name in event.streams:
                    self._tasks[name] = self._progress.add_task(
                        name, total=None, start=False, rows="", size="", rate="", note="waiting"
                    )
            case BatchWritten() | SplitStaged() if tally is not None:
                self._draw(event.stream, tally)
            case StreamFinished():
                self._finished(event, tally)
            case StreamFailed():
                self._note(event.stream, f"failed: {event.error}")
                self._stop(event.stream)
            case Retrying() | Notice():
                text = Text(f"{event.stream or event.pipeline}: {words.message(event)}")
                self._progress.console.print(text)
            case _:
                self._step(event)

    def _step(self, event: Event) -> None:
        match event:
            case StreamStarted():
                self._note(event.stream, "planning", start=True)
            case PlanReady():
                self._note(event.stream, "reading", total=event.rows_estimate or None)
            case CommitStarted():
                self._note(event.stream, "committing")
            case HookStarted():
                name = f"after.{event.hook}"
                self._tasks[name] = self._progress.add_task(
                    name, total=None, rows="", size="", rate="", note="under way"
                )
            case HookFinished():
                self._note(f"after.{event.hook}", event.outcome)
                self._stop(f"after.{event.hook}")
            case HookFailed():
                self._note(f"after.{event.hook}", f"failed: {event.error}")
                self._stop(f"after.{event.hook}")
            case RunFinished():
                self._progress.refresh()

    def _task(self, stream: str) -> Task | None:
        wanted = self._tasks.get(stream)
        return next((t for t in self._progress.tasks if t.id == wanted), None)

    def _note(
        self, stream: str, note: str, *, total: int | None = None, start: bool = False
    ) -> None:
        task = self._task(stream)
        if task is None:
            return
        if start:
            self._progress.start_task(task.id)
        if total is not None:
            self._progress.update(task.id, total=total, note=note)
        else:
            self._progress.update(task.id, note=note)

    def _stop(self, stream: str) -> None:
        task = self._task(stream)
        if task is not None:
            if task.total is None:
                self._progress.update(task.id, total=1, completed=0)
            self._progress.stop_task(task.id)

    def _draw(self, stream: str, tally: StreamTally) -> None:
        task = self._task(stream)
        if task is None:
            return
        left = tally.seconds_left
        self._progress.update(
            task.id,
            completed=tally.rows,
            rows=f"{figures.count(tally.rows)} rows",
            size=figures.size(tally.bytes),
            rate=figures.rate(tally.rows, tally.seconds),
            note="" if left is None else f"{figures.duration(left)} left",
        )

    def _finished(self, event: StreamFinished, tally: StreamTally | None) -> None:
        task = self._task(event.stream)
        if task is None:
            return
        if tally is not None and event.outcome == "published":
            self._draw(event.stream, tally)
        done = max(event.rows_read, 1)
        self._progress.update(
            task.id, total=done, completed=done, note=_DONE.get(event.outcome, event.outcome)
        )
        self._progress.stop_task(task.id)
