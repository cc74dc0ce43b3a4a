"""Watches a run: hands its events to receivers of metrics, traces, lineage and alerts.

A receiver never fails a load: what goes wrong with one is a warning, and at the end all of them
together have a bounded time to send what they have.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, Protocol
from urllib.parse import unquote

from conduit_core.errors import ConduitError
from conduit_core.events import BatchRead, BatchWritten, Emitter, Event, Listener, Notice
from conduit_core.observe.receivers import (
    EXTRAS,
    HEAR_BATCHES,
    KINDS,
    LISTENING,
    OBSERVE,
    OF_PREFECT,
    WRITING,
    Receiver,
    is_of_prefect,
    need_folder,
    receiver_of,
    words_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from conduit_core.connectors.base import CheckItem
    from conduit_core.engine.pipeline import Pipeline
    from conduit_core.observe.alerts import Alerts

CLOSE_SECONDS = 5.0
"""How long receivers may take at the end of a run, all together."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Who runs the pipeline: what alerts link to, and what traces and lineage hang under.

    Args:
        runner: cli, airflow, prefect or dagster.
        run: the runner's id of this run, for people.
        url: a page that shows the run; "" for none.
        traceparent: the runner's own trace, as W3C's header; "" for none.
        namespace, job, run_id: OpenLineage's names of the run that this one is a part of; its
            ``run_id`` is a UUID. "" for none.
    """

    runner: Literal["cli", "airflow", "prefect", "dagster"] = "cli"
    run: str = ""
    url: str = ""
    traceparent: str = ""
    namespace: str = ""
    job: str = ""
    run_id: str = ""


class Sink(Protocol):
    """A receiver's end in this process: a listener that does no I/O, and sends when it is closed.

    It is called with every event, from any thread, one at a time: batches among them, so that what
    it does there has to be a few microseconds.
    """

    def __call__(self, event: Event) -> None:
        """Take an event in."""
        ...

    def close(self, seconds: float) -> None:
        """Send what there is, in that time at most.

        Raises:
            Exception: it couldn't; the message is shown.
        """
        ...


@dataclass(frozen=True, slots=True)
class Scene:
    """What a sink may know of the run it is opened for.

    Args:
        pipeline: the run's.
        origin: who runs it.
        complain: takes a warning, in one line; it is shown to people once.
    """

    pipeline: Pipeline
    origin: Origin
    complain: Callable[[str], None]


class Observation:
    """A run that is watched; ``listeners`` are to be handed to it.

    ``will_retry`` is set by a runner that tries again after a failure: nobody is told of that one.

    Args:
        pipeline: whose run it is.
        listeners: the runner's own, called first.
        origin: which run of which runner it is.
    """

    def __init__(self, pipeline: Pipeline, listeners: tuple[Listener, ...], origin: Origin) -> None:
        self._pipeline = pipeline
        self._own = Emitter(listeners)
        self._sinks: list[_Guarded] = []
        self._scene = Scene(pipeline, origin, self._complain)
        self._given = listeners
        self._alerts: Alerts | None = None
        self.will_retry = False
        if pipeline.loaded.spec.notify:
            from conduit_core.observe.alerts import Alerts

            self._alerts = Alerts(self._scene, self._emit)

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """Who hears the run's events."""
        alerts = () if self._alerts is None else (self._alerts,)
        return (*self._given, *alerts, *self._sinks)

    def open(self, to: str | Iterable[str] | None, without: Mapping[str, str]) -> None:
        """Open the receivers; one that can't be opened is a warning.

        Args:
            to: the receivers' URLs or names, one text or several.
            without: kinds of receivers that the runner serves itself, each with what is said of
                that.
        """
        for word in words_of(to):
            name, extra = "a receiver", ""
            try:
                receiver = receiver_of(word)
                name, extra = receiver.shown, EXTRAS.get(receiver.kind, "")
                if receiver.kind in without:
                    self._say(f"{name} isn't told by Conduit: {without[receiver.kind]}", "info")
                    continue
                sink = _opener(receiver)(receiver, self._scene)
            except Exception as error:  # noqa: BLE001 - whatever a receiver does, the load goes on
                self._complain(f"{name} isn't told: {_told(error, extra)}")
                continue
            self._sinks.append(_Guarded(sink, receiver, self._complain))

    def raised(self, error: ConduitError) -> None:
        """Take in what ended the run, so that people are told of it if no stream's failure was.

        Args:
            error: what was raised.
        """
        if self._alerts is not None:
            self._alerts.raised(error)

    def ask(self, will_retry: Callable[[ConduitError], bool], error: ConduitError) -> None:
        """Ask a runner whether it tries again; one that can't say doesn't hide the error.

        Args:
            will_retry: the runner's answer to an error.
            error: what the task failed with.
        """
        try:
            self.will_retry = will_retry(error)
        except Exception as failed:  # noqa: BLE001 - whatever a runner's own state raises
            self._complain(f"whether it is tried again isn't known: {type(failed).__name__}")

    def close(self) -> None:
        """Tell who is to be told, and let receivers send what they have."""
        if self._alerts is not None:
            try:
                self._alerts.tell(will_retry=self.will_retry)
            except Exception as error:  # noqa: BLE001 - an alert never fails a load
                self._complain(f"alerts: {_told(error)}")
        deadline = time.monotonic() + CLOSE_SECONDS
        threads = [(sink, sink.closing(CLOSE_SECONDS)) for sink in self._sinks]
        for sink, thread in threads:
            thread.join(max(deadline - time.monotonic(), 0.0))
            if thread.is_alive():
                self._complain(f"{sink.name} didn't take all in {CLOSE_SECONDS:.0f} s")

    def _emit(self, event: Event) -> None:
        self._own(event)
        for sink in self._sinks:
            sink(event)

    def _complain(self, text: str) -> None:
        # one line that a terminal shows as it is: a receiver's answer may be a part of it
        plain = "".join(c if c.isprintable() else " " for c in text)
        self._say(" ".join(plain.split()), "warning")

    def _say(self, text: str, level: Literal["info", "warning"]) -> None:
        self._own(Notice(pipeline=self._pipeline.name, level=level, message=text))


