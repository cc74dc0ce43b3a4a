"""OpenTelemetry: the metrics of a run, and its spans, sent by OTLP when it is over.

``otlp`` alone takes all from the ``OTEL_`` variables, and gives to the providers of the application
where it has set up its own: nothing is sent twice then, and nothing is sent by us.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from opentelemetry import context, metrics, trace
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from conduit_core import __version__
from conduit_core.errors import ConnectionFailedError
from conduit_core.observe.book import SHARE
from conduit_core.observe.metrics import FewBatches, measure
from conduit_core.observe.otlp_metrics import Meters, aggregation, is_delta, temporality
from conduit_core.observe.otlp_reasons import together
from conduit_core.observe.otlp_sending import (
    Signal,
    endpoint_of,
    hushed,
    import_exporter,
    masked,
    send_metrics,
    send_spans,
)
from conduit_core.observe.otlp_traces import Node, Story, Value, tell, trace_id_of

if TYPE_CHECKING:
    from conduit_core.events import Event
    from conduit_core.observe.observing import Scene
    from conduit_core.observe.receivers import Receiver

_NAME = "conduit"
_SYSTEMS = {"postgres": "postgresql", "duckdb": "duckdb", "sqlite": "sqlite"}
_INSTANCE = "service.instance.id"

_lock = threading.Lock()
_own: dict[tuple[object, ...], _Own] = {}
_outages: dict[tuple[object, ...], str] = {}
"""Why each receiver took nothing the last time; "" where it took all. For who runs on and on."""

Send = Callable[[float], None]


class _Sink:
    """Hears a run, and sends one signal after the other when it is closed.

    Args:
        story: the run's spans.
        meters: the run's metrics; None: none are asked for.
        sends: what sends each signal.
        whose: whose outages are told once: a receiver, with its settings, of a pipeline.
    """

    def __init__(
        self,
        story: Story,
        meters: Meters | None,
        sends: Mapping[Signal, Send],
        whose: tuple[object, ...],
    ) -> None:
        self._story = story
        self._meters = meters
        self._sends = sends
        self._whose = whose
        self._batches = FewBatches()

    def __call__(self, event: Event) -> None:
        if "traces" in self._sends:
            self._story.hear(event)
        if self._meters is not None and not self._batches.skips(event):
            for found in measure(event):
                self._meters.take(found)

    def close(self, seconds: float) -> None:
        """Send what there is; both signals are tried.

        Raises:
            ConnectionFailedError: one wasn't taken, and this process hasn't said so yet.
        """
        problems: dict[str, str] = {}
        deadline = time.monotonic() + seconds * SHARE
        for turn, (signal, send) in enumerate(self._sends.items()):
            left = max(deadline - time.monotonic(), 0.0)
            try:
                send(left / (len(self._sends) - turn))
            except Exception as error:  # noqa: BLE001 - the other signal is to go out, too
                problems[signal] = masked(str(error)) or type(error).__name__
        told = together(problems)
        with _lock:
            is_known = _outages.get(self._whose, "") == told
            _outages[self._whose] = told
        if told and not is_known:
            raise ConnectionFailedError(told)


def open_otlp(receiver: Receiver, scene: Scene) -> _Sink:
    """Begin to watch a run for OTLP.

    Raises:
        ConfigError: the URL, or a variable of the environment, is wrong.
        ImportError: the exporter isn't installed.
    """
    story = Story(datetime.now(UTC), _about_run(scene), _about_load(scene))
    whose = (scene.pipeline.name, *_key(receiver))
    if _is_on("OTEL_SDK_DISABLED", "true"):
        return _Sink(story, None, {}, whose)
    is_plain = not receiver.transport and not receiver.url.netloc
    sends: dict[Signal, Send] = {}
    meters: Meters | None = None
    if not _is_on("OTEL_TRACES_EXPORTER", "none"):
        sends["traces"] = _traces(receiver, scene, story, is_plain=is_plain)
    if not _is_on("OTEL_METRICS_EXPORTER", "none"):
        meters, sends["metrics"] = _metrics(receiver, scene, is_plain=is_plain)
    return _Sink(story, meters, sends, whose)


def _is_on(name: str, word: str) -> bool:
    return os.environ.get(name, "").strip().lower() == word


def _about_run(scene: Scene) -> dict[str, Value]:
    facts: dict[str, Value] = {"conduit.runner": scene.origin.runner}
    if scene.origin.run:
        facts["conduit.run"] = scene.origin.run
    return facts


def _about_load(scene: Scene) -> dict[str, Value]:
    system = _SYSTEMS.get(scene.pipeline.loaded.spec.destination.type)
    return {"db.system.name": system} if system else {}


# --- signals --------------------------------------------------------------------------------------


def _traces(receiver: Receiver, scene: Scene, story: Story, *, is_plain: bool) -> Send:
    parent = _parent(scene)
    theirs = trace.get_tracer_provider() if is_plain else None
    if isinstance(theirs, TracerProvider):
        found = theirs

        def give(seconds: float) -> None:
            tracer = found.get_tracer(_NAME, __version__)
            for root in story.end(datetime.now(UTC)):
                tell(tracer, root, parent)
            _flush(found, seconds)

        return give
    endpoint = endpoint_of(receiver, "traces")
    import_exporter(endpoint, "traces")
    own = _own_of(receiver, scene)

    def send(seconds: float) -> None:
        spans = own.spans(story.end(datetime.now(UTC)), parent)
        if spans:
            send_spans(endpoint, spans, seconds)

    return send


def _metrics(receiver: Receiver, scene: Scene, *, is_plain: bool) -> tuple[Meters, Send]:
    theirs = metrics.get_meter_provider() if is_plain else None
    if isinstance(theirs, MeterProvider):
        found = theirs
        return Meters(found.get_meter(_NAME, __version__)), lambda seconds: _flush(found, seconds)
    endpoint = endpoint_of(receiver, "metrics")
    import_exporter(endpoint, "metrics")
    own = _own_of(receiver, scene)

    def send(seconds: float) -> None:
        data = own.reader.get_metrics_data()
        if data is not None and data.resource_metrics:
            send_metrics(endpoint, data, seconds)

    return own.meters, send


def _flush(provider: TracerProvider | MeterProvider, seconds: float) -> None:
    """Let the application's provider send what it has; it goes on after this run."""
    if not provider.force_flush(int(seconds * 1000)):
        raise TimeoutError("the application's provider couldn't send all of it")


