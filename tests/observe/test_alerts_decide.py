"""Who is told of what: the pure decision, over many runs, processes that die, and receivers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_core.connectors.incidents import LASTING, Incident
from conduit_core.observe.alerts_decide import (
    KEEP_TRYING,
    LEASE,
    Decision,
    Fact,
    Rule,
    Sending,
    decide,
    settled,
)

START = datetime(2026, 1, 10, 8, tzinfo=UTC)
ALL = frozenset({"failure", "success", "recovered", "rejected", "schema_change", "stale"})


@dataclass
class World:
    """A destination's incidents, a clock, and what receivers got."""

    rules: tuple[Rule, ...]
    kept: dict[str, Incident] = field(default_factory=dict)
    now: datetime = START
    got: list[Sending] = field(default_factory=list)

    def read(self) -> list[Incident]:
        since = self.now - KEEP_TRYING
        return [i for i in self.kept.values() if i.closed_at is None or i.closed_at >= since]

    def write(self, incidents: Sequence[Incident]) -> None:
        for one in incidents:
            known = self.kept.get(one.id)
            assert (known.revision if known else 0) == one.revision
            self.kept[one.id] = replace(one, revision=one.revision + 1)

    def decide(self, facts: Sequence[Fact]) -> Decision:
        known = {i.id: i for i in self.read()} | {
            i.id: i for i in self.kept.values() if any(f.load_id == i.load_id != "" for f in facts)
        }
        return decide("shop", self.rules, facts, known.values(), self.now, "cli")

    def run(
        self,
        *facts: Fact,
        dies: Literal["", "before", "after"] = "",
        refuses: frozenset[str] = frozenset(),
    ) -> list[Sending]:
        """Run once; die before anybody is told, or after; some receivers take nothing."""
        self.now += timedelta(minutes=5)
        decision = self.decide(facts)
        self.write(decision.write)
        if dies == "before":
            return []
        told = [s for s in decision.send if s.receiver not in refuses]
        self.got += told
        if dies != "after":
            changed: dict[str, Incident] = {}
            for sending in decision.send:
                before = changed.get(sending.incident, self.kept[sending.incident])
                after = settled(before, sending, sent=sending in told, now=self.now)
                if after != before:
                    changed[after.id] = after
            self.write(tuple(changed.values()))
        return told


def failed(stream: str = "orders", **more: str) -> Fact:
    return Fact(stream, "failure", error="PublishError", exit_code=7, **more)


def fine(stream: str = "orders") -> Fact:
    return Fact(stream, "failure", over=True)


def loaded(load_id: str, stream: str = "orders") -> Fact:
    return Fact(stream, "success", load_id=load_id)


def rule(*on: str, to: str = "a", **more: timedelta | None) -> Rule:
    return Rule(0, frozenset(on), (to,), **more)


def words(sendings: Sequence[Sending]) -> list[tuple[str, str]]:
    return [(s.receiver, s.word) for s in sendings]


def test_an_incident_is_told_once_and_its_end_once() -> None:
    world = World((rule("failure", "recovered"),))
    assert words(world.run(failed())) == [("a", "failure")]
    assert world.run(failed()) == world.run(failed()) == []
    (open_,) = world.read()
    assert (open_.times, open_.closed_at) == (3, None)
    assert words(world.run(fine())) == [("a", "recovered")]
    assert world.run(fine()) == []
    assert words(world.run(failed())) == [("a", "failure")]
    keys = [s.key for s in world.got]
    assert len(set(keys)) == len(keys) == 3


def test_quiet_tells_again_of_what_goes_on() -> None:
    world = World((rule("failure", quiet=timedelta(hours=1)),))
    told = [len(world.run(failed())) for _ in range(30)]  # a run each 5 minutes
    assert [i for i, n in enumerate(told) if n] == [0, 12, 24]
    assert len({s.key for s in world.got}) == 3


def test_only_who_was_told_is_told_of_the_end() -> None:
    big = Rule(1, frozenset({"rejected", "recovered"}), ("b",), matches=lambda f: f["n"] != 0)
    world = World((rule("rejected", "recovered"), big, rule("recovered", to="c")))
    few = Fact("orders", "rejected", {"n": 0}, load_id="1")
    assert words(world.run(few)) == [("a", "rejected")]
    none = Fact("orders", "rejected", {"n": 0}, over=True, load_id="2")
    assert words(world.run(none)) == [("a", "recovered")]
    many = Fact("orders", "rejected", {"n": 7}, load_id="3")
    assert words(world.run(few, many)[-2:]) == [("a", "rejected"), ("b", "rejected")]


