"""What each rule found in a load that a rule stopped: it comes with the error."""

from __future__ import annotations

import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import pytest

from conduit_core import Pipeline, RuleReport, audit, plan, publish, run, stage
from conduit_core.engine.model import StreamFailure
from conduit_core.errors import QualityError
from conduit_core.events import Event, RuleChecked
from tests.integration.test_merge import items
from tests.lab import Lab, only, stream

RULES: list[dict[str, object]] = [
    {"rule": "not_null", "column": "id", "description": "all have one"},
    {"rule": "not_null", "column": "v"},
    {"rule": "range", "column": "at", "max": 2, "action": "warn"},
    {"rule": "row_count", "min": 1},
    {"rule": "row_count", "min": "50%", "name": "half"},
]
FOUND = {
    "not_null(id)": ("passed", 3, 0),
    "not_null(v)": ("failed", 3, 1),
    "range(at)": ("failed", 3, 1),
    "row_count": ("passed", 0, 0),
    "half": ("not_judged", 0, 0),
}


def ruled(lab: Lab, *rules: dict[str, object], **keys: Any) -> Pipeline:
    return lab.pipeline(stream("items", cursor="at", quality=list(rules or RULES), **keys))


def reports(error: BaseException) -> list[RuleReport]:
    assert isinstance(error, QualityError)
    return [RuleReport.model_validate(each) for each in error.reports]


def told(error: BaseException) -> dict[str, tuple[str, int, int]]:
    return {r.rule: (r.result, r.checked, r.failed) for r in reports(error) if r.rule != "storable"}


def three(lab: Lab) -> None:
    items(lab, (1, 1, "a"), (2, 2, None), (3, 3, "c"))


def test_the_error_has_what_every_rule_found(each_lab: Lab) -> None:
    lab = each_lab
    three(lab)
    events: list[Event] = []
    result = run(ruled(lab), listeners=(events.append,))
    (failure,) = result.failures
    error = failure.to_error()
    assert told(error) == FOUND
    found = {r.rule: r for r in reports(error)}
    assert found["not_null(id)"].description == "all have one"
    assert found["not_null(v)"].sample == ("NULL",)
    assert "only 0 loads" in found["half"].text
    # the same rows would be stopped again: earlier loads are what there is to compare with
    assert error.lines()[2:] == ["a retry will not help", "conduit runs --stream items"]
    spoken = [(e.rule, e.result) for e in events if isinstance(e, RuleChecked)]
    assert spoken == [(r.rule, r.result) for r in reports(error)]


def test_it_travels_whole_and_is_left_behind_where_only_lines_go(lab: Lab) -> None:
    three(lab)
    (failure,) = run(ruled(lab)).failures
    error = failure.to_error()
    assert isinstance(error, QualityError)
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - what we pickled
    assert (again.reports, again.lines()) == (error.reports, error.lines())
    elsewhere = StreamFailure.model_validate_json(failure.model_dump_json()).to_error()
    assert isinstance(elsewhere, QualityError)
    assert elsewhere.reports == ()


def test_published_loads_have_the_same(lab: Lab) -> None:
    three(lab)
    loaded = only(run(ruled(lab, *({**RULES[0], "action": "warn"}, RULES[2], *RULES[3:]))))
    rules = loaded.quality["rules"]
    assert isinstance(rules, list)
    assert [RuleReport.model_validate(r).result for r in rules] == [
        "passed", "failed", "passed", "not_judged",
    ]  # fmt: skip


def test_a_ceiling_that_is_passed_early_knows_what_is_broken_by_then(lab: Lab) -> None:
    lab.sql(
        "CREATE TABLE items (id INTEGER, at INTEGER, v TEXT)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)"
        " INSERT INTO items SELECT i, i, NULL FROM n",
    )
    rules: list[dict[str, object]] = [
        {"rule": "not_null", "column": "v", "action": "dlq", "max_rejected": 10},
        {"rule": "not_null", "column": "id"},
        {"rule": "range", "column": "at", "max": 5, "action": "warn"},
        {"rule": "row_count", "max": 5},
    ]
    (failure,) = run(ruled(lab, *rules)).failures
    found = reports(failure.to_error())
    assert [(r.rule, r.result, r.action) for r in found] == [
        ("not_null(v)", "failed", "fail"),
        ("range(at)", "failed", "warn"),
    ]
    assert 10 < found[0].failed <= found[0].checked < 50_000


def test_a_stream_s_own_ceiling_is_among_them(lab: Lab) -> None:
    three(lab)
    rule: dict[str, object] = {"rule": "not_null", "column": "v", "action": "dlq"}
    for most in (0, "10%"):  # the one while rows come, the other at the end
        (failure,) = run(ruled(lab, rule, max_rejected=most)).failures
        assert told(failure.to_error()) == {
            "not_null(v)": ("failed", 3, 1),
            "max_rejected": ("failed", 0, 0),
        }


TWINS: list[dict[str, object]] = [
    {"rule": "unique", "column": "v", "within": "target", "name": "one"},
    {"rule": "not_null", "column": "v"},
]


@pytest.mark.parametrize("splits", [None, {"count": 2, "column": "id"}])
def test_a_rule_that_asks_the_target_is_told_beside_the_others(
    each_lab: Lab, splits: dict[str, object] | None
) -> None:
    lab = each_lab
    if splits and lab.destination["type"] != "postgres":
        lab.destination["staging"] = "staging"
    three(lab)
    items(lab, (4, 4, "d"))
    lab.run(ruled(lab, {"rule": "not_null", "column": "id"}, splits=splits), window_to="2")
    lab.sql("UPDATE items SET v = 'a' WHERE id = 3")
    (failure,) = run(ruled(lab, *TWINS, splits=splits)).failures
    found = reports(failure.to_error())
    assert [(r.rule, r.kind, r.result) for r in found if r.rule != "storable"] == [
        ("not_null(v)", "not_null", "passed"),
        ("one", "unique", "failed"),
    ]
    (one,) = [r for r in found if r.rule == "one"]
    assert "more than one row with the same v" in one.text
    assert (one.checked, one.action) == (2, "fail")


def test_steps_of_their_own_tell_the_same(lab: Lab) -> None:
    lab.destination["staging"] = "staging"
    three(lab)
    pipeline = ruled(lab)
    (made,) = plan(pipeline, staged=True)
    receipts = [stage(pipeline, made, split) for split in made.splits.ids()]
    with pytest.raises(QualityError) as caught:
        audit(pipeline, made, receipts)
    assert told(caught.value) == FOUND
    (made,) = plan(pipeline, staged=True)
    receipts = [stage(pipeline, made, split) for split in made.splits.ids()]
    with pytest.raises(QualityError) as caught:
        publish(pipeline, made, receipts)
    assert told(caught.value) == FOUND


def test_an_error_from_another_process_brings_it(lab: Lab) -> None:
    lab.destination["staging"] = "staging"
    three(lab)
    rule: dict[str, object] = {"rule": "not_null", "column": "v", "action": "dlq"}
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        result = run(ruled(lab, {**rule, "max_rejected": 0}), executor=executor)
    (failure,) = result.failures
    assert told(failure.to_error()) == {"not_null(v)": ("failed", 3, 1)}
