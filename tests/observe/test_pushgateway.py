"""The Pushgateway: a real one, with and without a password; and what isn't one."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from conduit_core import observing, run
from conduit_core.observe import observing as watch
from tests.observe.servers import (
    HASHED,
    PASSWORD,
    USER,
    asked,
    prometheus,
    pushgateway,
    scraped,
    series,
    silent,
)
from tests.observe.shop import make_shop
from tests.observe.told import broken, failed, finished, free_port, seen, told

ORDERS = (("instance", ""), ("job", "conduit"), ("pipeline", "shop"), ("stream", "orders"))


@pytest.fixture(scope="module")
def gateway() -> Iterator[int]:
    with pushgateway() as port:
        yield port


@pytest.fixture
def job(request: pytest.FixtureRequest) -> str:
    return request.node.name


def _labels(job: str, **more: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted({**dict(ORDERS), "job": job, **more}.items()))


def test_p26_counters_go_on_from_what_the_gateway_has(gateway: int, job: str) -> None:
    to = f"pushgateway://127.0.0.1:{gateway}?job={job}"
    assert told(to, finished(rows=10), broken()) == []
    assert told(to, finished(rows=5)) == []
    text = scraped(gateway)
    assert series(text, "conduit_rows_total")[_labels(job, kind="read")] == 15
    assert (
        series(text, "conduit_rejected_rows_total")[_labels(job, rule="regex(email)", action="dlq")]
        == 1
    )
    took = "conduit_load_duration_seconds"
    done = _labels(job, outcome="published")
    assert series(text, f"{took}_count")[done] == 2
    assert series(text, f"{took}_sum")[done] == 4.0
    buckets = series(text, f"{took}_bucket")
    assert buckets[_labels(job, outcome="published", le="1")] == 0
    assert buckets[_labels(job, outcome="published", le="2.5")] == 2
    assert buckets[_labels(job, outcome="published", le="+Inf")] == 2
    assert series(text, "conduit_watermark_timestamp_seconds")[_labels(job)] > 1.7e9


def test_p26_a_run_that_only_failed_is_told(gateway: int, job: str) -> None:
    to = f"pushgateway://127.0.0.1:{gateway}?job={job}"
    told(to, finished())
    assert told(to, failed()) == []
    text = scraped(gateway)
    assert series(text, "conduit_loads_total")[_labels(job, outcome="failed")] == 1
    assert series(text, "conduit_loads_total")[_labels(job, outcome="published")] == 1
    assert series(text, "conduit_errors_total")[_labels(job, error="SchemaError")] == 1
    assert "canary" not in text


def test_parallel_tasks_never_overwrite_one_another(gateway: int, job: str) -> None:
    to = f"pushgateway://127.0.0.1:{gateway}?job={job}"
    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(lambda n: told(to, finished(f"s{n}", rows=n + 1)), range(8)))
    assert said == [[]] * 8
    rows = series(scraped(gateway), "conduit_rows_total")
    assert [rows[_labels(job, stream=f"s{n}", kind="read")] for n in range(8)] == [*range(1, 9)]


def test_a_look_leaves_what_loads_have_told(gateway: int, job: str) -> None:
    to = f"pushgateway://127.0.0.1:{gateway}?job={job}"
    told(to, finished())
    told(to, seen())
    text = scraped(gateway)
    assert series(text, "conduit_loads_total")[_labels(job, outcome="published")] == 1
    assert series(text, "conduit_source_lag_seconds")[_labels(job)] == 7200


@pytest.mark.parametrize("stream", ["a/b", 'grüße "quoted"', "back\\slash", "two\nlines"])
def test_names_that_need_escapes(gateway: int, job: str, stream: str) -> None:
    to = f"pushgateway://127.0.0.1:{gateway}?job={quote(job)}"
    assert told(to, finished(stream)) == []
    assert told(to, finished(stream)) == []
    rows = series(scraped(gateway), "conduit_rows_total")
    assert rows[_labels(job, stream=stream, kind="read")] == 20


def test_a_real_load_is_seen_by_a_real_prometheus(tmp_path: Path, gateway: int, job: str) -> None:
    to = f"pushgateway://127.0.0.1:{gateway}?job={job}"
    with prometheus(tmp_path, gateway) as server:
        shop = make_shop(tmp_path)
        with observing(shop, to=to) as observation:
            run(shop, listeners=observation.listeners)
        found = asked(server, f'conduit_rows_total{{job="{job}",kind="read"}}')
    assert [value for _, value in found] == [10]


# --- passwords ------------------------------------------------------------------------------------


def test_a_password_and_a_prefix(tmp_path: Path) -> None:
    (tmp_path / "web.yml").write_text(f"basic_auth_users:\n  {USER}: '{HASHED}'\n")
    config = f"--web.config.file={tmp_path / 'web.yml'}"
    with pushgateway(config, "--web.route-prefix=/push") as port:
        at = f"127.0.0.1:{port}/push"
        assert told(f"pushgateway://{USER}:{quote(PASSWORD)}@{at}", finished()) == []
        assert told(f"pushgateway://{USER}:{quote(PASSWORD)}@{at}/", finished()) == []
        (said,) = told(f"pushgateway://{USER}:canary-secret@{at}", finished())
        assert said.startswith(f"pushgateway://{at} was not told: user or")
        assert "canary" not in said
        (said,) = told(f"pushgateway://{at}", finished())
        assert "user or password are wrong (401)" in said
        (said,) = told(f"pushgateway://{USER}:{quote(PASSWORD)}@127.0.0.1:{port}", finished())
        assert "no Pushgateway is there (404): look at host and prefix" in said


# --- bad input ------------------------------------------------------------------------------------


def test_nobody_there_is_one_warning() -> None:
    (said,) = told(f"pushgateway://127.0.0.1:{free_port()}", finished())
    assert "can't be reached" in said


def test_one_that_never_answers_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "CLOSE_SECONDS", 0.5)
    with silent() as port:
        started = time.monotonic()
        (said,) = told(f"pushgateway://127.0.0.1:{port}", finished())
    assert time.monotonic() - started < 3
    assert "in time" in said


@contextmanager
def _answering(code: int, text: bytes, location: str = "") -> Iterator[tuple[int, list[str]]]:
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(code)
            if location:
                self.send_header("Location", location)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1], asked
        finally:
            server.shutdown()
            thread.join()


def test_what_isn_t_a_gateway_is_named() -> None:
    with _answering(200, b'conduit_rows_total{job="conduit",pipeline="x') as (port, _):
        (said,) = told(f"pushgateway://127.0.0.1:{port}", finished())
    assert "isn't a Pushgateway's" in said
    with _answering(500, b"") as (port, _):
        (said,) = told(f"pushgateway://127.0.0.1:{port}", finished())
    assert "it answers 500" in said


def test_a_password_follows_no_redirect() -> None:
    with (
        _answering(200, b"") as (other, asked),
        _answering(302, b"", f"http://127.0.0.1:{other}/") as (port, _),
    ):
        (said,) = told(f"pushgateway://a:b@127.0.0.1:{port}", finished())
    assert "it answers 302" in said
    assert asked == []


def test_a_metric_of_another_type_is_the_gateways_word() -> None:
    import urllib.request

    body = b"# TYPE conduit_stale counter\nconduit_stale 1\n"
    with pushgateway() as port:
        url = f"http://127.0.0.1:{port}/metrics/job/stranger"
        urllib.request.urlopen(urllib.request.Request(url, body, method="PUT"), timeout=5).close()
        (said,) = told(f"pushgateway://127.0.0.1:{port}", seen())
    assert "it refuses the metrics: " in said


@pytest.mark.parametrize(
    "to",
    ["pushgateway://", "pushgateway:///metrics", "pushgateway+ftp://h", "pushgateway://h?jobs=x"],
)
def test_a_wrong_url_says_what_to_write(to: str) -> None:
    (said,) = told(to, finished())
    assert "CONDUIT_OBSERVE: a Pushgateway is `pushgateway://host:9091/prefix?job=conduit`" in said
