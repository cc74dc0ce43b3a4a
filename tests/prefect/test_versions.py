"""The lowest Prefect that we support and the newest there is, each in an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import textwrap
from pathlib import Path

import pytest

from tests.install import matrix

pytestmark = [pytest.mark.slow, pytest.mark.deep]

# A load by a deployment whose parameter is a block: retried by none, told by state, Variable,
# artifacts, events and assets.
SCENE = """
    import json
    import os
    import subprocess
    import sys
    import time
    from pathlib import Path

    import prefect
    from prefect.client.orchestration import get_client
    from prefect.flow_engine import run_flow
    from prefect.plugins import load_prefect_collections
    from prefect.testing.utilities import prefect_test_harness

    from prefect_conduit import ConduitConnection, ConduitPipeline, run_pipeline

    told = {"version": prefect.__version__}
    Path("orders.csv").write_text("id,amount\\n1,5\\n2,-6\\n3,7\\n")
    rules = [{"rule": "range", "column": "amount", "min": 0, "action": "dlq"}]
    content = {
        "name": "shop",
        "source": {"connection": "here"},
        "destination": "duckdb:///wh.duckdb",
        "streams": [
            {"path": "orders.csv", "mode": "append", "cursor": "id", "quality": rules},
            {"path": "nothing.csv"},
        ],
    }
    with prefect_test_harness(server_startup_timeout=300), get_client(sync_client=True) as client:
        ConduitConnection(type="csv", path=str(Path.cwd())).save("here")
        block = ConduitPipeline(content=content).save("shop")
        reference = {"pipeline": {"$ref": {"block_document_id": str(block)}}, "streams": ["orders"]}
        deployment = run_pipeline.to_deployment("hourly", parameters=reference).apply()

        def load(**more):
            asked = {**reference, **more}
            made = client.create_flow_run_from_deployment(deployment, parameters=asked)
            return run_flow(run_pipeline, flow_run=made, return_type="state")

        first = load()
        told["first"] = [r.counts.inserted for r in first.result().results]
        with Path("orders.csv").open("a") as file:
            file.write("4,8\\n")
        told["second"] = [r.counts.inserted for r in load().result().results]
        failed = load(streams=["nothing", "orders"])
        told["failed"] = [failed.is_failed(), failed.message]
        told["variable"] = client.read_variable_by_name("conduit-main-orders").value["version"]
        told["artifacts"] = sorted({each.key for each in client.read_artifacts() if each.key})
        wanted = {"filter": {"event": {"prefix": ["conduit.", "prefect.asset."]}}, "limit": 50}
        until = time.monotonic() + 60
        while time.monotonic() < until:
            events = client._client.post("/events/filter", json=wanted).json()["events"]
            told["events"] = sorted({each["event"] for each in events})
            if len(told["events"]) >= 5:
                break
            time.sleep(0.2)
        env = {**os.environ, "PREFECT_API_URL": str(client.api_url)}
        def prefect_(*words):
            command = [sys.executable, "-m", "prefect", "block", *words]
            done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
            return done.stdout
        told["registered"] = prefect_("register", "-m", "prefect_conduit")
        told["types"] = prefect_("type", "ls")
        told["collections"] = sorted(load_prefect_collections())
    print(json.dumps(told))
"""


@pytest.mark.parametrize("versions", ["lowest", "highest"])
def test_a_load_is_done_and_told(versions: matrix.Versions, tmp_path: Path) -> None:
    built = matrix.build(tmp_path / "dist", (matrix.CORE, matrix.PREFECT))
    drivers = matrix.drivers("duckdb")
    python = matrix.install(matrix.PREFECT, versions, built, tmp_path / "env", drivers)
    (tmp_path / "scene.py").write_text(textwrap.dedent(SCENE))
    mine = {"PREFECT_HOME": str(tmp_path / "home"), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "PYTHONPATH"))}
    done = subprocess.run(
        [python, "scene.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**env, **mine, "DO_NOT_TRACK": "1"},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["version"] == matrix.installed(python)["prefect"]
    assert (told["first"], told["second"], told["variable"]) == ([2], [1], "2")
    assert told["failed"][0]
    assert "nothing" in told["failed"][1]
    assert {"conduit-shop", "conduit-shop--orders--rules"} <= set(told["artifacts"])
    assert "prefect_conduit" in told["collections"]
    assert "Conduit Connection" in told["registered"]
    assert "conduit-pipeline" in told["types"]
    assert {
        "conduit.load.failed",
        "conduit.load.published",
        "conduit.load.rejected",
        "prefect.asset.materialization.succeeded",
    } <= set(told["events"])
