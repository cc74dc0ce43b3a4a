"""A run: streams side by side, failed siblings, retries, bugs; plans that change nothing."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import stamina
import stamina.instrumentation

from conduit_core import (
    ConduitError,
    LoadPlan,
    Pipeline,
    RunRequest,
    RunResult,
    plan,
    raise_for_failures,
    read,
    run,
)
from conduit_core.connectors import registry
from conduit_core.connectors.base import Commit
from conduit_core.connectors.duckdb.destination import DuckDBDestination
from conduit_core.connectors.sql.destination import SqlDestination
from conduit_core.engine import load as engine_load
from conduit_core.errors import (
    ConfigError,
    ConnectionFailedError,
    LoadFailedError,
    PublishError,
    PublishUnknownError,
    SchemaError,
    SourceDataError,
)
from conduit_core.events import Event, Retrying, RunFinished, RunStarted, StreamFailed
from conduit_core.testing.faulty import Faults, faulty_connector
from tests import services
from tests.lab import Lab, only, stream


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_load, "FIRST_WAIT_SECONDS", 0.001)
    monkeypatch.setattr(engine_load, "LONGEST_WAIT_SECONDS", 0.002)


def numbers(rows: int) -> pa.Table:
    return pa.table({"id": pa.array(range(1, rows + 1), pa.int64())})


class Faulty:
    """A pipeline from a source that fails on command into a DuckDB file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tables: dict[str, pa.Table] = {"orders": numbers(50)}
        self.faults = Faults()
        self.events: list[Event] = []

    def pipeline(self, *streams: dict[str, object], **keys: object) -> Pipeline:
        mapping = {
            "name": "shop",
            "source": {"type": "faulty"},
            "destination": {"type": "duckdb", "path": "warehouse.duckdb"},
            "streams": list(streams) or [stream()],
            **keys,
        }
        return Pipeline.from_mapping(mapping, self.folder)

    def run(self, *streams: dict[str, object], jobs: int = 1, **keys: object) -> RunResult:
        self.events.clear()
        connector = faulty_connector(self.tables, self.faults)
        with registry.added(connector):
            made = self.pipeline(*streams, **keys)
            return run(made, jobs=jobs, listeners=(self.events.append,))

    def ids(self, name: str = "orders") -> list[int]:
        connector = faulty_connector(self.tables)
        with registry.added(connector), read(self.pipeline(stream(name)), name) as reader:
            return sorted(reader.read_all().column("id").to_pylist())

    def of(self, kind: type[Event]) -> list[Any]:
        return [e for e in self.events if isinstance(e, kind)]


@pytest.fixture
def faulty(tmp_path: Path) -> Faulty:
    return Faulty(tmp_path)


def names(result: RunResult) -> tuple[list[str], list[str], list[str]]:
    return (
        [r.stream for r in result.results],
        [f.stream for f in result.failures],
        list(result.not_started),
    )


# --- siblings ---------------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", [1, 3])
def test_siblings_of_a_failed_stream_go_on(faulty: Faulty, jobs: int) -> None:
    faulty.tables |= {"a": numbers(30), "c": numbers(20)}
    result = faulty.run(stream("a"), stream("b"), stream("c"), jobs=jobs)
    assert names(result) == (["a", "c"], ["b"], [])
    assert result.exit_code == 4
    assert (len(faulty.ids("a")), len(faulty.ids("c"))) == (30, 20)
    (failed,) = faulty.of(StreamFailed)
    assert (failed.stream, len(failed.lines)) == ("b", 4)
    (end,) = faulty.of(RunFinished)
    assert (set(end.published), end.failed) == ({"a", "c"}, ("b",))
    with pytest.raises(LoadFailedError) as caught:
        raise_for_failures(result)
    assert isinstance(caught.value.errors[0], SchemaError)
    assert caught.value.code == 4
    assert tuple(caught.value.lines()) == result.failures[0].lines
    assert "no table b" in caught.value.lines()[0]


