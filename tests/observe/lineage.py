"""A receiver of lineage, and what an event has to be by the classes of OpenLineage's own client."""

from __future__ import annotations

import inspect
import json
import threading
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

import attr
import jsonschema
from openlineage.client import facet_v2
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState

Event = Mapping[str, Any]
_OWN = json.loads(
    files("conduit_core.observe").joinpath("load-run-facet.schema.json").read_text("utf-8")
)


@dataclass
class Collected:
    """What a receiver was told.

    Args:
        url: its own.
        events: in the order they came.
        keys: the ``Authorization`` of each request.
        paths: where each was sent to.
    """

    url: str
    events: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    def runs(self) -> list[tuple[str, str]]:
        """Return each event's job and type."""
        return [(e["job"]["name"], e["eventType"]) for e in self.events]

    def end_of(self, job: str) -> Event:
        """Return a job's only event but START."""
        (found,) = (e for e in self.events if e["job"]["name"] == job and e["eventType"] != "START")
        return found


@contextmanager
def collecting(answer: Callable[[], int] = lambda: 201) -> Iterator[Collected]:
    """Serve a receiver that checks each event, and answers with a status."""
    wrong: list[Exception] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collected.keys.append(self.headers["Authorization"])
            collected.paths.append(self.path)
            status = answer()
            if status < 300:
                event = json.loads(body)
                collected.events.append(event)
                try:
                    check_event(event)
                except Exception as error:  # noqa: BLE001 - told when the block ends
                    wrong.append(error)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collected = Collected(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield collected
        finally:
            server.shutdown()
            thread.join()
    assert not wrong, wrong


# --- what an event has to be ----------------------------------------------------------------------


def check_event(event: Event) -> None:
    """Make an event anew, of the client's own classes: they refuse what isn't there or unknown."""
    assert urlsplit(event["producer"]).scheme
    RunEvent(
        eventTime=event["eventTime"],
        eventType=RunState(event["eventType"]),
        producer=event["producer"],
        run=Run(event["run"]["runId"], _facets(event["run"]["facets"])),
        job=Job(event["job"]["namespace"], event["job"]["name"], _facets(event["job"]["facets"])),
        inputs=[_dataset(InputDataset, "inputFacets", d) for d in event["inputs"]],
        outputs=[_dataset(OutputDataset, "outputFacets", d) for d in event["outputs"]],
    )
    assert set(event) == {
        "eventTime", "eventType", "producer", "schemaURL", "run", "job", "inputs", "outputs",
    }  # fmt: skip


def _dataset(cls: type, key: str, given: Event) -> object:
    more = {"facets": _facets(given.get("facets", {})), key: _facets(given.get(key, {}))}
    return cls(given["namespace"], given["name"], **more)


def _facets(given: Mapping[str, Event]) -> dict[str, Any]:
    return {name: _facet(name, facet) for name, facet in given.items()}


def _facet(name: str, given: Event) -> object:
    assert urlsplit(given["_producer"]).scheme, name
    kind = given["_schemaURL"].rpartition("/")[2]
    if kind == "ConduitLoadRunFacet":
        jsonschema.validate(given, _OWN)
        return None
    (module,) = (m for m in _MODULES if hasattr(m, kind))
    cls = getattr(module, kind)
    assert cls._get_schema() == given["_schemaURL"]
    return _made(cls, {k: v for k, v in given.items() if not k.startswith("_")})


_MODULES = [m for _, m in inspect.getmembers(facet_v2, inspect.ismodule)]


def _made(cls: Any, given: object) -> Any:
    if isinstance(given, list):
        (of,) = typing.get_args(cls) or (object,)
        return [_made(of, each) for each in given]
    if not (isinstance(given, Mapping) and isinstance(cls, type) and attr.has(cls)):
        if isinstance(given, Mapping) and len(typing.get_args(cls)) == 2:
            return {key: _made(typing.get_args(cls)[1], each) for key, each in given.items()}
        return given
    hints = typing.get_type_hints(cls)
    made = {
        key: _made(_some(hints[key]), each) for key, each in given.items()
    }  # an unknown key is a KeyError
    return cls(**made)


def _some(hint: Any) -> Any:
    """Return what isn't None of an optional hint."""
    if type(None) in typing.get_args(hint):
        (found, *_) = (h for h in typing.get_args(hint) if h is not type(None))
        return found
    return hint
