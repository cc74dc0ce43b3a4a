"""What sends by OTLP: endpoints, exporters of the SDK, and why they couldn't, as one line.

An exporter is made when all is over: until then there is no connection, no thread and no channel
that a fork would break.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote, urlsplit

from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData
from opentelemetry.sdk.trace.export import SpanExportResult

from conduit_core.errors import ConfigError
from conduit_core.observe.receivers import OBSERVE

if TYPE_CHECKING:
    import requests
    from opentelemetry.sdk.metrics.export import MetricExporter
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter

    from conduit_core.observe.receivers import Receiver

Signal = Literal["traces", "metrics"]
Protocol = Literal["http", "grpc"]

_SPANS = 512
"""Spans of one request."""
_SHOWN = 400
_RESOURCES = "opentelemetry.sdk.resources"
_EXPLAIN = "conduit run --help"
_PORTS = {"http": 4318, "grpc": 4317}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one signal goes, and how.

    Args:
        protocol: http or grpc.
        url: "" for the one that the environment names.
        is_secure: whether it speaks TLS; None: as the environment says.
    """

    protocol: Protocol
    url: str = ""
    is_secure: bool | None = None


def endpoint_of(receiver: Receiver, signal: Signal) -> Endpoint:
    """Return where a receiver takes a signal.

    Raises:
        ConfigError: its URL is wrong, or the environment names a protocol that isn't spoken.
    """
    url, kind = receiver.url, receiver.transport
    if not kind and not url.netloc and not url.path:
        return Endpoint(_protocol(signal))
    if kind not in {"http", "https", "grpc", "grpcs"} or not url.hostname:
        _refuse("write otlp+http://HOST:4318, otlp+https://HOST, otlp+grpc://HOST:4317 or"
                " otlp+grpcs://HOST; otlp alone takes all from the OTEL_ variables")  # fmt: skip
    if "@" in url.netloc or url.query:
        _refuse("a token or password stands in OTEL_EXPORTER_OTLP_HEADERS, and not in the URL")
    path = url.path.rstrip("/")
    host = url.netloc if url.port or kind not in _PORTS else f"{url.netloc}:{_PORTS[kind]}"
    if kind in {"grpc", "grpcs"}:
        if path:
            _refuse(f"gRPC has no paths: leave out {path}")
        secure = kind == "grpcs"
        host = host if url.port else f"{url.hostname}:{443 if secure else 4317}"
        return Endpoint("grpc", f"{'https' if secure else 'http'}://{host}", secure)
    if path.endswith(("/v1/traces", "/v1/metrics")):
        _refuse("leave out /v1/traces and /v1/metrics: they are added")
    return Endpoint("http", f"{kind}://{host}{path}/v1/{signal}")


def _refuse(text: str) -> None:
    raise ConfigError(f"{OBSERVE}: {text}", command=_EXPLAIN)


