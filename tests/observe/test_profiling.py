"""``conduit run --profile``: a file that speedscope reads, of every thread, however a run ends."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from conduit_core.observe.profiling import Profiler
from tests.cli.conftest import Conduit, conduit, fill, here

__all__ = ["conduit", "here"]

NUMBER = {"type": "number"}
SPEEDSCOPE = {
    "type": "object",
    "required": ["$schema", "shared", "profiles"],
    "properties": {
        "$schema": {"const": "https://www.speedscope.app/file-format-schema.json"},
        "name": {"type": "string"},
        "exporter": {"type": "string"},
        "activeProfileIndex": NUMBER,
        "shared": {
            "type": "object",
            "required": ["frames"],
            "properties": {
                "frames": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {
                            "name": {"type": "string"},
                            "file": {"type": "string"},
                            "line": NUMBER,
                            "col": NUMBER,
                        },
                    },
                }
            },
        },
        "profiles": {
            "type": "array",
            "items": {
                "type": "object",
                "required": [
                    *("type", "name", "unit", "startValue", "endValue", "samples", "weights")
                ],
                "properties": {
                    "type": {"const": "sampled"},
                    "name": {"type": "string"},
                    "unit": {
                        "enum": [
                            *("none", "nanoseconds", "microseconds", "milliseconds"),
                            *("seconds", "bytes"),
                        ]
                    },
                    "startValue": NUMBER,
                    "endValue": NUMBER,
                    "samples": {
                        "type": "array",
                        "items": {"type": "array", "items": {"type": "integer", "minimum": 0}},
                    },
                    "weights": {"type": "array", "items": NUMBER},
                },
            },
        },
    },
}
"""What speedscope's public description of its format asks of sampled profiles."""

SLOW = """\
name: shop
source: sqlite:///shop.db
destination: {type: sqlite, path: warehouse.db}
streams:
  - table: orders
    mode: append
    cursor: id
    quality:
      - {rule: custom, function: "slow_rule:looks_fine"}
"""
RULE = """\
import pyarrow as pa


def looks_fine(batch):
    return pa.array([grind() for _ in range(batch.num_rows)])


def grind():
    return sum(i % 7 for i in range(20_000)) > 0
"""


def checked(text: str) -> Any:
    """Read a profile, and hold it to the format."""
    document = json.loads(text)
    Draft202012Validator(SPEEDSCOPE).validate(document)
    frames = document["shared"]["frames"]
    for profile in document["profiles"]:
        assert len(profile["samples"]) == len(profile["weights"])
        assert all(place < len(frames) for stack in profile["samples"] for place in stack)
        assert abs(sum(profile["weights"]) - profile["endValue"]) < 0.01
    return document


def seconds_in(document: Any, name: str) -> dict[str, float]:
    """Return by thread how long a function was on the stack."""
    places = {n for n, f in enumerate(document["shared"]["frames"]) if f["name"] == name}
    return {
        profile["name"]: sum(
            weight
            for stack, weight in zip(profile["samples"], profile["weights"], strict=True)
            if places & set(stack)
        )
        for profile in document["profiles"]
    }


def shop(conduit: Conduit) -> None:
    fill(
        conduit.folder / "shop.db",
        "CREATE TABLE orders (id INTEGER PRIMARY KEY)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)"
        " INSERT INTO orders SELECT i FROM n",
    )
    conduit.write(SLOW)
    conduit.write(RULE, "slow_rule.py")


def test_the_hot_function_of_the_reading_thread_shows(conduit: Conduit, here: Any) -> None:
    shop(conduit)
    done = here("run", "--profile", "profile.json")
    assert done.code == 0, done.err
    document = checked((conduit.folder / "profile.json").read_text())
    assert document["name"] == "shop"
    found = seconds_in(document, "grind")
    assert max(found, key=lambda name: found[name]) == "read-orders"
    whole = next(p["endValue"] for p in document["profiles"] if p["name"] == "read-orders")
    assert found["read-orders"] > whole / 2
    assert seconds_in(document, "BoundedQueue.get")["stream_0"] > 0
    assert "looks_fine" in {f["name"] for f in document["shared"]["frames"]}


def test_a_run_that_fails_has_its_profile_too(conduit: Conduit, here: Any) -> None:
    shop(conduit)
    conduit.write(RULE.replace("> 0", "/ 0"), "broken.py")
    conduit.write(SLOW.replace("slow_rule", "broken"))
    done = here("run", "--profile", "profile.json")
    assert done.code != 0
    assert checked((conduit.folder / "profile.json").read_text())["profiles"]


def test_a_file_that_cant_be_written_is_told_before_the_load(conduit: Conduit, here: Any) -> None:
    shop(conduit)
    done = here("run", "--profile", "no/such/profile.json")
    assert done.code == 2
    assert "no/such/profile.json can't be written" in done.err
    assert not (conduit.folder / "warehouse.db").exists()


def test_memory_is_bounded_and_waits_are_their_callers() -> None:
    release = threading.Event()

    def waits_for_the_test() -> None:
        release.wait()

    thread = threading.Thread(target=waits_for_the_test, name="waiter")
    thread.start()
    with Profiler() as profiler:
        sum(i % 7 for i in range(1_000_000))
    release.set()
    thread.join()
    document = checked(json.dumps(profiler.document("x")))
    (waiter,) = [p for p in document["profiles"] if p["name"] == "waiter"]
    assert len(waiter["samples"]) == 1  # equal stacks are one
    names = [document["shared"]["frames"][place]["name"] for place in waiter["samples"][0]]
    assert any(name.endswith("waits_for_the_test") for name in names)


def test_an_interrupted_run_has_its_profile_too(conduit: Conduit) -> None:
    import signal
    import subprocess
    import sys

    shop(conduit)
    conduit.write(RULE.replace("20_000", "60_000"), "slow_rule.py")
    process = subprocess.Popen(
        [sys.executable, "-m", "conduit_core.cli", "run", "--debug", "--profile", "profile.json"],
        cwd=conduit.folder,
        env=conduit.environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "publishing" in line:
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130
    assert checked(_text(conduit.folder))["profiles"]


def _text(folder: Path) -> str:
    return (folder / "profile.json").read_text()
