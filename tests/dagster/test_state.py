"""The state in the asset's events: the reconcile table row by row, and what Dagster adds itself."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from conduit_core.events import Committed, Event, StreamFinished
from conduit_core.state.store import StateEntry
from dagster_conduit import ConduitResource
from tests.dagster.shop import ORDERS, Shop


def entry_of(shop: Shop) -> StateEntry:
    found = shop.entry()
    assert found is not None
    return StateEntry(**found)


def edited(shop: Shop, **fields: str) -> dict[str, str]:
    """Return the entry with some fields changed, its seal left as it was."""
    return entry_of(shop).model_copy(update=fields).model_dump()


def cursor(day: int, key: int) -> str:
    return (
        f'[{{"column":"updated_at","type":"timestamp[us]","value":"2026-01-{day:02d}T00:00:00"}},'
        f'{{"column":"id","type":"int64","value":"{key}"}}]'
    )


def test_a_load_leaves_a_sealed_entry(shop: Shop) -> None:
    shop.materialize()
    entry = entry_of(shop)
    (record,) = shop.chain()
    assert (entry.version, entry.load_id, entry.cursor) == ("1", record.load_id, record.cursor)
    assert not entry.is_edited


def test_equal_goes_on(shop: Shop) -> None:
    shop.materialize()
    shop.fill(5, 7)
    told = shop.materialize()
    assert told.metadata()["conduit/rows_read"] == 2
    assert entry_of(shop).version == "2"


@pytest.mark.parametrize("how", ["never loaded here", "wiped"])
def test_p11_empty_is_rolled_forward(shop: Shop, how: str, another: dg.DagsterInstance) -> None:
    """A wipe of the asset is no reset: nothing is loaded twice."""
    shop.materialize()
    if how == "wiped":
        shop.instance.wipe_assets([dg.AssetKey(["raw", "orders"])])
    else:
        shop.instance = another
    assert shop.entry() is None
    told = shop.materialize()
    assert told.metadata()["conduit/outcome"] == "empty"
    assert "rolled forward from the ledger" in told.metadata()["conduit/notes"]
    assert entry_of(shop).version == "1"
    assert shop.count() == 5


def test_an_older_version_is_rolled_forward(shop: Shop) -> None:
    from conduit_core import run

    shop.materialize()
    shop.fill(5, 6)
    run(shop.pipeline())  # by the command line, say
    shop.fill(6, 7)
    told = shop.materialize()
    assert told.metadata()["conduit/rows_read"] == 1
    assert "at version 1, the ledger at 2" in told.metadata()["conduit/notes"]


def test_a_higher_version_is_of_a_restored_destination(shop: Shop) -> None:
    shop.materialize()
    entry = entry_of(shop).model_copy(update={"version": "7"}).sealed()
    shop.report(entry.model_dump())
    told = shop.materialize()
    assert "the state store is at version 7" in told.failure()
    assert shop.count() == 5


def test_another_load_at_the_same_version_is_of_a_restored_destination(shop: Shop) -> None:
    shop.materialize()
    entry = entry_of(shop).model_copy(update={"load_id": "feedfeedfeedfeed"}).sealed()
    shop.report(entry.model_dump())
    assert "is load feedfeedfeedfeed in the state store" in shop.materialize().failure()


def test_another_target_is_named(shop: Shop) -> None:
    shop.materialize()
    entry = entry_of(shop).model_copy(update={"target_fingerprint": "0" * 16}).sealed()
    shop.report(entry.model_dump())
    assert "belongs to another target" in shop.materialize().failure()


def test_an_edit_to_a_lower_cursor_is_a_rewind(shop: Shop) -> None:
    shop.materialize()
    shop.sql("UPDATE orders SET amount = 999 WHERE id = 4")
    shop.report(edited(shop, cursor=cursor(3, 2)))
    told = shop.materialize()
    assert told.success
    assert told.metadata()["conduit/rows_read"] == 2
    assert shop.rows("SELECT amount FROM raw.orders WHERE id = 4") == [(999,)]
    assert entry_of(shop).version == "2"
    assert not entry_of(shop).is_edited


def test_an_edit_to_initial_reads_from_the_start(shop: Shop) -> None:
    shop.materialize()
    shop.report(edited(shop, cursor="initial"))
    assert shop.materialize().metadata()["conduit/rows_read"] == 5
    assert shop.count() == 5


def test_a_rewind_of_append_is_refused(shop: Shop) -> None:
    shop.streams = ({**ORDERS, "mode": "append", "unique_key": None},)
    shop.materialize()
    shop.report(edited(shop, cursor=cursor(3, 2)))
    told = shop.materialize()
    assert "replace-after" in told.failure()
    assert shop.count() == 5


def test_an_edit_to_a_higher_cursor_is_refused(shop: Shop) -> None:
    shop.materialize()
    shop.report(edited(shop, cursor=cursor(9, 9)))
    assert "--skip" in shop.materialize().failure()


@pytest.mark.parametrize("value", ["nonsense", {"a": 1}, 7])
def test_nonsense_is_shown(shop: Shop, value: object) -> None:
    """Reported before anything was loaded: later, entries with versions count, and this doesn't."""
    shop.report(value)
    told = shop.materialize()
    assert "holds something that is not a state entry" in told.failure()
    assert shop.chain() == []


def test_reports_without_an_entry_hide_nothing(shop: Shop) -> None:
    """The UI's own reports of a materialisation are the newest events, and say nothing."""
    shop.materialize()
    for _ in range(250):
        shop.report(None)
    shop.fill(5, 6)
    assert shop.materialize().metadata()["conduit/rows_read"] == 1


def test_the_highest_version_counts_not_the_newest_event(shop: Shop) -> None:
    shop.materialize()
    first = shop.entry()
    shop.fill(5, 6)
    shop.materialize()
    shop.report(first)  # as a step does that was slower than another
    assert entry_of(shop).version == "2"
    assert shop.materialize().metadata()["conduit/outcome"] == "empty"


def test_an_edit_during_the_load_is_kept(shop: Shop) -> None:
    shop.materialize()
    shop.fill(5, 6)
    seen = edited(shop, cursor=cursor(3, 2))

    def edit(event: Event) -> None:
        if isinstance(event, Committed):
            shop.report(seen)

    def body(context: dg.AssetExecutionContext, conduit: ConduitResource) -> Iterator[object]:
        yield from conduit.run(context=context, listeners=(edit,))

    told = shop.materialize(shop.assets(body))
    assert told.success
    assert "conduit/state" not in told.metadata()
    assert entry_of(shop).is_edited
    assert shop.materialize().metadata()["conduit/rows_read"] == 3


def test_an_edit_during_a_load_of_nothing_is_kept(shop: Shop) -> None:
    shop.materialize()
    seen = edited(shop, cursor=cursor(3, 2))

    def edit(event: Event) -> None:
        if isinstance(event, StreamFinished):
            shop.report(seen)

    def body(context: dg.AssetExecutionContext, conduit: ConduitResource) -> Iterator[object]:
        yield from conduit.run(context=context, listeners=(edit,))

    told = shop.materialize(shop.assets(body))
    assert told.metadata()["conduit/outcome"] == "empty"
    assert told.data_version() == "1"
    assert shop.materialize().metadata()["conduit/rows_read"] == 2


def test_a_failed_load_leaves_the_entry_as_it_was(shop: Shop) -> None:
    shop.materialize()
    before = shop.entry()
    shop.streams = ({**ORDERS, "quality": [{"rule": "range", "column": "amount", "max": 50}]},)
    shop.fill(5, 8)
    assert not shop.materialize().success
    assert shop.entry() == before
