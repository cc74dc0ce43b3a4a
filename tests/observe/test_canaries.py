"""No secret and no value of a row is in what receivers are told, nor in the log or a report."""

from __future__ import annotations

import json
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path

import pytest

from conduit_core.cli import main
from conduit_core.observe.receivers import KINDS
from tests import services
from tests.observe.receivers import mailbox

TOKEN = "canarytoken77"
REDACTED = "canaryredacted77"
LETTER = "canaryletter77"
STOPPED = "canarystopped77"
CAST = "canarycast77"
ROWS = f"""
CREATE SCHEMA src;
CREATE TABLE src.orders (id bigint, card text, email text);
INSERT INTO src.orders VALUES
  (1, '{REDACTED}', 'a@example.com'), (2, '{REDACTED}', '{LETTER}'), (3, NULL, 'b@example.com');
CREATE TABLE src.stopped AS SELECT 1 AS id, '{STOPPED}' AS code;
CREATE TABLE src.broken AS SELECT 1 AS id, '{CAST}' AS code;
"""
STREAMS = [
    {
        "table": "src.orders",
        "redact": "card",
        "quality": [
            {"rule": "not_null", "column": "card", "action": "warn"},
            {"rule": "regex", "column": "card", "pattern": "^[0-9]+$", "action": "warn"},
            {"rule": "regex", "column": "email", "pattern": ".+@.+", "action": "dlq"},
        ],
    },
    {
        "table": "src.stopped",
        "quality": [{"rule": "regex", "column": "code", "pattern": "^[0-9]+$"}],
    },
    {"table": "src.broken", "transform": [{"cast": {"code": "int64"}}]},
]


@dataclass
class Heard:
    """What receivers took: by HTTP the bodies by path, by UDP the datagrams."""

    http: int = 0
    udp: int = 0
    bodies: dict[str, bytes] = field(default_factory=dict)
    datagrams: bytes = b""


