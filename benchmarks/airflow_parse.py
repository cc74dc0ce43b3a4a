"""What a DAG file of ours costs Airflow's parser, against one with a PythonOperator."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial

from benchmarks.bench import Bench
from benchmarks.measure import timed
from benchmarks.results import Measured, Side, Wanted

PAIRS = 7
PIPELINE = """
name: shop
source: {connection: shop_src}
destination: {connection: warehouse, schema: raw}
streams:
  - {table: customers, mode: upsert, unique_key: id}
  - {table: orders, mode: append, cursor: [updated_at, id], splits: 4}
after:
  dbt: {project_dir: dbt}
"""
OURS = """
from airflow.sdk import DAG
from airflow_provider_conduit import ConduitLoadOperator, ConduitTaskGroup

with DAG("ours", schedule=None):
    load = ConduitTaskGroup("load", pipeline="shop.yml", retries=2)
    load >> ConduitLoadOperator(task_id="again", pipeline="shop.yml", stream="orders")
"""
THEIRS = """
from airflow.sdk import DAG
from airflow.providers.standard.operators.python import PythonOperator

with DAG("theirs", schedule=None):
    PythonOperator(task_id="load", python_callable=print)
"""
CLOCK = """
import airflow.sdk, json, sys, time
airflow.sdk.DAG, airflow.sdk.BaseOperator, airflow.sdk.TaskGroup  # they are imported when used
text = open(sys.argv[1]).read()
begin, cpu = time.perf_counter(), time.process_time()
exec(compile(text, sys.argv[1], "exec"), {"__name__": "dag", "__file__": sys.argv[1]})
took = {"seconds": time.perf_counter() - begin, "cpu": time.process_time() - cpu}
print(json.dumps(took))
"""


def parsing(bench: Bench) -> Measured:
    """Fresh interpreters, in turn, that have imported Airflow before the clock starts."""
    folder = bench.folder / "airflow_parse"
    folder.mkdir()
    for name, text in (
        ("shop.yml", PIPELINE),
        ("ours.py", OURS),
        ("theirs.py", THEIRS),
        ("clock.py", CLOCK),
    ):
        (folder / name).write_text(text)
    env = {
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONDONTWRITEBYTECODE": "",  # an installed package is compiled
        "PYTHONPATH": bench.path,
    }

    def parsed(file: str) -> dict[str, float]:
        took: dict[str, float] = json.loads(
            timed([sys.executable, "clock.py", file], folder, env).out
        )
        return took

    pairs = [(parsed("ours.py"), parsed("theirs.py")) for _ in range(PAIRS + 1)][1:]
    return Measured(
        section="hosts",
        what="parsing an Airflow DAG file of a task group, a spread stream and a hook",
        sides=[
            Side(
                name=who,
                seconds=[round(pair[at]["seconds"], 4) for pair in pairs],
                cpu_seconds=[round(pair[at]["cpu"], 4) for pair in pairs],
            )
            for at, who in enumerate(("conduit", "a PythonOperator"))
        ],
        wanted=Wanted(more_seconds=0.05),
    )


def cases(bench: Bench) -> dict[str, Callable[[], Measured]]:
    """Return the cases by name."""
    return {"airflow-parse": partial(parsing, bench)}
