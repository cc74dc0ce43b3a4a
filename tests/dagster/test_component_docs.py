"""The page on the component: its blocks are files of a project, which loads and runs."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType

import dagster as dg
import pytest
from dagster.components.testing import DefsFolderSandbox, create_defs_folder_sandbox

from dagster_conduit import ConduitComponent
from tests.docs.conftest import SHOP
from tests.docs.pages import COMPONENT, ROOT, Block, blocks, code, tables

pytestmark = [
    pytest.mark.filterwarnings("ignore:`parse_obj_as` is deprecated"),
    pytest.mark.filterwarnings("ignore::dagster.PreviewWarning"),
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
]


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> Iterator[DefsFolderSandbox]:
    monkeypatch.setitem(sys.modules, "dagster_dbt", ModuleType("dagster_dbt"))
    with create_defs_folder_sandbox(project_name="mine") as made:
        with closing(sqlite3.connect(made.project_root / "shop.db")) as connection:
            connection.executescript(SHOP)
        monkeypatch.chdir(made.project_root)
        monkeypatch.setenv("SHOP_URL", f"sqlite:///{made.project_root}/shop.db")
        yield made
    for name in [name for name in sys.modules if name.partition(".")[0] == "mine"]:
        del sys.modules[name]


def test_blocks_run_as_they_stand(project: DefsFolderSandbox) -> None:
    """After each file the project is loaded; each component's last say is run."""
    for block in blocks(COMPONENT):
        try:
            _do(block, project)
        except BaseException as error:
            error.add_note(f"in the block at line {block.line}")
            raise
    with project.build_all_defs() as defs, dg.DagsterInstance.ephemeral() as instance:
        job = defs.resolve_implicit_global_asset_job_def()
        assert job.execute_in_process(instance=instance).success
        groups = {spec.group_name for spec in defs.resolve_all_asset_specs()}
    assert "dimensions" in groups


def _do(block: Block, project: DefsFolderSandbox) -> None:
    if block.language == "sh":
        for line in block.text.splitlines():
            _command(shlex.split(line), project)
        return
    assert block.file, "what isn't a command is a file of the project"
    file = project.project_root / block.file
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(block.text)
    if file.name == "defs.yaml":
        _check(project)


def _command(words: list[str], project: DefsFolderSandbox) -> None:
    """What `dg` does, in this process; the real one is tested beside the component."""
    if words == ["dg", "check", "defs"]:
        _check(project)
        return
    assert words[:4] == ["dg", "scaffold", "defs", "dagster_conduit.ConduitComponent"]
    name, *options = words[4:]
    given = {
        key.removeprefix("--"): value
        for key, value in zip(options[::2], options[1::2], strict=True)
    }
    shutil.rmtree(project.defs_folder_path / name, ignore_errors=True)  # one way, or the other
    project.scaffold_component(ConduitComponent, name, given)
    _check(project)


def _check(project: DefsFolderSandbox) -> None:
    with project.build_all_defs() as defs:
        dg.Definitions.validate_loadable(defs)


def test_the_front_page_s_example_loads(tmp_path: Path) -> None:
    (example,) = blocks(ROOT / "integrations" / "dagster" / "README.md")
    (tmp_path / "definitions.py").write_text(example.text)
    pipeline = {"source": {"connection": "shop_pg"}, "destination": "duckdb:///w.duckdb"}
    (tmp_path / "shop.yml").write_text(json.dumps({**pipeline, "streams": ["orders"]}))
    defs = runpy.run_path(str(tmp_path / "definitions.py"))["defs"]
    dg.Definitions.validate_loadable(defs)


def test_attributes_are_those_of_the_class() -> None:
    """Each with its default."""
    heading = "Attributes of `ConduitComponent`: attribute"
    listed = {code(row[0])[0]: row for row in tables(COMPONENT)[heading]}
    assert list(listed) == list(ConduitComponent.model_fields)
    for name, field in ConduitComponent.model_fields.items():
        if field.is_required():
            assert listed[name][1] == "required"
        elif field.default in {None, ""}:
            assert not listed[name][1]
        else:
            default = field.default if isinstance(field.default, str) else json.dumps(field.default)
            assert code(listed[name][1]) == [default]


def test_the_names_that_templates_know_are_there() -> None:
    from conduit_core import outline

    text = next(line for line in COMPONENT.read_text().splitlines() if "`stream` (" in line)
    made = outline(
        {"name": "p", "source": "sqlite:///a", "destination": "duckdb:///b", "streams": ["t"]}
    )
    for of, given in (("stream", made.streams[0]), ("pipeline", made)):
        found = re.search(rf"`{of}` \(([^)]*)\)", text)
        assert found
        for name in code(found[1]):
            assert hasattr(given, name), (of, name, json.dumps(dir(given)))