@contextmanager
def hearing() -> Iterator[Heard]:
    """Take in all that comes, by HTTP and by UDP."""
    heard = Heard()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            path = self.path.partition("?")[0]
            heard.bodies[path] = heard.bodies.get(path, b"") + self.rfile.read(length)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            self.do_POST()

        def do_PUT(self) -> None:
            self.do_POST()

        def log_message(self, *_: object) -> None:
            pass

    with (
        ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server,
        socket.socket(type=socket.SOCK_DGRAM) as udp,
    ):
        udp.bind(("127.0.0.1", 0))
        udp.setblocking(False)
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        heard.http, heard.udp = server.server_port, udp.getsockname()[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield heard
        finally:
            server.shutdown()
            thread.join()
            try:
                while True:
                    heard.datagrams += udp.recv(1 << 16)
            except BlockingIOError:
                pass


def words(heard: Heard, folder: Path, port: int) -> dict[str, str]:
    """Return a URL of each kind of receiver that there is, with a token where it may have one."""
    server = f"127.0.0.1:{heard.http}"
    found = {
        "prometheus": f"prometheus://127.0.0.1:{port}",
        "pushgateway": f"pushgateway://user:{TOKEN}@{server}",
        "textfile": f"textfile://{folder}/conduit.prom",
        "otlp": f"otlp+http://{server}",
        "dogstatsd": f"dogstatsd://127.0.0.1:{heard.udp}",
        "emf": f"emf://{folder}/emf.log",
        "openlineage": f"openlineage+http://:{TOKEN}@{server}",
    }
    assert set(found) == set(KINDS)
    return {kind: url for kind, url in found.items() if _is_there(kind)}


def _notify(file: Path, url: str, mail: str) -> None:
    """Have alerts of all that happens sent to a URL, and by mail."""
    to = [{"url": url, "secret": TOKEN}, mail]
    about = {"on": ["failure", "success", "rejected"], "to": to}
    file.write_text(json.dumps({**json.loads(file.read_text()), "notify": [about]}))


def _is_there(kind: str) -> bool:
    module, _, name = KINDS[kind].partition(":")
    try:
        return hasattr(import_module(module), name)
    except ImportError:
        return False


def told(kind: str, heard: Heard, folder: Path, port: int) -> bytes:
    """Return what a receiver was told."""

    def posted(part: str) -> bytes:
        return b"".join(body for path, body in heard.bodies.items() if part in path)

    match kind:
        case "prometheus":
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:
                found: bytes = page.read()
                return found
        case "pushgateway":
            return posted("/metrics/job/")
        case "textfile":
            return (folder / "conduit.prom").read_bytes()
        case "otlp":
            return posted("/v1/traces") + posted("/v1/metrics")
        case "dogstatsd":
            return heard.datagrams
        case "webhook":
            return posted("/hook/")
        case "emf":
            return (folder / "emf.log").read_bytes()
        case _:
            return posted("lineage")


@pytest.fixture
def secrets(
    tmp_path: Path, postgres_server: services.PostgresServer, postgres_database: str
) -> list[str]:
    """Write the pipeline; return the passwords of its two ends."""
    services.sql(postgres_database, ROWS)
    database = postgres_database.rpartition("/")[2].partition("?")[0]
    reader = postgres_server.role(
        postgres_database, "USAGE ON SCHEMA src", "SELECT ON ALL TABLES IN SCHEMA src"
    )
    writer = postgres_server.role(postgres_database, f"CREATE ON DATABASE {database}")
    mapping = {
        "name": "shop",
        "source": {"url": reader.url},
        "destination": {"url": writer.url, "schema": "raw"},
        "streams": STREAMS,
    }
    (tmp_path / "pipeline.yml").write_text(json.dumps(mapping))
    return [url.partition("@")[0].rpartition(":")[2] for url in (reader.url, writer.url)]


def test_p26_no_secret_and_no_value_of_a_row_is_told(
    tmp_path: Path,
    secrets: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"authorization={TOKEN}")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with hearing() as heard, mailbox() as (smtp, mails):
        urls = words(heard, tmp_path, port)
        monkeypatch.setenv("CONDUIT_OBSERVE", " ".join(urls.values()))
        hook = f"http://127.0.0.1:{heard.http}/hook/{TOKEN}"
        mail = f"mailto://127.0.0.1:{smtp}?from=a@example.com&to=b@example.com"
        _notify(tmp_path / "pipeline.yml", hook, mail)
        assert main(["run", "--log-format", "json"]) != 0
    log = capfd.readouterr().err
    assert '"stream_finished"' in log, log
    said = [line for line in log.splitlines() if "isn't told" in line or "was not told" in line]
    assert not said, said
    values = [LETTER, STOPPED, CAST, REDACTED]
    for kind in (*urls, "webhook"):
        text = told(kind, heard, tmp_path, port)
        assert b"shop" in text, f"{kind} was told nothing"
        for canary in (*secrets, TOKEN, *values):
            assert canary.encode() not in text, f"{kind} shows {canary}"
    parts = [part for mail in mails for part in mail.walk() if not part.is_multipart()]
    letters = "".join(str(part.get_payload(decode=True)) for part in parts)
    letters += "".join(mail.as_string() for mail in mails)
    assert "orders: " in letters
    for canary in (*secrets, TOKEN, *values):
        assert canary not in letters, f"a mail shows {canary}"
    for canary in (*secrets, TOKEN, REDACTED):  # samples of other columns are for people
        assert canary not in log, f"the log shows {canary}"
    events = (json.loads(line) for line in log.splitlines())
    (load_id,) = (e["load_id"] for e in events if e["event"] == "stream_finished")
    assert main(["runs", "show", "--load", load_id, "--html", "report.html"]) == 0
    page = (tmp_path / "report.html").read_text()
    for canary in (*secrets, TOKEN, REDACTED):
        assert canary not in page, f"the report shows {canary}"
    assert main(["report", "--html", "loads.html"]) == 0
    page = (tmp_path / "loads.html").read_text()
    assert "regex(email)" in page
    for canary in (*secrets, TOKEN, *values):
        assert canary not in page, f"the report of all loads shows {canary}"
