"""OTLP to collectors that answer, that don't, and to the application's own providers."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from multiprocessing import get_context
from pathlib import Path

import pytest
from opentelemetry import metrics, trace
from opentelemetry.metrics import _internal as metrics_internal
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from conduit_core import Origin, Pipeline, observing, run
from conduit_core.events import Event, Notice
from conduit_core.observe.metrics import METRICS, Measurement, measure
from conduit_core.observe.observing import CLOSE_SECONDS
from conduit_core.observe.otlp_metrics import Meters, unit_of
from tests.observe.collector import Told, facts, grpc_collector, http_collector
from tests.observe.shop import make_shop

TOKEN = "canary-token-51c9"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def told() -> Iterator[Told]:
    with http_collector() as collector:
        yield collector


@pytest.fixture
def shop(tmp_path: Path) -> Pipeline:
    return make_shop(tmp_path, destination={"type": "sqlite", "path": "wh.db"})


class Heard:
    """The events of a run, and its warnings."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    @property
    def warnings(self) -> list[str]:
        """What receivers complain of."""
        notices = [e for e in self.events if isinstance(e, Notice)]
        return [e.message for e in notices if e.level == "warning"]

    def values(self) -> dict[tuple[str, tuple[str, ...]], float]:
        """Return what the table says of the events."""
        out: dict[tuple[str, tuple[str, ...]], float] = {}
        for event in self.events:
            for found in measure(event):
                key = (found.metric.name, found.labels)
                before = out.get(key, 0.0)
                match found.metric.kind:
                    case "counter":
                        out[key] = before + found.value
                    case "histogram":
                        out[key] = before + 1
                    case _:
                        out[key] = found.value
        return out


def watch(pipeline: Pipeline, to: str, origin: Origin | None = None) -> Heard:
    heard = Heard()
    with observing(pipeline, (heard,), to=to, origin=origin) as observation:
        run(pipeline, listeners=observation.listeners)
    return heard


def at(told: Told, path: str = "") -> str:
    return f"otlp+http://{told.address}{path}"


def stable(values: Mapping[tuple[str, tuple[str, ...]], float]) -> dict[object, float]:
    """Leave out the process's memory, which grows while it is measured."""
    return {k: pytest.approx(v) for k, v in values.items() if k[0] != "conduit_peak_memory_bytes"}


# --- metrics --------------------------------------------------------------------------------------


def test_metrics_are_those_of_the_table(shop: Pipeline, told: Told) -> None:
    heard = watch(shop, at(told))
    assert stable(told.values()) == stable(heard.values())
    assert told.values()["conduit_rows_total", ("shop", "orders", "read")] == 10
    known = {m.name: m for m in METRICS}
    for sent in told.metrics:
        metric = known[sent.name]
        kind = {"counter": "sum", "gauge": "gauge", "histogram": "histogram"}[metric.kind]
        assert sent.WhichOneof("data") == kind
        assert (sent.unit, sent.description) == (unit_of(metric), metric.help)
        for point in getattr(sent, kind).data_points:
            assert tuple(a.key for a in point.attributes) == metric.labels
        if kind == "histogram":
            assert tuple(sent.histogram.data_points[0].explicit_bounds) == metric.buckets
        if kind == "sum":
            assert sent.sum.is_monotonic


def test_each_value_is_sent_once(shop: Pipeline, told: Told) -> None:
    first, second = watch(shop, at(told)), watch(shop, at(told))
    loads = "conduit_loads_total"
    assert told.values()[loads, ("shop", "orders", "published")] == 1
    assert told.values()[loads, ("shop", "orders", "empty")] == 1
    (one, two) = [m.sum for m in told.metrics if m.name == loads]
    assert one.aggregation_temporality == AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
    assert len(two.data_points) == 1
    instances = [facts(r.attributes).get("service.instance.id") for r in told.resources]
    assert instances[1] is instances[3] is None  # who adds up doesn't see a process in it
    assert (first.warnings, second.warnings) == ([], [])


