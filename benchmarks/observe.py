"""A load that every receiver hears, against the same load that nobody does, in one process."""

from __future__ import annotations

import http.server
import importlib.util
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.bench import Bench, counted
from benchmarks.quality import QualityBench
from benchmarks.results import Measured, Side, Wanted
from conduit_core import Pipeline, observing, raise_for_failures, run
from conduit_core.events import Event, Notice
from conduit_core.observe.receivers import KINDS


class _Takes(http.server.BaseHTTPRequestHandler):
    """Takes whatever is sent, and has nothing itself."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_PUT = do_GET  # noqa: N815 - the names that http.server calls

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _receivers(folder: Path) -> Iterator[list[str]]:
    """Yield the URL of a receiver of each kind that is installed."""
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Takes) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as agent,
        socket.socket() as free,
    ):
        agent.bind(("127.0.0.1", 0))
        free.bind(("127.0.0.1", 0))
        endpoint = free.getsockname()[1]
        free.close()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        at = f"127.0.0.1:{server.server_address[1]}"
        urls = {
            "prometheus": f"prometheus://127.0.0.1:{endpoint}",
            "pushgateway": f"pushgateway://{at}",
            "textfile": f"textfile://{folder}/conduit.prom",
            "otlp": f"otlp+http://{at}",
            "dogstatsd": f"dogstatsd://127.0.0.1:{agent.getsockname()[1]}",
            "emf": f"emf://{folder}/emf.log",
            "openlineage": f"openlineage+http://{at}",
        }
        modules = {kind: opener.partition(":")[0] for kind, opener in KINDS.items()}
        try:
            yield [url for k, url in urls.items() if importlib.util.find_spec(modules[k])]
        finally:
            server.shutdown()


def _load(pipeline: Pipeline, to: list[str]) -> tuple[float, float]:
    """Load once; return the seconds of all, sending included, and of the load alone."""

    def hear(event: Event) -> None:
        if isinstance(event, Notice) and event.level == "warning":
            print(event.message, file=sys.stderr)

    started = time.perf_counter()
    with observing(pipeline, (hear,), to=to) as observation:
        before = time.perf_counter()
        result = run(pipeline, listeners=observation.listeners)
        alone = time.perf_counter() - before
    raise_for_failures(result)
    return time.perf_counter() - started, alone


def watched(bench: Bench) -> Measured:
    """A million rows of Parquet into DuckDB, replaced."""
    rows = QualityBench(bench).rows(bench.million)
    pipeline = Pipeline.from_mapping(
        {
            "name": "watched",
            "source": {"type": "parquet", "path": "."},
            "destination": {"type": "duckdb", "path": "watched.duckdb"},
            "streams": [{"path": rows, "into": "rows", "mode": "replace"}],
        },
        bench.folder,
    )
    pairs = []
    with _receivers(bench.folder) as to:
        for turn in range(bench.runs + 1):
            order = (to, []) if turn % 2 else ([], to)
            taken = {bool(each): _load(pipeline, each) for each in order}
            if turn:
                pairs.append((taken[True], taken[False]))
    return Measured(
        section="hosts",
        what=f"a load of {counted(bench.million)} rows that {len(to)} receivers hear",
        sides=[
            Side(
                name=who,
                seconds=[round(pair[at][0], 3) for pair in pairs],
                load_seconds=[round(pair[at][1], 3) for pair in pairs],
            )
            for at, who in enumerate(("conduit", "none hears it"))
        ],
        wanted=Wanted(load_ratio=1.01),
        note="in one process",
    )


def cases(bench: Bench) -> dict[str, Callable[[], Measured]]:
    """Return the cases by name."""
    return {"observe": partial(watched, bench)}
