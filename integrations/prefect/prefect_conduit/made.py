"""The author's function while its data is loaded: called where it belongs, its errors kept."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import aclosing, contextmanager
from contextvars import copy_context
from typing import Any, cast

from prefect_conduit.stopping import stop_event

_END = object()
_LOOK_SECONDS = 0.2


class Made:
    """What a function makes, called once rows are needed.

    It runs in the context of the task: its log and its parameters are there. One that is
    asynchronous runs on the task's event loop, while the load waits in a thread.

    Args:
        call: the function with its arguments.
        loop: the task's event loop, where it has one.
    """

    def __init__(self, call: Callable[[], object], loop: asyncio.AbstractEventLoop | None) -> None:
        self._call = call
        self._loop = loop
        self._context = copy_context()
        self._stop = stop_event()
        self.raised: Exception | None = None
        """What the function itself raised."""

    def rows(self) -> object:
        """Call the function."""
        loop = self._loop
        with self._kept():
            found = self._context.run(self._call)
            if loop is not None and inspect.iscoroutine(found):
                found = self._waited(self._started(found, loop))
        if loop is not None and isinstance(found, AsyncIterator):
            found = self._each_awaited(found, loop)
        if isinstance(found, Iterator) and not hasattr(found, "__arrow_c_stream__"):
            return self._each(found)
        return found

    def _each(self, found: Iterator[object]) -> Iterator[object]:
        with self._kept():
            yield from found

    def _each_awaited(
        self, found: AsyncIterator[object], loop: asyncio.AbstractEventLoop
    ) -> Iterator[object]:
        """Yield what an asynchronous generator does; it is one step ahead, and one task's."""
        handed: asyncio.Queue[object] = asyncio.Queue(1)

        async def produce() -> None:
            async with aclosing(cast("Any", found)) as items:
                async for item in items:
                    await handed.put(item)
            await handed.put(_END)

        producer = self._started(produce(), loop)
        try:
            while (item := self._waited(self._started(handed.get(), loop), producer)) is not _END:
                yield item
                del item
        finally:
            producer.cancel()

    def _started(
        self, coroutine: Coroutine[Any, Any, object], loop: asyncio.AbstractEventLoop
    ) -> Future[object]:
        start = asyncio.run_coroutine_threadsafe
        return self._context.copy().run(start, coroutine, loop)

    def _waited(self, future: Future[object], *others: Future[object]) -> object:
        """Return what a future gives; end it where the task is to end, or one of others fails."""
        waited = {future, *others}
        while not future.done():
            done, waited = wait(waited, timeout=_LOOK_SECONDS, return_when=FIRST_COMPLETED)
            failed = any(other is not future and other.exception() is not None for other in done)
            if failed or self._stop.is_set():
                future.cancel()
                for other in others if failed else ():
                    other.result()
                break
        return future.result()

    @contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.raised = error
            raise
