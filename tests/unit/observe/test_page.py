"""A load's report as a page: whole, well formed, and nothing in it that data could have made."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest

from conduit_core.engine.audit import QualityReport, RuleReport
from conduit_core.engine.loadreport import AuditedLoad, LoadReport
from conduit_core.observe import figures
from conduit_core.observe.page import page
from conduit_core.quality import LoadFacts
from conduit_core.state.ledger import Counts, LedgerRecord
from conduit_core.state.window import Window

VOID = {"meta"}
EVIL = "<script>alert('1')</script>\"><img src=x onerror=alert(2)>&lt;"


class Parsed(HTMLParser):
    """Checks that each element is closed in turn; keeps elements and the text of each."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, tag: str, kind: str | None = None) -> list[dict[str, str | None]]:
        return [a for t, a in self.elements if t == tag and kind in {None, a.get("class")}]

    def of(self, *tags: str) -> list[str]:
        return [text for tag, text in self.texts if tag in tags]


def rule(name: str = "not_null(a)", failed: int = 0, checked: int = 100, **more: str) -> RuleReport:
    data = {
        "rule": name,
        "kind": "not_null",
        "action": "dlq",
        "result": "failed" if failed else "passed",
        "checked": checked,
        "failed": failed,
        "sample": ("NULL",) * min(failed, 5),
    }
    return RuleReport.model_validate(data | more)


def load(
    version: int = 1,
    rules: Sequence[RuleReport] | None = None,
    read: int = 100,
    rejected: int = 0,
    **more: object,
) -> AuditedLoad:
    at = datetime(2026, 1, 1, 8, tzinfo=UTC) + timedelta(days=version)
    data = {
        "target_schema": "raw",
        "target_table": "orders",
        "version": version,
        "pipeline": "shop",
        "stream": "orders",
        "load_id": f"{version:016x}",
        "request": "{}",
        "mode": "append",
        "load_window": Window("watermark").to_json(),
        "counts": Counts(read=read, inserted=read - rejected, rejected=rejected),
        "schema_fingerprint": "",
        "spec_fingerprint": "",
        "target_fingerprint": "",
        "started_at": at,
        "published_at": at + timedelta(seconds=75),
    }
    quality = None
    if rules is not None:
        quality = QualityReport(
            read=read,
            passed=read - rejected,
            rejected=rejected,
            rules=tuple(rules),
            facts=LoadFacts(rows=read),
        )
    return AuditedLoad(LedgerRecord.model_validate(data | more), quality)


def report(*loads: AuditedLoad, **letters: int) -> LoadReport:
    at = datetime(2026, 5, 1, 12, 30, tzinfo=UTC)
    return LoadReport(tuple(loads), letters, {k: n + 1000 for k, n in letters.items()}, at)


def test_numbers() -> None:
    loads = [
        load(1, [rule(failed=1)], 1000, 1),
        load(2, [rule(failed=25, checked=1200)], 1200, 25),
    ]
    text = page(report(*loads, open=25, resolved=2))
    found = Parsed(text)
    assert found.of("h1") == ["orders"]
    tiles = dict(zip(found.of("dt")[:5], found.of("dd")[::2], strict=False))
    assert tiles["Read"] == "1,200"
    cells = found.of("td")
    for number in ("1,200", "25", "2.08%", "1,025", "1,002", "1m 15s"):
        assert number in cells, number
    told = found.of("title", "desc")
    assert "version 1, 2026-01-02 08:01: 1,000 read, 999 passed, 1 rejected" in told
    assert "version 2, 2026-01-03 08:01: 2.08%, 25 of 1,200 rows" in told
    (rate,) = [d for d in found.of("desc") if "Broken" in d]
    assert rate == (
        "2 loads, the newest last. Broken in 2 of 2 that were judged; at most 2.08%;"
        " this load 2.08%, 25 of 1,200 rows."
    )


def test_heights_are_the_numbers() -> None:
    text = page(report(load(1, read=500), load(2, read=1000, rejected=250)))
    found = Parsed(text)
    assert [r["height"] for r in found.all("rect", "passed")] == ["500", "750"]
    assert [(r["y"], r["height"]) for r in found.all("rect", "rejected")] == [
        ("0", "250"),
        ("0", "1000"),
    ]


def test_a_line_is_interrupted_where_nothing_is_known() -> None:
    rules = [[rule(failed=10)], [rule(failed=5)], None, [rule(checked=0)], [rule(failed=20)]]
    found = Parsed(page(report(*(load(n, r) for n, r in enumerate(rules, 1)))))
    assert [p["d"] for p in found.all("path", "line")] == ["M50 500 150 750"]
    assert len(found.all("path", "dot bad")) == 3


def test_results_of_rules_of_whole_loads() -> None:
    results = ("passed", "failed", "not_judged", "passed")
    loads = [
        load(n, [rule("row_count", checked=0, result=result, text=f"{n} rows")])
        for n, result in enumerate(results, 1)
    ]
    found = Parsed(page(report(*loads)))
    strip = [r for kind in results[:3] for r in found.all("rect", kind) if r["height"] != "1000"]
    assert len(found.all("rect", "failed")) == len(found.all("rect", "not_judged")) == 1
    assert len([r for r in strip if r["height"] == "350"]) == 2
    assert "4 rows" in found.of("td")


