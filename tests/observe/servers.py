"""Prometheus and its Pushgateway, where they are installed; and servers that behave badly."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.observe.told import free_port
from tests.services import missing

USER, PASSWORD = "loader", "p:ss word"
HASHED = "$2b$04$2DaS26DRpGK4wSeJ7QXRB.iuTJer2NfFm/cmhhapJNIDUFwrspwsu"
"""That password by bcrypt, as the Pushgateway's settings have it."""

Series = dict[tuple[tuple[str, str], ...], float]


def installed(program: str) -> str:
    """Return where a program is, or skip the test."""
    found = shutil.which(program)
    if found is None:
        missing(f"no {program} on PATH: apt install {program.replace('promtool', 'prometheus')}")
    return found


@contextmanager
def running(command: list[str], port: int) -> Iterator[None]:
    """Run a server until the block ends; the block begins when it listens."""
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
    ) as process:
        try:
            deadline = time.monotonic() + 30
            while True:
                with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                assert process.poll() is None, f"{command[0]} ended"
                assert time.monotonic() < deadline, f"{command[0]} doesn't listen"
                time.sleep(0.02)
            yield
        finally:
            process.terminate()


@contextmanager
def pushgateway(*more: str) -> Iterator[int]:
    """Run a Pushgateway and yield its port."""
    program, port = installed("prometheus-pushgateway"), free_port()
    command = [program, f"--web.listen-address=127.0.0.1:{port}", "--persistence.file=", *more]
    with running(command, port):
        yield port


@contextmanager
def prometheus(folder: Path, target: int) -> Iterator[int]:
    """Run a Prometheus server that scrapes a port each second, and yield its own port."""
    program, port = installed("prometheus"), free_port()
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s}\nscrape_configs:\n  - job_name: conduit\n"
        f"    honor_labels: true\n    static_configs: [{{targets: ['127.0.0.1:{target}']}}]\n"
    )
    command = [
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with running(command, port):
        yield port


def asked(port: int, query: str, *, seconds: float = 20.0) -> list[tuple[dict[str, str], float]]:
    """Return what a query of Prometheus finds, once it finds something."""
    url = f"http://127.0.0.1:{port}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    deadline = time.monotonic() + seconds
    while True:
        with suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
            found: list[Any] = json.load(answer)["data"]["result"]
            if found:
                return [(each["metric"], float(each["value"][1])) for each in found]
        assert time.monotonic() < deadline, f"Prometheus never had {query}"
        time.sleep(0.1)


def scraped(port: int, path: str = "/metrics") -> str:
    """Return what an endpoint shows."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        text: str = answer.read().decode()
        return text


def series(text: str, name: str) -> Series:
    """Return the samples of one name, by their labels."""
    from prometheus_client.parser import text_string_to_metric_families

    return {
        tuple(sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


@contextmanager
def silent() -> Iterator[int]:
    """Accept connections and never answer; yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def accept() -> None:
            with suppress(OSError):
                while True:
                    held.append(server.accept()[0])

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        for each in held:
            each.close()