def test_an_error_of_a_run_says_what_happened_to_each_stream(faulty: Faulty) -> None:
    faulty.tables["b"] = numbers(5)
    result = faulty.run(stream("a"), stream("b"), stream("c"))
    with pytest.raises(LoadFailedError) as caught:
        raise_for_failures(result)
    one, other = result.failures
    assert str(caught.value).splitlines() == [
        "shop: failed: a, c",
        one.lines[0],
        other.lines[0],
        *one.lines[1:],
    ]
    again = RunResult.model_validate_json(result.model_dump_json())
    with pytest.raises(LoadFailedError) as elsewhere:  # rebuilt from lines alone
        raise_for_failures(again)
    assert str(elsewhere.value) == str(caught.value)


def test_on_error_stop_starts_no_more(faulty: Faulty) -> None:
    faulty.tables |= {"a": numbers(5), "c": numbers(5)}
    result = faulty.run(stream("a"), stream("b"), stream("c"), on_error="stop")
    assert names(result) == (["a"], ["b"], ["c"])
    again = faulty.run(stream("a"), stream("c"), on_error="stop")
    assert [r.outcome for r in again.results] == ["empty", "published"]


def test_the_first_failure_in_the_file_s_order_gives_the_code(faulty: Faulty) -> None:
    def broken(name: str, error: ConduitError) -> dict[str, object]:
        faulty.tables[name] = numbers(5)
        faulty.faults.error = error
        return stream(name)

    faulty.faults = Faults(fail_at=0, times=None)
    one = broken("a", SourceDataError("bad"))
    result = faulty.run(one, stream("missing"), jobs=2)
    assert names(result)[1] == ["a", "missing"]
    assert result.exit_code == 1


def test_many_streams_side_by_side_all_arrive(each_lab: Lab) -> None:
    lab = each_lab
    tables = [f"t{n}" for n in range(7)]
    for n, table in enumerate(tables):
        lab.orders(range(n * 100, n * 100 + 50), table)
    pipeline = lab.pipeline(*(stream(t) for t in tables))
    result = run(pipeline, jobs=3)
    assert names(result) == (tables, [], [])
    assert [r.stream for r in run(pipeline, jobs=3).results if r.outcome != "empty"] == []
    for n, table in enumerate(tables):
        assert lab.ids(table) == list(range(n * 100, n * 100 + 50))


def test_chosen_streams_run_and_an_unknown_one_names_the_nearest(faulty: Faulty) -> None:
    faulty.tables |= {"customers": numbers(3)}
    with registry.added(faulty_connector(faulty.tables)):
        pipeline = faulty.pipeline(stream(), stream("customers"))
        assert names(run(pipeline, ("customers",)))[0] == ["customers"]
        with pytest.raises(ConfigError, match="'customers'"):
            run(pipeline, ("custmers",))


# --- retries ----------------------------------------------------------------------------------


def test_what_a_retry_may_mend_is_tried_again_from_plan(faulty: Faulty) -> None:
    faulty.faults = Faults(fail_at=2, times=2)
    result = only(faulty.run())
    assert result.counts.read == 50
    assert faulty.faults.happened == 2
    assert [(e.attempt, e.wait_seconds > 0) for e in faulty.of(Retrying)] == [(1, True), (2, True)]
    assert len(faulty.faults.reads) == 3
    assert faulty.ids() == list(range(1, 51))


def test_a_retry_is_told_by_an_event_and_not_by_the_library_too(
    faulty: Faulty, capfd: pytest.CaptureFixture[str]
) -> None:
    """A hook that somebody set for retries of their own hears of those, also after ours."""
    heard: list[str] = []
    stamina.instrumentation.set_on_retry_hooks([lambda details: heard.append(details.name)])
    try:
        faulty.faults = Faults(fail_at=2, times=2)
        assert faulty.run().results[0].counts.inserted == 50
        assert len(faulty.of(Retrying)) == 2
        assert heard == []
        answers = iter([False, True])
        for theirs in stamina.retry_context(on=ValueError, wait_initial=0.001, wait_jitter=0):
            with theirs:
                if not next(answers):
                    raise ValueError
        assert len(heard) == 1
    finally:
        stamina.instrumentation.set_on_retry_hooks(None)
    faulty.faults = Faults(fail_at=2, times=2)
    faulty.tables["orders"] = numbers(100)
    assert only(faulty.run()).counts.inserted == 50
    assert faulty.faults.happened == 2
    assert tuple(capfd.readouterr()) == ("", "")


