"""Prometheus: an endpoint for processes that stay, a Pushgateway or a file for those that end."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from conduit_core.observe.metrics import METRICS, Measurement, measure

if TYPE_CHECKING:
    from conduit_core.events import Event
    from conduit_core.observe.observing import Scene
    from conduit_core.observe.receivers import Receiver

_lock = threading.Lock()
_endpoints: dict[tuple[str, int], Meters] = {}


class Meters:
    """Every metric of the table, in a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        kinds = {"counter": Counter, "gauge": Gauge}
        self._by_name: dict[str, Counter | Gauge | Histogram] = {}
        for m in METRICS:
            if m.kind == "histogram":
                made: Counter | Gauge | Histogram = Histogram(
                    m.name, m.help, m.labels, buckets=m.buckets, registry=registry
                )
            else:
                made = kinds[m.kind](m.name, m.help, m.labels, registry=registry)
            self._by_name[m.name] = made

    def take(self, found: Measurement) -> None:
        """Take a value in."""
        meter = self._by_name[found.metric.name].labels(*found.labels)
        if isinstance(meter, Counter):
            meter.inc(found.value)
        elif isinstance(meter, Gauge):
            meter.set(found.value)
        else:
            meter.observe(found.value)


class _Endpoint:
    def __init__(self, meters: Meters) -> None:
        self._meters = meters

    def __call__(self, event: Event) -> None:
        for found in measure(event):
            self._meters.take(found)

    def close(self, seconds: float) -> None:
        """The endpoint stays as long as its process."""


def open_endpoint(receiver: Receiver, scene: Scene) -> _Endpoint:
    """Serve this process's metrics; runs of one process share one endpoint.

    Raises:
        OSError: the port is taken.
    """
    address = (receiver.url.hostname or "0.0.0.0", receiver.url.port or 9464)  # noqa: S104
    with _lock:
        if address not in _endpoints:
            meters = Meters(CollectorRegistry())
            start_http_server(address[1], address[0], registry=meters.registry)
            _endpoints[address] = meters
    return _Endpoint(_endpoints[address])