def test_a_load_is_told_of_once_however_often_it_is_said() -> None:
    world = World((rule("success"),))
    assert words(world.run(loaded("1"))) == [("a", "success")]
    assert world.run(loaded("1")) == []
    world.now += timedelta(days=30)
    assert world.run(loaded("1")) == []
    assert words(world.run(loaded("2"))) == [("a", "success")]


def test_quiet_holds_back_the_next_loads() -> None:
    world = World((rule("success", quiet=timedelta(hours=1)),))
    told = [len(world.run(loaded(str(n)))) for n in range(15)]
    assert [i for i, n in enumerate(told) if n] == [0, 12]


def test_of_two_processes_at_once_one_tells() -> None:
    world = World((rule("failure"),))
    first, second = world.decide((failed(),)), world.decide((failed(),))
    assert first.send
    assert [i.id for i in first.write] == [i.id for i in second.write]  # one of them is refused
    world.write(first.write)
    assert world.decide((failed(),)).send == ()


def test_after_a_kill_the_same_alert_is_sent_again_under_its_key() -> None:
    for dies in ("before", "after"):
        world = World((rule("failure", "recovered", "success"),))
        decided = world.decide((failed(), loaded("1", "items")))
        world.now -= timedelta(minutes=5)  # `run` decides at the same moment
        world.now = START
        world.run(failed(), loaded("1", "items"), dies=dies)
        keys = {s.key for i in world.kept.values() for s in decided.send if s.incident == i.id}
        again = world.run(fine("other"))
        assert words(again) == [("a", "failure"), ("a", "success")]
        assert {s.key for s in again if s.word == "success"} <= keys
        assert world.run(fine("other")) == []
        assert words(world.run(fine())) == [("a", "recovered")]


def test_a_reservation_holds_as_long_as_its_lease() -> None:
    world = World((rule("failure"),))
    decision = world.decide((failed(),))
    world.write(decision.write)
    world.now += LEASE / 2
    assert world.decide((failed(),)).send == ()
    world.now += LEASE / 2
    assert [s.key for s in world.decide((failed(),)).send] == [s.key for s in decision.send]


def test_who_took_nothing_is_told_by_the_next_run_and_not_of_an_end_it_never_heard_of() -> None:
    world = World((rule("failure", "recovered"),))
    assert world.run(failed(), refuses=frozenset("a")) == []
    assert words(world.run(failed())) == [("a", "failure")]
    world = World((rule("failure", "recovered"),))
    world.run(failed(), refuses=frozenset("a"))
    assert world.run(fine()) == []


def test_what_is_over_is_tried_for_a_day() -> None:
    world = World((rule("success"),))
    for n in range(3):
        world.run(*((loaded("1"),) if n == 0 else ()), fine(), refuses=frozenset("a"))
    world.now += KEEP_TRYING - timedelta(hours=1)
    assert words(world.run(fine())) == [("a", "success")]
    world = World((rule("success"),))
    world.run(loaded("1"), refuses=frozenset("a"))
    world.now += KEEP_TRYING
    assert world.run(fine()) == []


def test_without_a_memory_all_is_told_and_the_key_says_so() -> None:
    facts = (failed(load_id="1"), loaded("2", "items"), replace(loaded("3", "old"), again=True))
    twice = [decide("shop", (rule(*ALL),), facts, (), START, kept=False) for _ in range(2)]
    assert words(twice[0].send) == [("a", "failure"), ("a", "success")]
    assert all(s.key.startswith("unkept-") for s in twice[0].send)
    assert [s.key for s in twice[0].send] == [s.key for s in twice[1].send]
    assert twice[0].write == ()


def test_one_receiver_in_two_rules_is_told_once() -> None:
    world = World((rule("failure"), rule("failure", quiet=timedelta(minutes=1))))
    assert words(world.run(failed())) == [("a", "failure")]


# --- whatever happens -----------------------------------------------------------------------------

