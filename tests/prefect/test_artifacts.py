"""What people see of a load on its run's page: summaries, rules, samples, progress."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from conduit_core.errors import ConduitError
from conduit_core.events import BatchRead, PlanReady, SplitStaged
from prefect_conduit import artifacts, load_stream, run_pipeline
from prefect_conduit.artifacts import artifact_key
from prefect_conduit.progress import Progress
from prefect_conduit.shown import block, code, plain, row
from tests.prefect.shop import ORDERS, Shop

if TYPE_CHECKING:
    from prefect.client.schemas.objects import Artifact

RULES = {
    **ORDERS,
    "redact": ["region"],
    "quality": [
        {"rule": "range", "column": "amount", "max": 35, "name": "a|b <i>cheap</i>"},
        {"rule": "accepted_values", "column": "region", "values": ["asia"], "action": "warn"},
    ],
}


def shown(*parts: str) -> list[Artifact]:
    """Return the artifacts of a key, oldest first."""
    wanted = ArtifactFilter(key=ArtifactFilterKey(any_=[artifact_key(*parts)]))
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=wanted)
    return sorted(found, key=lambda each: str(each.created))


def test_artifacts_come_first_then_the_flow_fails_with_values_redacted(shop: Shop) -> None:
    shop.sql("CREATE TABLE customers (id INTEGER PRIMARY KEY); INSERT INTO customers VALUES (1)")
    shop.streams = ["customers", RULES]

    @flow
    def alone() -> None:
        load_stream(shop.mapping, "customers")
        load_stream(shop.mapping, "orders")

    assert alone(return_state=True).is_failed()
    (summary,) = shown(shop.name, "orders")
    assert "**failed**" in str(summary.data)
    assert "nothing published" in str(summary.data)
    assert "a retry will not help" in str(summary.data)
    (loaded,) = shown(shop.name, "customers")
    assert "| customers | published | 1 | 1 | 0 | 0 | 0 |" in str(loaded.data)
    assert loaded.task_run_id
    assert loaded.flow_run_id
    (rules,) = shown(shop.name, "orders", "rules")
    table: list[dict[str, Any]] = json.loads(str(rules.data))
    assert {each["failed"] for each in table} == {1, 5}
    assert table[0]["rule"] == r"a\|b &lt;i&gt;cheap&lt;/i&gt;"
    (samples,) = shown(shop.name, "orders", "samples")
    assert "40" in str(samples.data)
    for each in (summary, rules, samples):
        assert not re.search(r"\b(eu|us)\b", f"{each.data} {each.description}")

    state = run_pipeline(shop.mapping, return_state=True)
    assert state.is_failed()
    (run,) = shown(shop.name)
    assert "1 done, 1 failed" in str(run.description)
    assert "| orders | **failed** (QualityError) |" in str(run.data)
    assert "nothing published" in str(run.data)
    assert len(shown(shop.name, "customers")) == 1  # the run shows its loads in one


def test_a_load_is_published_whatever_becomes_of_its_artifacts(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*given: object) -> None:
        raise ConnectionError("the server is away")

    monkeypatch.setattr(artifacts, "make", refused)

    @flow
    def alone() -> int:
        return load_stream(shop.mapping, "orders").counts.inserted

    assert alone() == 5
    assert run_pipeline(shop.mapping).results[0].outcome == "empty"


def test_a_load_that_lasts_shows_its_progress_to_its_end(shop: Shop) -> None:
    def plan(rows: int | None) -> PlanReady:
        return PlanReady(
            load_id="x",
            target="raw.orders",
            mode="append",
            window="",
            guarantee="exactly-once",
            rows_estimate=rows,
            seconds=0,
            empty=False,
        )

    batch = BatchRead(
        load_id="x", rows=30, bytes=1, read_seconds=0, cast_seconds=0, queue_bytes=1, queue_limit=2
    )
    staged = SplitStaged(
        load_id="x", split="a", splits=4, rows=30, bytes=1, seconds=0, worker="here"
    )

    def until(stream: str, progress: float) -> None:
        end = time.monotonic() + 60
        while not any(each.data == progress for each in shown(shop.name, stream, "progress")):
            assert time.monotonic() < end
            time.sleep(0.05)

    def breaking() -> None:
        with Progress(shop.name, "bad", every=0.05) as progress:
            progress.hear(plan(30))
            progress.hear(batch)
            until("bad", 99)
            raise ConduitError("it broke")

    @flow
    def watched() -> None:
        with Progress(shop.name, "long", every=0.05) as progress:
            progress.hear(plan(60))
            progress.hear(batch)
            until("long", 50)
        with Progress(shop.name, "split", every=0.05) as progress:
            progress.hear(plan(None))
            progress.hear(staged)
            until("split", 25)
        with pytest.raises(ConduitError):
            breaking()
        with Progress(shop.name, "short", every=60) as progress:
            progress.hear(plan(60))
            progress.hear(batch)

    watched()
    (long,) = shown(shop.name, "long", "progress")
    assert (long.data, long.description) == (100, "`long`: 30 rows read")
    (split,) = shown(shop.name, "split", "progress")
    assert (split.data, split.description) == (
        100,
        "`split`: 0 rows read, 1 of 4 splits staged",
    )
    (bad,) = shown(shop.name, "bad", "progress")
    assert bad.data == 99
    assert str(bad.description).endswith("failed")
    assert shown(shop.name, "short", "progress") == []


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)), min_size=2, max_size=2))
def test_two_streams_share_no_key(names: list[tuple[str, str]]) -> None:
    first, second = names
    for key in (artifact_key(*first), artifact_key(*second), artifact_key(*first, "rules")):
        assert re.fullmatch(r"[a-z0-9-]+", key)
    assert (artifact_key(*first) == artifact_key(*second)) == (first == second)


def test_a_plain_name_is_in_its_key() -> None:
    assert artifact_key("shop", "order_items", "rules") == "conduit-shop--order-items--rules"
    assert artifact_key("shop", "order-items").startswith("conduit-shop--order-items-")


@settings(deadline=None)
@given(st.text(alphabet=st.sampled_from("a1 |`*_<>&[]()~!#\\\n$-:/."), max_size=40))
def test_text_is_shown_as_it_is(text: str) -> None:
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    line = " ".join(text.split())
    shown_as = parser.render(f"{row(['h', 'i'])}\n{row(['---', '---'])}\n{row([plain(text), 'x'])}")
    cells = re.findall(r"<td>(.*?)</td>", shown_as, re.DOTALL)
    assert [_unescaped(cell) for cell in cells] == [line, "x"]
    inline = parser.renderInline(f"a {code(text)} b")
    assert _unescaped(re.sub("</?code>", "", inline)).split() == ["a", *line.split(), "b"]
    fenced = parser.render("\n".join(["before", "", *block([text]), "", "after"]))
    assert fenced.startswith("<p>before</p>\n<pre><code>")
    assert fenced.endswith("</code></pre>\n<p>after</p>\n")


def _unescaped(html: str) -> str:
    assert not re.search(r"<[a-z/!?]", html)
    for entity, sign in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
        html = html.replace(entity, sign)
    return html
