"""The scenes of a schedule of kills, a group of tasks each; who dies is tried again by Airflow."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG

from airflow_provider_conduit import ConduitTaskGroup

with DAG("kills", schedule=None, max_active_tasks=4):
    for name, file in json.loads(Path(os.environ["SCENES"]).read_text()).items():
        ConduitTaskGroup(name, pipeline=file, retries=4, retry_delay=timedelta(0))
