"""The scrape endpoint: one process, several that share a folder, forks, and too many labels."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conduit_core import observing, run
from conduit_core.events import Notice
from conduit_core.observe import book
from conduit_core.observe.metrics import LOADS, STALE, Measurement
from tests.observe.servers import asked, prometheus, scraped, series
from tests.observe.shop import make_shop
from tests.observe.told import batch, broken, failed, finished, free_port, seen, told

ROOT = Path(__file__).parents[2]
READ = (("kind", "read"), ("pipeline", "shop"), ("stream", "orders"))
STREAM = (("pipeline", "shop"), ("stream", "orders"))


def test_p26_a_process_serves_all_its_runs_at_one_address() -> None:
    port = free_port()
    to = f"prometheus://127.0.0.1:{port}"
    assert told(to, finished(rows=10), broken()) == []
    assert told(to, finished(rows=5), failed(), seen(), batch()) == []
    text = scraped(port)
    assert series(text, "conduit_rows_total")[READ] == 15
    assert series(text, "conduit_queue_fill_ratio")[STREAM] == 0.5
    assert series(text, "conduit_source_lag_seconds")[STREAM] == 7200
    assert series(text, "conduit_stale")[STREAM] == 1
    assert "canary" not in text
    assert "_created" not in text
    promtool = shutil.which("promtool")
    if promtool is not None:
        command = [promtool, "check", "metrics"]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_it_listens_on_this_machine_only_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from conduit_core.observe import prometheus as module

    port = free_port()
    monkeypatch.setattr(module, "PORT", port)
    assert told("prometheus:", finished()) == []
    assert "conduit_rows_total" in scraped(port)
    (server,) = [s for s in module._process.servers.values() if s.server_port == port]
    assert server.server_address == ("127.0.0.1", port)


def test_p26_a_real_load_and_a_real_prometheus(tmp_path: Path) -> None:
    port, shop = free_port(), make_shop(tmp_path)
    with observing(shop, to=f"prometheus://:{port}") as observation:
        run(shop, listeners=observation.listeners)
    with prometheus(tmp_path, port) as server:
        ((labels, rows),) = asked(server, 'conduit_rows_total{kind="read"}')
        ((_, rejected),) = asked(server, 'conduit_rejected_rows_total{action="dlq"}')
        ((_, p50),) = asked(
            server,
            "histogram_quantile(0.5, sum by (le) (conduit_load_duration_seconds_bucket))",
        )
    assert (labels["pipeline"], labels["stream"], rows) == ("shop", "orders", 10)
    assert rejected == 1
    assert p50 > 0


def test_the_applications_own_registry() -> None:
    from prometheus_client import REGISTRY

    labels = {"pipeline": "own", "stream": "orders", "outcome": "published"}
    assert told("prometheus://default", finished(pipeline="own")) == []
    assert told("prometheus://default", finished(pipeline="own")) == []
    assert REGISTRY.get_sample_value("conduit_loads_total", labels) == 2


# --- several processes ----------------------------------------------------------------------------

WORKER = """
import sys
from tests.observe.told import finished, seen, told
for _ in iter(int, 1):  # a run, and another for each line
    said = told(sys.argv[1], finished(rows=int(sys.argv[2])), seen(lag=float(sys.argv[2])))
    print(said, flush=True)
    if not sys.stdin.readline():
        break
"""


def _worker(to: str, rows: int, folder: Path | None) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    if folder is not None:
        env["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    command = [sys.executable, "-c", WORKER, to, str(rows)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=env)


def _said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _again(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    assert _said(process) == "[]"


def test_p26_processes_with_one_folder_are_served_together(tmp_path: Path) -> None:
    port = free_port()
    to, folder = f"prometheus://127.0.0.1:{port}", tmp_path / "made"
    with _worker(to, 10, folder) as first:
        assert _said(first) == "[]"
        with _worker(to, 5, folder) as second:
            assert _said(second) == "[]"  # the port is taken, and the first serves its values
            text = scraped(port)
            first.communicate("")
            _again(second)
            after = scraped(port)  # the first has ended; what it counted stays, and is served on
            second.communicate("")
    assert series(after, "conduit_rows_total")[READ] == 20
    assert series(text, "conduit_rows_total")[READ] == 15
    assert series(text, "conduit_source_lag_seconds") == {STREAM: 5}
    took = (("outcome", "published"), *STREAM)
    assert series(text, "conduit_load_duration_seconds_count")[took] == 2


def test_without_a_folder_a_taken_port_is_a_warning(tmp_path: Path) -> None:
    port = free_port()
    to = f"prometheus://127.0.0.1:{port}"
    with _worker(to, 10, None) as other:
        assert _said(other) == "[]"
        (said,) = told(to, finished())
        other.communicate("")
    assert f"another process listens on 127.0.0.1:{port}" in said
    assert "give this one another port, or set PROMETHEUS_MULTIPROC_DIR" in said


def test_with_a_folder_a_process_has_one_endpoint(tmp_path: Path) -> None:
    one, other = (f"prometheus://127.0.0.1:{free_port()}" for _ in range(2))
    with _worker(f"{one} {other}", 10, tmp_path) as process:
        said = _said(process)
        process.communicate("")
    assert "where PROMETHEUS_MULTIPROC_DIR is set, a process has one prometheus:// only" in said


FORK = """
import os, sys
from tests.observe.told import finished, told
port = int(sys.argv[1])
to = f"prometheus://127.0.0.1:{port}"
assert told(to, finished()) == []
pid = os.fork()
if pid == 0:
    (said,) = told(to, finished())
    assert "another process listens" in said, said
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
pid = os.fork()
if pid == 0:
    sys.stdin.read()  # until the parent has ended
    assert told(to, finished()) == []
    print("served", flush=True)
    os._exit(0)
