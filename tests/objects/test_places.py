"""Places that are missing, read-only, full, or refuse us; and that no secret of theirs is told."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from textwrap import dedent

import pyarrow as pa
import pytest

from conduit_core.connectors.objects import ObjectStore, open_store
from conduit_core.connectors.objects.remote import _reason
from conduit_core.connectors.objects.staging import FolderStaging
from conduit_core.connectors.staging import Attempt, OpenLoad
from conduit_core.errors import ConduitError, ConfigError, ConnectionFailedError, PublishError
from conduit_core.events import ignore
from conduit_core.testing.doubles import TableRows
from conduit_core.testing.staging import SCHEMA, numbers
from tests import services
from tests.objects.conftest import BUCKET, SECRET, Place, make_place

Write = Callable[[ObjectStore], object]


def stream(store: ObjectStore) -> None:
    with store.writer("a/b") as sink:
        sink.write(b"x")


WRITES: dict[str, Write] = {
    "put": lambda store: store.put("a/b", b"x"),
    "create": lambda store: store.put("a/b", b"x", create=True),
    "writer": stream,
}


def refused(store: ObjectStore, kind: type[ConduitError], write: Write) -> str:
    with pytest.raises(kind) as error:
        write(store)
    assert len(error.value.lines()) == 4
    return error.value.message


# --- folders --------------------------------------------------------------------------------------


@pytest.fixture
def read_only() -> Iterator[Path]:
    """A folder that this process may read only, as nobody where we are root."""
    with tempfile.TemporaryDirectory() as outer:
        Path(outer).chmod(0o755)
        folder = Path(outer, "staging")
        open_store(str(folder), Path("/")).put("old", b"x")
        folder.chmod(0o555)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        yield folder
        if root:
            os.seteuid(0)
        folder.chmod(0o755)


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_read_only_folder_is_named(read_only: Path, write: Write) -> None:
    store = open_store(str(read_only), Path("/"))
    message = refused(store, ConfigError, write)
    assert str(read_only) in message
    assert f"user id {os.geteuid()}" in message
    assert [e.path for e in store.entries()] == ["old"]
    assert store.get("old") == b"x"


def test_a_read_only_staging_shows_at_the_probe(read_only: Path) -> None:
    staging = FolderStaging(open_store(str(read_only), Path("/")))
    with pytest.raises(ConfigError, match="needs the right to write to"):
        staging.probe(write=True)


def test_a_staging_that_others_see_and_we_do_not_shows_at_the_probe(place: Place) -> None:
    there, here = (FolderStaging(place.open(below)) for below in ("/one", "/two"))
    assert there.probe(write=True)
    with pytest.raises(ConfigError, match=r"isn't visible from .* every worker needs the same"):
        here.probe(write=False)
    assert here.probe(write=True) != there.probe(write=False)


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("at", ["root", "folder", "object"])
def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path, write: Write, at: str) -> None:
    store = open_store("root", tmp_path)
    where = {"root": "root", "folder": "root/a", "object": "root/a/b/c"}[at]
    Path(tmp_path, where).parent.mkdir(parents=True, exist_ok=True)
    Path(tmp_path, where).write_bytes(b"mine")
    if at == "object" and write is WRITES["create"]:
        assert not store.put("a/b", b"x", create=True)
    else:
        assert str(tmp_path / "root") in refused(store, ConfigError, write)
    assert Path(tmp_path, where).read_bytes() == b"mine"
    assert [p for p in tmp_path.rglob("*") if p.name.startswith(".conduit-")] == []


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_file_system_without_links_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Write
) -> None:
    def no_links(self: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", no_links)
    store = open_store(".", tmp_path)
    if write is WRITES["create"]:
        assert "hard links" in refused(store, ConfigError, write)
    else:
        write(store)
    assert store.unfinished() == []


def test_a_lost_answer_to_a_link_is_no_defeat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = Path.hardlink_to

    def twice(self: Path, target: Path) -> None:
        link(self, target)
        link(self, target)

    monkeypatch.setattr(Path, "hardlink_to", twice)
    store = open_store(".", tmp_path)
    assert store.put("a", b"x", create=True)
    assert not store.put("a", b"y", create=True)


def test_a_name_that_is_too_long_is_named(tmp_path: Path) -> None:
    store = open_store(".", tmp_path)
    with pytest.raises(PublishError, match="takes no such name"):
        store.put("x" * 300, b"")


def test_a_folder_emptied_by_another_is_made_again(tmp_path: Path) -> None:
    stores = [open_store(".", tmp_path) for _ in range(2)]
    errors: list[Exception] = []

    def churn(store: ObjectStore, name: str) -> None:
        try:
            for _ in range(150):
                assert store.put(f"a/b/{name}", b"x", create=True)
                store.delete([f"a/b/{name}"])
        except Exception as error:  # noqa: BLE001 - carried to the test
            errors.append(error)

    threads = [threading.Thread(target=churn, args=(s, str(n))) for n, s in enumerate(stores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_leaves_is_no_object(tmp_path: Path) -> None:
    script = """
        import os, sys
        from pathlib import Path
        from conduit_core.connectors.objects import open_store
        with open_store(sys.argv[1], Path("/")).writer("a/b") as sink:
            sink.write(bytes(3 << 20))
            os.kill(os.getpid(), 9)
    """
    assert run(script, tmp_path).returncode == -9
    store = open_store(".", tmp_path)
    assert store.entries() == []
    (left,) = store.unfinished("a")
    assert left.size > 0
    store.delete([left.path])
    assert list(tmp_path.iterdir()) == []


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", dedent(script), *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_a_full_disk_is_named_and_nothing_remains(tmp_path: Path) -> None:
    script = """
        import resource, signal, sys
        from pathlib import Path
        import pyarrow as pa
        from pyarrow import parquet
        from conduit_core.connectors.objects import open_store
        from conduit_core.errors import PublishError
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        store = open_store(sys.argv[1], Path("/"))
        rows = pa.table({"v": [f"{i:0200}" for i in range(100_000)]})
        def stream():
            with store.writer("a") as sink:
                parquet.write_table(rows, sink, compression="none", use_dictionary=False)
        for write in (stream, lambda: store.put("a", bytes(2 << 20))):
            try:
                write()
            except PublishError as error:
                print(error.retry, error.message)
        print(store.entries(), store.unfinished())
    """
    done = run(script, tmp_path)
    lines = done.stdout.splitlines()
    assert len(lines) == 3, done.stderr
    assert all(line.startswith("step ") and "make room" in line for line in lines[:2])
    assert lines[2] == "[] []"


# --- URLs -----------------------------------------------------------------------------------------


def test_folders_are_relative_to_the_pipeline_file(tmp_path: Path) -> None:
    assert open_store("a b", tmp_path).identity == str(tmp_path / "a b")
    assert open_store(f"file://{tmp_path}/a%20b", Path("/")).identity == str(tmp_path / "a b")
    assert open_store("FILE:///data", tmp_path).identity == "/data"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://host/x", "no store for ftp://"),
        ("file://host/x", "three slashes"),
        ("s3://", "needs a bucket"),
        (f"gs://me:{SECRET.replace('/', '%2F')}@bucket/x", "credentials don't belong"),
        (f"s3://bucket/x?secret_acces_key={SECRET}", "secret_acces_key"),
        (f"s3://bucket/x?virtual_hosted_style_request={SECRET}", "doesn't take these options"),
        ("az://container/x", "doesn't take these options"),
    ],
)
def test_urls_that_are_not_understood_are_named(
    monkeypatch: pytest.MonkeyPatch, url: str, said: str
) -> None:
    for name in [n for n in os.environ if n.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    with pytest.raises(ConfigError, match=said) as error:
        open_store(url, Path("/"))
    assert SECRET not in str(error.value)
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__ or error.value.__context__ is None


@pytest.mark.parametrize(
    ("url", "options", "identity"),
    [
        ("s3://b/x/", {}, "s3://b/x"),
        ("s3://b/", {}, "s3://b"),
        ("s3://K:S@b/x", {}, "s3://b/x"),
        ("s3://b/x?endpoint=https%3A%2F%2Fu%3Ap%40minio%3A9000", {}, "s3://b/x at minio:9000"),
        ("gs://b/x?bearer_token=t", {}, "gs://b/x"),
        ("az://c/x", {"account_name": "acc", "account_key": "c2VjcmV0"}, "az://c/x at acc"),
        ("abfss://c@acc.dfs.core.windows.net/x", {"account_key": "c2VjcmV0"}, "az://c/x at acc"),
    ],
)
def test_an_identity_names_the_place_and_no_secret(
    url: str, options: dict[str, str], identity: str
) -> None:
    assert open_store(url, Path("/"), options).identity == identity


def test_the_environment_moves_the_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert open_store("s3://b/x", Path("/")).identity == "s3://b/x at 127.0.0.1:9"


def test_a_missing_client_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(ConfigError, match="isn't installed") as error:
        open_store("s3://bucket/x", Path("/"))
    assert error.value.command == "pip install 'conduit-load[objects]'"


# --- buckets --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["s3", "gcs", "azure"])
def test_a_missing_bucket_is_named(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    place = make_place(kind, request, tmp_path)
    store = Place(place.url.replace(BUCKET, "missing-bucket"), place.options).open()
    for write in WRITES.values():
        assert "no such bucket" in refused(store, ConfigError, write)


class _Refusing(BaseHTTPRequestHandler):
    """A server that refuses, repeating what it was told."""

    def _refuse(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = f"<Error><Code>AccessDenied</Code><Got>{SECRET} {self.path}</Got></Error>".encode()
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_PUT = do_GET = do_POST = do_DELETE = _refuse  # noqa: N815

    def do_HEAD(self) -> None:
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def refusing() -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), _Refusing)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(("status", "retry"), [(403, "never"), (401, "never"), (400, "step")])
def test_a_bucket_that_refuses_is_named_without_its_secrets(
    refusing: HTTPServer, status: int, retry: str
) -> None:
    refusing.status = status  # type: ignore[attr-defined]
    url = f"http://127.0.0.1:{refusing.server_port}"
    options = {"access_key_id": "KEY", "secret_access_key": SECRET, "endpoint": url}
    store = open_store(f"s3://bucket/x?session_token={SECRET}", Path("/"), options)
    calls: list[Write] = [
        *WRITES.values(),
        lambda s: s.get("a"),
        lambda s: s.entries(),
        lambda s: s.delete(["a"]),
        lambda s: s.reader("a"),
    ]
    for call in calls:
        with pytest.raises(ConnectionFailedError) as error:
            call(store)
        assert error.value.retry == retry
        assert str(status) in error.value.message
        assert store.identity in error.value.message
        assert SECRET not in str(error.value)
        assert SECRET not in str(pickle.dumps(error.value))
        assert error.value.__cause__ is None
        assert error.value.__context__ is None  # who pickles errors whole would take it along
    assert SECRET not in f"{store!r} {store.identity}"


def test_a_bucket_out_of_reach_is_named() -> None:
    options = {"access_key_id": "KEY", "secret_access_key": SECRET}
    store = open_store("s3://bucket/x?endpoint=http://127.0.0.1:1", Path("/"), options)
    with pytest.raises(ConnectionFailedError) as error:
        store.put("a", b"x")
    assert error.value.retry == "step"
    assert "s3://bucket/x at 127.0.0.1:1" in error.value.message


def test_missing_credentials_are_named() -> None:
    text = "Generic GCS error: Error performing GET http://169.254.169.254/token?x in 1ms"
    assert _reason(OSError(text)) == ("no credentials, and no machine that has some", True)


def test_a_bucket_that_goes_away_is_named(s3_server: str) -> None:
    service = services.moto_server()
    assert service is not None  # or s3_server would have skipped
    options = {"access_key_id": "KEY", "secret_access_key": SECRET}
    with service:
        urllib.request.urlopen(  # noqa: S310 - loopback
            urllib.request.Request(f"{service.url}/{BUCKET}", method="PUT")  # noqa: S310
        ).close()
        url = f"s3://{BUCKET}/x"
        staging = FolderStaging(open_store(url, Path("/"), {**options, "endpoint": service.url}))
        load = staging.open(
            OpenLoad(
                load_id="l",
                plan_id="p",
                target_fingerprint="fp",
                target_schema="s",
                target_table="t",
                plan="{}",
                opened_at=datetime.now(UTC),
            ),
            None,
        )
        attempt = Attempt(load=load, split="one", attempt="a", columns=(), worker="w")
        receipt = staging.stage(attempt, TableRows(numbers(0, 10)), ignore)
        later = attempt.model_copy(update={"split": "two"})
        rows = pa.table({"v": pa.array(os.urandom(16 << 20), pa.uint8())})

        def cut(number: int) -> None:
            if number == 3:
                service.__exit__()

        source = TableRows(rows, batch_rows=4 << 20, on_batch=cut)
        with pytest.raises(ConnectionFailedError) as error:
            staging.stage(later, source, ignore)
        assert error.value.retry == "step"
        staged = staging.rows([receipt], SCHEMA)
        with pytest.raises(ConnectionFailedError):
            staged.reader().read_all()
        with pytest.raises(ConnectionFailedError, match="connection refused"):
            staged.finish()
