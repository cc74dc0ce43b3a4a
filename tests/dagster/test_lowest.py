"""The lowest Dagster that we support, in an environment of its own."""

from __future__ import annotations

import json
import subprocess
import textwrap
from pathlib import Path

import pytest

from tests.install import matrix

pytestmark = [pytest.mark.slow, pytest.mark.deep]

SCENE = """
    import json
    from pathlib import Path

    import dagster as dg
    from dagster.components.testing import create_defs_folder_sandbox

    from dagster_conduit import ConduitComponent, ConduitResource, conduit_assets
    from dagster_conduit.state import current

    rules = [{"rule": "range", "column": "amount", "min": 0}]
    orders = {"path": "orders.csv", "mode": "append", "cursor": "id", "quality": rules}
    Path("bad.csv").write_text("id,amount\\n1,-1\\n")
    Path("shop.yml").write_text(json.dumps({
        "name": "shop",
        "source": {"connection": "here"},
        "destination": "duckdb:///wh.duckdb",
        "streams": [orders, {**orders, "path": "bad.csv"}],
    }))
    instance = dg.DagsterInstance.ephemeral()
    here = {"conduit": ConduitResource(connections={"here": {"type": "csv", "path": "."}})}

    @conduit_assets(pipeline=str(Path("shop.yml").absolute()), group_name="g")
    def shop(context: dg.AssetExecutionContext, conduit: ConduitResource):
        yield from conduit.run(context=context)

    def load(defs_, **more):
        done = dg.materialize(
            [defs_], instance=instance, resources=here, raise_on_error=False, **more)
        made = {e.asset_key.to_user_string(): e.materialization.metadata["conduit/rows_read"].value
                for e in done.get_asset_materialization_events()}
        found = done.get_asset_check_evaluations()
        return [made, {e.asset_key.to_user_string(): e.passed for e in found}]

    told = {"version": dg.__version__}
    Path("orders.csv").write_text("id,amount\\n1,5\\n2,6\\n")
    told["first"] = load(shop)
    Path("orders.csv").write_text("id,amount\\n1,5\\n2,6\\n3,7\\n")
    told["second"] = load(shop, selection=[dg.AssetKey(["main", "orders"])])
    checks = dg.AssetSelection.checks_for_assets(dg.AssetKey(["main", "orders"]))
    told["alone"] = load(shop, selection=checks)
    told["state"] = json.loads(current(instance, dg.AssetKey(["main", "orders"])))["version"]
    with create_defs_folder_sandbox() as project:
        folder = project.scaffold_component(ConduitComponent, "mine")
        with (folder / "defs.yaml").open("a") as file:
            file.write("  translation: {key: 'lake/{{ stream.table }}'}\\n")
            file.write("  partitions_def: {type: static, partition_keys: [Ada]}\\n")
            file.write("  partition_expr: customer\\n")
        with project.build_all_defs() as defs:
            dg.Definitions.validate_loadable(defs)
            told["component"] = [key.to_user_string() for key in defs.resolve_all_asset_keys()]
    print(json.dumps(told))
"""


def test_loads_checks_state_and_component_of_the_lowest_version(tmp_path: Path) -> None:
    built = matrix.build(tmp_path / "dist", (matrix.CORE, matrix.DAGSTER))
    drivers = matrix.drivers("duckdb")
    lowest = matrix.install(matrix.DAGSTER, "lowest", built, tmp_path / "env", drivers)
    (tmp_path / "scene.py").write_text(textwrap.dedent(SCENE))
    done = subprocess.run(
        [lowest, "scene.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["version"] == matrix.installed(lowest)["dagster"]
    assert told["first"] == [{"main/orders": 2}, {"main/bad": False, "main/orders": True}]
    assert told["second"] == [{"main/orders": 1}, {"main/orders": True}]
    assert told["alone"] == [{}, {"main/orders": True}]
    assert told["state"] == "2"
    assert "lake/orders" in told["component"]