print("forked", flush=True)
os._exit(0)
"""


def test_a_fork_holds_no_port_of_its_parents() -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", FORK, str(free_port())]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=env) as process:
        assert _said(process) == "forked"
        assert process.wait(10) == 0
        out, _ = process.communicate("")
    assert out == "served\n"


# --- too many labels ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["prometheus", "textfile"])
def test_p26_a_label_explosion_is_bounded_and_said_once(tmp_path: Path, kind: str) -> None:
    port = free_port()
    file = tmp_path / "conduit.prom"
    to = f"prometheus://127.0.0.1:{port}" if kind == "prometheus" else f"textfile://{file}"
    events = [failed(f"s{n}") for n in range(book.LABEL_SETS + 30)]
    said = told(to, *events, *events[:5], *events[-5:])
    assert len(said) == 1
    assert "has more than 2,000 label sets: the rest is counted under `other`" in said[0]
    text = scraped(port) if kind == "prometheus" else file.read_text()
    found = series(text, "conduit_errors_total")
    assert len(found) == book.LABEL_SETS + 1
    assert found[(("error", "other"), ("pipeline", "other"), ("stream", "other"))] == 35
    assert found[(("error", "SchemaError"), ("pipeline", "shop"), ("stream", "s0"))] == 2
    last = series(text, "conduit_last_finish_timestamp_seconds")
    assert len(last) == book.LABEL_SETS  # a gauge of many would say nothing


def test_what_is_known_stays_beyond_the_limit() -> None:
    said: list[str] = []
    bounded = book.Bounded(limit=1)
    known = Measurement(STALE, 1.0, ("a", "b"))
    assert bounded(known, said.append) is known
    assert bounded(Measurement(STALE, 1.0, ("a", "c")), said.append) is None
    assert bounded(known, said.append) is known
    more = [Measurement(LOADS, 2.0, ("a", "b", x)) for x in ("failed", "empty")]
    assert bounded(more[0], said.append) is more[0]
    beyond = bounded(more[1], said.append)
    assert beyond is not None
    assert (beyond.value, beyond.labels) == (2.0, ("other", "other", "other"))
    assert len(said) == 1


@pytest.mark.parametrize(
    "to", ["prometheus://h/metrics", "prometheus+https://h", "prometheus://h:99999"]
)
def test_a_wrong_url_says_so(to: str) -> None:
    (said,) = told(to, finished())
    assert "CONDUIT_OBSERVE" in said


def test_an_address_that_isn_t_ours() -> None:
    (said,) = told("prometheus://192.0.2.1:9464", finished())
    assert "can't listen on 192.0.2.1:9464" in said


def test_a_receiver_that_isn_t_installed_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("conduit_core.observe.prometheus", "conduit_core.observe.dogstatsd"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.setitem(sys.modules, "datadog", None)
    monkeypatch.setitem(sys.modules, "datadog.dogstatsd", None)
    monkeypatch.setitem(sys.modules, "datadog.dogstatsd.base", None)
    for to, extra in (("prometheus:", "prometheus"), ("dogstatsd:", "datadog")):
        (said,) = told(to, finished())
        assert f"pip install 'conduit-load[{extra}]'" in said


def test_a_sink_costs_microseconds() -> None:
    """Not a promise in numbers: that nobody does I/O in it."""
    import time

    port = free_port()
    to = f"prometheus://127.0.0.1:{port}"
    events = [batch()] * 2000
    started = time.process_time()
    assert told(to, *events) == []
    assert time.process_time() - started < 1.0
    assert not isinstance(events[0], Notice)
