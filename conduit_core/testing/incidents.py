"""What a destination must do with incidents, where it keeps them."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from conduit_core.connectors.base import Cleans, Destination
from conduit_core.connectors.incidents import Incident, KeepsIncidents, Telling
from conduit_core.testing.fixtures import DestinationFixtures

_NOW = datetime(2026, 1, 10, 8, 0, 0, 123456, tzinfo=UTC)


def _incident(name: str, **facts: object) -> Incident:
    first = Incident(name, "shop", f"orders {name}", "failure", opened_at=_NOW, seen_at=_NOW)
    return replace(first, **facts)  # type: ignore[arg-type] # facts are fields of an incident


class IncidentContract(DestinationFixtures):
    """Incidents: read as they were written, and never written over what another process wrote."""

    @pytest.fixture
    def keeper(self, destination: Destination) -> KeepsIncidents:
        """Return the destination, if it keeps incidents."""
        if not isinstance(destination, KeepsIncidents):
            pytest.skip(f"{destination.system} keeps no incidents")
        return destination

    def test_many_are_written_and_replaced_at_once_or_none(self, keeper: KeepsIncidents) -> None:
        many = tuple(_incident(f"{n:04}") for n in range(1_100))
        assert keeper.keep_incidents(many)
        read = keeper.incidents("shop")
        assert [i.id for i in read] == [i.id for i in many]
        over = tuple(replace(i, closed_at=_NOW) for i in read)
        assert not keeper.keep_incidents((*over[:-1], replace(over[-1], revision=9)))
        assert keeper.incidents("shop") == read
        again = replace(_incident("again"), stream=over[0].stream)
        assert not keeper.keep_incidents((again, *over[1:]))
        assert keeper.keep_incidents((*over, again))
        assert [i.id for i in keeper.incidents("shop") if i.closed_at is None] == ["again"]

    def test_before_the_first_incident_there_are_none(self, keeper: KeepsIncidents) -> None:
        assert keeper.incidents("shop") == []

    def test_incidents_come_back_as_they_were_written(
        self, keeper: KeepsIncidents, other: Destination
    ) -> None:
        told = {"ab": Telling(_NOW, 2, sent=True), "cd": Telling(_NOW, 1, sent=False, over=True)}
        whole = _incident(
            "a",
            stream="it's",
            times=7,
            told_at=_NOW,
            closed_at=_NOW,
            error="PublishError",
            exit_code=7,
            load_id="l1",
            runner="cli",
            facts={"text": "ü\n\"'", "rows": 3, "none": None},
            told=told,
        )
        assert keeper.keep_incidents((whole, _incident("b", pipeline="other")))
        if isinstance(keeper, Destination):
            keeper.close()
        assert isinstance(other, KeepsIncidents)
        assert other.incidents("shop") == [replace(whole, revision=1)]
        assert other.incidents("other") == [_incident("b", pipeline="other", revision=1)]
        assert other.incidents("nobody") == []

    def test_those_that_go_on_come_always_and_others_if_asked_for(
        self, keeper: KeepsIncidents
    ) -> None:
        old, recent = _NOW - timedelta(days=9), _NOW - timedelta(days=1)
        keeper.keep_incidents(
            (
                _incident("c", opened_at=old),
                _incident("d", opened_at=old, closed_at=old),
                _incident("e", closed_at=recent),
                _incident("f", opened_at=old, closed_at=old),
            )
        )
        border = _NOW - timedelta(days=2)
        assert [i.id for i in keeper.incidents("shop", border)] == ["c", "e"]
        assert [i.id for i in keeper.incidents("shop", border, ("d", "?"))] == ["c", "d", "e"]
        assert len(keeper.incidents("shop")) == 4

    def test_one_that_was_written_since_is_not_written_over(self, keeper: KeepsIncidents) -> None:
        assert keeper.keep_incidents((_incident("a"),))
        (read,) = keeper.incidents("shop")
        assert keeper.keep_incidents((replace(read, times=2),))
        assert not keeper.keep_incidents((_incident("new"), replace(read, times=5)))
        assert not keeper.keep_incidents((_incident("a"),))
        assert [(i.id, i.times, i.revision) for i in keeper.incidents("shop")] == [("a", 2, 2)]

    def test_what_goes_on_is_one_incident_until_it_is_closed(self, keeper: KeepsIncidents) -> None:
        assert keeper.keep_incidents((_incident("a", stream="orders"),))
        assert not keeper.keep_incidents((_incident("b", stream="orders"),))
        assert keeper.keep_incidents((_incident("c", stream="orders", about="stale"),))
        first = keeper.incidents("shop")[0]
        assert keeper.keep_incidents((replace(first, closed_at=_NOW),))
        assert keeper.keep_incidents((_incident("b", stream="orders"),))
        done = [_incident(n, stream="orders", about="success", load_id=n) for n in "xy"]
        assert keeper.keep_incidents(done)

    def test_of_many_at_once_one_opens_an_incident(self, keeper: KeepsIncidents) -> None:
        said: list[object] = []

        def keep(name: str) -> None:
            try:
                said.append(keeper.keep_incidents((_incident(name, stream="orders"),)))
            except Exception as error:  # noqa: BLE001 - told by the test
                said.append(error)

        threads = [threading.Thread(target=keep, args=(f"p{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(said, key=str) == [False, False, False, True]
        assert len(keeper.incidents("shop")) == 1

    def test_clean_forgets_what_is_over(
        self, keeper: KeepsIncidents, destination: Destination
    ) -> None:
        assert isinstance(destination, Cleans)
        old = datetime.now(UTC) - timedelta(days=40)
        gone, open_ = _incident("a", closed_at=old), _incident("b", opened_at=old)
        keeper.keep_incidents((gone, open_))
        age = timedelta(days=30)
        (found,) = destination.clean(age, dry_run=True)
        assert (found.kind, len(keeper.incidents("shop"))) == ("incidents", 2)
        assert destination.clean(age, dry_run=False) == [found]
        assert [i.id for i in keeper.incidents("shop")] == ["b"]
        assert destination.clean(age, dry_run=False) == []
