"""``conduit dbt debug | sources | import-rules``, as a user types them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conduit_core.cli import main
from tests.dbt.lab import DbtLab, stream

OURS = "# ours\nsources:\n- name: raw\n  tables:\n  - name: items # kept\n"
RULES = [
    {"rule": "not_null", "columns": ["id", "amount"]},
    {"rule": "accepted_values", "column": "amount", "values": [10, 20, 30], "action": "warn"},
]


@pytest.fixture(autouse=True)
def _there(lab: DbtLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(lab.folder)


def answer(capsys: pytest.CaptureFixture[str], *args: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["dbt", *args, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_sources_are_written_once_and_rules_come_back(
    lab: DbtLab, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.write(
        "models/sources.yml", "# ours\nsources:\n- name: raw\n  tables:\n  - name: items # kept\n"
    )
    file = lab.file(stream("orders", quality=RULES, freshness="24h"), stream("items"))
    shown = answer(capsys, "sources", "--dry-run")
    assert "data_type" not in (lab.project / "models/sources.yml").read_text()
    written = answer(capsys, "sources")
    assert written["files"] == shown["files"]
    text = (lab.project / "models/sources.yml").read_text()
    assert text.startswith(OURS)
    assert "loaded_at_field: _conduit_loaded_at" in text
    assert answer(capsys, "sources")["files"][0]["changes"] == []

    file.write_text(json.dumps(lab.mapping(), indent=1))
    found = answer(capsys, "import-rules", "--write")
    assert found["written"]
    streams = json.loads(json.dumps(__import__("yaml").safe_load(file.read_text())))["streams"]
    rules = {(r["rule"], str(r.get("column") or r.get("columns"))) for r in streams[0]["quality"]}
    assert ("accepted_values", "amount") in rules
    assert main(["plan"]) == 0
    assert answer(capsys, "import-rules")["missing"] == []


def test_line_ends_of_the_written_file_stay(
    lab: DbtLab, capsys: pytest.CaptureFixture[str]
) -> None:
    (lab.project / "models/sources.yml").write_bytes(OURS.replace("\n", "\r\n").encode())
    lab.file()
    assert answer(capsys, "sources")["files"][0]["changes"]
    written = (lab.project / "models/sources.yml").read_bytes()
    assert written.count(b"\n") == written.count(b"\r\n") > 10


def test_debug_looks_at_all_of_it(lab: DbtLab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.file()
    found = answer(capsys, "debug")
    assert [c["name"] for c in found["checks"]] == [
        "project", "dbt", "profile", "adapter", "compiles", "connection",
    ]  # fmt: skip
    assert main(["check"]) == 0
    assert "after (dbt)" in capsys.readouterr().out


def test_debug_names_another_database(lab: DbtLab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.file(profile=None)
    lab.write("profiles.yml", "shop: {target: a, outputs: {a: {type: duckdb, path: x.duckdb}}}")
    assert main(["dbt", "debug"]) == 2
    told = capsys.readouterr()
    assert "FAILED  database" in told.out
    assert "`profile: from_destination`" in told.err


def test_a_file_without_dbt_may_name_the_project(
    lab: DbtLab, capsys: pytest.CaptureFixture[str]
) -> None:
    mapping = lab.mapping()
    del mapping["after"]
    (lab.folder / "pipeline.yml").write_text(json.dumps(mapping))
    assert main(["dbt", "sources"]) == 2
    assert "name the project with --project-dir" in capsys.readouterr().err
    assert answer(capsys, "sources", "--project-dir", "dbt")["files"][0]["changes"]


def test_what_is_not_a_project(lab: DbtLab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.file(project_dir="nowhere")
    assert main(["run"]) == 2
    told = capsys.readouterr()
    assert "isn't a dbt project" in told.err
    assert not (lab.folder / "warehouse.duckdb").exists()
    assert main(["check"]) == 2
    assert "a retry will not help\nconduit dbt debug" in capsys.readouterr().err


def test_debug_tells_how_a_source_is_declared(
    lab: DbtLab, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.file()
    (lab.project / "models/sources.yml").unlink()
    assert main(["dbt", "debug"]) == 2
    assert capsys.readouterr().err.endswith("conduit dbt sources pipeline.yml\n")
    lab.write("models/stg_items.sql", "select id from {{ source('raw', 'elsewhere') }}")
    (lab.project / "models/stg_orders.sql").unlink()
    (lab.project / "models/totals.sql").unlink()
    assert main(["dbt", "debug"]) == 2
    assert capsys.readouterr().err.endswith("conduit dbt debug pipeline.yml\n")


def test_build_now(
    lab: DbtLab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.file()
    assert main(["run"]) == 0
    lab.write("models/again.sql", "select count(*) as n from {{ source('raw', 'items') }}")
    found = answer(capsys, "build", "--select", "again", "--full-refresh")
    assert [n["name"] for n in found["details"]["nodes"]] == ["again"]
    assert lab.select("select n from raw.again") == [(1,)]
    lab.write("models/again.sql", "select nowhere from {{ source('raw', 'items') }}")
    monkeypatch.setenv("CONDUIT_OBSERVE", "textfile:conduit.prom graphite:")
    assert main(["dbt", "build", "--select", "again"]) == 8
    told = capsys.readouterr().err
    assert "again (error: " in told
    assert "no receiver is called 'graphite'" in told
    counted = (lab.folder / "conduit.prom").read_text()
    assert 'conduit_hooks_total{hook="dbt",outcome="failed",pipeline="' in counted


def test_a_wrong_key_is_told_beside_a_project_of_the_command_line(
    lab: DbtLab, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.file(selekt="x")
    assert main(["dbt", "debug", "--project-dir", "dbt"]) == 2
    assert "`selekt`" in capsys.readouterr().err
