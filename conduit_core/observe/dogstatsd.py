"""Datadog by DogStatsD: the table's names, tags for labels, sent at the end of a run."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote

from datadog.dogstatsd.base import DogStatsd

from conduit_core.errors import ConfigError, ConnectionFailedError
from conduit_core.observe.book import Book
from conduit_core.observe.receivers import OBSERVE

if TYPE_CHECKING:
    from conduit_core.events import Event
    from conduit_core.observe.metrics import Metric
    from conduit_core.observe.observing import Scene
    from conduit_core.observe.receivers import Receiver

_SEND_SECONDS = 0.5
"""How long one packet may wait for an agent that doesn't read its socket."""

_NEVER = 10**9
"""Seconds until the library sends numbers of its own: it counts what it dropped only if it may."""


class Dogstatsd:
    """Sends a run's values to an agent."""

    def __init__(
        self,
        host: str | None,
        port: int | None,
        socket_path: str | None,
        tags: list[str],
        scene: Scene,
    ) -> None:
        self._book = Book(scene.complain)
        # No thread of its own; the library reads DD_* here.
        self._client = DogStatsd(
            host=host,
            port=port,
            socket_path=socket_path,
            constant_tags=tags,
            telemetry_min_flush_interval=_NEVER,
            disable_buffering=False,
            flush_interval=0,
            socket_timeout=_SEND_SECONDS,
        )

    def __call__(self, event: Event) -> None:
        """Take an event in."""
        self._book(event)

    def close(self, seconds: float) -> None:
        """Send what there is.

        A histogram's values go as a distribution: the agents' own histograms are made on each host,
        and those of a task's few values say nothing.

        Raises:
            ConnectionFailedError: packets were dropped: nobody reads that socket.
        """
        client = self._client
        with _quiet():
            for metric, labels, values in self._book:
                if client.packets_dropped:
                    break
                self._write(metric, labels, values)
            client.flush()
            client.close_socket()
        if client.packets_dropped:
            raise ConnectionFailedError(
                "no agent reads there: packets were dropped", command="conduit run --help"
            )

    def _write(self, metric: Metric, labels: tuple[str, ...], values: list[float]) -> None:
        tags = [f"{name}:{value}" for name, value in zip(metric.labels, labels, strict=True)]
        for value in values:
            if metric.kind == "counter":
                self._client.increment(metric.name, value, tags=tags)
            elif metric.kind == "gauge":
                self._client.gauge(metric.name, value, tags=tags)
            else:
                self._client.distribution(metric.name, value, tags=tags)


def open_dogstatsd(receiver: Receiver, scene: Scene) -> Dogstatsd:
    """Send to an agent: ``dogstatsd://[host][:8125]`` or ``dogstatsd:///path/to.socket``.

    Without a host, the library's ``DD_AGENT_HOST``, ``DD_DOGSTATSD_PORT`` and ``DD_DOGSTATSD_URL``
    say where. ``?tags=env:prod+team:x`` are on every metric, and so are those of ``DD_*``.

    Raises:
        ConfigError: the URL is wrong.
    """
    url, query = receiver.url, parse_qs(receiver.url.query)
    path = unquote(url.path).rstrip("/")
    if set(query) - {"tags"} or receiver.transport or (path and url.netloc):
        raise ConfigError(
            f"{OBSERVE}: an agent is `dogstatsd://host:8125?tags=env:prod+team:x`, or its socket"
            " `dogstatsd:///var/run/datadog/dsd.socket`",
            command="conduit run --help",
        )
    tags = [tag for text in query.get("tags", []) for tag in re.split(r"[,\s]+", text) if tag]
    return Dogstatsd(url.hostname, url.port, path or None, tags, scene)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library from logging each packet that nobody takes: we say it once."""
    log = logging.getLogger("datadog.dogstatsd")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before
