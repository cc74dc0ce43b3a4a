"""The examples without dbt, from a copy: loads and an audit, days, and a run by news."""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path

import dagster as dg
import pytest

from tests.examples.demos import EXAMPLES, ask

pytestmark = pytest.mark.filterwarnings("ignore:Parameter `include_sources`")
ORDERS = dg.AssetKey(["raw", "orders"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "dagster"
    leave = shutil.ignore_patterns("*.duckdb*", "*.sqlite", "dbt", "profiles", "__pycache__")
    shutil.copytree(EXAMPLES / "dagster", made, ignore=leave)
    a_day(made)
    a_day(made)
    return made


def a_day(folder: Path) -> None:
    runpy.run_path(str(folder / "make_shop.py"))["add_a_day"](folder)


def definitions(file: Path) -> dg.Definitions:
    made: dg.Definitions = runpy.run_path(str(file))["defs"]
    dg.Definitions.validate_loadable(made)
    return made


def test_loads_and_an_audit(folder: Path, instance: dg.DagsterInstance) -> None:
    defs = definitions(folder / "loads.py")
    assert defs.resolve_job_def("hourly").execute_in_process(instance=instance).success
    done = defs.resolve_job_def("audit").execute_in_process(instance=instance)
    assert [e.passed for e in done.get_asset_check_evaluations()] == [True]
    assert done.get_asset_materialization_events() == []
    assert ask(folder, "SELECT count(*) FROM raw.orders") == [(48,)]


def test_days(folder: Path, instance: dg.DagsterInstance) -> None:
    defs = definitions(folder / "partitions.py")
    (facts, dimensions) = (
        each for each in defs.assets or () if isinstance(each, dg.AssetsDefinition)
    )
    resources = defs.resources
    for day in ("2026-01-01", "2026-01-01"):
        job = defs.resolve_job_def("by_day")
        assert job.execute_in_process(instance=instance, partition_key=day).success
        assert ask(folder, "SELECT count(*) FROM raw.orders_by_day") == [(24,)]
    days = {"start": "2026-01-01", "end": "2026-01-02"}
    tags = {f"dagster/asset_partition_range_{edge}": day for edge, day in days.items()}
    assert dg.materialize([facts], instance=instance, resources=resources, tags=tags).success
    assert dg.materialize([dimensions], instance=instance, resources=resources).success
    assert ask(folder, "SELECT count(*), count(DISTINCT id) FROM raw.orders_by_day") == [(48, 48)]
    assert ask(folder, "SELECT count(*) FROM raw.people") == [(2,)]


def test_a_run_by_news_and_a_rewind(folder: Path, instance: dg.DagsterInstance) -> None:
    defs = definitions(folder / "sensor_and_jobs.py")
    resources = defs.resources or {}

    def looked() -> object:
        context = dg.build_sensor_context(
            instance=instance, resources=dict(resources), definitions=defs
        )
        return defs.resolve_sensor_def("shop_news")(context)

    news = looked()
    assert isinstance(news, dg.SensorResult)
    (asked,) = news.run_requests or ()
    everything = defs.resolve_implicit_global_asset_job_def()
    run = everything.execute_in_process(instance=instance, asset_selection=asked.asset_selection)
    assert run.success
    assert isinstance(looked(), dg.SkipReason)

    config = {"stream": "orders", "from_start": True, "replace_after": True}
    rewind = defs.resolve_job_def("shop_rewind")
    done = rewind.execute_in_process(
        instance=instance, run_config={"ops": {"rewind": {"config": config}}}
    )
    assert done.success
    entry = instance.fetch_observations(ORDERS, limit=1).records[0].asset_observation
    assert entry is not None
    assert "conduit/state" in json.dumps(list(entry.metadata))
    assert isinstance(looked(), dg.SensorResult)
