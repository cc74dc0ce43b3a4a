"""What an import of the package does, and that nothing in it needs dbt."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

from tests.warm import ROOT

PACKAGE = ROOT / "integrations" / "prefect" / "prefect_conduit"

# Prefect's own import reads its settings and more; what is watched is the package's.
LOAD = """
    import json, sys
    import prefect.main, prefect.artifacts, prefect.assets, prefect.events, prefect.runtime
    import prefect.blocks.fields, prefect.task_runners, prefect.tasks, prefect.flow_runs
    import prefect.client.orchestration, prefect.variables, prefect.logging, prefect.states
    import asyncio, httpx, uuid
    seen = []
    before = set(sys.modules)
    WATCHED = ("socket.connect", "sqlite3.connect", "subprocess.Popen", "socket.getaddrinfo")
    def note(event, args):
        is_file = event == "open" and not str(args[0]).endswith((".py", ".pyc"))
        if is_file or event in WATCHED:
            seen.append([event, str(args[0])])
    sys.addaudithook(note)
    import prefect_conduit
    events = list(seen)
    from prefect_conduit import ConduitConnection, ConduitPipeline, run_pipeline
    ConduitConnection(url="postgres://nobody@nowhere/wh")
    ConduitPipeline(path="shop.yml")
    new = {name.partition(".")[0] for name in set(sys.modules) - before}
    print(json.dumps({"events": events, "packages": sorted(new)}))
"""
OTHERS = {"dbt", "prefect_dbt", "conduit_dbt", "prefect_sqlalchemy", "prefect_aws", "prefect_gcp"}
DRIVERS = {
    *("pyarrow", "duckdb", "adbc_driver_manager", "psycopg2", "obstore", "sqlglot", "polars")
}


def test_importing_opens_nothing_and_imports_no_driver(tmp_path: Path) -> None:
    (tmp_path / "load.py").write_text(textwrap.dedent(LOAD))
    told = subprocess.run(
        [sys.executable, tmp_path / "load.py"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = json.loads(told.stdout.splitlines()[-1])
    assert found["events"] == []
    assert (OTHERS | DRIVERS).isdisjoint(found["packages"])


def test_nothing_imports_dbt_or_a_package_that_brings_blocks() -> None:
    imported = set()
    for path in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {each.name.partition(".")[0] for each in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").partition(".")[0])
    assert OTHERS.isdisjoint(imported)


def test_no_module_has_the_name_of_a_library() -> None:
    """Prefect puts our folder into `sys.path` for a deployment made by `to_deployment`.

    Then whoever imports `requests` in that process must not get ours.
    """
    names = {file.stem for file in PACKAGE.glob("[a-z]*.py")}
    assert {name for name in names if find_spec(name) is not None} == set()
    assert names & {"requests", "markdown", *sys.stdlib_module_names} == set()
