"""What a command that runs dbt imports, imported once, and dbt's own macros, parsed once.

`tests.warm` imports it into the process whose forks such commands are. A parse leaves nothing open.
"""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path

import conduit_dbt.in_process
from conduit_dbt.invoke import Invocation
from tests import warm
from tests.dbt.lab import DbtLab, hasten_dbt

ADAPTERS = {
    "duckdb": "{type: duckdb, path: warehouse.duckdb}",
    "postgres": "{type: postgres, host: localhost, user: u, password: p, port: 5432,"
    " dbname: d, schema: raw}",
}

for name in (*warm.modules("conduit_dbt"), "dbt.cli.main"):
    importlib.import_module(name)
hasten_dbt()
for adapter, output in ADAPTERS.items():
    with tempfile.TemporaryDirectory() as folder:
        project = DbtLab(Path(folder, "lab")).project
        profile = f"shop: {{target: dev, outputs: {{dev: {output}}}}}\n"
        (project / "profiles.yml").write_text(profile)
        common = ("--project-dir", str(project), "--profiles-dir", str(project))
        parsed = conduit_dbt.in_process.InProcess().invoke(
            Invocation(("parse",), (), common, project)
        )
        assert parsed.code == 0, (adapter, parsed.error)
