"""What follows the loads, as one more asset behind the streams. The hook here notes what it got."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.job_base import RepoBackedJob
from dagster._core.execution.execute_in_process import core_execute_in_process
from pydantic import BaseModel, ConfigDict

from conduit_core.engine import hooks
from conduit_core.engine.hooks import Hook, HookContext, HookReport
from conduit_core.errors import ConfigError, HookError
from dagster_conduit import ConduitResource, DagsterConduitTranslator, StreamData
from dagster_conduit.after import doubt
from tests.dagster.shop import ORDERS, Shop, Told

ITEMS = {"table": "items", "quality": [{"rule": "not_null", "column": "id"}]}
KEY = ("shop", "after", "note")
ALL = ["raw/items", "raw/orders", "shop/after/note"]
NODES = [{"status": "success"}, {"status": "success"}, {"status": "pass"}]


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Note:
    """What a hook was called with; ``trouble`` is what becomes of it, instead of an end."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.trouble: BaseException | None = None

    def run(self, options: BaseModel, context: HookContext) -> HookReport:
        assert context.failed == ()
        if self.trouble is not None:
            raise self.trouble
        self.calls.append([t.target for t in context.changed])
        return HookReport("noted", {"nodes": NODES})


@pytest.fixture
def note(shop: Shop) -> Iterator[Note]:
    """The hook ``note`` behind a shop of two streams."""
    made = Note()
    shop.sql("CREATE TABLE items (id INTEGER); INSERT INTO items VALUES (1);")
    shop.streams, shop.more = (ORDERS, ITEMS), {"after": {"note": {}}}
    with hooks.added(Hook("note", Options, made.run)):
        yield made


def warnings(shop: Shop, told: Told) -> list[str]:
    """Return the warnings of a run's log."""
    logs = shop.instance.all_logs(told.result.run_id)
    return [e.user_message for e in logs if e.level == 30 and not e.is_dagster_event]


def run(shop: Shop, **arguments: Any) -> Told:
    return shop.materialize(shop.assets(after=True), **arguments)


def test_a_hook_is_one_step_behind_all_streams_and_says_what_it_did(shop: Shop, note: Note) -> None:
    called = []

    def body(context: dg.AssetExecutionContext, conduit: ConduitResource) -> Iterator[object]:
        called.append(context.op_execution_context.op_def.name)
        yield from conduit.run(context=context)

    assets = shop.assets(body, after=True)
    told = shop.materialize(assets)
    assert told.materialized() == ALL
    assert sorted(called) == ["shop__items", "shop__orders"]
    assert note.calls == [["raw.orders", "raw.items"]]
    facts = told.metadata(KEY)
    assert (facts["conduit/outcome"], facts["conduit/text"]) == ("succeeded", "noted")
    assert facts["conduit/tables"] == ["raw.orders", "raw.items"]
    assert facts["conduit/nodes"] == {"success": 2, "pass": 1}
    spec = assets.specs_by_key[dg.AssetKey(list(KEY))]
    assert {d.asset_key.path[-1] for d in spec.deps} == {"orders", "items"}
    assert spec.kinds == {"note"}
    logs = shop.instance.all_logs(told.result.run_id)
    assert any("after.note: noted" in e.user_message for e in logs)


def test_p22_a_hook_with_nothing_to_do_keeps_its_data_version(
    shop: Shop, note: Note, another: dg.DagsterInstance
) -> None:
    """And a step that was lost behind its hook says what it would have said."""
    shop.streams = (ORDERS,)
    first = run(shop)
    again = run(shop)
    assert again.metadata(KEY)["conduit/outcome"] == "skipped"
    assert again.metadata(KEY)["conduit/tables"] == []
    assert again.data_version(KEY) == first.data_version(KEY)
    shop.fill(5, 6)
    third = run(shop)
    assert third.data_version(KEY) != first.data_version(KEY)
    assert len(note.calls) == 2
    shop.instance = another  # which knows nothing of those runs
    assert run(shop).data_version(KEY) == third.data_version(KEY)
    assert len(note.calls) == 2


