"""What dbt is told of the loads: a model selects just their rows, by ids or by the window."""

from __future__ import annotations

import json
from pathlib import Path

from conduit_core import ChangedTable
from conduit_core.engine.hooks import LoadFacts, WindowFacts
from conduit_core.state.ledger import Counts
from conduit_dbt.context import comment, environment, variables
from tests.dbt.lab import COMMENT, DbtLab, nodes, stream

BY_IDS = """
{{ config(materialized='incremental') }}
{% set orders = var('conduit', {}).get('tables', {}).get('raw.orders') %}
select id, amount, '{{ orders.load_ids | join(',') }}' as loads from {{ source('raw', 'orders') }}
{% if orders %} where _conduit_load_id in ('{{ orders.load_ids | join("', '") }}') {% endif %}
"""
BY_WINDOW = """
{{ config(materialized='incremental', unique_key='id') }}
{% set window = var('conduit', {}).get('tables', {}).get('raw.orders', {}).get('window') %}
select id, amount from {{ source('raw', 'orders') }}
{% if is_incremental() and window %}
where {{ window.column }} >= {{ window.low }} and {{ window.column }} <= {{ window.high }}
{% endif %}
"""


def load(
    number: int, *, kind: str = "watermark", inserted: int = 1, null_cursor: bool = False
) -> LoadFacts:
    window = WindowFacts.model_validate({
        "kind": kind, "column": "id", "low": str(number - 1), "high": str(number),
        "null_cursor": null_cursor,
    })  # fmt: skip
    return LoadFacts(
        load_id=f"load{number}",
        version=number,
        mode="append",
        window=window,
        watermark=str(number),
        loaded_at=f"2024-01-0{number}T00:00:00+00:00",
        counts=Counts(read=inserted, inserted=inserted),
    )


def table(*loads: LoadFacts) -> ChangedTable:
    return ChangedTable(
        stream="orders", schema_name="raw", table="orders", finished=0, version=9, loads=loads
    )


def test_several_loads_are_one_window_where_they_lie_side_by_side() -> None:
    def window(*loads: LoadFacts) -> object:
        tables = variables("shop", [table(*loads)])["tables"]
        assert isinstance(tables, dict)
        return tables["raw.orders"]["window"]

    whole = {"kind": "watermark", "column": "id", "low": "0", "high": "2"}
    assert window(load(1), load(2)) == whole
    assert window(load(1, kind="given")) == {**whole, "kind": "given", "high": "1"}
    assert window(load(1, kind="given"), load(2, kind="given")) is None
    assert window(load(1), load(2, kind="given")) is None
    assert window(load(1, kind="full")) is None
    assert window(load(3), load(2)) is None  # the watermark was set back meanwhile
    assert window(load(1, null_cursor=True)) is None
    assert window() is None


def test_a_table_whose_loads_are_not_all_known_is_read_whole() -> None:
    known, forgotten = table(load(1)), table(load(2)).model_copy(update={"complete": False})
    assert variables("shop", [known])["tables"] != {}
    assert variables("shop", [forgotten])["tables"] == {}


def test_what_dbt_is_told_fits_a_command_line() -> None:
    many = table(*[load(1)] * 9000).model_copy(update={"table": "many"})
    told = variables("shop", [many, table(load(1))])["tables"]
    assert isinstance(told, dict)
    assert list(told) == ["raw.orders"]
    assert len(environment("shop", [many])["DBT_ENV_CUSTOM_ENV_CONDUIT_LOAD_IDS"]) == 0
    most = json.dumps(variables("shop", [table(*[load(1)] * 200)]))
    assert 40 * 2**10 < len(most) < 100 * 2**10


def test_rows_are_summed() -> None:
    tables = variables("shop", [table(load(1), load(2, inserted=3))])["tables"]
    assert isinstance(tables, dict)
    told = tables["raw.orders"]
    assert (told["rows"], told["load_ids"]) == ({"read": 4, "inserted": 4}, ["load1", "load2"])
    assert told["loaded_from"] == "2024-01-01T00:00:00+00:00"


def test_environment_and_comment_are_plain_text() -> None:
    found = environment("shop", [table(load(1))])
    assert found["DBT_ENV_CUSTOM_ENV_CONDUIT_LOAD_IDS"] == "load1"
    assert found["DBT_ENV_CUSTOM_ENV_CONDUIT_TABLES"] == "raw.orders"
    many = comment("*/ drop", [f"l{n}" for n in range(9)])
    assert "*/" not in many
    assert json.loads(many)["conduit_loads_more"] == 4


def test_a_model_reads_exactly_the_rows_of_the_loads(
    tmp_path: Path, postgres_database: str
) -> None:
    lab = DbtLab(tmp_path / "lab", postgres_database)  # on DuckDB the flights' demo does it
    for name in ("stg_items", "totals", "alone"):
        (lab.project / f"models/{name}.sql").unlink()
    lab.write("models/stg_orders.sql", BY_IDS)
    lab.write("models/by_window.sql", BY_WINDOW)
    lab.write("dbt_project.yml", (lab.project / "dbt_project.yml").read_text() + COMMENT)
    streams = (stream("orders", mode="append", unique_key=[]),)
    first = lab.run(*streams)
    assert set(nodes(first)) >= {"stg_orders", "by_window"}
    lab.rows("orders", (3, 30), (4, 40), (5, 50))
    second = lab.run(*streams)
    load_id = second.results[0].load_id
    rows = lab.select("select id, loads from raw.stg_orders order by id")
    assert [i for i, _ in rows] == [1, 2, 3, 4, 5]
    assert [loads for i, loads in rows if i > 2] == [load_id] * 3
    assert lab.select("select count(*), sum(amount) from raw.by_window") == [(5, 150)]
    compiled = lab.project / "target/conduit/shop/compiled/shop/models/by_window.sql"
    assert "where id >= 2 and id <= 5" in compiled.read_text()
    assert _statements(lab)["CONDUIT_LOAD_IDS"] == load_id  # of this run, not of the one before
    assert "conduit_pipeline" in _statements(lab)["CONDUIT_QUERY_COMMENT"]


def _statements(lab: DbtLab) -> dict[str, str]:
    """Return what dbt wrote of the run: artifacts carry the variables of the environment."""
    found = json.loads((lab.project / "target/conduit/shop/run_results.json").read_text())
    env: dict[str, str] = found["metadata"]["env"]
    return env
