"""The pages on Dagster: every block is run, every table of arguments is the signature."""

from __future__ import annotations

import inspect
import json
import runpy
import shlex
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import pytest
import yaml

import dagster_conduit
from conduit_core import errors
from dagster_conduit import ConduitResource
from tests.docs.conftest import SHOP
from tests.docs.pages import (
    COMPONENT,
    DAGSTER,
    ROOT,
    Block,
    assert_default,
    blocks,
    code,
    listed,
    name,
    tables,
)
from tests.docs.test_blocks import CHECKS

FIRST = ROOT / "docs" / "dagster.md"
ELSEWHERE = {COMPONENT, *(FIRST.parent / "dagster" / f"{of}.md" for of in ("dbt", "automation"))}
"""Pages whose blocks other tests run."""
FRONT = (ROOT / "README.md", ROOT / "integrations" / "dagster" / "README.md")
SHOP_URL = "export SHOP_URL=sqlite:////srv/shop/shop.db"
OWN = [page for page in DAGSTER if page not in ELSEWHERE]


@dataclass
class Folder:
    """A folder that the pages talk of, and a Dagster of its own."""

    path: Path
    instance: dg.DagsterInstance
    setenv: Callable[[str, str], None]
    launched: set[str] = field(default_factory=set)

    def definitions(self, file: str) -> dg.Definitions:
        """Load a file of Python, as Dagster does."""
        made: dg.Definitions = runpy.run_path(str(self.path / file))["defs"]
        dg.Definitions.validate_loadable(made)
        return made

    def command(self, line: str) -> None:
        """What a line of shell does, in this process."""
        words = shlex.split(line, comments=True)
        if words[0] == "export":
            variable, _, value = words[1].partition("=")
            self.setenv(variable, value.replace("/srv/shop", str(self.path)))
        elif words[:3] == ["dagster", "dev", "-f"]:
            self.definitions(words[3])
        else:
            assert words[:3] == ["dg", "launch", "-f"], line
            options = dict(zip(words[4::2], words[5::2], strict=True))
            self.launch(words[3], **{k.removeprefix("--"): v for k, v in options.items()})

    def launch(self, file: str, **options: str) -> None:
        """Run what ``dg launch`` would, and see it end well."""
        self.launched.add(file)
        defs = self.definitions(file)
        config = (
            yaml.safe_load((self.path / options["config"]).read_text())
            if "config" in options
            else {}
        )
        if "job" in options:
            job = defs.resolve_job_def(options["job"])
            done = job.execute_in_process(run_config=config, instance=self.instance)
        else:
            first, _, last = options.get("partition-range", "").partition("...")
            edges = {"start": first, "end": last} if first else {}
            done = dg.materialize(
                list(defs.assets or ()),  # type: ignore[arg-type]
                selection=dg.AssetSelection.from_string(options["assets"]),
                partition_key=options.get("partition"),
                tags={f"dagster/asset_partition_range_{edge}": key for edge, key in edges.items()},
                run_config=config,
                resources=defs.resources,
                instance=self.instance,
            )
        assert done.success