def test_after_a_failed_stream_the_hook_waits_and_the_next_run_does_it_all(
    shop: Shop, note: Note
) -> None:
    shop.sql("INSERT INTO items VALUES (NULL)")
    told = run(shop)
    assert not told.success
    assert told.materialized() == ["raw/orders"]
    assert note.calls == []
    shop.sql("DELETE FROM items WHERE id IS NULL")
    told = run(shop, selection=[dg.AssetKey(["raw", "items"]), dg.AssetKey(list(KEY))])
    assert told.materialized() == ["raw/items", "shop/after/note"]
    assert note.calls == [["raw.orders", "raw.items"]]


def test_a_hook_alone_and_a_stream_alone(shop: Shop, note: Note) -> None:
    told = run(shop, selection=[dg.AssetKey(["raw", "orders"])])
    assert told.materialized() == ["raw/orders"]
    assert note.calls == []
    told = run(shop, selection=[dg.AssetKey(list(KEY))])
    assert told.materialized() == ["shop/after/note"]
    assert note.calls == [["raw.orders"]]


def test_a_failed_hook_fails_its_step_alone_with_four_lines(shop: Shop, note: Note) -> None:
    note.trouble = HookError("no disk left", command="df -h")
    told = run(shop)
    assert told.materialized() == ["raw/items", "raw/orders"]
    lines = told.failure("shop.after_note").splitlines()
    assert len(lines) == 4
    assert lines[0] == "shop: after.note: no disk left"
    assert (
        lines[1]
        == "the loads of raw.orders, raw.items are published; the next run does what is left"
    )
    assert lines[3] == "df -h"
    note.trouble = None
    assert run(shop).success
    assert note.calls == [["raw.orders", "raw.items"]]


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_the_end_of_a_run_ends_its_hook_as_ctrl_c_does(
    shop: Shop, note: Note, sign: signal.Signals
) -> None:
    """That is what dbt cancels its queries for."""
    seen: list[type[BaseException]] = []

    def wait(options: BaseModel, context: HookContext) -> HookReport:
        try:
            os.kill(os.getpid(), sign)
            signal.pause()
        except BaseException as error:
            seen.append(type(error))
            raise
        return HookReport("never")

    before = signal.getsignal(signal.SIGINT)
    with hooks.added(Hook("wait", Options, wait)):
        shop.more = {"after": {"wait": {}}}
        told = run(shop)
    assert told.materialized() == ["raw/items", "raw/orders"]
    assert "interrupted" in str(told.result.all_events[-1].message)
    assert seen == [KeyboardInterrupt]
    assert signal.getsignal(signal.SIGINT) == before


def test_a_hook_has_the_connections_of_the_functions_resource(shop: Shop, note: Note) -> None:
    shop.streams = (ORDERS,)
    to = {"connection": "warehouse", "schema": "raw"}
    shop.more = {"after": {"note": {}}, "destination": to}
    warehouse = {"type": "duckdb", "path": str(shop.folder / "wh.duckdb")}
    resource = ConduitResource(connections={"warehouse": warehouse})
    told = run(shop, resource=resource)
    assert told.success, told.result.all_events[-1].message
    assert note.calls == [["raw.orders"]]


def test_a_hook_has_no_partitions(shop: Shop, note: Note) -> None:
    shop.streams = ({**ORDERS, "cursor": "updated_at", "cursor_timezone": "UTC"},)
    days = dg.DailyPartitionsDefinition("2026-01-01")
    assets = shop.assets(after=True, partitions_def=days)
    assert assets.specs_by_key[dg.AssetKey(list(KEY))].partitions_def is None
    told = shop.materialize(assets, partition_key="2026-01-02")
    assert told.materialized() == ["raw/orders", "shop/after/note"]
    assert note.calls == [["raw.orders"]]
    assert shop.count() == 1


