"""CloudWatch's embedded metric format, against its schema and against our log's own."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from conduit_core import observing, run
from conduit_core.observe.book import Book
from conduit_core.observe.emf import lines
from conduit_core.observe.jsonlog import log_schema
from conduit_core.observe.metrics import METRICS, STAGE_SECONDS, Measurement
from tests.observe.shop import make_shop
from tests.observe.told import broken, failed, finished, seen, told

SCHEMA = json.loads((Path(__file__).parent / "emf.schema.json").read_text())
OURS = Draft202012Validator(log_schema(), format_checker=FormatChecker())


def _checked(text: str) -> list[dict[str, Any]]:
    """Return the lines, each held to both schemas and to what the specification says in words."""
    records: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
    for record in records:
        Draft202012Validator(SCHEMA).validate(record)
        OURS.validate(record)
        for directive in record["_aws"]["CloudWatchMetrics"]:
            for dimensions in directive["Dimensions"]:
                for name in dimensions:
                    assert isinstance(record[name], str)
                    assert record[name]
                    assert record[name].isascii()
                    assert len(record[name]) <= 1024
            for metric in directive["Metrics"]:
                value = record[metric["Name"]]
                values = value if isinstance(value, list) else [value]
                assert len(values) <= 100
                assert all(isinstance(v, int | float) for v in values)
    return records


def _with(records: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [record for record in records if name in record]


def test_p26_a_line_for_each_set_of_labels(tmp_path: Path) -> None:
    to = f"emf://{tmp_path}/metrics.log"
    assert told(to, finished(), finished(), broken(), failed(), seen()) == []
    text = (tmp_path / "metrics.log").read_text()
    records = _checked(text)
    rows = {r["kind"]: r["conduit_rows_total"] for r in _with(records, "conduit_rows_total")}
    assert rows == {"read": 20, "inserted": 18, "rejected": 2}
    (loads,) = _with(records, "conduit_load_duration_seconds")
    assert loads["conduit_load_duration_seconds"] == [2.0, 2.0]
    (directive,) = loads["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "Conduit"
    assert directive["Dimensions"] == [["pipeline", "stream", "outcome"]]
    assert {"Name": "conduit_load_duration_seconds", "Unit": "Seconds"} in directive["Metrics"]
    (seen_,) = _with(records, "conduit_stale")
    assert (seen_["conduit_stale"], seen_["conduit_source_lag_seconds"]) == (1.0, 7200.0)
    assert "canary" not in text


def test_runs_add_lines_and_another_folder_is_a_warning(tmp_path: Path) -> None:
    to = f"emf://{tmp_path}/metrics.log"
    told(to, finished())
    first = (tmp_path / "metrics.log").read_text()
    told(to, finished())
    assert (tmp_path / "metrics.log").read_text().startswith(first)
    (said,) = told(f"emf://{tmp_path}/none/metrics.log", finished())
    assert "was not told: there is no folder" in said


def test_more_values_than_a_line_takes_and_names_that_aren_t_ascii() -> None:
    book = Book(lambda _: None)
    labels = ("shop", "grüße\n" + "x" * 2000, "read")
    book.take(Measurement(STAGE_SECONDS, n, labels) for n in range(250))
    records = _checked("\n".join(lines(book, datetime.now(UTC))))
    values = [r["conduit_stage_duration_seconds"] for r in records]
    assert [len(v) for v in values] == [100, 100, 50]
    assert [x for v in values for x in v] == [*range(250)]
    assert records[0]["stream"].startswith("gr\\xfc\\xdfe x")


def test_units_are_cloudwatchs() -> None:
    book = Book(lambda _: None)
    book.take(Measurement(m, 1.0, tuple(m.labels)) for m in METRICS)
    records = _checked("\n".join(lines(book, datetime.now(UTC))))
    units = {
        each["Name"]: each["Unit"]
        for r in records
        for each in r["_aws"]["CloudWatchMetrics"][0]["Metrics"]
    }
    assert set(units) == {m.name for m in METRICS} - {"conduit_queue_fill_ratio"}
    assert units["conduit_rows_total"] == "Count"
    assert units["conduit_peak_memory_bytes"] == "Bytes"
    assert units["conduit_stale"] == "None"


def test_a_real_load(tmp_path: Path) -> None:
    shop = make_shop(tmp_path)
    with observing(shop, to=f"emf://{tmp_path}/metrics.log") as observation:
        run(shop, listeners=observation.listeners)
    records = _checked((tmp_path / "metrics.log").read_text())
    (read,) = [r for r in _with(records, "conduit_rows_total") if r["kind"] == "read"]
    assert read["conduit_rows_total"] == 10


def test_on_stderr_each_line_is_one_of_the_log_too(tmp_path: Path) -> None:
    """And stdout is the answer alone: ``--json`` stays one document."""
    make_shop(tmp_path)
    (tmp_path / "pipeline.yml").write_text(
        "name: shop\nsource: sqlite:///shop.db\ndestination: sqlite:///warehouse.db\n"
        "streams: [orders]\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "conduit_core.cli", "run", "--json", "--log-format", "json"],
        cwd=tmp_path,
        env={"CONDUIT_OBSERVE": "emf:", "PYTHONPATH": ":".join(sys.path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["pipeline"] == "shop"
    records = [json.loads(line) for line in done.stderr.splitlines()]
    for record in records:
        OURS.validate(record)
    metrics = [json.dumps(r) for r in records if r["event"] == "metrics"]
    assert _with(_checked("\n".join(metrics)), "conduit_rows_total")
    assert "stream_finished" in {r["event"] for r in records}


@pytest.mark.parametrize("to", ["emf://host/x.log", "emf+tcp:", "emf:///x?y=z"])
def test_a_wrong_url_says_what_to_write(to: str) -> None:
    (said,) = told(to, finished())
    assert "CloudWatch's format goes to stderr, `emf:`, or to a file" in said
