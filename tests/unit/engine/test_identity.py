"""What makes a load itself: the same inputs give the same id, any other input another."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from conduit_core.engine.identity import (
    asked_for,
    digest,
    load_id,
    request_text,
    target_fingerprint,
)
from conduit_core.engine.model import RunRequest, SliceBy
from conduit_core.types.dialect import Table

PARTS = st.lists(st.text(st.characters(blacklist_categories=["Cs"])), min_size=1, max_size=4)


@given(PARTS, PARTS)
def test_digests_are_equal_just_where_all_parts_are(a: list[str], b: list[str]) -> None:
    assert (digest(*a) == digest(*b)) == (a == b)


def test_a_load_id_depends_on_each_of_its_parts() -> None:
    base = ("print", 3, "append", "{}", "spec")
    others = [
        ("print2", 3, "append", "{}", "spec"), ("print", 4, "append", "{}", "spec"),
        ("print", 3, "replace", "{}", "spec"), ("print", 3, "append", "[]", "spec"),
        ("print", 3, "append", "{}", "spec2"),
    ]  # fmt: skip
    ids = {load_id(*base), *(load_id(*o) for o in others)}
    assert len(ids) == 6
    assert load_id(*base) == load_id(*base)


def test_a_target_s_fingerprint_holds_destination_schema_and_table() -> None:
    prints = {
        target_fingerprint("a", Table("s", "t")),
        target_fingerprint("b", Table("s", "t")),
        target_fingerprint("a", Table("s2", "t")),
        target_fingerprint("a", Table("s", "t2")),
        target_fingerprint("a", Table("s.t", "")),
    }
    assert len(prints) == 5


def test_requests_are_told_apart_by_what_they_read_and_nothing_else() -> None:
    requests = [
        RunRequest(),
        RunRequest(window_to="5"),
        RunRequest(window_from="1"),
        RunRequest(window_from="1", window_to="5"),
        RunRequest(full_refresh=True),
    ]
    texts = [request_text(r) for r in requests]
    assert len(set(texts)) == len(texts)
    assert [json.loads(t)["kind"] for t in texts] == [
        "watermark", "watermark", "given", "given", "full_refresh",
    ]  # fmt: skip
    quiet = RunRequest(request_key="k", reload=True, allow_empty=True, runner='{"a":1}')
    assert request_text(quiet) == request_text(RunRequest())


def test_a_slice_is_the_same_request_whatever_the_order_of_its_values() -> None:
    def text(*values: str, **request: str) -> str:
        return request_text(RunRequest(only=SliceBy(column="r", values=values), **request))

    assert text("us", "eu", "us") == text("eu", "us")
    assert len({text("eu"), text("us"), text("eu", "us"), text("eu", window_from="1")}) == 4
    assert json.loads(text("eu", window_from="1", window_to="2")) == {
        "kind": "given", "from": "1", "to": "2", "only": {"column": "r", "values": ["eu"]},
    }  # fmt: skip


def test_a_slice_is_asked_for_again_by_its_options() -> None:
    request = RunRequest(only=SliceBy(column="r", values=("u s", "eu")))
    assert asked_for(request) == " --only r=eu --only 'r=u s'"
