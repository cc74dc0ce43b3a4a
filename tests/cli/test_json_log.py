"""`--log-format json`: every line of stderr parses against the published schema, always."""

from __future__ import annotations

import dataclasses
import io
import json
from datetime import UTC, datetime
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from jsonschema import Draft202012Validator

from conduit_core import events as ev
from conduit_core.observe.jsonlog import JsonLog, log_schema
from tests.cli.conftest import Conduit

EVENTS = [k for k in ev.Event.__subclasses__() if getattr(ev, k.__name__) is k]


def example(kind: Any) -> Any:
    """Return a value of an event's field."""
    origin = get_origin(kind)
    if kind is datetime:
        return datetime.now(UTC)
    if origin is tuple:
        return ("x",)
    if origin is dict:
        return {"read": example(get_args(kind)[1])}
    if origin is not None:  # a literal, or something or None
        return next(a if isinstance(a, str) else example(a) for a in get_args(kind))
    return {str: "x", int: 1, float: 0.5, bool: True}[kind]


@pytest.mark.parametrize("kind", EVENTS, ids=lambda k: k.__name__)
def test_each_event_is_in_the_schema_with_just_its_fields(kind: type[ev.Event]) -> None:
    hints = get_type_hints(kind)
    event = kind(**{f.name: example(hints[f.name]) for f in dataclasses.fields(kind)})
    out = io.StringIO()
    JsonLog(out, debug=True)(event)
    record = json.loads(out.getvalue())
    Draft202012Validator(log_schema()).validate(record)
    assert record["event"] == event.name
    known = log_schema()["$defs"][event.name]["properties"]  # type: ignore[index]
    head = {"at", "level", "message", "pipeline", "stream"}
    assert set(known) - {"event"} == {f.name for f in dataclasses.fields(kind)} - head


def test_the_schema_is_a_schema_and_closed() -> None:
    schema = log_schema()
    Draft202012Validator.check_schema(schema)
    line = {"at": "2024-01-01T00:00:00Z", "level": "info", "event": "stderr", "message": "x"}
    validator = Draft202012Validator(schema)
    assert validator.is_valid(line)
    assert not validator.is_valid({**line, "surprise": 1})
    assert not validator.is_valid({**line, "event": "unheard_of"})


def test_success_and_every_way_a_library_speaks(shop: Conduit) -> None:
    ended = shop("run", "--log-format", "json", CONDUIT_LISTENERS="tests.cli.listeners:chatter")
    assert ended.code == 0
    events = [r["event"] for r in ended.records]
    assert events[0] == "run_started"
    assert events[-2:] == ["run_finished", "stderr"]  # the last words had no newline
    said = [r["message"] for r in ended.records if r["event"] in {"log", "stderr"}]
    assert "it's logging: a\nsecond line" in said
    assert any("structlog" in text and "42" in text for text in said)
    assert any("a warning" in text for text in said)
    assert "plain words" in said
    traced = [r for r in ended.records if "traceback" in r]
    assert "ValueError: inside" in traced[0]["traceback"]
    assert ended.out.startswith("stream")


def test_debug_adds_batches_and_steps(here: Any, shop: Conduit) -> None:
    events = [r["event"] for r in here("run", "--log-format", "json", "--debug").records]
    assert {"batch_read", "batch_written", "commit_started", "committed"} <= set(events)


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("run", "absent.yml"), 2),
        (("run", "--strem", "x"), 2),
        (("run", "--stream", "absent"), 4),
        (("plan", "--stream", "absent"), 4),
    ],
)
@pytest.mark.parametrize("debug", [(), ("--debug",)])
def test_failure(
    here: Any, shop: Conduit, args: tuple[str, ...], code: int, debug: tuple[str, ...]
) -> None:
    shop.write((shop.folder / "pipeline.yml").read_text() + "  - absent\n")
    ended = here(*args, "--log-format", "json", "--json", *debug)
    assert ended.code == code
    last = ended.records[-1]
    assert (last["event"], last["exit_code"]) == ("failed", code)
    assert last["lines"] == ended.document["error"]["lines"]
    assert any(r["event"] == "traceback" for r in ended.records) == bool(debug)


def test_a_bug_and_a_broken_listener(shop: Conduit) -> None:
    listeners = "tests.cli.listeners:broken,tests.cli.listeners:crash_engine"
    ended = shop(
        "run", "--log-format=json", "--debug", CONDUIT_LISTENERS=listeners, CANARY="canary"
    )
    assert ended.code == 1
    assert "unexpected LookupError" in ended.records[-1]["message"]
    assert any("not today" in r["message"] for r in ended.records)


def test_ctrl_c(shop: Conduit) -> None:
    listener = "tests.cli.listeners:interrupt_second_stream"
    shop.write(
        (shop.folder / "pipeline.yml")
        .read_text()
        .replace("  - customers", "  - {table: customers, name: second}")
    )
    ended = shop("run", "--log-format", "json", "--json", CONDUIT_LISTENERS=listener)
    assert ended.code == ended.document["exit_code"] == 130
    last = ended.records[-1]
    assert (last["event"], last["exit_code"]) == ("interrupted", 130)


def test_other_commands(here: Any, shop: Conduit) -> None:
    for args in (("check",), ("status",), ("runs",), ("connectors",)):
        ended = here(*args, "--json", "--log-format", "json")
        told = ["stream_seen", "stream_seen"] if args == ("status",) else []
        assert (ended.code, [r["event"] for r in ended.records]) == (0, told)
        assert ended.document