def _protocol(signal: Signal) -> Protocol:
    for name in (f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        text = os.environ.get(name, "").strip().lower()
        if text == "grpc":
            return "grpc"
        if text and text != "http/protobuf":
            raise ConfigError(
                f"{name}: {text!r} isn't spoken; write grpc or http/protobuf", command=_EXPLAIN
            )
        if text:
            break
    return "http"


def import_exporter(endpoint: Endpoint, signal: Signal) -> None:
    """Import what will send, so that a missing package is told before the run.

    Raises:
        ImportError: it isn't installed.
    """
    _module(endpoint, signal)
    if endpoint.protocol == "http":
        import_module("requests")


def send_spans(endpoint: Endpoint, spans: Sequence[ReadableSpan], seconds: float) -> None:
    """Send spans, in that time at most.

    Raises:
        ConnectionError: they weren't taken; with the reason, without secrets.
    """
    with hushed() as said:
        exporter = _span_exporter(endpoint, seconds)
        try:
            for start in range(0, len(spans), _SPANS):
                if exporter.export(spans[start : start + _SPANS]) is not SpanExportResult.SUCCESS:
                    raise ConnectionError(_reason(said))
        finally:
            exporter.shutdown()


def send_metrics(endpoint: Endpoint, data: MetricsData, seconds: float) -> None:
    """Send metrics, in that time at most.

    Raises:
        ConnectionError: they weren't taken; with the reason, without secrets.
    """
    with hushed() as said:
        exporter = _metric_exporter(endpoint, seconds)
        try:
            if exporter.export(data) is not MetricExportResult.SUCCESS:
                raise ConnectionError(_reason(said))
        finally:
            exporter.shutdown()


# --- exporters ------------------------------------------------------------------------------------


def _module(endpoint: Endpoint, signal: Signal) -> object:
    kind = "trace" if signal == "traces" else "metric"
    return import_module(f"opentelemetry.exporter.otlp.proto.{endpoint.protocol}.{kind}_exporter")


def _span_exporter(endpoint: Endpoint, seconds: float) -> SpanExporter:
    timeout, url = _timeout("traces", seconds), endpoint.url or None
    if endpoint.protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc

        return grpc.OTLPSpanExporter(url, insecure=_insecure(endpoint), timeout=timeout)
    from opentelemetry.exporter.otlp.proto.http import trace_exporter as http

    return http.OTLPSpanExporter(url, timeout=timeout, session=_session())


def _metric_exporter(endpoint: Endpoint, seconds: float) -> MetricExporter:
    timeout, url = _timeout("metrics", seconds), endpoint.url or None
    if endpoint.protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc import metric_exporter as grpc

        return grpc.OTLPMetricExporter(url, insecure=_insecure(endpoint), timeout=timeout)
    from opentelemetry.exporter.otlp.proto.http import metric_exporter as http

    return http.OTLPMetricExporter(url, timeout=timeout, session=_session())


def _session() -> requests.Session | None:
    """Return a session in which a redirect is a failure: the SDK takes one for success.

    None where the environment names a provider of credentials, which makes its own session.
    """
    if any(name.endswith("_CREDENTIAL_PROVIDER") for name in os.environ):
        return None
    import requests

    def refuse(answer: requests.Response, *_: object, **__: object) -> None:
        if 300 <= answer.status_code < 400:
            answer.close()
            raise requests.HTTPError(
                f"it answered {answer.status_code} {answer.reason}: write the address that it"
                " redirects to"
            )

    session = requests.Session()
    session.hooks["response"].append(refuse)
    return session


def _insecure(endpoint: Endpoint) -> bool | None:
    return None if endpoint.is_secure is None else not endpoint.is_secure


def _timeout(signal: Signal, seconds: float) -> float:
    """Return the time to take: what the environment says, if that is less."""
    for name in (f"OTEL_EXPORTER_OTLP_{signal.upper()}_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"):
        try:
            return min(float(os.environ[name]), seconds)
        except (KeyError, ValueError):
            continue
    return seconds


# --- what the SDK says ----------------------------------------------------------------------------


class _Listener(logging.Filter):
    """Keeps what one thread logs out of the log; the SDK looks for resources in other threads."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self._thread = threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.thread != self._thread and record.name != _RESOURCES:
            return True
        if record.levelno >= logging.WARNING:
            self.said.append(record.getMessage())
        return False


@contextmanager
def hushed() -> Iterator[list[str]]:
    """Keep out of the log what the SDK says in this thread, until the block ends; yield it."""
    found = logging.root.manager.loggerDict.items()
    loggers = [
        logger
        for name, logger in list(found)
        if name.startswith("opentelemetry.") and isinstance(logger, logging.Logger)
    ]
    listener = _Listener()
    for logger in loggers:
        logger.filters.insert(0, listener)  # before a filter of the SDK's own against repeats
    try:
        yield listener.said
    finally:
        for logger in loggers:
            logger.removeFilter(listener)


def _reason(said: Sequence[str]) -> str:
    """Return why nothing was taken: what was said last, and what began it."""
    text = said[-1] if said else "it wasn't taken"
    if len(said) > 1:
        text = f"{text} ({said[0]})"
    return masked(text)[:_SHOWN]


def masked(text: str) -> str:
    """Return a text without the headers' values, and without secrets of the endpoints' URLs."""
    for secret in sorted(_secrets(), key=len, reverse=True):
        text = text.replace(secret, "***")
    return " ".join(text.split())


def _secrets() -> set[str]:
    found: set[str] = set()
    for name, value in os.environ.items():
        if not name.startswith("OTEL_EXPORTER_OTLP"):
            continue
        if name.endswith("_HEADERS"):
            for pair in value.split(","):
                key, equals, text = pair.partition("=")
                for part in (text if equals else key).split():
                    found |= {part, unquote(part), *unquote(part).split()}
        elif name.endswith("_ENDPOINT"):
            url = urlsplit(value)
            found |= {url.netloc.rpartition("@")[0], url.query}
    return {secret for secret in found if len(secret) > 3}