@pytest.fixture
def folder(tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Folder:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        connection.executescript(SHOP)
    return Folder(tmp_path, instance, monkeypatch.setenv)


@pytest.mark.parametrize("page", OWN, ids=name)
def test_blocks_run_as_they_stand(page: Path, folder: Folder) -> None:
    """With the first page's pipeline; a file that no command launches is launched as a whole."""
    first = [] if page == FIRST else [b for b in blocks(FIRST) if b.language == "yaml"]
    folder.command(SHOP_URL)
    own = list(blocks(page))
    for block in (*first, *own):
        try:
            _do(page, block, folder)
        except BaseException as error:
            error.add_note(f"in the block at {name(page)}:{block.line}")
            raise
    for block in own:
        if block.language == "python" and block.file not in folder.launched:
            folder.launch(str(block.file), assets="*")


def _do(page: Path, block: Block, folder: Folder) -> None:
    if block.file is not None:
        (folder.path / block.file).write_text(block.text, encoding="utf-8")
    if block.language == "sh":
        for line in block.text.splitlines():
            folder.command(line)
    elif block.language == "json":
        _is_the_entry(block, folder)
    elif block.language == "python":
        folder.definitions(str(block.file))
    elif block.file is None:  # of dagster.yaml
        with dg.instance_for_test(overrides=yaml.safe_load(block.text)):
            pass
    elif "ops" not in yaml.safe_load(block.text):  # a run's config is read by the run
        CHECKS[block.language](page, block, folder.path)


def _is_the_entry(block: Block, folder: Folder) -> None:
    from dagster_conduit.state import current

    shown = json.loads(block.text)
    found = json.loads(current(folder.instance, dg.AssetKey(["raw", "orders"])) or "{}")
    assert set(found) == set(shown)
    assert (found["cursor"], found["version"]) == (shown["cursor"], shown["version"])


@pytest.mark.parametrize("page", FRONT, ids=name)
def test_the_front_pages_example_runs(page: Path, folder: Folder) -> None:
    (example,) = (b for b in blocks(page) if b.language == "python" and "dagster" in b.text)
    (folder.path / "definitions.py").write_text(example.text)
    (shop,) = (b.text for b in blocks(FIRST) if b.file == "shop.yml")
    (folder.path / "shop.yml").write_text(shop.replace("shop_src", "shop_pg"))
    its_own = shop.replace("{connection: shop_src}", "sqlite:///shop.db")
    (folder.path / "pipeline.yml").write_text(its_own)
    folder.command(SHOP_URL)
    folder.launch("definitions.py", assets="*")


# --- tables ---------------------------------------------------------------------------------------

CALLED: dict[str, Callable[..., object]] = {
    **{
        each: getattr(dagster_conduit, each)
        for each in dagster_conduit.__all__
        if inspect.isfunction(getattr(dagster_conduit, each))
    },
    "ConduitResource.run": ConduitResource.run,
}


@pytest.mark.parametrize("label", CALLED)
def test_arguments_are_those_of_the_signatures(label: str) -> None:
    found = inspect.signature(CALLED[label]).parameters
    wanted = {each: p for each, p in found.items() if each != "self"}
    rows = listed(DAGSTER, f"Arguments of `{label}`: argument")
    assert list(rows) == list(wanted)
    for each, p in wanted.items():
        is_required = p.default is inspect.Parameter.empty
        assert_default(f"{label}: {each}", rows[each], p.default, required=is_required)


def test_arguments_of_the_resource_are_its_fields() -> None:
    rows = listed(DAGSTER, "Arguments of `ConduitResource`: argument")
    assert list(rows) == list(ConduitResource.model_fields)
    assert not any(f.is_required() for f in ConduitResource.model_fields.values())


@pytest.mark.parametrize("which", ["rewind", "replay"])
def test_fields_of_a_jobs_form_are_its_config(which: str, folder: Folder) -> None:
    @dagster_conduit.conduit_assets(
        pipeline={"source": "sqlite:///a.db", "destination": "duckdb:///b.db", "streams": ["t"]}
    )
    def shop(context: dg.AssetExecutionContext, conduit: ConduitResource) -> Iterator[object]:
        yield from conduit.run(context=context)

    jobs = {job.name: job for job in dagster_conduit.build_conduit_jobs(assets=shop)}
    op = jobs[f"shop_{which}"].graph.node_defs[0]
    assert isinstance(op, dg.OpDefinition)
    fields = op.config_schema.config_type.fields  # type: ignore[union-attr]
    rows = listed(DAGSTER, f"NAME_{which}: field")
    assert set(rows) == set(fields)
    for each, made in fields.items():
        default = made.default_value if made.default_provided else None
        assert_default(f"{which}: {each}", rows[each], default, required=made.is_required)


def test_which_errors_are_retried_is_what_their_classes_say() -> None:
    page = ROOT / "docs/dagster/failures.md"
    rows = tables(page)["Failures, retries, re-executions: `retry`"]
    named = {code(row[0])[0]: set(code(row[2])) for row in rows}
    for retry in ("step", "plan"):
        found = {
            each.__name__
            for each in vars(errors).values()
            if isinstance(each, type)
            and each.__module__ == errors.__name__
            and getattr(each, "default_retry", "") == retry
        }
        assert named[retry] == found


def test_each_page_is_linked_from_the_first() -> None:
    text = FIRST.read_text(encoding="utf-8")
    for page in (ROOT / "docs" / "dagster").glob("*.md"):
        assert f"(dagster/{page.name})" in text, page.name
