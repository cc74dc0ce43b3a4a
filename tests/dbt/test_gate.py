"""p24: columns that a load changes are compared with the dbt project before anything is loaded."""

from __future__ import annotations

from contextlib import closing

import pytest

from conduit_core import Pipeline, RunRequest, plan, run
from tests.dbt.lab import DbtLab, hook

CONTRACT = """
models:
  - name: stg_orders
    config: {contract: {enforced: true}}
    columns: [{name: id, data_type: integer}, {name: amount, data_type: int}]
"""
SOURCES = """
sources:
  - name: raw
    tables: [{name: orders, columns: [{name: amount, data_type: INTEGER}]}]
"""
TOLD = """
{% set orders = var('conduit', {}).get('tables', {}).get('raw.orders', {}) %}
select '{{ orders.changed_columns | sort | join(',') }}' as told
"""


@pytest.fixture
def lab(lab: DbtLab) -> DbtLab:
    """A loaded table whose source then has a wider column and a new one."""
    found = lab
    for name in ("stg_items", "totals", "alone"):
        (found.project / f"models/{name}.sql").unlink()
    found.write("models/schema.yml", CONTRACT)
    found.write("models/sources.yml", SOURCES)
    source(found, "CREATE TABLE orders AS SELECT 1 AS id, 10 AS amount")
    run(pipeline(found), request=RunRequest(after=False))
    source(found, "INSERT INTO orders VALUES (2, 20)")
    source(found, "ALTER TABLE orders ALTER amount TYPE BIGINT")
    source(found, "ALTER TABLE orders ADD note VARCHAR")
    return found


def source(lab: DbtLab, sql: str) -> None:
    import duckdb

    with closing(duckdb.connect(str(lab.folder / "source.duckdb"))) as database:
        database.execute(sql)


def pipeline(lab: DbtLab, mode: str = "append", **dbt: object) -> Pipeline:
    orders = {"table": "orders", "mode": mode, "cursor": "id"}
    orders |= {"unique_key": "id"} if mode == "upsert" else {}
    mapping = {**lab.mapping(orders, **dbt), "source": {"type": "duckdb", "path": "source.duckdb"}}
    return Pipeline.from_mapping(mapping, lab.folder)


def test_p24_drift_is_told_before_the_load(lab: DbtLab) -> None:
    (made,) = plan(pipeline(lab))
    becomes = "column 'amount' of raw.orders becomes BIGINT, but the"
    wanted = (
        f"{becomes} dbt source declares INTEGER",
        f"{becomes} contract of model stg_orders says int",
        "column 'note' of raw.orders is new, and model stg_orders has a contract without it",
    )
    for told in wanted:
        assert any(told in w for w in made.warnings), (told, made.warnings)
    assert any("no dbt source declares it" in n for n in made.notes)

    (reported,) = plan(pipeline(lab, drift="report"))
    assert reported.warnings == ()
    for told in wanted:
        assert any(told in n for n in reported.notes)


def test_p24_drift_may_stop_the_load(lab: DbtLab) -> None:
    stopped = run(pipeline(lab, drift="stop"))
    assert (stopped.exit_code, stopped.results) == (4, ())
    line, state, _, command = stopped.failures[0].lines
    assert "the dbt project doesn't expect what this load changes (drift: stop)" in line
    assert "nothing published" in state
    assert command.startswith("conduit dbt sources")
    assert lab.select("select count(*) from raw.orders") == [(1,)]


def test_p24_changed_columns_reach_dbt_and_a_project_that_cannot_be_read_is_told(
    lab: DbtLab,
) -> None:
    lab.write("models/broken.sql", "select {{ nope( }}")
    (made,) = plan(pipeline(lab))
    (told,) = made.warnings
    assert "changed columns of raw.orders aren't compared with the dbt project" in told
    (lab.project / "models/broken.sql").unlink()
    (lab.project / "models/schema.yml").unlink()
    lab.write("models/stg_orders.sql", TOLD + "from {{ source('raw', 'orders') }} limit 1")
    result = run(pipeline(lab))
    assert hook(result).outcome == "succeeded"
    assert lab.select("select told from raw.stg_orders") == [("amount,note",)]


def test_p24_a_table_that_is_made_anew_is_compared_with_the_one_it_replaces(lab: DbtLab) -> None:
    source(lab, "ALTER TABLE orders DROP amount")
    made_anew = RunRequest(full_refresh=True)
    (made,) = plan(pipeline(lab), request=made_anew)
    gone = "column 'amount' of raw.orders is declared in the dbt source, but the table is made anew"
    assert any(gone in w for w in made.warnings), made.warnings
    assert "contract of model stg_orders has it" in " ".join(made.warnings)
    for mode in ("append", "upsert"):
        stopped = run(pipeline(lab, mode, drift="stop"), request=made_anew)
        assert (stopped.exit_code, stopped.results) == (4, ())

    source(lab, "ALTER TABLE orders ADD amount INTEGER")
    replaced = pipeline(lab, mode="replace")
    (made,) = plan(replaced)
    assert "contract without it" in " ".join(made.warnings)  # of the column `note`