def test_after_the_last_attempt_the_failure_is_told(faulty: Faulty) -> None:
    faulty.faults = Faults(fail_at=2, times=None)
    result = faulty.run()
    assert faulty.faults.happened == 3
    assert len(faulty.of(Retrying)) == 2
    (failure,) = result.failures
    assert (failure.error, failure.exit_code, failure.retry) == ("ConnectionFailedError", 3, "step")


def test_what_no_retry_mends_is_tried_once(faulty: Faulty) -> None:
    faulty.faults = Faults(fail_at=2, times=None, error=SourceDataError("line 7 is broken"))
    result = faulty.run()
    assert faulty.faults.happened == 1
    assert faulty.of(Retrying) == []
    assert "line 7" in result.failures[0].lines[0]


def test_a_commit_nobody_could_ask_about_is_not_loaded_twice(
    faulty: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection died during a commit that went through; no cursor would save this append."""
    commit = SqlDestination.commit
    calls: list[str] = []

    def lost(self: SqlDestination, *arguments: Any) -> Commit:
        done = commit(self, *arguments)
        calls.append("commit")
        if len(calls) == 1:
            raise PublishUnknownError("nobody can be asked")
        return done

    monkeypatch.setattr(SqlDestination, "commit", lost)
    result = only(faulty.run(stream(cursor=None)))
    assert (result.outcome, result.counts.inserted, calls) == ("published", 50, ["commit"])
    assert faulty.ids() == list(range(1, 51))


def test_a_commit_that_was_lost_is_loaded_again(
    faulty: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = SqlDestination.commit
    calls: list[str] = []

    def lost(self: SqlDestination, *arguments: Any) -> Commit:
        calls.append("commit")
        if len(calls) == 1:
            raise PublishUnknownError("nobody can be asked")
        return commit(self, *arguments)

    monkeypatch.setattr(SqlDestination, "commit", lost)
    assert only(faulty.run(stream(cursor=None))).counts.inserted == 50
    assert faulty.ids() == list(range(1, 51))


def test_a_commit_that_stays_unknown_says_so(
    faulty: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: Any) -> Commit:
        raise PublishUnknownError("nobody can be asked", state="unknown; running again is safe")

    monkeypatch.setattr(DuckDBDestination, "commit", lost)
    (failure,) = faulty.run().failures
    assert (failure.exit_code, failure.retry) == (7, "plan")
    assert "safe" in failure.lines[1]


# --- bugs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["plan", "read", "commit"])
def test_a_bug_in_one_stream_is_named_and_spares_its_siblings(
    faulty: Faulty, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    faulty.tables |= {"other": numbers(5)}
    broken = ZeroDivisionError("oh no")
    if where == "read":
        faulty.faults = Faults(fail_at=2, error=broken)
    else:
        target = {"plan": "describe", "commit": "commit"}[where]
        real = getattr(DuckDBDestination, target)

        def bug(self: DuckDBDestination, what: Any, *rest: Any) -> Any:
            name = getattr(what, "name", "") or getattr(what, "target_table", "")
            if name == "orders":
                raise broken
            return real(self, what, *rest)

        monkeypatch.setattr(DuckDBDestination, target, bug)
    result = faulty.run(stream(), stream("other"))
    assert names(result) == (["other"], ["orders"], [])
    (failure,) = result.failures
    assert failure.exit_code == 1
    assert len(failure.lines) == 4
    assert "unexpected ZeroDivisionError: oh no; this is a bug" in failure.lines[0]
    error = failure.to_error()
    assert isinstance(error, ConduitError)
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert len(faulty.ids("other")) == 5


def test_a_failure_after_the_commit_does_not_say_that_nothing_was_published(
    faulty: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = DuckDBDestination.commit

    def bug(self: DuckDBDestination, *arguments: Any) -> Commit:
        commit(self, *arguments)
        raise KeyError("late")

    monkeypatch.setattr(DuckDBDestination, "commit", bug)
    (failure,) = faulty.run().failures
    assert failure.lines[1] == "published as version 1"


def test_a_listener_that_raises_aborts_nothing_and_is_told_once(faulty: Faulty) -> None:
    def bad(event: Event) -> None:
        raise RuntimeError("bad listener")

    connector = faulty_connector(faulty.tables)
    out = io.StringIO()
    with registry.added(connector), redirect_stderr(out):
        result = run(faulty.pipeline(), listeners=(bad, faulty.events.append))
    assert only(result).counts.read == 50
    assert out.getvalue().count("bad listener") == 1
    assert isinstance(faulty.events[0], RunStarted)
    assert isinstance(faulty.events[-1], RunFinished)


# --- plans ------------------------------------------------------------------------------------


def test_a_plan_survives_json_and_holds_what_will_be_done(each_lab: Lab) -> None:
    lab = each_lab
    lab.orders(range(1, 11))
    made = lab.plan()
    assert LoadPlan.model_validate_json(made.model_dump_json()) == made
    assert (made.window_text, made.mode, made.empty) == ("(start, 10]", "append", False)
    assert made.publish.record.load_id == made.load_id
    assert lab.run().load_id == made.load_id
    given = lab.plan(window_from="3", window_to="5")
    assert LoadPlan.model_validate_json(given.model_dump_json()) == given


def test_a_plan_changes_nothing(lab: Lab) -> None:
    lab.orders(range(1, 11))
    lab.plan()
    assert lab.file is not None
    assert not lab.file.exists()
    lab.run()

    def state() -> dict[str, str]:
        return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in lab.folder.iterdir()}

    before = state()
    lab.orders([])
    for request in ({}, {"full_refresh": True}, {"window_from": "2", "window_to": "5"}):
        lab.plan(**request)
    assert state() == before


@pytest.fixture
def postgres_lab(tmp_path: Path, postgres_database: str) -> Lab:
    return Lab(tmp_path, postgres_database)


def test_a_role_that_can_only_read_can_plan(
    postgres_lab: Lab, postgres_server: services.PostgresServer
) -> None:
    lab = postgres_lab
    database = str(lab.destination["url"])
    lab.orders(range(1, 11))
    lab.run()
    role = postgres_server.role(
        database, "USAGE ON SCHEMA public", "SELECT ON ALL TABLES IN SCHEMA public"
    )
    before = services.sql(database, CATALOGUE)
    lab.orders([11])
    reader = Lab(lab.folder, role.url)
    made = reader.plan()
    assert (made.window_text, made.watermark_text) == ("(10, 11]", "11")
    assert reader.plan(full_refresh=True).mode == "replace"
    with pytest.raises((PublishError, ConnectionFailedError), match="permission"):
        reader.run()
    assert services.sql(database, CATALOGUE) == before
    assert lab.ids() == list(range(1, 11))


def test_a_plan_of_an_empty_database_makes_nothing(postgres_lab: Lab) -> None:
    lab = postgres_lab
    database = str(lab.destination["url"])
    lab.orders(range(1, 11))
    before = services.sql(database, CATALOGUE)
    lab.plan(lab.pipeline(stream(), destination={**lab.destination, "schema": "raw"}))
    assert services.sql(database, CATALOGUE) == before


CATALOGUE = (
    "SELECT n.nspname, c.relname, c.relkind, c.xmin::text FROM pg_class c JOIN pg_namespace n"
    " ON n.oid = c.relnamespace WHERE n.nspname NOT LIKE 'pg_%' UNION ALL"
    " SELECT nspname, '', '', xmin::text FROM pg_namespace ORDER BY 1, 2"
)


@pytest.fixture(autouse=True)
def _settled() -> Iterator[None]:
    """Fail where a stream's thread outlives its run."""
    import threading

    yield
    left = [t.name for t in threading.enumerate() if t.name.startswith(("read-", "stream"))]
    assert left == []


def test_requests_are_refused_before_anything_is_opened(lab: Lab) -> None:
    with pytest.raises(ConduitError):
        plan(lab.pipeline(), request=RunRequest(window_from="1", full_refresh=True))
    assert lab.file is not None
    assert not lab.file.exists()