def test_names_that_meet_are_kept_apart(shop: Shop, note: Note) -> None:
    shop.streams = (ORDERS, {**ITEMS, "name": "after_note"})
    assert run(shop).materialized() == ["raw/after_note", "raw/orders", "shop/after/note"]


def test_after_without_anything_to_follow_is_refused(shop: Shop) -> None:
    with pytest.raises(ConfigError, match="the file has no `after:`"):
        shop.assets(after=True)


def test_the_group_is_the_streams(shop: Shop, note: Note) -> None:
    assert set(shop.assets(after=True, group_name="ours").group_names_by_key.values()) == {"ours"}


# --- who runs the models --------------------------------------------------------------------------

DBT = {"after": {"dbt": {"project_dir": "dbt"}}}


def test_models_that_nothing_runs_are_told_once_in_a_run(shop: Shop) -> None:
    shop.sql("CREATE TABLE items (id INTEGER); INSERT INTO items VALUES (1);")
    shop.streams, shop.more = (ORDERS, ITEMS), DBT
    told = shop.materialize()
    (text,) = warnings(shop, told)
    assert text.startswith("nothing here runs the models of shop: its file has `after: dbt:`")
    assert "conduit_assets(after=True)" in text
    orders = [dg.AssetKey(["raw", "orders"])]
    assert len(warnings(shop, shop.materialize(selection=orders))) == 1


def test_without_dbt_in_the_file_nothing_is_told(shop: Shop) -> None:
    assert warnings(shop, shop.materialize()) == []


@pytest.mark.parametrize("models", [True, False])
def test_the_whole_code_location_is_looked_at(shop: Shop, models: bool) -> None:
    """Models that are no part of the run are there all the same."""
    shop.more = DBT
    dbt = dg.AssetSpec("stg", deps=[["raw", "orders"]], metadata={"dagster_dbt/manifest": "m"})
    defs = dg.Definitions(
        assets=[shop.assets(), *([dbt] if models else [])],
        executor=dg.in_process_executor,
        jobs=[dg.define_asset_job("loads", [dg.AssetKey(["raw", "orders"])])],
        resources={"conduit": ConduitResource()},
    )
    job = RepoBackedJob("loads", defs.get_repository_def())
    told = Told(
        core_execute_in_process(
            {}, job, shop.instance, output_capturing_enabled=False, raise_on_error=True
        )
    )
    assert told.materialized() == ["raw/orders"]
    assert len(warnings(shop, told)) == (0 if models else 1)


def test_doubts() -> None:
    said = {"conduit/pipeline": "shop"}
    stream = dg.AssetSpec(["raw", "orders"], metadata={**said, "conduit/stream": "orders"})
    hook = dg.AssetSpec(["shop", "after", "dbt"], metadata={**said, "conduit/hook": "dbt"})
    dbt = {"dagster_dbt/manifest": "a manifest"}
    model = dg.AssetSpec("stg_orders", deps=[["raw", "orders"]], metadata=dbt)
    other = dg.AssetSpec("stg_others", deps=[["raw", "others"]], metadata=dbt)
    assert doubt("shop", [stream, model]) is None
    assert doubt("shop", [stream, other]) is None
    assert doubt("shop", [stream, hook]) is None
    assert doubt("shop", [stream, hook, other]) is None
    twice = doubt("shop", [stream, hook, model, other])
    assert twice is not None
    assert twice.startswith("models are built twice: by after.dbt of shop")
    assert "stg_orders;" in twice
    nobody = doubt("shop", [stream])
    assert nobody is not None
    assert doubt("other", [stream, hook]) == nobody.replace("shop", "other")


def test_every_hook_is_in_the_group_of_the_streams(shop: Shop) -> None:
    class Grouped(DagsterConduitTranslator):
        def get_asset_spec(self, data: StreamData) -> dg.AssetSpec:
            return super().get_asset_spec(data).replace_attributes(group_name="ours")

    shop.more = {"after": {"one": {}, "two": {}}}
    groups = shop.assets(translator=Grouped(), after=True).group_names_by_key
    assert len(groups) == 3
    assert set(groups.values()) == {"ours"}
