"""Prometheus' scrape endpoint, for processes that stay; or the application's own registry."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIServer

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    start_http_server,
    values,
)
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from conduit_core.errors import ConfigError
from conduit_core.observe.book import Bounded
from conduit_core.observe.metrics import METRICS, FewBatches, Measurement, measure
from conduit_core.observe.receivers import OBSERVE

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric as Family

    from conduit_core.events import Event
    from conduit_core.observe.observing import Scene
    from conduit_core.observe.receivers import Receiver

HOST = "127.0.0.1"
"""Nobody asks for a name there: who may look from elsewhere is for people to say."""
PORT = 9464
OWN = "default"
"""The host that stands for the application's own registry, which it serves itself."""

MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"


class Meters:
    """Every metric of the table, in a registry of this process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._by_name: dict[str, Counter | Gauge | Histogram] = {}
        self._bounded = Bounded()
        for m in METRICS:
            if m.kind == "histogram":
                made: Counter | Gauge | Histogram = Histogram(
                    m.name, m.help, m.labels, buckets=m.buckets, registry=registry
                )
            elif m.kind == "gauge":
                made = Gauge(
                    m.name, m.help, m.labels, registry=registry, multiprocess_mode="mostrecent"
                )
            else:
                made = Counter(m.name, m.help, m.labels, registry=registry)
            self._by_name[m.name] = made

    def take(self, given: Measurement, complain: Callable[[str], None]) -> None:
        """Take a value in."""
        found = self._bounded(given, complain)
        if found is None:
            return
        meter = self._by_name[found.metric.name].labels(*found.labels)
        if isinstance(meter, Counter):
            meter.inc(found.value)
        elif isinstance(meter, Gauge):
            meter.set(found.value)
        else:
            meter.observe(found.value)


class _Process:
    """What this process serves; a fork starts anew, and holds no port of its parent's."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.meters: dict[str, Meters] = {}
        self.servers: dict[str, WSGIServer] = {}

    def forked(self) -> None:
        for server in self.servers.values():
            server.socket.close()
        own = {key: meters for key, meters in self.meters.items() if key == OWN}
        self.lock, self.meters, self.servers = threading.Lock(), own, {}


_process = _Process()
os.register_at_fork(after_in_child=_process.forked)


class Endpoint:
    """Counts a run's events in the registry of its process."""

    def __init__(self, meters: Meters, scene: Scene) -> None:
        self._meters = meters
        self._complain = scene.complain
        self._batches = FewBatches()

    def __call__(self, event: Event) -> None:
        """Take an event in."""
        if self._batches.skips(event):
            return
        for found in measure(event):
            self._meters.take(found, self._complain)

    def close(self, seconds: float) -> None:
        """Nothing is sent: the values stay as long as their process."""


def open_endpoint(receiver: Receiver, scene: Scene) -> Endpoint:
    """Serve this process's metrics; all its runs share them.

    ``prometheus://host:port`` listens there; ``prometheus://default`` adds them to the
    application's own registry. Where ``PROMETHEUS_MULTIPROC_DIR`` is set, the values lie in that
    folder, and each process that listens serves those of all.

    Raises:
        ConfigError: the URL is wrong, or another process has the port.
    """
    host, port = place_of(receiver)
    address = OWN if host == OWN else f"{host}:{port}"
    with _process.lock:
        meters = _process.meters.get(address) or _made(address)
        if address != OWN and address not in _process.servers:
            _listen(address, host, port, meters)
        _process.meters[address] = meters
    return Endpoint(meters, scene)


def place_of(receiver: Receiver) -> tuple[str, int]:
    """Return the host and the port of a receiver's URL.

    Raises:
        ConfigError: there is more in it.
    """
    url = receiver.url
    if url.path not in {"", "/"} or url.query or receiver.transport:
        raise ConfigError(
            f"{OBSERVE}: the endpoint is `prometheus://host:port`; it answers on every path",
            command="conduit run --help",
        )
    return url.hostname or HOST, PORT if url.port is None else url.port


def _is_shared() -> bool:
    """Whether values lie in the folder that ``PROMETHEUS_MULTIPROC_DIR`` names."""
    return bool(getattr(values.ValueClass, "_multiprocess", False))


def _made(address: str) -> Meters:
    if _is_shared():
        if _process.meters:
            raise ConfigError(
                f"{OBSERVE}: where {MULTIPROCESS} is set, a process has one prometheus:// only, and"
                f" all values are there: {next(iter(_process.meters))}",
                command="conduit run --help",
            )
        Path(os.environ[MULTIPROCESS]).mkdir(parents=True, exist_ok=True)
    return Meters(REGISTRY if address == OWN else CollectorRegistry())


def _listen(address: str, host: str, port: int, meters: Meters) -> None:
    """Serve there, unless another process does that serves the same folder."""
    shown = CollectorRegistry()
    shown.register(_Plain(_of_all() if _is_shared() else meters.registry))
    try:
        _process.servers[address], _ = start_http_server(port, host, registry=shown)
    except OSError as error:
        if not (_is_shared() and error.errno == errno.EADDRINUSE):
            raise _untaken(address, error) from None


def _of_all() -> Collector:
    made: Collector = MultiProcessCollector(None)  # type: ignore[no-untyped-call] # it has no types
    return made


def _untaken(address: str, error: OSError) -> ConfigError:
    if error.errno != errno.EADDRINUSE:
        return ConfigError(f"can't listen on {address}: {error}", command="conduit run --help")
    return ConfigError(
        f"another process listens on {address}; give this one another port, or set {MULTIPROCESS}"
        " to a folder for all of them, so that one endpoint serves all",
        command="conduit run --help",
    )


class _Plain(Collector):
    """Metrics without the times when each began, which would be a series more for every one."""

    def __init__(self, of: Collector) -> None:
        self._of = of

    def collect(self) -> Iterable[Family]:
        for family in self._of.collect():
            family.samples = [s for s in family.samples if not s.name.endswith("_created")]
            yield family