class _Guarded:
    """A sink that is switched off where it fails, with one warning."""

    def __init__(self, sink: Sink, receiver: Receiver, complain: Callable[[str], None]) -> None:
        self.name = receiver.shown
        self._extra = EXTRAS.get(receiver.kind, "")
        self._hears_batches = receiver.kind in HEAR_BATCHES
        self._sink = sink
        self._complain = complain
        self._is_off = False

    def __call__(self, event: Event) -> None:
        if self._is_off:
            return
        if not self._hears_batches and isinstance(event, BatchRead | BatchWritten):
            return
        try:
            self._sink(event)
        except Exception as error:  # noqa: BLE001 - a receiver never fails a load
            self._is_off = True
            self._complain(f"{self.name} is off: {_told(error, self._extra)}")

    def closing(self, seconds: float) -> threading.Thread:
        """Start to close it, and return the thread that does. It hears nothing from then on."""
        self._is_off = True

        def close() -> None:
            try:
                self._sink.close(seconds)
            except Exception as error:  # noqa: BLE001 - as above
                self._complain(f"{self.name} was not told: {_told(error, self._extra)}")

        run = copy_context().run  # a runner's settings are in context variables
        thread = threading.Thread(target=run, args=(close,), name=f"close-{self.name}", daemon=True)
        thread.start()
        return thread


@contextmanager
def observing(
    pipeline: Pipeline,
    listeners: tuple[Listener, ...] = (),
    *,
    to: str | Iterable[str] | None = None,
    origin: Origin | None = None,
    without: Mapping[str, str] = MappingProxyType({}),
    will_retry: Callable[[ConduitError], bool] | None = None,
) -> Iterator[Observation]:
    """Watch a run until the block ends.

    Args:
        pipeline: what runs.
        listeners: who hears the run's events, too, and warnings of the receivers.
        to: URLs of receivers; None: those that ``CONDUIT_OBSERVE`` names.
        origin: who runs it.
        without: kinds of receivers that are left out, each with why: the runner tells them itself.
        will_retry: says of an error that the block raises whether the runner tries again: people
            are told of the last failure only.
    """
    observation = Observation(pipeline, listeners, origin or Origin())
    observation.open(to, without)
    try:
        yield observation
    except ConduitError as error:
        observation.raised(error)
        if will_retry is not None:
            observation.ask(will_retry, error)
        raise
    finally:
        observation.close()


def check_receivers(pipeline: Pipeline, to: str | Iterable[str] | None = None) -> list[CheckItem]:
    """Look whether a run could tell its receivers, as far as can be known without telling them.

    Args:
        pipeline: whose runs.
        to: URLs of receivers; None: those that ``CONDUIT_OBSERVE`` names.
    """
    from conduit_core.connectors.base import CheckItem

    items = []
    for word in words_of(to):
        if is_of_prefect(word):
            items.append(CheckItem(OBSERVE, ok=True, detail=f"warning: {OF_PREFECT}"))
            continue
        shown, extra = "", ""
        problems: list[str] = []
        try:
            receiver = receiver_of(word)
            shown, extra = receiver.shown, EXTRAS.get(receiver.kind, "")
            _try(receiver, Scene(pipeline, Origin(), problems.append))
        except Exception as error:  # noqa: BLE001 - whatever a receiver does, it is what was found
            problems.append(_told(error, extra).removeprefix(f"{OBSERVE}: "))
        detail = ": ".join(text for text in (shown, "; ".join(problems)) if text)
        items.append(CheckItem(OBSERVE, ok=not problems, detail=detail))
    return items


def _try(receiver: Receiver, scene: Scene) -> None:
    """Do what a run does at its beginning, but listen nowhere; and look for a file's folder."""
    if receiver.kind in LISTENING:
        from conduit_core.observe.prometheus import place_of

        place_of(receiver)
        return
    _opener(receiver)(receiver, scene)
    if receiver.kind in WRITING and receiver.url.path not in {"", "/"}:
        need_folder(Path(unquote(receiver.url.path)).absolute())


def _opener(receiver: Receiver) -> Callable[[Receiver, Scene], Sink]:
    module, _, name = KINDS[receiver.kind].partition(":")
    found: Callable[[Receiver, Scene], Sink] = getattr(import_module(module), name)
    return found


def _told(error: Exception, extra: str = "") -> str:
    if isinstance(error, ImportError) and extra:
        return f"{error}; pip install 'conduit-load[{extra}]'"
    if isinstance(error, ConduitError):
        return error.message
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
