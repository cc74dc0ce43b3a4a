"""Collectors in this process: they take OTLP over HTTP and gRPC, and keep what they are told."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_pb
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as trace_grpc

if TYPE_CHECKING:
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
    from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

Key = tuple[str, tuple[str, ...]]


@dataclass
class Told:
    """What a collector was told.

    Args:
        address: host and port.
        status: what HTTP answers with.
    """

    address: str = ""
    status: int = 200
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    metrics: list[Metric] = field(default_factory=list)
    resources: list[Resource] = field(default_factory=list)
    hold: threading.Event | None = None

    def traced(self, request: trace_pb.ExportTraceServiceRequest) -> None:
        for one in request.resource_spans:
            self.resources.append(one.resource)
            for scope in one.scope_spans:
                self.spans.extend(scope.spans)

    def measured(self, request: metrics_pb.ExportMetricsServiceRequest) -> None:
        for one in request.resource_metrics:
            self.resources.append(one.resource)
            for scope in one.scope_metrics:
                self.metrics.extend(scope.metrics)

    # --- as tests look at it ----------------------------------------------------------------------

    def tree(self, parent: bytes = b"") -> list[str]:
        """Return the names of the spans, each indented below its parent, in order of time."""
        out: list[str] = []
        below = [s for s in self.spans if s.parent_span_id == parent]
        for span in sorted(below, key=lambda s: (s.start_time_unix_nano, s.end_time_unix_nano)):
            out += [span.name, *(f"  {line}" for line in self.tree(span.span_id))]
        return out

    def span(self, name: str) -> Span:
        (found,) = self.named(name)
        return found

    def named(self, name: str) -> list[Span]:
        found = [s for s in self.spans if s.name == name]
        return sorted(found, key=lambda s: s.start_time_unix_nano)

    def values(self) -> dict[Key, float]:
        """Return sums, values and counts of observations by name and label values."""
        out: dict[Key, float] = {}
        for metric in self.metrics:
            kind = str(metric.WhichOneof("data"))
            for point in getattr(metric, kind).data_points:
                labels = tuple(text_of(a.value) for a in point.attributes)
                value = point.count if kind == "histogram" else point.as_double or point.as_int
                out[metric.name, labels] = out.get((metric.name, labels), 0.0) + float(value)
        return out


def facts(attributes: Iterator[KeyValue] | object) -> dict[str, str]:
    """Return attributes as texts."""
    return {a.key: text_of(a.value) for a in attributes}  # type: ignore[attr-defined]


def text_of(value: AnyValue) -> str:
    return str(getattr(value, str(value.WhichOneof("value"))))


@contextmanager
def http_collector(told: Told | None = None) -> Iterator[Told]:
    """Take OTLP over HTTP."""
    told = told or Told()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            told.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
            if told.hold is not None:
                told.hold.wait(60)
            elif told.status != 200:
                self.send_response(told.status)
                self.end_headers()
                return
            elif self.path.endswith("/v1/traces"):
                told.traced(trace_pb.ExportTraceServiceRequest.FromString(body))
            elif self.path.endswith("/v1/metrics"):
                told.measured(metrics_pb.ExportMetricsServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.address = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield told
    finally:
        if told.hold is not None:
            told.hold.set()
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def grpc_collector() -> Iterator[Told]:
    """Take OTLP over gRPC."""
    told = Told()

    class Traces(trace_grpc.TraceServiceServicer):
        def Export(  # noqa: N802 - the service's name
            self, request: trace_pb.ExportTraceServiceRequest, context: grpc.ServicerContext
        ) -> trace_pb.ExportTraceServiceResponse:
            told.requests.append(("traces", _metadata(context)))
            told.traced(request)
            return trace_pb.ExportTraceServiceResponse()

    class Metrics(metrics_grpc.MetricsServiceServicer):
        def Export(  # noqa: N802 - the service's name
            self, request: metrics_pb.ExportMetricsServiceRequest, context: grpc.ServicerContext
        ) -> metrics_pb.ExportMetricsServiceResponse:
            told.requests.append(("metrics", _metadata(context)))
            told.measured(request)
            return metrics_pb.ExportMetricsServiceResponse()

    server = grpc.server(ThreadPoolExecutor(2))
    trace_grpc.add_TraceServiceServicer_to_server(Traces(), server)
    metrics_grpc.add_MetricsServiceServicer_to_server(Metrics(), server)
    told.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield told
    finally:
        server.stop(None).wait()


def _metadata(context: grpc.ServicerContext) -> dict[str, str]:
    return {str(k): str(v) for k, v in context.invocation_metadata()}
