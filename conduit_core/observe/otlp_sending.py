"""What sends by OTLP: endpoints, exporters of the SDK, and why they couldn't, as one line.

An exporter is made when all is over: until then there is no connection, no thread and no channel
that a fork would break.
"""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote, urlsplit

from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData
from opentelemetry.sdk.trace.export import SpanExportResult

from conduit_core.errors import ConfigError
from conduit_core.observe.otlp_reasons import reason
from conduit_core.observe.receivers import OBSERVE

if TYPE_CHECKING:
    import requests
    from grpc import Compression
    from opentelemetry.sdk.metrics.export import MetricExporter
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter

    from conduit_core.observe.receivers import Receiver

Signal = Literal["traces", "metrics"]
Protocol = Literal["http", "grpc"]

_SPANS = 512
"""Spans of one request."""
_RESOURCES = "opentelemetry.sdk.resources"
_EXPLAIN = "conduit run --help"
_PORTS: dict[str, int] = {"http": 4318, "grpc": 4317}
_COMPRESSIONS = {"http": ("none", "gzip", "deflate"), "grpc": ("none", "gzip")}
_VERBOSITY = "GRPC_VERBOSITY"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one signal goes, and how.

    Args:
        protocol: http or grpc.
        url: "" for the one that the environment names.
        is_secure: whether it speaks TLS; None: as the environment says.
        limit: seconds that a request may take, whatever time there is.
        is_zipped: whether gRPC compresses; HTTP's exporter looks for itself.
    """

    protocol: Protocol
    url: str = ""
    is_secure: bool | None = None
    limit: float = math.inf
    is_zipped: bool = False


def endpoint_of(receiver: Receiver, signal: Signal) -> Endpoint:
    """Return where a receiver takes a signal.

    Raises:
        ConfigError: its URL is wrong, or a variable of the environment is.
    """
    url = receiver.url
    if receiver.transport or url.netloc or url.path:
        found = _of_url(receiver, signal)
    else:
        found = Endpoint(_protocol(signal))
        _check_endpoint(signal, found.protocol)
    word = _compression(signal, found.protocol)
    return replace(found, limit=_limit(signal), is_zipped=word == "gzip")


def _of_url(receiver: Receiver, signal: Signal) -> Endpoint:
    url, kind = receiver.url, receiver.transport
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


# --- variables of the environment -----------------------------------------------------------------


def _variable(signal: Signal, name: str) -> tuple[str, str]:
    """Return the variable that counts for a signal, and what it says: its own goes before all's."""
    for found in (f"OTEL_EXPORTER_OTLP_{signal.upper()}_{name}", f"OTEL_EXPORTER_OTLP_{name}"):
        text = os.environ.get(found, "").strip()
        if text:
            return found, text
    return "", ""


def _wrong(name: str, text: str) -> ConfigError:
    return ConfigError(f"{name}: {text}", command=_EXPLAIN)


def _protocol(signal: Signal) -> Protocol:
    name, text = _variable(signal, "PROTOCOL")
    match text.lower():
        case "grpc":
            return "grpc"
        case "" | "http/protobuf":
            return "http"
        case _:
            raise _wrong(name, f"{text!r} isn't spoken; write grpc or http/protobuf")


def _check_endpoint(signal: Signal, protocol: Protocol) -> None:
    """Look at the endpoint before the run; it is not shown, as it may hold a secret."""
    name, text = _variable(signal, "ENDPOINT")
    write = f"write http://HOST:{_PORTS[protocol]}"
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError as error:
        raise _wrong(name, f"it isn't a URL; {write}") from error
    is_url = url.scheme in {"http", "https"} and url.hostname
    if text and protocol == "http" and not is_url:  # gRPC has other words for a host
        raise _wrong(name, f"it has no http:// or https:// and a host; {write}")


def _compression(signal: Signal, protocol: Protocol) -> str:
    name, text = _variable(signal, "COMPRESSION")
    known = _COMPRESSIONS[protocol]
    if text and text.lower() not in known:
        raise _wrong(name, f"{text!r} isn't spoken; write {' or '.join(known)}")
    return text.lower()


def _limit(signal: Signal) -> float:
    name, text = _variable(signal, "TIMEOUT")
    try:
        seconds = float(text or "inf")
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        raise _wrong(name, f"{text!r} isn't a number of seconds above 0; write 5")
    return seconds


# --- sending --------------------------------------------------------------------------------------


def import_exporter(endpoint: Endpoint, signal: Signal) -> None:
    """Import what will send, so that a missing package is told before the run.

    Raises:
        ImportError: it isn't installed.
    """
    if endpoint.protocol == "http":
        import_module("requests")
    with _quiet_core():
        _module(endpoint, signal)


@contextmanager
def _quiet_core() -> Iterator[None]:
    """Let gRPC's core, which reads this when it is imported, write nothing but errors to stderr."""
    if _VERBOSITY in os.environ:
        yield
        return
    os.environ[_VERBOSITY] = "ERROR"
    try:
        yield
    finally:
        os.environ.pop(_VERBOSITY, None)


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
    timeout, url = min(endpoint.limit, seconds), endpoint.url or None
    if endpoint.protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc

        return grpc.OTLPSpanExporter(
            url, _insecure(endpoint), timeout=timeout, compression=_zip(endpoint)
        )
    from opentelemetry.exporter.otlp.proto.http import trace_exporter as http

    return http.OTLPSpanExporter(url, timeout=timeout, session=_session())


def _metric_exporter(endpoint: Endpoint, seconds: float) -> MetricExporter:
    timeout, url = min(endpoint.limit, seconds), endpoint.url or None
    if endpoint.protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc import metric_exporter as grpc

        return grpc.OTLPMetricExporter(
            url, _insecure(endpoint), timeout=timeout, compression=_zip(endpoint)
        )
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


def _zip(endpoint: Endpoint) -> Compression:
    """Return it as gRPC has it: the SDK doesn't know the variable's ``none`` there."""
    from grpc import Compression

    return Compression.Gzip if endpoint.is_zipped else Compression.NoCompression


def _insecure(endpoint: Endpoint) -> bool | None:
    return None if endpoint.is_secure is None else not endpoint.is_secure


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
    return reason([masked(text) for text in said])


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
            try:
                url = urlsplit(value)
            except ValueError:
                found.add(value)
            else:
                found |= {url.netloc.rpartition("@")[0], url.query}
    return {secret for secret in found if len(secret) > 3}
