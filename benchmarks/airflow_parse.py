"""What a DAG file of ours costs Airflow's parser, against one with a PythonOperator."""

from __future__ import annotations

import os
import statistics
import sys
from typing import TYPE_CHECKING

from benchmarks.measure import Row, Sample, load_seconds, timed

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.__main__ import Bench

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
begin = time.perf_counter()
exec(compile(text, sys.argv[1], "exec"), {"__name__": "dag", "__file__": sys.argv[1]})
print(json.dumps({"seconds": time.perf_counter() - begin}))
"""


def parsing(bench: Bench) -> Row:
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
    paths = [bench.root, bench.root / "providers" / "airflow", os.environ.get("PYTHONPATH", "")]
    env = {
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
    }

    def parsed(file: str) -> Sample:
        return timed([sys.executable, "clock.py", file], folder, env)

    pairs = [(parsed("ours.py"), parsed("theirs.py")) for _ in range(PAIRS + 1)][1:]
    ours = statistics.median(load_seconds(a) or 0.0 for a, _ in pairs)
    theirs = statistics.median(load_seconds(b) or 0.0 for _, b in pairs)
    more = 1000 * (ours - theirs)
    return Row(
        name=f"parsing a DAG of ours, {1000 * ours:.0f} ms; of a PythonOperator,"
        f" {1000 * theirs:.0f} ms: {more:.0f} ms more",
        ours=statistics.median(a.seconds for a, _ in pairs),
        load=ours,
        reference=statistics.median(b.seconds for _, b in pairs),
        ratio=statistics.median(a.seconds / b.seconds for a, b in pairs),
        load_ratio=ours / theirs,
        peak_mib=max(a.peak_mib for a, _ in pairs),
        limit="50 ms more",
    )


def cases(bench: Bench) -> dict[str, Callable[[], Row]]:
    """Return the cases by name."""
    return {"airflow": lambda: parsing(bench)}
