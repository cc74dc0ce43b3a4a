from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

from tests.airflow.lab import MEMBERS, QUIET

# What reads a DAG file, and notes what is opened and imported meanwhile.
PARSE = """
    import json, sys
    from airflow.sdk import DAG
    import airflow.providers.standard.operators.python
    import croniter  # by any DAG with a schedule; it asks `file` for the word length
    seen = []
    WATCHED = ("socket.connect", "sqlite3.connect", "subprocess.Popen")
    before = set(sys.modules)
    on = True
    sys.addaudithook(lambda event, args: on and event in WATCHED and seen.append(event))
    exec(compile(open(sys.argv[1]).read(), sys.argv[1], "exec"), {"__file__": sys.argv[1]})
    on = False
    print(json.dumps({"events": seen, "modules": sorted(set(sys.modules) - before)}))
"""
DAG = """
    from airflow.sdk import DAG, Asset, task
    from airflow_provider_conduit import (
        ConduitCursorSensor, ConduitDag, ConduitLoadOperator, ConduitReplayOperator, conduit_asset,
    )
    from airflow_provider_conduit.decorator import conduit_task

    with DAG("parsed", schedule=[conduit_asset("shop.yml", "orders")]) as dag:
        wait = ConduitCursorSensor(task_id="wait", pipeline="shop.yml", stream="orders")
        wait >> ConduitLoadOperator(task_id="load", pipeline="shop.yml", stream="orders")

        @conduit_task(destination_conn_id="warehouse", into="raw.numbers")
        def numbers():
            import pyarrow
            return pyarrow.table({"n": [1]})

        numbers()
        ConduitReplayOperator(task_id="replay", pipeline="shop.yml")

    ConduitDag("form", pipeline="shop.yml", expand=["orders"])
"""
HEAVY = ("pyarrow", "duckdb", "adbc_driver_manager", "psycopg2", "pandas", "obstore", "sqlglot")


def test_p21_parsing_a_dag_opens_nothing_and_imports_no_driver(tmp_path: Path) -> None:
    """Nor any of our models: a DAG file is parsed every half minute."""
    (tmp_path / "parse.py").write_text(textwrap.dedent(PARSE))
    (tmp_path / "dag.py").write_text(textwrap.dedent(DAG))
    pipeline = {"connection": "shop_src"}
    mapping = {"name": "shop", "source": pipeline, "destination": "postgres://nobody@nowhere/wh"}
    more = {"streams": ["orders"], "after": {"dbt": {}}}
    (tmp_path / "shop.yml").write_text(json.dumps({**mapping, **more}))
    env = {k: v for k, v in os.environ.items() if not k.startswith("AIRFLOW")}
    env |= QUIET | {"AIRFLOW_HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(map(str, MEMBERS))}
    told = subprocess.run(
        [sys.executable, tmp_path / "parse.py", tmp_path / "dag.py"],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    seen = json.loads(told.stdout.splitlines()[-1])
    assert seen["events"] == []
    modules = set(seen["modules"])
    assert "airflow_provider_conduit.load" in modules
    assert not modules & {*HEAVY, "conduit_core.spec.model", "conduit_core.engine.pipeline"}
