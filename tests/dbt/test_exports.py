"""What a schema is exported as for dbt, given to the real dbt."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pyarrow as pa

from conduit_core.connectors.duckdb.types import DuckDBDialect
from conduit_core.types.diff import diff, landed
from conduit_core.types.exports import to_dbt
from conduit_dbt.in_process import InProcess
from conduit_dbt.invoke import Invocation

DUCKDB = DuckDBDialect()


def test_dbt_builds_a_model_under_the_exported_contract(tmp_path: Path) -> None:
    """dbt itself compares the contract with what the model makes, and makes what `diff` wants."""
    import duckdb

    schema = pa.schema(
        [
            pa.field("id", pa.int64(), nullable=False),
            ("price", pa.decimal128(12, 2)),
            ("at", pa.timestamp("us", "UTC")),
            ("Odd name", pa.string()),
        ]
    )
    columns = to_dbt(schema, DUCKDB, "orders")
    (tmp_path / "models").mkdir()
    enforced = columns.replace(
        "- name: orders\n", "- name: orders\n  config: {contract: {enforced: true}}\n"
    )
    (tmp_path / "models" / "orders.yml").write_text(enforced, encoding="utf-8")
    casts = ", ".join(f'NULL::{DUCKDB.landing(f).ddl} AS "{f.name}"' for f in schema)
    sql = f"{{{{ config(materialized='table') }}}} SELECT {casts} WHERE false"
    (tmp_path / "models" / "orders.sql").write_text(sql, encoding="utf-8")
    (tmp_path / "dbt_project.yml").write_text(
        "name: shop\nversion: '1.0'\nprofile: shop\nflags: {send_anonymous_usage_stats: false}\n",
        encoding="utf-8",
    )
    (tmp_path / "profiles.yml").write_text(
        f"shop: {{target: dev, outputs: {{dev: {{type: duckdb, path: '{tmp_path}/w.duckdb'}}}}}}",
        encoding="utf-8",
    )
    folders = ("--project-dir", str(tmp_path), "--profiles-dir", str(tmp_path))
    target = ("--target-path", str(tmp_path / "target"))
    ended = InProcess().invoke(Invocation(("run",), target, folders, tmp_path))
    assert ended.code == 0, ended.error
    with closing(duckdb.connect(str(tmp_path / "w.duckdb"))) as con:
        query = "SELECT column_name, data_type, is_nullable FROM duckdb_columns()"
        rows = con.execute(f"{query} WHERE table_name = 'orders'").fetchall()
    made = pa.schema([DUCKDB.field_of(name, ddl, nullable=null) for name, ddl, null in rows])
    assert diff(made, landed(schema, DUCKDB)) == ()
