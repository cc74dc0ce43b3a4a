"""An API like desk's, in a thread: it serves the tables that a test puts in."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "a-token-for-tests"  # noqa: S105 - of no real API
PAGE_ROWS = 1000

Row = dict[str, object]


class Desk:
    """What the API holds, and what it was asked for.

    Args:
        url: where it is.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.columns: dict[str, dict[str, str]] = {}
        self.rows: dict[str, list[Row]] = {}
        self.asked: list[str] = []
        self.fails_with: int | None = None


@contextmanager
def serving() -> Iterator[Desk]:
    """Serve until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.desk = Desk(f"http://127.0.0.1:{server.server_port}")  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.desk  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        desk: Desk = self.server.desk  # type: ignore[attr-defined]
        desk.asked.append(self.path)
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        words = [unquote(word) for word in url.path.strip("/").split("/")]
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            return self._answer(401, {})
        if desk.fails_with is not None:
            return self._answer(desk.fails_with, {})
        if words == ["tables"]:
            return self._answer(200, {"tables": list(desk.columns)})
        if words[1] not in desk.columns:
            return self._answer(404, {})
        if len(words) == 2:
            return self._answer(200, {"columns": desk.columns[words[1]]})
        rows = desk.rows[words[1]]
        if since := query.get("updated_since"):
            rows = [row for row in rows if str(row["updated_at"]) >= since]
        start = int(query.get("after", 0))
        more = str(start + PAGE_ROWS) if start + PAGE_ROWS < len(rows) else ""
        self._answer(200, {"rows": rows[start : start + PAGE_ROWS], "next": more})

    def _answer(self, code: int, document: dict[str, object]) -> None:
        body = json.dumps(document).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
