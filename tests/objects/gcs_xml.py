"""GCS's XML API, which obstore speaks, in front of fake-gcs-server, which has the JSON API only."""

from __future__ import annotations

import hashlib
import http.client
import json
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.sax.saxutils import escape

_XML = '<?xml version="1.0" encoding="UTF-8"?>'


class XmlApi:
    """A server on a free loopback port; conditions and objects are those of the server behind.

    Args:
        port: where fake-gcs-server listens.
    """

    def __init__(self, port: int) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.behind = port  # type: ignore[attr-defined]
        self.uploads: dict[str, dict[int, bytes]] = {}
        self._server.uploads = self.uploads  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        behind = http.client.HTTPConnection("127.0.0.1", self.server.behind)  # type: ignore[attr-defined]
        try:
            behind.request(method, path, body, headers or {})
            answer = behind.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, found, answer.read()
        finally:
            behind.close()

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _read(self) -> tuple[str, str, dict[str, str], bytes]:
        parts = urlsplit(self.path)
        bucket, _, name = parts.path.lstrip("/").partition("/")
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return unquote(bucket), unquote(name), query, body

    def _upload(self, bucket: str, name: str, body: bytes) -> tuple[int, str]:
        path = f"/upload/storage/v1/b/{quote(bucket)}/o?uploadType=multipart"
        generation = self.headers.get("x-goog-if-generation-match")
        if generation is not None:
            path += f"&ifGenerationMatch={generation}"
        edge = secrets.token_hex(16)
        facts = json.dumps({"name": name}).encode()
        kinds = ("application/json", "application/octet-stream")
        whole = b"".join(
            f"--{edge}\r\nContent-Type: {kind}\r\n\r\n".encode() + part + b"\r\n"
            for kind, part in zip(kinds, (facts, body), strict=True)
        )
        headers = {"Content-Type": f"multipart/related; boundary={edge}"}
        status, _, answer = self._ask("POST", path, whole + f"--{edge}--".encode(), headers)
        return status, json.loads(answer)["etag"] if status == 200 else ""

    def do_PUT(self) -> None:
        bucket, name, query, body = self._read()
        if "uploadId" in query:
            self.server.uploads[query["uploadId"]][int(query["partNumber"])] = body  # type: ignore[attr-defined]
            self._answer(200, ETag=f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"')
            return
        status, etag = self._upload(bucket, name, body)
        self._answer(status, ETag=f'"{etag}"', x_goog_generation="1")

    def do_POST(self) -> None:
        bucket, name, query, _ = self._read()
        uploads: dict[str, dict[int, bytes]] = self.server.uploads  # type: ignore[attr-defined]
        if "uploads" in query:
            upload = secrets.token_hex(8)
            uploads[upload] = {}
            root = "InitiateMultipartUploadResult"
            inside = f"<Bucket>{bucket}</Bucket><Key>{escape(name)}</Key>"
            text = f"{_XML}<{root}>{inside}<UploadId>{upload}</UploadId></{root}>"
            self._answer(200, text.encode())
            return
        parts = uploads.pop(query["uploadId"])
        status, etag = self._upload(bucket, name, b"".join(parts[n] for n in sorted(parts)))
        root = "CompleteMultipartUploadResult"
        text = f'{_XML}<{root}><ETag>"{etag}"</ETag></{root}>'
        self._answer(status, text.encode(), x_goog_generation="1")

    def do_DELETE(self) -> None:
        bucket, name, query, _ = self._read()
        if "uploadId" in query:
            self.server.uploads.pop(query["uploadId"], None)  # type: ignore[attr-defined]
            self._answer(204)
            return
        status, _, _ = self._ask("DELETE", f"/storage/v1/b/{quote(bucket)}/o/{quote(name, '')}")
        self._answer(204 if status in {200, 204} else status)

    def do_GET(self) -> None:
        bucket, name, query, _ = self._read()
        if not name:
            self._list(bucket, query)
            return
        path = f"/storage/v1/b/{quote(bucket)}/o/{quote(name, '')}"
        status, _, answer = self._ask("GET", path)
        if status != 200:
            self._answer(status)
            return
        facts: dict[str, Any] = json.loads(answer)
        headers = {"ETag": f'"{facts["etag"]}"', "x_goog_generation": str(facts["generation"])}
        headers["Last_Modified"] = _http_time(facts["updated"])
        if self.command == "HEAD":
            self._answer(200, b"", **headers, Content_Length=str(facts["size"]))
            return
        asked = {"Range": self.headers["Range"]} if "Range" in self.headers else {}
        status, found, answer = self._ask("GET", f"{path}?alt=media", headers=asked)
        if "content-range" in found:
            headers["Content_Range"] = found["content-range"]
        self._answer(status, answer, **headers)

    do_HEAD = do_GET  # noqa: N815

    def _list(self, bucket: str, query: dict[str, str]) -> None:
        path = f"/storage/v1/b/{quote(bucket)}/o?prefix={quote(query.get('prefix', ''), '')}"
        status, _, answer = self._ask("GET", path)
        if status != 200:
            self._answer(status, b"<Error><Code>NoSuchBucket</Code></Error>")
            return
        items = "".join(
            f"<Contents><Key>{escape(item['name'])}</Key><Size>{item['size']}</Size>"
            f"<LastModified>{item['updated']}</LastModified><ETag>{item['etag']}</ETag></Contents>"
            for item in json.loads(answer).get("items", [])
        )
        self._answer(200, f"{_XML}<ListBucketResult>{items}</ListBucketResult>".encode())

    def log_message(self, format: str, *args: object) -> None:
        return


def _http_time(text: str) -> str:
    from datetime import datetime
    from email.utils import format_datetime

    return format_datetime(datetime.fromisoformat(text.replace("Z", "+00:00")), usegmt=True)
