"""How steps fail: by the error's class at once or after retries, with the error's four lines."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
import stamina

from conduit_core.connectors import registry
from conduit_core.errors import (
    ConcurrentLoadError,
    ConduitError,
    ConnectionFailedError,
    SourceDataError,
)
from conduit_core.testing.faulty import Faults, faulty_connector
from dagster_conduit import ConduitResource, conduit_assets, failures
from dagster_conduit.state import current, version_of
from tests import services
from tests.lab import Lab

ORDERS = pa.table({"id": list(range(100)), "v": [f"v{i}" for i in range(100)]})
KEY = dg.AssetKey(["main", "orders"])
OFF = {"execution": {"config": {"retries": {"disabled": {}}}}}
NEVER = SourceDataError("row 7 of orders can't be read", command="conduit discover")
NEVER_LINES = [
    "orders (shop): row 7 of orders can't be read",
    "nothing published; the target has no watermark yet",
    "a retry will not help",
    "conduit discover",
]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Wait for no retry; each of the step's attempts reads once."""
    monkeypatch.setattr(failures, "WAIT_SECONDS", 0.001)
    with stamina.set_testing(True, attempts=1):
        yield


def assets_of(folder: Path, policy: dg.RetryPolicy | None = None) -> dg.AssetsDefinition:
    """Return the assets of a shop."""
    spec = {
        "name": "shop",
        "source": {"type": "faulty"},
        "destination": {"type": "sqlite", "path": str(folder / "warehouse.db")},
        "streams": [{"table": "orders", "mode": "append", "cursor": "id"}],
    }

    @conduit_assets(pipeline=spec, retry_policy=policy)
    def orders(context: dg.AssetExecutionContext, conduit: ConduitResource) -> Iterator[object]:
        yield from conduit.run(context=context)

    return orders


class Failing:
    """A shop whose source fails, and the instance that its runs are told to."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        self.faults = Faults()
        self.lab = Lab(folder, "sqlite")
        self.instance = instance

    def run(
        self,
        policy: dg.RetryPolicy | None = None,
        of_job: dg.RetryPolicy | None = None,
    ) -> dg.ExecuteInProcessResult:
        """Run a job of the assets, with a policy of the steps or of the job."""
        made = dg.Definitions(
            assets=[assets_of(self.lab.folder, policy)],
            jobs=[dg.define_asset_job("load", op_retry_policy=of_job)],
            resources={"conduit": ConduitResource()},
        )
        with registry.added(faulty_connector({"orders": ORDERS}, self.faults, batch_rows=25)):
            return made.resolve_job_def("load").execute_in_process(
                instance=self.instance, raise_on_error=False
            )

    def chain(self) -> list[int]:
        """Return the versions in the ledger, and check that the rows are there once."""
        versions = self.rows("SELECT version FROM _conduit_ledger ORDER BY version")
        assert self.rows("SELECT count(*), sum(id) FROM orders") == [(100, 4950)]
        return [version for (version,) in versions]

    def rows(self, text: str) -> list[tuple[Any, ...]]:
        """Ask the target."""
        import sqlite3

        with sqlite3.connect(str(self.lab.file)) as connection:
            return connection.execute(text).fetchall()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Failing]:
    """A shop whose source doesn't fail yet."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield Failing(tmp_path, instance)


def failed_step(result: dg.ExecuteInProcessResult) -> Any:
    """Return what the one failure of a step tells, the error and what a user sees."""
    (event,) = result.get_step_failure_events()
    return event.step_failure_data


def retries(result: dg.ExecuteInProcessResult) -> list[Any]:
    """Return what each retry that a step asked for tells."""
    return [e.step_retry_data for e in result.all_events if e.is_step_up_for_retry]


def said(data: Any) -> dict[str, object]:
    """Return a failure's metadata."""
    return {key: value.value for key, value in data.user_failure_data.metadata.items()}


@pytest.mark.parametrize("policy", [None, dg.RetryPolicy(max_retries=2)])
@pytest.mark.parametrize("of_job", [None, dg.RetryPolicy(max_retries=2)])
def test_what_no_retry_can_mend_fails_at_once_whatever_the_policy(
    shop: Failing, policy: dg.RetryPolicy | None, of_job: dg.RetryPolicy | None
) -> None:
    shop.faults = Faults(fail_at=1, times=None, error=NEVER)
    result = shop.run(policy, of_job)
    assert not result.success
    assert retries(result) == []
    told = failed_step(result)
    assert told.user_failure_data.description.splitlines() == NEVER_LINES
    assert said(told) == {
        "conduit/error": "SourceDataError",
        "conduit/state": NEVER_LINES[1],
        "conduit/retry": "never",
        "conduit/command": NEVER_LINES[3],
    }
    assert shop.faults.happened == 1
    assert current(shop.instance, KEY) is None


MAYBE = (ConnectionFailedError("the line was cut"), ConcurrentLoadError("another was first"))
POLICIES = (
    (None, None, failures.RETRIES),
    (dg.RetryPolicy(max_retries=1), None, 1),
    (None, dg.RetryPolicy(max_retries=3), 3),
)


