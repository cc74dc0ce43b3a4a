"""OpenLineage's client: where events go, by its own settings or a URL, and how they are sent."""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from typing import TYPE_CHECKING

import requests
from openlineage.client import OpenLineageClient
from openlineage.client.transport.composite import CompositeTransport
from openlineage.client.transport.console import ConsoleTransport
from openlineage.client.transport.http import HttpConfig, HttpTransport
from openlineage.client.transport.http_common import DEFAULT_RETRY_CONFIG

from conduit_core.errors import ConfigError, ConnectionFailedError

if TYPE_CHECKING:
    from openlineage.client.event_v2 import RunEvent
    from openlineage.client.transport import Transport

    from conduit_core.observe.receivers import Receiver

_ENDPOINT = "api/v1/lineage"
_RETRY = {**DEFAULT_RETRY_CONFIG, "total": 1, "read": 1, "connect": 1}
"""In place of the client's own five, which would take ten seconds at the end of each run."""
_LOGS = (
    "openlineage.client.client",
    "openlineage.client.transport.composite",
    "openlineage.client.transport.http",
    "openlineage.client.transport.kafka",
    "urllib3.connectionpool",
)
_LOGGED_ONLY = ("composite", "kafka")
"""Transports that log what isn't taken, and raise nothing."""


def client_of(receiver: Receiver) -> OpenLineageClient:
    """Return the client that sends to a receiver.

    ``openlineage`` is configured as everywhere: ``OPENLINEAGE_URL``, ``openlineage.yml`` or
    ``OPENLINEAGE__TRANSPORT__...``; ``openlineage+https://KEY@host`` says the server itself.

    Raises:
        ConfigError: nothing says where to send to, or what does can't be read.
    """
    if receiver.transport not in ("", "http", "https"):
        raise ConfigError(
            f"there is no openlineage+{receiver.transport}; write openlineage+http://host:5000 or"
            " openlineage+https://host, or openlineage alone, and the transport in openlineage.yml"
        )
    try:
        client = OpenLineageClient(transport=_http(receiver) if receiver.transport else None)
        named = bool((client.config.transport or {}).get("type"))
    except ConfigError:
        raise
    except Exception as error:  # whatever the client raises, its settings are to blame
        raise ConfigError(
            f"OpenLineage's own settings can't be used: {type(error).__name__}; see"
            " OPENLINEAGE_URL, openlineage.yml and OPENLINEAGE__TRANSPORT__..."
        ) from error
    if isinstance(client.transport, ConsoleTransport) and not named:
        raise ConfigError(
            "nothing says where lineage goes: set OPENLINEAGE_URL or write an openlineage.yml, or"
            " name the server: openlineage+http://host:5000"
        )
    for transport in _parts(client.transport):
        if isinstance(transport, HttpTransport):
            if transport.config.retry == DEFAULT_RETRY_CONFIG:
                transport.config.retry = _RETRY
            transport.session.hooks["response"].append(_refuse_a_get)
    return client


def _refuse_a_get(answer: requests.Response, *_: object, **__: object) -> None:
    """Refuse a redirect that makes a GET of a POST: it would drop the event, and look well.

    Raises:
        HTTPError: the answer is one.
    """
    if answer.status_code in (301, 302, 303):
        answer.close()
        raise requests.HTTPError("redirected", response=answer)


def _http(receiver: Receiver) -> HttpTransport:
    url = receiver.url
    if not url.hostname:
        raise ConfigError(
            f"openlineage+{receiver.transport} names no server: write"
            f" openlineage+{receiver.transport}://host:5000"
        )
    key = url.password or url.username or os.environ.get("OPENLINEAGE_API_KEY")
    auth = {"auth": {"type": "api_key", "apiKey": key}} if key else {}
    path = url.path.strip("/") or os.environ.get("OPENLINEAGE_ENDPOINT", _ENDPOINT)
    place = f"{receiver.transport}://{url.netloc.rpartition('@')[2]}"
    return HttpTransport(HttpConfig.from_dict({"url": place, "endpoint": path, **auth}))


def _parts(transport: Transport) -> list[Transport]:
    return transport.transports if isinstance(transport, CompositeTransport) else [transport]


class Sender:
    """Sends events in a thread of its own, one after another; the first that fails is the last."""

    def __init__(self, client: OpenLineageClient) -> None:
        self._client = client
        self._queue: queue.SimpleQueue[RunEvent | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    def send(self, event: RunEvent) -> None:
        """Let it be sent soon."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="openlineage", daemon=True)
            self._thread.start()
        self._queue.put(event)

    def finish(self, seconds: float) -> None:
        """Wait until all is sent, so long at most.

        Raises:
            ConnectionFailedError: something couldn't be sent.
        """
        if self._thread is None:
            return
        deadline = time.monotonic() + seconds
        self._queue.put(None)
        self._thread.join(seconds)
        if self._error is not None:
            raise ConnectionFailedError(_reason(self._error))
        if self._thread.is_alive():
            raise ConnectionFailedError("it didn't take all in time")
        self._client.close(max(deadline - time.monotonic(), 0.1))

    def _work(self) -> None:
        quiet = _Quiet(threading.get_ident())
        logs = [logging.getLogger(name) for name in _LOGS]
        for log in logs:
            log.addFilter(quiet)
        try:
            while (event := self._queue.get()) is not None:
                if self._error is None:
                    try:
                        self._client.emit(event)
                    except Exception as error:  # noqa: BLE001 - a receiver never fails a load
                        self._error = error
        finally:
            for log in logs:
                log.removeFilter(quiet)
            if self._error is None and quiet.failed:
                self._error = ConnectionFailedError(
                    "a transport of its client didn't take all events"
                )


class _Quiet:
    """Keeps what the client logs in one thread from people: they get one warning instead."""

    def __init__(self, thread: int) -> None:
        self._thread = thread
        self.failed = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is logged."""
        if record.thread != self._thread:
            return True
        if record.levelno >= logging.WARNING and record.name.endswith(_LOGGED_ONLY):
            self.failed = True
        return False


def _reason(error: Exception) -> str:
    """Return why an event wasn't taken: never what the client says, as that may show a key."""
    match error:
        case ConnectionFailedError():
            return error.message
        case requests.HTTPError() if error.response is not None:
            status = error.response.status_code
            hint = ": is the API key right?" if status in (401, 403) else ""
            return f"it answered {status} {error.response.reason}{hint}"
        case requests.Timeout():
            return "it didn't answer in time"
        case requests.RequestException():
            return f"it can't be reached ({type(error).__name__})"
        case _:
            return f"{type(error).__name__} in OpenLineage's client"
