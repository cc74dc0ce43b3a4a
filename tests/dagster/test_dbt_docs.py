"""The pages on dbt and automation: blocks are files, and their assets are made."""

from __future__ import annotations

import os
import runpy
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest

from conduit_dbt.in_process import InProcess
from conduit_dbt.invoke import Invocation
from tests.dbt.lab import quick_dbt
from tests.docs.conftest import SHOP
from tests.docs.pages import ROOT, blocks, name

__all__ = ["quick_dbt"]
pytestmark = pytest.mark.xdist_group("dagster-dbt")

FIRST = ROOT / "docs" / "dagster" / "dbt.md"
"""It has the pipeline that the pages load."""
PAGES = [FIRST, FIRST.with_name("automation.md")]
LOADED_ONLY = {"with_models.py"}
"""Its assets are made, with dagster-dbt's own process, in test_example.py."""


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_blocks_run_as_they_stand(
    page: Path,
    tmp_path: Path,
    instance: dg.DagsterInstance,
    quick_dbt: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        connection.executescript(SHOP)
    first = [block for block in blocks(FIRST) if block.language != "python"]
    own = list(blocks(page))
    for block in (*first, *own):
        assert block.file is not None, f"{name(page)}:{block.line}"
        (tmp_path / block.file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / block.file).write_text(block.text, encoding="utf-8")
    if page == FIRST:
        project = tmp_path / "dbt"
        common = ("--project-dir", str(project), "--profiles-dir", str(project))
        assert InProcess().invoke(Invocation(("parse",), (), common, project)).code == 0
    for block in own:
        if block.language != "python" or block.file is None:
            continue
        defs = runpy.run_path(str(tmp_path / block.file)).get("defs")
        if defs is None:
            continue
        dg.Definitions.validate_loadable(defs)
        if block.file not in LOADED_ONLY:
            job = defs.resolve_implicit_global_asset_job_def()
            assert job.execute_in_process(instance=instance).success, block.file