def test_sums_since_the_process_began(
    shop: Pipeline, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "cumulative")
    for _ in range(3):
        watch(shop, at(told))
    *_, last = [m.sum for m in told.metrics if m.name == "conduit_loads_total"]
    assert last.aggregation_temporality == 2
    counts = {a.attributes[2].value.string_value: a.as_int for a in last.data_points}
    assert counts == {"published": 1, "empty": 2}
    instances = {facts(r.attributes).get("service.instance.id") for r in told.resources}
    assert len(instances) == 1
    assert None not in instances


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.name)
def test_a_prometheus_behind_a_collector_has_the_same_names(metric: object) -> None:
    """The collector adds a unit and ``_total`` where a name doesn't have them."""
    exporter = pytest.importorskip("opentelemetry.exporter.prometheus")
    from prometheus_client import REGISTRY, generate_latest
    from prometheus_client.core import CollectorRegistry

    assert metric in METRICS
    registry = CollectorRegistry()
    reader = exporter.PrometheusMetricReader(disable_target_info=True)
    try:
        registry.register(reader._collector)
        provider = MeterProvider([reader], shutdown_on_exit=False)
        meters = Meters(provider.get_meter("conduit"))
        meters.take(Measurement(metric, 1, tuple("x" for _ in metric.labels)))  # type: ignore[arg-type, attr-defined]
        text = generate_latest(registry).decode()
    finally:
        REGISTRY.unregister(reader._collector)
    name = metric.name  # type: ignore[attr-defined]
    sample = f"{name}_count{{" if metric.kind == "histogram" else f"{name}{{"  # type: ignore[attr-defined]
    assert sum(line.startswith(sample) for line in text.splitlines()) == 1, text


def test_names_hold_what_a_collector_would_add() -> None:
    """The rules of its translator: a unit's word where it is missing, ``_ratio`` for a 1."""
    words = {"s": "seconds", "By": "bytes", "1": "ratio"}
    for metric in METRICS:
        unit = unit_of(metric)
        parts = metric.name.split("_")
        assert unit == "" or unit.startswith("{") or words[unit] in parts, metric.name
        assert (parts[-1] == "total") == (metric.kind == "counter")
        assert unit != "1" or parts[-1] == "ratio"


# --- where it goes --------------------------------------------------------------------------------


def test_grpc(shop: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"x-token={TOKEN}")
    with grpc_collector() as told:
        heard = watch(shop, f"otlp+grpc://{told.address}")
    assert told.tree()[:2] == ["run shop", "  load orders"]
    assert stable(told.values()) == stable(heard.values())
    assert [(name, head["x-token"]) for name, head in told.requests] == [
        ("traces", TOKEN),
        ("metrics", TOKEN),
    ]


def test_the_environment_says_where(
    shop: Pipeline, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{told.address}/base/")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_HEADERS", f"authorization=Bearer%20{TOKEN}")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "loads")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    watch(shop, "otlp")
    (traces, one), (measures, two) = told.requests
    assert (traces, measures) == ("/base/v1/traces", "/base/v1/metrics")
    assert (one["authorization"], two.get("authorization")) == (f"Bearer {TOKEN}", None)
    assert one["content-encoding"] == two["content-encoding"] == "gzip"
    for resource in told.resources:
        about = facts(resource.attributes)
        assert about["service.name"] == "loads"
        assert about["deployment.environment.name"] == "test"
    assert told.tree()[0] == "run shop"


