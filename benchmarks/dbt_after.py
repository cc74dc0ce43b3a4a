"""dbt after a load, in this process, against the same build by dbt's own entry point."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial

from benchmarks.bench import Bench
from benchmarks.measure import CONDUIT, Contestant, compare, timed
from benchmarks.results import Measured, Wanted
from tests.dbt.lab import DbtLab

FORGET = (
    "import duckdb; duckdb.connect('warehouse.duckdb').execute("
    "\"DELETE FROM raw._conduit_hooks WHERE pipeline = 'shop'\")"
)
OURS = (
    "from conduit_core import Pipeline; from conduit_dbt import run_after;"
    " assert run_after(Pipeline.from_file('pipeline.yml')).outcome == 'succeeded'"
)
PROFILE = """
shop: {target: conduit, outputs: {conduit: {type: duckdb, path: ../warehouse.duckdb, schema: raw}}}
"""


def after(bench: Bench) -> Measured:
    """The hook on a small project whose loads are published, against ``dbt build`` alone."""
    lab = DbtLab(bench.folder / "dbt_lab")
    lab.write("profiles.yml", PROFILE)
    lab.file(profile=None)
    timed([CONDUIT, "run"], lab.folder)
    selected = [f"source:shop.raw.{name}+" for name in ("orders", "items")]
    words = ["build", "--quiet", "--log-level", "none", "--target-path", "target/reference"]
    theirs = (
        "import os; from dbt.cli.main import dbtRunner; os.chdir('dbt');"
        f" assert dbtRunner().invoke({json.dumps([*words, '--select', *selected])}).success"
    )
    return compare(
        "hosts",
        "dbt after a load, in process",
        [
            Contestant("conduit", [sys.executable, "-c", OURS], [sys.executable, "-c", FORGET]),
            Contestant("dbtRunner alone", [sys.executable, "-c", theirs]),
        ],
        cwd=lab.folder,
        wanted=Wanted(more_seconds=0.3),
        runs=bench.runs,
    )


def cases(bench: Bench) -> dict[str, Callable[[], Measured]]:
    """Return the cases by name."""
    return {"dbt": partial(after, bench)}