@pytest.mark.parametrize("error", MAYBE, ids=lambda e: e.retry)
@pytest.mark.parametrize(("policy", "of_job", "count"), POLICIES)
def test_what_a_retry_may_mend_is_retried_and_then_fails_with_its_four_lines(
    shop: Failing,
    error: ConduitError,
    policy: dg.RetryPolicy | None,
    of_job: dg.RetryPolicy | None,
    count: int,
) -> None:
    shop.faults = Faults(fail_at=1, times=None, error=error)
    result = shop.run(policy, of_job)
    assert not result.success
    asked = retries(result)
    assert len(asked) == count
    if policy is None and of_job is None:
        assert [each.seconds_to_wait for each in asked] == [0.001, 0.002]
    told = failed_step(result)
    lines = told.user_failure_data.description.splitlines()
    assert lines[0] == f"orders (shop): {error.message}"
    assert lines[2] in {"a retry may help", "run it again: a new plan is needed"}
    for each in asked:  # what the UI shows of an attempt that is retried
        assert "\n".join(lines) in each.error.cause.message
    assert said(told)["conduit/retry"] == error.retry
    assert shop.faults.happened == count + 1


def retries_off(folder: str) -> dg.JobDefinition:
    """Return a job whose configuration turns retries off."""
    made = dg.Definitions(
        assets=[assets_of(Path(folder))],
        jobs=[dg.define_asset_job("load", config=OFF, executor_def=dg.in_process_executor)],
        resources={"conduit": ConduitResource()},
    )
    return made.resolve_job_def("load")


def test_where_retries_are_off_the_failure_has_its_four_lines(tmp_path: Path) -> None:
    faults = Faults(fail_at=1, times=None)
    job = dg.build_reconstructable_job(__name__, "retries_off", (str(tmp_path),))
    home = tmp_path / "home"
    home.mkdir()
    with (
        registry.added(faulty_connector({"orders": ORDERS}, faults)),
        dg.DagsterInstance.local_temp(str(home)) as instance,
        dg.execute_job(job, instance) as result,
    ):
        (event,) = result.get_step_failure_events()
    told = event.step_failure_data
    assert faults.happened == 1
    assert told.user_failure_data.description.splitlines()[2] == "a retry may help"
    assert said(told)["conduit/error"] == "ConnectionFailedError"


def test_p12_a_run_that_is_re_executed_loads_nothing_more(tmp_path: Path) -> None:
    """It is the same request; a new run is another one."""
    job = dg.build_reconstructable_job(__name__, "retries_off", (str(tmp_path),))
    home = tmp_path / "home"
    home.mkdir()
    told: list[tuple[object, str | None]] = []
    with (
        registry.added(faulty_connector({"orders": ORDERS}, Faults())),
        dg.DagsterInstance.local_temp(str(home)) as instance,
    ):
        parent = None
        for _ in range(3):
            of = None if parent is None else dg.ReexecutionOptions(parent_run_id=parent)
            with dg.execute_job(job, instance, reexecution_options=of) as result:
                (event,) = result.get_asset_materialization_events()
            made = event.materialization
            told.append((made.metadata["conduit/outcome"].value, data_version(made)))
            parent = result.run_id if len(told) == 1 else None
    assert told == [("published", "1"), ("replayed", "1"), ("empty", "1")]


def data_version(made: dg.AssetMaterialization) -> str | None:
    return (made.tags or {}).get("dagster/data_version")


@pytest.mark.parametrize("policy", [None, dg.RetryPolicy(max_retries=2)])
def test_p12_a_step_that_is_retried_publishes_once(
    shop: Failing, policy: dg.RetryPolicy | None
) -> None:
    shop.faults = Faults(fail_at=2, times=2)
    result = shop.run(policy)
    assert result.success
    assert len(retries(result)) == 2
    assert shop.chain() == [1]
    assert len(result.get_asset_materialization_events()) == 1
    assert version_of(current(shop.instance, KEY) or "") == 1


def test_a_failure_shows_no_stack_of_the_core(shop: Failing) -> None:
    shop.faults = Faults(fail_at=1, times=None, error=NEVER)
    error = failed_step(shop.run()).error
    assert error.cause is None
    assert error.context is None
    assert "Traceback" not in error.message
    assert not [frame for frame in error.stack if "conduit_core" in frame]
    ours = [frame for frame in error.stack if "dagster_conduit" in frame]
    assert [re.findall(r", in (\w+)", frame) for frame in ours] == [["body"], ["run"]]


def test_a_secret_of_a_connection_is_nowhere_in_what_dagster_keeps(
    tmp_path: Path, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that ends well, and one that can't connect."""
    canary = f"canary{secrets.token_hex(8)}"
    user = services.sql(postgres_database, "SELECT current_user")[0][0]
    good = services.with_user(postgres_database, user, canary)
    refused = f"postgresql://someone:{canary}@127.0.0.1:1/nowhere"
    Lab(tmp_path).orders(range(10))
    home = tmp_path / "home"
    home.mkdir()
    shop = {
        "name": "shop",
        "source": {"type": "sqlite", "path": str(tmp_path / "source.db")},
        "destination": {"connection": "warehouse"},
        "streams": ["orders"],
    }

    @conduit_assets(pipeline=shop)
    def orders(context: dg.AssetExecutionContext, conduit: ConduitResource) -> Iterator[object]:
        yield from conduit.run(context=context)

    with dg.DagsterInstance.local_temp(str(home)) as instance:
        for url, word in ((good, "published"), (refused, "connection refused")):
            monkeypatch.setenv("WAREHOUSE_URL", url)
            result = dg.materialize(
                [orders],
                instance=instance,
                resources={"conduit": ConduitResource(connections=_warehouse())},
                raise_on_error=False,
            )
            text = "\n".join(dg.serialize_value(e) for e in instance.all_logs(result.run_id))
            assert word in text
            assert canary not in text
            assert canary not in dg.serialize_value(instance.get_run_by_id(result.run_id))
    kept = [path for path in home.rglob("*") if path.is_file()]
    assert kept
    assert [path for path in kept if canary.encode() in path.read_bytes()] == []


def _warehouse() -> dict[str, Any]:
    return {"warehouse": dg.EnvVar("WAREHOUSE_URL")}