FACTS = st.one_of(
    st.builds(
        Fact,
        st.sampled_from(["x", "y"]),
        st.sampled_from(sorted(LASTING)),
        over=st.booleans(),
        error=st.sampled_from(["", "E"]),
    ),
    st.builds(
        Fact,
        st.sampled_from(["x", "y"]),
        st.sampled_from(["success", "schema_change"]),
        load_id=st.sampled_from(["1", "2", "3"]),
    ),
)


def _each_once(facts: list[Fact]) -> list[Fact]:
    """A run says one thing of a stream and a kind."""
    return list({(f.stream, f.about): f for f in facts}.values())


RUNS = st.lists(
    st.tuples(
        st.lists(FACTS, max_size=4).map(_each_once),
        st.sampled_from(["", "", "", "before", "after"]),
        st.frozensets(st.sampled_from(["a", "b"]), max_size=1),
    ),
    max_size=12,
)
RULES = st.lists(
    st.builds(
        Rule,
        st.just(0),
        st.frozensets(st.sampled_from(sorted(ALL)), min_size=1),
        st.sampled_from([("a",), ("b",), ("a", "b")]),
    ),
    min_size=1,
    max_size=3,
).map(tuple)


def _died(runs: Sequence[tuple[list[Fact], str, frozenset[str]]]) -> bool:
    return any(dies == "after" for _, dies, _ in runs)


@settings(max_examples=300)
@given(rules=RULES, runs=RUNS)
def test_whatever_happens_alerts_are_told_once_or_twice_under_one_key(
    rules: tuple[Rule, ...], runs: list[tuple[list[Fact], str, frozenset[str]]]
) -> None:
    world = World(rules)
    for facts, dies, refuses in runs:
        world.run(*facts, dies=dies, refuses=refuses)  # type: ignore[arg-type]
    times = Counter((s.receiver, s.key) for s in world.got)
    if not _died(runs):
        assert all(count == 1 for count in times.values())
    for sending in world.got:  # only who asks for a word, of which there is one key an incident
        assert any(sending.word in r.on and sending.receiver in r.receivers for r in rules)
    keys: dict[tuple[str, str, str], set[str]] = {}
    for s in world.got:
        keys.setdefault((s.receiver, s.incident, s.word), set()).add(s.key)
    assert all(len(found) == 1 for found in keys.values())
    open_ = [(i.stream, i.about) for i in world.kept.values() if i.closed_at is None]
    assert len(set(open_)) == len(open_)


@settings(max_examples=300)
@given(rules=RULES, runs=RUNS)
def test_whatever_happens_nothing_stays_untold(
    rules: tuple[Rule, ...], runs: list[tuple[list[Fact], str, frozenset[str]]]
) -> None:
    world = World(rules)
    for facts, dies, refuses in runs:
        world.run(*facts, dies=dies, refuses=refuses)  # type: ignore[arg-type]
    still = [i for i in world.kept.values() if i.closed_at is None]
    world.run(*(Fact(i.stream, i.about, error=i.error) for i in still))
    assert world.run() == []  # nothing is left over
    told = {(s.receiver, s.incident) for s in world.got}
    for one in world.kept.values():
        wanted = {r for rule in rules if one.about in rule.on for r in rule.receivers}
        if one.closed_at is None or (one.about not in LASTING and one.told):
            assert {(r, one.id) for r in wanted} <= told | {
                (r, one.id) for r, t in one.told.items() if t.sent
            }
        for receiver, telling in one.told.items():
            if telling.over and telling.sent:
                assert _ended(world, one, receiver)


def _ended(world: World, one: Incident, receiver: str) -> bool:
    return any(
        s.word == "recovered" and s.receiver == receiver and s.incident == one.id for s in world.got
    )


def test_facts_of_an_end_have_what_it_was() -> None:
    world = World((rule("failure", "recovered"),))
    world.run(replace(failed(), facts={"text": "down", "load_id": ""}))
    (end,) = world.run(replace(fine(), facts={"text": "", "load_id": "7"}))
    shown: Mapping[str, object] = end.facts
    assert (shown["about"], shown["was"], shown["error"]) == (
        "recovered",
        "failure",
        "PublishError",
    )
    assert (shown["load_id"], shown["times"], shown["text"]) == ("7", 1, "")