@pytest.mark.parametrize("count", [1, 2, 61, 1000])
def test_any_number_of_loads(count: int) -> None:
    rules = [rule(f"r{n}", failed=n % 3) for n in range(3)]
    loads = [load(n, rules, n, n % 7) for n in range(1, count + 1)]
    text = page(report(*loads, open=1))
    found = Parsed(text)
    assert len(found.all("svg")) == 5
    assert len(text) < 30_000 + 1500 * count
    assert f"Numbers of {'1 load' if count == 1 else f'{count:,} loads'}" in text


def test_without_rules_rows_and_dead_letters() -> None:
    at = datetime(2026, 5, 1, tzinfo=UTC)
    text = page(LoadReport((load(read=0),), None, None, at))
    assert "had no rules" in text
    assert "Dead letters by status" not in text
    assert len(Parsed(text).all("svg")) == 1
    assert "was ever rejected" in page(report(load(read=0)))


def test_texts_never_become_markup() -> None:
    evil = rule(EVIL, 3, description=EVIL, sample=(EVIL,))
    evil = evil.model_copy(update={"sample": (EVIL, "", "a\x00b\x1b\u202ec\ud800", " ünï 😀")})
    changes = [{"column": EVIL, "change": "added", "was": None, "now": EVIL}]
    one = load(
        1,
        [evil, rule(EVIL + "2", checked=0, result="not_judged", text=EVIL)],
        stream=EVIL,
        pipeline=EVIL,
        target_table=EVIL,
        mode=EVIL,
        request_key=EVIL,
        runner=json.dumps({EVIL: EVIL}),
        schema_changes=json.dumps(changes),
    )
    text = page(report(one, one))
    found = Parsed(text)
    names = {tag for tag, _ in found.elements}
    assert not names & {"script", "img", "link", "iframe", "object", "a", "base", "form"}
    assert not [k for _, given in found.elements for k in given if k.startswith("on")]
    assert found.of("h1") == [EVIL]
    assert EVIL in found.of("code")
    assert "a\\u0000b\\u001b\\u202ec\\ud800" in found.of("code")
    assert " ünï 😀" in found.of("code")
    text.encode()


def test_nothing_is_fetched() -> None:
    text = page(report(load(1, [rule(failed=3)]), open=1))
    assert "url(" not in text
    assert "@import" not in text
    assert not re.search(r"https?:", text)
    found = Parsed(text)
    assert not [k for _, given in found.elements for k in given if k in {"src", "href"}]
    assert "default-src 'none'" in text
    assert found.all("meta")[0] == {"charset": "utf-8"}


def test_secrets_are_masked_in_texts_and_break_nothing() -> None:
    one = load(1, [rule(EVIL, 3)], stream="hunter<2> watermark 1000")
    text = page(report(one), lambda t: t.replace("hunter<2>", "***").replace("1000", "***"))
    found = Parsed(text)
    assert found.of("h1") == ["*** watermark ***"]
    assert "hunter" not in text
    assert found.all("svg")[0]["viewbox"] == "0 0 100 1000"


def test_who_sees_nothing_can_read_it() -> None:
    found = Parsed(page(report(load(1, [rule(failed=3)]), load(2, [rule(failed=1)]), open=1)))
    ids = [given["id"] for _, given in found.elements if "id" in given]
    assert len(ids) == len(set(ids))
    for svg in found.all("svg"):
        assert svg["role"] == "img"
        assert set((svg["aria-labelledby"] or "").split()) <= set(ids)
    heads = found.all("th")
    assert {h["scope"] for h in heads} == {"col", "row"}
    assert len(found.all("table")) == len(found.all("caption")) == 3
    assert [a["lang"] for a in found.all("html")] == ["en"]


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_contrast() -> None:
    css = page(report(load())).split("<style>")[1]
    for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL):
        of = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block))
        pairs = [(text, ground, 4.5) for text in ("ink", "soft") for ground in ("card", "ground")]
        pairs += [("good-ink", "good-ground", 4.5), ("bad-ink", "bad-ground", 4.5)]
        pairs += [("bad-ink", "card", 4.5), ("ink", "none-ground", 4.5)]
        pairs += [(mark, "card", 3) for mark in ("passed", "rejected", "quiet")]
        for front, back, least in pairs:
            a, b = sorted((_luminance(of[front]), _luminance(of[back])))
            assert (b + 0.05) / (a + 0.05) >= least, (front, back)


def test_shares_say_none_and_all_only_of_none_and_all() -> None:
    shares = [figures.share(x) for x in (0, 1e-9, 0.0001, 0.025, 0.99999, 1)]
    assert shares == ["0%", "<0.01%", "0.01%", "2.50%", ">99.99%", "100%"]
