"""A bar on the run's page while a load takes its time: a listener, and a thread that draws.

The load only counts; nothing that Prefect does, or doesn't do, makes it wait.
"""

from __future__ import annotations

import contextvars
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Self

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate

from conduit_core.events import BatchRead, PlanReady, SplitStaged
from prefect_conduit.artifacts import artifact_key, make, never_failing
from prefect_conduit.shown import code

if TYPE_CHECKING:
    from uuid import UUID

    from conduit_core.events import Event

EVERY_SECONDS = 2.0
"""A load that ends sooner has no bar; one that doesn't has it redrawn as often."""
_LAST_SECONDS = 10.0
_ALMOST = 99.0


class Progress:
    """Shows how far a load is, from entering to leaving it.

    Args:
        pipeline: the pipeline's name.
        stream: the stream's.
        rows: how many there will be; None: the plan's estimate, once there is one.
        every: seconds between two drawings.
    """

    def __init__(
        self, pipeline: str, stream: str, rows: int | None = None, every: float = EVERY_SECONDS
    ) -> None:
        self._key = artifact_key(pipeline, stream, "progress")
        self._stream = stream
        self._every = every
        self._expected = rows
        self._rows = 0
        self._staged, self._splits = 0, 0
        self._over = threading.Event()
        self._failed = False
        self._made: UUID | None = None
        context = contextvars.copy_context()  # the run's: an artifact belongs to it
        self._thread = threading.Thread(target=context.run, args=(self._draw,), daemon=True)

    def hear(self, event: Event) -> None:
        """Count."""
        match event:
            case BatchRead():
                self._rows += event.rows
            case PlanReady():
                self._expected, self._rows = event.rows_estimate, 0
                self._staged, self._splits = 0, 0
            case SplitStaged():
                self._staged, self._splits = self._staged + 1, event.splits

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._failed = kind is not None
        self._over.set()
        self._thread.join(_LAST_SECONDS)

    @property
    def percent(self) -> float | None:
        """How far it is; None where that can't be told."""
        if self._expected:
            return min(100 * self._rows / self._expected, _ALMOST)
        if self._splits:
            return min(100 * self._staged / self._splits, _ALMOST)
        return None

    def _draw(self) -> None:
        with never_failing(f"the progress of {self._stream} can't be shown"):
            while not self._over.wait(self._every):
                self._show(self.percent)
            if self._made is not None:
                self._show(self.percent if self._failed else 100.0)

    def _show(self, percent: float | None) -> None:
        if percent is None:
            return
        text = self._text()
        if self._made is None:
            self._made = make("progress", self._key, percent, text)
            return
        with get_client(sync_client=True) as client:
            client.update_artifact(self._made, ArtifactUpdate(data=percent, description=text))

    def _text(self) -> str:
        of = f" of about {self._expected:,}" if self._expected and not self._over.is_set() else ""
        done = f"{code(self._stream)}: {self._rows:,}{of} rows read"
        if self._splits:
            done += f", {self._staged} of {self._splits} splits staged"
        return f"{done}; failed" if self._failed else done