def test_a_protocol_for_each_signal(
    shop: Pipeline, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    with grpc_collector() as other:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{other.address}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/protobuf")
        endpoint = f"http://{told.address}/v1/metrics"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", endpoint)
        watch(shop, "otlp")
    assert [name for name, _ in other.requests] == ["traces"]
    assert [path for path, _ in told.requests] == ["/v1/metrics"]


def test_a_url_may_have_a_path(shop: Pipeline, told: Told) -> None:
    watch(shop, at(told, "/otlp/"))
    assert [path for path, _ in told.requests] == ["/otlp/v1/traces", "/otlp/v1/metrics"]


@pytest.mark.parametrize(
    ("name", "value", "sent"),
    [
        ("OTEL_SDK_DISABLED", "true", []),
        ("OTEL_TRACES_EXPORTER", "none", ["/v1/metrics"]),
        ("OTEL_METRICS_EXPORTER", "none", ["/v1/traces"]),
        ("OTEL_TRACES_SAMPLER", "always_off", ["/v1/metrics"]),
    ],
)
def test_what_the_environment_turns_off(
    shop: Pipeline, told: Told, monkeypatch: pytest.MonkeyPatch, name: str, value: str, sent: object
) -> None:
    monkeypatch.setenv(name, value)
    assert watch(shop, at(told)).warnings == []
    assert [path for path, _ in told.requests] == sent


# --- whose child it is ----------------------------------------------------------------------------


def roots(told: Told) -> set[tuple[str, str]]:
    (top,) = told.named("run shop")
    return {(s.trace_id.hex(), top.parent_span_id.hex()) for s in told.spans}


def test_the_environment_s_trace(
    shop: Pipeline, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACEPARENT", PARENT)
    monkeypatch.setenv("TRACESTATE", "vendor=1")
    watch(shop, at(told))
    assert roots(told) == {tuple(PARENT.split("-")[1:3])}
    assert {s.trace_state for s in told.spans} == {"vendor=1"}


def test_the_runner_s_trace_goes_before_the_environment_s(
    shop: Pipeline, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACEPARENT", PARENT)
    own = PARENT.replace("0af7", "1af7")
    watch(shop, at(told), Origin(runner="prefect", run="r1", traceparent=own))
    assert roots(told) == {tuple(own.split("-")[1:3])}
    about = facts(told.span("run shop").attributes)
    assert (about["conduit.runner"], about["conduit.run"]) == ("prefect", "r1")


def test_the_caller_s_span_goes_before_all(shop: Pipeline, told: Told) -> None:
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("app")
    with tracer.start_as_current_span("app") as span:
        watch(shop, at(told), Origin(traceparent=PARENT))
    found = span.get_span_context()
    assert roots(told) == {(f"{found.trace_id:032x}", f"{found.span_id:016x}")}


def test_what_isn_t_sampled_isn_t_sent(
    shop: Pipeline, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACEPARENT", PARENT[:-1] + "0")
    watch(shop, at(told))
    assert [path for path, _ in told.requests] == ["/v1/metrics"]


@pytest.mark.parametrize("text", [TOKEN, PARENT[:-3], PARENT.replace("0af7651916", "x" * 10)])
def test_a_broken_parent_is_one_warning(
    shop: Pipeline, told: Told, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("TRACEPARENT", text)
    (warning,) = watch(shop, at(told)).warnings
    assert warning.startswith("TRACEPARENT isn't one")
    assert text not in warning
    assert told.span("run shop").parent_span_id == b""


# --- the application's own ------------------------------------------------------------------------


def test_an_application_s_providers_are_used_and_nothing_is_sent_twice(
    shop: Pipeline, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(kept))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", tracers)
    meters = MeterProvider([reader], shutdown_on_exit=False)
    monkeypatch.setattr(metrics_internal, "_METER_PROVIDER", meters)
    assert metrics.get_meter_provider() is meters
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{told.address}")
    with tracers.get_tracer("app").start_as_current_span("app"):
        watch(shop, "otlp")
    assert told.requests == []
    names = [s.name for s in kept.get_finished_spans()]
    assert names[-2:] == ["run shop", "app"]
    assert {s.context.trace_id for s in kept.get_finished_spans()} == {
        kept.get_finished_spans()[-1].context.trace_id
    }
    data = reader.get_metrics_data()
    assert data is not None
    sent = {m.name for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics}
    assert "conduit_rows_total" in sent
    watch(shop, at(told))  # a URL is told all the same, and is told alone
    assert len(told.requests) == 2
    assert len(kept.get_finished_spans()) == len(names)


# --- collectors that don't take it ----------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_a_dead_collector_is_one_warning(
    shop: Pipeline, kind: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    started = time.monotonic()
    heard = watch(shop, f"otlp+{kind}://127.0.0.1:{free_port()}")
    assert time.monotonic() - started < CLOSE_SECONDS + 5
    (warning,) = heard.warnings
    assert warning.startswith(f"otlp+{kind}://127.0.0.1:")
    why = " was not told: traces and metrics: it can't be reached: connection refused"
    assert warning.endswith(why)
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []
    assert capfd.readouterr().err == ""


def test_an_outage_is_told_once_by_a_process(shop: Pipeline) -> None:
    with http_collector(Told(status=400)) as told:
        assert "it answered 400" in watch(shop, at(told)).warnings[0]
        assert watch(shop, at(told)).warnings == []
        told.status = 401  # why is another now
        assert "it answered 401" in watch(shop, at(told)).warnings[0]
        told.status = 200
        assert watch(shop, at(told)).warnings == []
        told.status = 401
        assert "it answered 401" in watch(shop, at(told)).warnings[0]


def test_a_slow_collector_has_a_bounded_time(shop: Pipeline) -> None:
    with http_collector(Told(hold=threading.Event())) as told:
        heard = Heard()
        with observing(shop, (heard,), to=at(told)) as observation:
            run(shop, listeners=observation.listeners)
            started = time.monotonic()
        assert CLOSE_SECONDS / 2 < time.monotonic() - started < CLOSE_SECONDS + 0.5
        assert len(heard.warnings) == 1


@pytest.mark.parametrize("header", [f"authorization=Bearer%20{TOKEN}", f"authorization: {TOKEN}"])
def test_a_token_that_is_refused_is_not_shown(
    shop: Pipeline,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    header: str,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", header)
    with http_collector(Told(status=401)) as told:
        (warning,) = watch(shop, at(told)).warnings
    assert "401" in warning
    assert "Unauthorized" in warning
    assert TOKEN not in warning + "".join(capfd.readouterr())
    sent = told.requests[0][1].get("authorization")
    assert sent == (f"Bearer {TOKEN}" if "=" in header else None)


def test_secrets_of_an_endpoint_are_not_shown(
    shop: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = f"http://user:{TOKEN}@127.0.0.1:{free_port()}/v1/traces?key={TOKEN}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint)
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    (warning,) = watch(shop, "otlp").warnings
    assert "not told" in warning
    assert TOKEN not in warning


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("otlp+carrier://pigeon", "write otlp+http://HOST:4318"),
        ("otlp://collector:4318", "write otlp+http://HOST:4318"),
        ("otlp+http://", "write otlp+http://HOST:4318"),
        (f"otlp+http://u:{TOKEN}@collector", "stands in OTEL_EXPORTER_OTLP_HEADERS"),
        (f"otlp+http://collector?token={TOKEN}", "stands in OTEL_EXPORTER_OTLP_HEADERS"),
        ("otlp+grpc://collector:4317/v1/traces", "leave out /v1/traces"),
        ("otlp+http://collector:4318/v1/metrics", "leave out /v1/traces and /v1/metrics"),
        ("otlp+http://collector:port", "the URL of a otlp receiver is wrong"),
    ],
)
def test_a_wrong_url_says_what_to_write(shop: Pipeline, word: str, told: str) -> None:
    warning = watch(shop, word).warnings[0]
    assert told in warning.replace("an otlp", "a otlp")
    assert "CONDUIT_OBSERVE" in warning
    assert TOKEN not in warning


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "write grpc or http/protobuf"),
        ("OTEL_RESOURCE_ATTRIBUTES", "novalue", "novalue"),
        ("OTEL_TRACES_SAMPLER", "sometimes", "sometimes"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon", "write 5"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "-1", "write 5"),
        ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "nan", "write 5"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "brotli", "write none or gzip or deflate"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4318", "write http://HOST:4318"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://", "write http://HOST:4318"),
        (
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
            "sometimes",
            "write cumulative or delta or lowmemory",
        ),
        (
            "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
            "fine",
            "write explicit_bucket_histogram or",
        ),
    ],
)
def test_a_wrong_variable_is_a_warning(
    shop: Pipeline,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    name: str,
    value: str,
    told: str,
) -> None:
    monkeypatch.setenv(name, value)
    with http_collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{collector.address}")
        warnings = watch(shop, "otlp").warnings
    assert len(warnings) == 1
    assert told in warnings[0]
    if "write" in told:
        assert name in warnings[0]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("url", [f"http://u:{TOKEN}@[bad", f"http://host:{TOKEN}"])
def test_an_endpoint_that_is_no_url_is_named_and_not_shown(
    shop: Pipeline, told: Told, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    (warning,) = watch(shop, "otlp").warnings
    assert "OTEL_EXPORTER_OTLP_ENDPOINT: it isn't a URL; write http://HOST:4318" in warning
    assert TOKEN not in warning
    assert watch(shop, at(told)).warnings == []  # who is told by URL doesn't look at it
    assert len(told.requests) == 2


def test_an_endpoint_that_is_no_url_leaves_other_reasons_readable(
    shop: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://[bad")
    with http_collector(Told(status=400)) as told:
        (warning,) = watch(shop, at(told)).warnings
    assert warning.endswith("traces and metrics: it answered 400 Bad Request")


@pytest.mark.parametrize("word", ["none", "gzip"])
def test_compression_of_grpc(shop: Pipeline, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    """The SDK itself refuses ``none`` there, which is a word of the standard."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", word)
    with grpc_collector() as told:
        assert watch(shop, f"otlp+grpc://{told.address}").warnings == []
    assert told.tree()[0] == "run shop"
    assert len(told.requests) == 2


def test_nothing_of_grpc_s_core_is_on_stderr(tmp_path: Path) -> None:
    """It writes there past all loggers: here of a handshake with who speaks no TLS."""
    with grpc_collector() as told:
        answer = elsewhere(_RUN, str(tmp_path), f"otlp+grpcs://{told.address}")
    assert answer.stderr == ""
    assert "was not told" in answer.stdout


# --- other processes ------------------------------------------------------------------------------

_RUN = """
import sys
from pathlib import Path
from conduit_core import observing, run
from conduit_core.events import Notice
from tests.observe.shop import make_shop

def hear(event):
    if isinstance(event, Notice):
        print(event.message)

shop = make_shop(Path(sys.argv[1]), destination={"type": "sqlite", "path": "wh.db"})
with observing(shop, (hear,), to=sys.argv[2]) as seen:
    run(shop, listeners=seen.listeners)
"""


def elsewhere(script: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own."""
    root = str(Path(__file__).parents[2])
    env = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    return subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, check=True, env=env
    )


def _run_in_fork(folder: Path, to: str) -> None:
    folder.mkdir()
    watch(make_shop(folder, destination={"type": "sqlite", "path": "wh.db"}), to)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_has_providers_of_its_own(
    shop: Pipeline, tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runners fork tasks: sums of two processes under one id would overwrite each other."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "cumulative")
    watch(shop, at(told))
    child = get_context("fork").Process(target=_run_in_fork, args=(tmp_path / "child", at(told)))
    child.start()
    child.join(60)
    assert not child.is_alive()  # its exit code is no use: Prefect's, where that was imported, is 1
    ids = [facts(r.attributes)["service.instance.id"] for r in told.resources]
    assert len(ids) == 4
    assert len(set(ids)) == 2
    loads = [m.sum.data_points for m in told.metrics if m.name == "conduit_loads_total"]
    assert [[point.as_int for point in points] for points in loads] == [[1], [1]]
    assert len(told.named("run shop")) == 2
    assert len({s.span_id for s in told.spans}) == len(told.spans)


def test_the_sdk_is_imported_only_where_it_is_asked_for(tmp_path: Path) -> None:
    script = (
        "import sys, conduit_core.cli, conduit_core.observe.observing as o\n"
        "from tests.observe.shop import make_shop\n"
        "from pathlib import Path\n"
        "with o.observing(make_shop(Path(sys.argv[1]))): pass\n"
        "print([m for m in sys.modules if m.startswith(('opentelemetry', 'grpc', 'requests'))])\n"
    )
    assert elsewhere(script, str(tmp_path)).stdout == "[]\n"
