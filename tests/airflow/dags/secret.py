"""Loads with passwords in the pipeline file and in a connection, each once right, once wrong."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_provider_conduit.load import ConduitLoadOperator

with DAG("secret", schedule=None):
    by_file = ConduitLoadOperator(task_id="by_file", pipeline="secret.yml", stream="by_file")
    by_connection = ConduitLoadOperator(
        task_id="by_connection",
        pipeline="secret.yml",
        stream="by_connection",
        destination_conn_id="warehouse",
    )
    ConduitLoadOperator(task_id="refused_by_file", pipeline="refused.yml", stream="by_file")
    ConduitLoadOperator(
        task_id="refused_by_connection",
        pipeline="refused.yml",
        stream="by_connection",
        destination_conn_id="refused",
    )
    by_file >> by_connection
