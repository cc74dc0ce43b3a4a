"""Each promise has a test, each id that a test carries is promised, and the page says so."""

from __future__ import annotations

from tests.docs.pages import ROOT
from tests.docs.promises import kept, page, promised
from tests.docs.test_blocks import UPDATE

PAGE = ROOT / "docs" / "promises.md"


def test_each_promise_is_kept_by_a_test() -> None:
    tests = kept()
    assert [name for name in promised() if name not in tests] == []


def test_each_id_that_a_test_carries_is_promised() -> None:
    assert [name for name in kept() if name not in promised()] == []


def test_no_id_is_left_out() -> None:
    assert list(promised()) == [f"p{number:02}" for number in range(1, 27)]


def test_the_page_of_promises_is_made_of_them() -> None:
    if UPDATE:
        PAGE.write_text(page(), encoding="utf-8")
    told = "renew it: CONDUIT_UPDATE_DOCS=1 pytest tests/docs -k promises"
    assert PAGE.read_text(encoding="utf-8") == page(), told
