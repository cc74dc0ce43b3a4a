from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from importlib.metadata import entry_points
from pathlib import Path

from tests.warm import ROOT

# Imports the package, then makes assets, and notes what is opened and imported meanwhile.
LOAD = """
    import json, sys
    import dagster as dg
    seen = []
    before = set(sys.modules)
    WATCHED = ("socket.connect", "sqlite3.connect", "subprocess.Popen")
    phase = "import"
    def note(event, args):
        is_file = event == "open" and not str(args[0]).endswith((".py", ".pyc"))
        if phase and (is_file or event in WATCHED):
            seen.append([phase, event, str(args[0])])
    sys.addaudithook(note)
    from dagster_conduit import ConduitComponent, ConduitResource, conduit_assets
    phase = "load"
    @conduit_assets(pipeline="shop.yml")
    def shop(context: dg.AssetExecutionContext, conduit: ConduitResource):
        yield from conduit.run(context=context)
    conduit = ConduitResource(connections={"shop_pg": dg.EnvVar("SHOP_URL")})
    phase = ""
    new = {name.partition(".")[0] for name in set(sys.modules) - before}
    dg.Definitions.validate_loadable(dg.Definitions([shop], resources={"conduit": conduit}))
    print(json.dumps({"events": seen, "packages": sorted(new), "keys": len(list(shop.keys)),
                      "model": "conduit_core.spec.model" in sys.modules}))
"""
HEAVY = {
    *("pyarrow", "duckdb", "adbc_driver_manager", "psycopg2", "pandas", "obstore", "sqlglot"),
    *("dbt", "dagster_dbt", "conduit_dbt"),
}


def test_p21_loading_definitions_opens_nothing_and_imports_no_driver(tmp_path: Path) -> None:
    """While definitions are loaded, the pipeline's file is read, and nothing else."""
    (tmp_path / "load.py").write_text(textwrap.dedent(LOAD))
    rules = [{"rule": "not_null", "column": "id"}]
    streams = [{"table": "orders", "quality": rules}, "customers"]
    pipeline = {"source": {"connection": "shop_pg"}, "destination": "postgres://nobody@nowhere/wh"}
    more = {"name": "shop", "streams": streams, "after": {"dbt": {}}}
    (tmp_path / "shop.yml").write_text(json.dumps({**pipeline, **more}))
    path = [ROOT, ROOT / "integrations" / "dagster"]
    told = subprocess.run(
        [sys.executable, tmp_path / "load.py"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    seen = json.loads(told.stdout.splitlines()[-1])
    assert seen["keys"] == 2
    assert seen["events"] == [["load", "open", str(tmp_path / "shop.yml")]]
    assert "dagster_conduit" in seen["packages"]
    assert not HEAVY & set(seen["packages"])
    assert not seen["model"], "an outline is enough"


def test_dg_finds_the_component() -> None:
    (found,) = (
        each
        for each in entry_points(group="dagster_dg_cli.registry_modules")
        if each.name == "dagster_conduit"
    )
    assert hasattr(found.load(), "ConduitComponent")


def test_no_module_has_the_name_of_a_library_that_a_step_imports() -> None:
    """Whoever has our folder in `sys.path` and imports `requests` must not get ours.

    `resource` is known by its name to code that says `dagster_conduit.resource`.
    """
    folder = ROOT / "integrations" / "dagster" / "dagster_conduit"
    names = {file.stem for file in folder.glob("[a-z]*.py")} - {"resource"}
    assert "asked" in names
    assert names & {"requests", *sys.stdlib_module_names} == set()
