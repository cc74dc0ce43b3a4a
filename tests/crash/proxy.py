"""A TCP proxy in front of PostgreSQL that cuts a connection when a COMMIT passes, or rows do."""

from __future__ import annotations

import selectors
import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Self
from urllib.parse import urlsplit, urlunsplit

_CHUNK = 65536
_RESET = struct.pack("ii", 1, 0)
_COPIED_BYTES = 20_000


class When(Enum):
    """Where the proxy cuts, once."""

    BEFORE_COMMIT = "the server never sees the COMMIT"
    AFTER_COMMIT = "the server has committed, and its answer is lost"
    MID_COPY = "some rows have passed, more are on their way"


@dataclass(eq=False)
class _Pair:
    """One connection through the proxy, and how far its publish has come."""

    client: socket.socket
    server: socket.socket
    sent: int = 0
    recorded: bool = False
    committing: bool = False

    def close(self) -> None:
        """Reset both sides, as a dead machine between them would."""
        for side in (self.client, self.server):
            with suppress(OSError):
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            side.close()


class Proxy:
    """Passes connections on to a server and cuts one of them, once.

    Args:
        url: the server's.
        when: where to cut.
        stays_down: whether every connection after the cut is cut too, until :meth:`come_back`.
    """

    def __init__(self, url: str, when: When, *, stays_down: bool = False) -> None:
        parts = urlsplit(url)
        self._upstream = (parts.hostname or "127.0.0.1", parts.port or 5432)
        self._when = when
        self._stays_down = stays_down
        self._down = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._stop, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, name="proxy", daemon=True)
        place = f"127.0.0.1:{self._listener.getsockname()[1]}"
        login = parts.netloc.rpartition("@")[0]
        self.url = urlunsplit(
            parts._replace(netloc=f"{login}@{place}" if login else place, query="sslmode=disable")
        )
        self.cuts = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.close()
        self._thread.join()
        self._stopped.close()
        self._listener.close()

    def come_back(self) -> None:
        """Let connections through again."""
        self._down = False

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._stopped, selectors.EVENT_READ)
            pairs: set[_Pair] = set()
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._stopped:
                        for pair in pairs:
                            pair.close()
                        return
                    if key.fileobj is self._listener:
                        self._accept(selector, pairs)
                    elif key.data in pairs and not self._pass_on(key.data, key.fileobj):
                        pairs.discard(key.data)
                        for side in (key.data.client, key.data.server):
                            selector.unregister(side)
                        key.data.close()

    def _accept(self, selector: selectors.BaseSelector, pairs: set[_Pair]) -> None:
        client, _ = self._listener.accept()
        if self._down:
            client.close()
            return
        pair = _Pair(client, socket.create_connection(self._upstream))
        for side in (pair.client, pair.server):
            selector.register(side, selectors.EVENT_READ, pair)
        pairs.add(pair)

    def _pass_on(self, pair: _Pair, side: object) -> bool:
        """Pass on what one side sent; False if that was its end, or the place to cut."""
        from_client = side is pair.client
        source, sink = (pair.client, pair.server) if from_client else (pair.server, pair.client)
        try:
            data = source.recv(_CHUNK)
            if not data or (
                self.cuts == 0 and self._cuts_here(pair, data, from_client=from_client)
            ):
                return False
            sink.sendall(data)
        except OSError:
            return False
        return True

    def _cuts_here(self, pair: _Pair, data: bytes, *, from_client: bool) -> bool:
        """Follow the publish by what the client says: rows, the ledger record, COMMIT."""
        if from_client:
            pair.recorded |= b"INSERT INTO" in data and b"_conduit_ledger" in data
            pair.committing |= pair.recorded and b"COMMIT\x00" in data
            copying = b"COPY " in data or pair.sent > 0
            pair.sent += len(data) if copying else 0
        match self._when:
            case When.BEFORE_COMMIT:
                here = from_client and pair.committing
            case When.AFTER_COMMIT:
                here = not from_client and pair.committing and b"COMMIT\x00" in data
            case When.MID_COPY:
                here = from_client and pair.sent > _COPIED_BYTES
        if here:
            self.cuts += 1
            self._down = self._stays_down
        return here