def _parent(scene: Scene) -> Context:
    """Return what the spans hang under: the caller's span, or a ``traceparent``, or nothing."""
    if trace.get_current_span().get_span_context().is_valid:
        return context.get_current()
    given, state, whose = scene.origin.traceparent, "", "the runner's traceparent"
    if not given:
        given, state = os.environ.get("TRACEPARENT", ""), os.environ.get("TRACESTATE", "")
        whose = "TRACEPARENT"
    if not given.strip():
        return Context()
    with hushed():
        headers = {"traceparent": given.strip(), "tracestate": state}
        found = TraceContextTextMapPropagator().extract(headers, Context())
    if not trace.get_current_span(found).get_span_context().is_valid:
        scene.complain(
            f"{whose} isn't one (00-TRACE-SPAN-FLAGS, of 32, 16 and 2 hex digits): the trace of"
            " this run has no parent"
        )
    return found


# --- providers of our own -------------------------------------------------------------------------


class _Ids(RandomIdGenerator):
    """Random ids, but for the trace that is to have one of its own."""

    def __init__(self) -> None:
        self.trace_id = 0

    def generate_trace_id(self) -> int:
        return self.trace_id or super().generate_trace_id()


class _Kept(SpanProcessor):
    """Keeps the spans that ended and are sampled."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is not None and span.context.trace_flags.sampled:
            self.spans.append(span)


class _Own:
    """Providers of our own, without threads: they last as long as the process.

    A process that runs many pipelines has one of each, so that sums go on from run to run.
    """

    def __init__(self, resource: Resource) -> None:
        self._lock = threading.Lock()
        self._ids, self._kept = _Ids(), _Kept()
        self._tracers = TracerProvider(
            resource=resource, id_generator=self._ids, shutdown_on_exit=False
        )
        self._tracers.add_span_processor(self._kept)
        self.reader = InMemoryMetricReader(temporality(), aggregation())
        provider = MeterProvider(
            [self.reader], resource=_of_metrics(resource), shutdown_on_exit=False
        )
        self.meters = Meters(provider.get_meter(_NAME, __version__))

    def spans(self, roots: list[Node], parent: Context) -> list[ReadableSpan]:
        """Return the spans of a run.

        A load that has no parent, and no run around it, is a step of its own: its trace is the
        load's, so that all of its steps share one.
        """
        with self._lock:
            tracer = self._tracers.get_tracer(_NAME, __version__)
            for root in roots:
                self._ids.trace_id = trace_id_of(root.load_id) if root.load_id else 0
                tell(tracer, root, parent)
            self._ids.trace_id = 0
            spans, self._kept.spans = self._kept.spans, []
            return spans


def _key(receiver: Receiver) -> tuple[object, ...]:
    settings = tuple(sorted(i for i in os.environ.items() if i[0].startswith("OTEL_")))
    return (os.getpid(), receiver.transport, receiver.url.geturl(), settings)


def _own_of(receiver: Receiver, scene: Scene) -> _Own:
    """Return this process's providers for a receiver; after a fork there are new ones."""
    key = _key(receiver)
    with _lock:
        if key not in _own:
            with hushed() as said:
                resource = Resource.create()
                if str(resource.attributes.get("service.name", "")).startswith("unknown_service"):
                    resource = resource.merge(Resource({"service.name": _NAME}))
                _own[key] = _Own(resource)
            for text in said:
                scene.complain(masked(f"OpenTelemetry: {text}"))
        return _own[key]


def _of_metrics(resource: Resource) -> Resource:
    """Return the resource of metrics.

    What is sent once is added up elsewhere, over processes: without an id that each makes up. Sums
    since the process began can't do without it.
    """
    given = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    if not is_delta() or _INSTANCE in given:
        return resource
    kept = {k: v for k, v in resource.attributes.items() if k != _INSTANCE}
    return Resource(kept, resource.schema_url)
