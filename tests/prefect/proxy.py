"""A small proxy before Prefect's API, which answers some requests with an error."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

ERROR = (
    b"HTTP/1.1 500 Internal Server Error\r\ncontent-type: application/json\r\n"
    b'content-length: 17\r\nconnection: close\r\n\r\n{"detail":"down"}'
)


class Proxy:
    """Forwards bytes to an API; a request that begins with what is refused gets a 500.

    Args:
        url: the API's.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._to = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._path = parts.path
        self._server = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self.refused: dict[str, int] = {}
        """How often requests that begin like this are still refused."""

    @property
    def url(self) -> str:
        """The proxy's own."""
        return f"http://127.0.0.1:{self._server.getsockname()[1]}{self._path}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._server.accept()
                far = socket.create_connection(self._to)
                for take, give in ((near, far), (far, near)):
                    ends = (take, give, take is near)
                    threading.Thread(target=self._pump, args=ends, daemon=True).start()

    def _pump(self, take: socket.socket, give: socket.socket, is_request: bool) -> None:
        with suppress(OSError), take, give:
            while data := take.recv(1 << 16):
                if is_request and self._refuses(data):
                    take.sendall(ERROR)
                    return
                give.sendall(data)

    def _refuses(self, data: bytes) -> bool:
        with self._lock:
            for start, times in self.refused.items():
                if times and data.startswith(start.encode()):
                    self.refused[start] = times - 1
                    return True
        return False
