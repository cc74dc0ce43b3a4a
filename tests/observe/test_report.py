"""``conduit report``: what the ledger knows, as a table, as JSON and as one page."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conduit_core import Pipeline
from conduit_core.connectors.incidents import Incident, KeepsIncidents
from conduit_core.engine.loadreport import AuditedLoad
from conduit_core.engine.pipelinereport import PipelineReport, StreamReport, pipeline_report
from conduit_core.observe.overview import overview
from conduit_core.observe.timeline import timeline
from conduit_core.state.ledger import Counts
from tests.cli.conftest import Conduit, conduit, fill, here
from tests.unit.observe.test_page import EVIL, Parsed, load, rule
from tests.unit.state.records import record

__all__ = ["conduit", "here"]

SHOP = """\
name: shop
source: sqlite:///shop.db
destination: {type: sqlite, path: warehouse.db}
streams:
  - table: orders
    mode: upsert
    unique_key: id
    cursor: [updated_at, id]
    redact: [email]
    quality:
      - {rule: regex, column: email, pattern: "@", action: dlq}
      - {rule: accepted_values, column: status, values: [paid], action: warn}
  - {table: visits, mode: append, cursor: id}
"""


@pytest.fixture
def shop(conduit: Conduit, here: Any) -> Conduit:
    """Two loads: some rows rejected, some that a rule warns of, a column added in between."""
    fill(
        conduit.folder / "shop.db",
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, updated_at TIMESTAMP, email TEXT,"
        " status TEXT)",
        "CREATE TABLE visits (id INTEGER PRIMARY KEY)",
        "INSERT INTO visits VALUES (1), (2), (3)",
        "INSERT INTO orders VALUES (1, '2024-01-01', 'a@b', 'paid'),"
        " (2, '2024-01-02', 'canary-email', 'paid'), (3, '2024-01-03', 'c@d', 'canary-status')",
    )
    conduit.write(SHOP)
    assert here("run").code == 0
    fill(
        conduit.folder / "shop.db",
        "ALTER TABLE visits ADD COLUMN page TEXT",
        "INSERT INTO visits VALUES (4, 'canary-page')",
        "INSERT INTO orders VALUES (4, '2024-01-04', 'x', 'paid')",
    )
    assert here("run").code == 0
    return conduit


def remember(conduit: Conduit) -> None:
    """Keep two failures, as alerts do: one is over."""
    now = datetime.now(UTC)
    pipeline = Pipeline.from_file(conduit.folder / "pipeline.yml")
    with pipeline.open() as ends:
        assert isinstance(ends.destination, KeepsIncidents)
        kept = [
            Incident(
                id=name,
                pipeline="shop",
                stream="orders",
                about="failure",
                opened_at=now - timedelta(hours=hours),
                seen_at=now,
                closed_at=now if name == "over" else None,
                error=error,
                exit_code=4,
                facts={"message": "canary-fact"},
            )
            for name, hours, error in (("over", 5, "SchemaError"), ("lasts", 2, "QualityError"))
        ]
        assert ends.destination.keep_incidents(kept)


def test_the_page_tells_what_happened_and_no_value(shop: Conduit, here: Any) -> None:
    remember(shop)
    done = here("report", "--html", "report.html")
    assert done.code == 0, done.err
    assert done.out.endswith("wrote report.html\n")
    assert "QualityError" in done.out
    text = (shop.folder / "report.html").read_text()
    page = Parsed(text)
    assert "canary" not in text
    assert "canary" not in done.out
    assert page.of("h1") == ["shop"]
    assert page.of("h2") == [
        *("Now", "Rows over time", "Where the time goes", "Failures"),
        *("Broken rules over time", "Dead letters", "Changes of columns"),
    ]
    cells = page.of("td", "th")
    assert {"SchemaError", "QualityError", "orders", "visits"} <= set(cells)
    assert "✗ goes on" in page.of("span")
    assert "added as TEXT" in cells
    assert {"orders: regex(email)", "orders: accepted_values(status)"} <= set(page.of("span"))
    assert not page.all("script")
    assert not [a for _, attrs in page.elements for a in attrs if a in {"src", "href"}]


def test_as_a_document(shop: Conduit, here: Any) -> None:
    document = here("report", "--json").document
    orders, visits = document["streams"]
    assert document["incidents"] is None
    assert [load["counts"]["read"] for load in orders["loads"]] == [3, 1]
    assert orders["letters"] == {"open": 2}
    assert visits["status"]["is_behind"] is False
    assert set(visits["bottleneck"]) == {"name", "share", "text", "setting"}
    assert "cursor" not in visits["loads"][0]

    few = here("report", "--json", "--last", "1", "--stream", "visits").document
    assert [(s["stream"], len(s["loads"]), s["left_out"]) for s in few["streams"]] == [
        ("visits", 1, 1)
    ]
    assert here("report", "--since", "1h", "--json").document["streams"][0]["left_out"] == 0
    wrong = here("report", "--since", "soon")
    assert wrong.code == 2
    assert "--since must be a duration" in wrong.err


def test_nobody_remembers_failures_without_notify(shop: Conduit, here: Any) -> None:
    done = here("report", "--html", "report.html")
    assert "failures aren't remembered" in done.out
    assert "Nothing here remembers failures" in (shop.folder / "report.html").read_text()


def test_a_source_that_is_away_is_said_and_the_rest_is_there(shop: Conduit, here: Any) -> None:
    (shop.folder / "shop.db").unlink()
    done = here("report", "--html", "report.html")
    assert done.code == 0, done.err
    assert "unknown" in done.out
    text = (shop.folder / "report.html").read_text()
    assert "couldn't be asked (ConnectionFailedError)" in text
    assert "2024-01-04" in text  # the ledger's watermark


def test_before_the_first_load(conduit: Conduit, here: Any) -> None:
    fill(
        conduit.folder / "shop.db",
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, updated_at TIMESTAMP, email TEXT,"
        " status TEXT)",
        "CREATE TABLE visits (id INTEGER PRIMARY KEY)",
    )
    conduit.write(SHOP)
    assert here("report", "--html", "report.html").code == 0
    assert "Nothing was published yet." in (conduit.folder / "report.html").read_text()
    assert not (conduit.folder / "warehouse.db").exists()


def test_the_watermark_of_a_redacted_cursor_isnt_shown(shop: Conduit, here: Any) -> None:
    shop.write(SHOP.replace("redact: [email]", "redact: [email, updated_at]"))
    done = here("report", "--html", "report.html", "--json")
    assert "2024-01-0" not in done.out
    assert "2024-01-0" not in (shop.folder / "report.html").read_text()


# --- many loads -----------------------------------------------------------------------------------


def many(streams: int, loads: int, name: str = "stream") -> PipelineReport:
    """Return a report of daily loads, each with two rules that some rows broke."""
    start = datetime(2025, 1, 1, 2, tzinfo=UTC)
    stages = json.dumps({"read": 3.0, "network": 1.0, "cast": 1.0, "write": 2.0, "commit": 1.5})
    report = load(1, [rule("one"), rule("two", failed=3)]).quality
    made = [
        AuditedLoad(
            record(day + 1).model_copy(
                update={
                    "counts": Counts(read=1000, inserted=900, updated=90, rejected=10),
                    "started_at": start + timedelta(days=day),
                    "published_at": start + timedelta(days=day, seconds=8),
                    "stages": stages,
                }
            ),
            report,
        )
        for day in range(loads)
    ]
    each = [
        StreamReport(f"{name}{n}", f"raw.t{n}", tuple(made), 0, "1", None, None, "", {"open": 3})
        for n in range(streams)
    ]
    return PipelineReport(name, tuple(each), (), start + timedelta(days=loads))


def test_a_year_of_twenty_streams_stays_small() -> None:
    report = many(20, 365)
    started = time.process_time()
    text = overview(report)
    assert time.process_time() - started < 2
    assert len(text) < 1_000_000
    assert Parsed(text).of("b").count("365,000 rows") == 20


def test_texts_stay_texts() -> None:
    page = Parsed(overview(many(2, 3, EVIL)))
    assert not page.all("script")
    assert not page.all("img")
    assert f"{EVIL}0" in page.of("th")


@given(
    st.lists(
        st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis adds the zone
        min_size=1,
        max_size=50,
    )
)
def test_every_moment_has_its_slot(moments: list[datetime]) -> None:
    when = timeline(moments)
    assert 1 <= when.count <= 61
    slots = when.split((m, m) for m in moments)
    assert sum(len(s) for s in slots) == len(moments)
    for place, slot in enumerate(slots):
        begin = when.start + place * when.width
        assert all(begin <= m < begin + when.width for m in slot)
    assert when.unit


def test_only_the_streams_asked_for(shop: Conduit) -> None:
    remember(shop)
    pipeline = Pipeline.from_file(shop.folder / "pipeline.yml")
    assert pipeline_report(pipeline, ("visits",)).incidents == ()
    assert len(pipeline_report(pipeline, ("orders",)).incidents or ()) == 2
