"""The shop beside Cosmos: Conduit loads, Cosmos has a task for each model.

``after=False`` leaves dbt to Cosmos: no model is built twice.
"""

from __future__ import annotations

from pathlib import Path

from airflow.sdk import DAG
from cosmos import DbtTaskGroup, ExecutionConfig, ProfileConfig, ProjectConfig, RenderConfig
from cosmos.constants import InvocationMode, LoadMode

from airflow_provider_conduit import ConduitTaskGroup

HERE = Path(__file__).resolve().parent

# DuckDB lets one process at a time write: one task at a time.
with DAG("shop_cosmos", schedule=None, max_active_runs=1, max_active_tasks=1) as dag:
    load = ConduitTaskGroup("load", pipeline="shop.yml", after=False)
    transform = DbtTaskGroup(
        group_id="transform",
        project_config=ProjectConfig(
            HERE / "dbt", env_vars={"SHOP_WAREHOUSE": str(HERE / "warehouse.duckdb")}
        ),
        profile_config=ProfileConfig(
            profile_name="shop",
            target_name="dev",
            profiles_yml_filepath=HERE / "profiles" / "profiles.yml",
        ),
        execution_config=ExecutionConfig(invocation_mode=InvocationMode.DBT_RUNNER),
        render_config=RenderConfig(load_method=LoadMode.CUSTOM),  # no dbt while it is parsed
        # a stream that was skipped keeps no model from being built
        operator_args={"trigger_rule": "none_failed", "install_deps": False},
    )
    load >> transform
