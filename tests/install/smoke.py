"""Ten rows, loaded by each runner: scripts that an environment of one distribution runs."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.install.matrix import Distribution, run

PIPELINE = {
    "name": "shop",
    "source": {"type": "csv", "path": "."},
    "destination": {"type": "parquet", "path": "lake"},
    "streams": [{"path": "orders.csv", "mode": "append", "cursor": "id"}],
}
ROWS = "id,amount\n" + "".join(f"{number},{number}.5\n" for number in range(1, 11))

# The last lines of each script: what its runner has loaded.
_COUNT = """
    import json
    import conduit_core
    pipeline = conduit_core.Pipeline.from_file("shop.yml")
    with conduit_core.read(pipeline, "orders") as reader:
        print(json.dumps({"rows": reader.read_all().num_rows, "file": conduit_core.__file__}))
"""
_COMMAND = """
    import subprocess
    import sys
    from pathlib import Path
    conduit = Path(sys.executable).with_name("conduit")
    subprocess.run([conduit, "connectors", "new", "inbox"], check=True)
    subprocess.run([conduit, "run", "shop.yml"], check=True)
"""
_AIRFLOW = """
    import os
    import subprocess
    import sys
    from pathlib import Path
    home = Path("airflow").absolute()
    os.environ |= {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    (home / "dags").mkdir(parents=True)
    (home / "dags" / "shop.py").write_text(
        "from airflow_provider_conduit import ConduitDag\\n"
        f"dag = ConduitDag('shop', pipeline={os.path.abspath('shop.yml')!r}, schedule=None)\\n")
    for words in (["db", "migrate"], ["dags", "reserialize"], ["dags", "test", "shop"]):
        subprocess.run([sys.executable, "-m", "airflow", *words], check=True)
"""
_DAGSTER = """
    from pathlib import Path
    import dagster as dg
    from dagster_conduit import ConduitResource, conduit_assets

    @conduit_assets(pipeline=str(Path("shop.yml").absolute()))
    def shop(context: dg.AssetExecutionContext, conduit: ConduitResource):
        yield from conduit.run(context=context)

    assert dg.materialize([shop], resources={"conduit": ConduitResource()}).success
"""
_PREFECT = """
    import os
    os.environ |= {"PREFECT_HOME": os.path.abspath("home"), "PREFECT_SERVER_ANALYTICS_ENABLED": "0"}
    from prefect.testing.utilities import prefect_test_harness
    from prefect_conduit import run_pipeline
    with prefect_test_harness(server_startup_timeout=300):
        run_pipeline(pipeline="shop.yml")
"""
_DBT = """
    import subprocess
    import sys
    from pathlib import Path
    Path("dbt/models").mkdir(parents=True)
    Path("dbt/dbt_project.yml").write_text("name: shop\\nprofile: shop\\n")
    Path("dbt/models/sources.yml").write_text(
        "sources: [{name: raw, schema: main, tables: [{name: orders}]}]\\n")
    Path("dbt/models/total.sql").write_text("{{ config(materialized='table') }}"
        "select count(*) n from {{ source('raw', 'orders') }}\\n")
    conduit = Path(sys.executable).with_name("conduit")
    subprocess.run([conduit, "run", "shop.yml"], check=True)
    import duckdb
    with duckdb.connect("warehouse.duckdb") as connection:
        assert connection.sql("SELECT n FROM main.total").fetchall() == [(10,)]
"""
SCRIPTS: Mapping[str, str] = {
    "conduit-load": _COMMAND,
    "conduit-dbt": _DBT,
    "airflow-provider-conduit": _AIRFLOW,
    "dagster-conduit": _DAGSTER,
    "prefect-conduit": _PREFECT,
}


def load(distribution: Distribution, python: Path, folder: Path) -> dict[str, Any]:
    """Load ten rows in a new folder; return what the script told: ``rows``, and our ``file``."""
    folder.mkdir()
    pipeline: dict[str, Any] = dict(PIPELINE)
    if distribution.name == "conduit-dbt":
        pipeline["destination"] = "duckdb:///warehouse.duckdb"
        pipeline["after"] = {"dbt": {"project_dir": "dbt", "profile": "from_destination"}}
    (folder / "shop.yml").write_text(json.dumps(pipeline))
    (folder / "orders.csv").write_text(ROWS)
    text = textwrap.dedent(SCRIPTS[distribution.name]) + textwrap.dedent(_COUNT)
    (folder / "load.py").write_text(text)
    told: dict[str, Any] = json.loads(run(python, "load.py", cwd=folder).splitlines()[-1])
    return told
