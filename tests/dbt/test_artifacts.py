from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from conduit_dbt.artifacts import _spoken, forget, read_manifest, read_result, shown, sources_of
from conduit_dbt.results import DbtResult


def _write(folder: Path, name: str, invocation: str, *results: dict[str, Any]) -> None:
    (folder / name).write_text(
        json.dumps({"metadata": {"invocation_id": invocation}, "results": list(results)})
    )


def _log(folder: Path, invocation: str, *events: tuple[str, dict[str, Any]]) -> None:
    lines = [
        json.dumps({"info": {"name": name, "invocation_id": invocation}, "data": data})
        for name, data in events
    ]
    (folder / "dbt.log").write_text("\n".join([*lines, "{cut off"]))


def _read(folder: Path, code: int = 0, error: str = "") -> DbtResult:
    return read_result(
        folder,
        command="build",
        arguments=("--select", "x"),
        code=code,
        error=error,
        seconds=1.5,
        secrets=["hush", "", "hush hush"],
    )


NODE = {
    "unique_id": "model.shop.orders",
    "status": "error",
    "execution_time": 0.5,
    "adapter_response": {"rows_affected": -1},
    "message": "no: hush hush, hush",
    "failures": None,
}


def test_an_earlier_invocations_results_are_not_taken(tmp_path: Path) -> None:
    _write(tmp_path, "run_results.json", "old", NODE)
    _log(tmp_path, "new", ("MainReportVersion", {"version": "=1.8.1"}))
    result = _read(tmp_path)
    assert (result.nodes, result.dbt_version) == ((), "1.8.1")
    _write(tmp_path, "run_results.json", "new", NODE)
    assert len(_read(tmp_path).nodes) == 1


def test_an_earlier_invocations_files_are_deleted(tmp_path: Path) -> None:
    _write(tmp_path, "run_results.json", "old", NODE)
    (tmp_path / "manifest.json").write_text('{"a": 1}')
    forget(tmp_path, manifest=False)
    assert read_manifest(tmp_path) == {"a": 1}
    forget(tmp_path, manifest=True)
    assert not list(tmp_path.iterdir())
    assert read_manifest(tmp_path) == {}


def test_secrets_are_masked_and_unknown_rows_are_none(tmp_path: Path) -> None:
    _write(tmp_path, "run_results.json", "a", NODE)
    node = _read(tmp_path, code=1).nodes[0]
    assert node.message == "no: *****, *****"
    assert (node.rows, node.failed, node.name, node.path) == (None, True, "orders", "")


def test_what_dbt_logged_last_is_the_error(tmp_path: Path) -> None:
    assert _read(tmp_path, 2, "seen by the runner, hush").error == "seen by the runner, *****"
    _log(tmp_path, "a", ("MainEncounteredError", {"exc": "Compilation Error\n  hush\n"}))
    assert _read(tmp_path, 2, "less").error == "Compilation Error\n  *****"


def test_a_source_that_only_the_log_tells_of(tmp_path: Path) -> None:
    node = {"node_info": {"unique_id": "source.shop.raw.gone"}}
    _write(tmp_path, "sources.json", "a")
    _log(
        tmp_path,
        "a",
        ("LogFreshnessResult", {"status": "runtime error", **node}),
        ("RunResultError", {"msg": "no such table", **node}),
    )
    result = _read(tmp_path, code=1)
    assert [(f.name, f.status, f.message) for f in result.freshness] == [
        ("raw.gone", "runtime error", "the table isn't there or can't be read: no such table")
    ]
    assert result.error == ""


def test_a_file_cut_off_by_a_kill_is_no_result(tmp_path: Path) -> None:
    (tmp_path / "run_results.json").write_text('{"results": [')
    assert _read(tmp_path, 2, "killed").error == "killed"


def test_vars_are_not_shown() -> None:
    given = ["--vars", "{a: 1}", "--select", "x", "--vars={a: 1}"]
    assert shown(given) == ("--vars", "...", "--select", "x", "--vars=...")


@pytest.mark.parametrize(
    ("age", "said"),
    [
        (timedelta(seconds=-3), "0 seconds"),
        (timedelta(seconds=1), "1 second"),
        (timedelta(minutes=61), "1 hour"),
        (timedelta(days=2, hours=5), "2 days"),
    ],
)
def test_an_age_is_said_in_one_unit(age: timedelta, said: str) -> None:
    assert _spoken(age) == said


def test_sources_are_read_from_a_manifest() -> None:
    source = {
        "source_name": "raw", "name": "orders", "database": None, "schema": "landing",
        "identifier": "ORDERS",
    }  # fmt: skip
    (found,) = sources_of({"sources": {"source.shop.raw.orders": source}})
    assert found.unique_id == "source.shop.raw.orders"
    assert (found.database, found.schema_name, found.identifier) == (None, "landing", "ORDERS")
    assert sources_of({}) == ()
