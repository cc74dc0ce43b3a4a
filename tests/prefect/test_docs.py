"""The pages on Prefect: every block is run, every table of arguments is the signature."""

from __future__ import annotations

import gc
import inspect
import json
import runpy
import shlex
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from prefect import Flow, Task
from prefect.blocks.fields import SecretDict
from prefect.client.orchestration import get_client
from prefect.testing.cli import invoke_and_assert
from prefect.variables import Variable

import prefect_conduit
from conduit_core import errors
from tests.docs.conftest import SHOP
from tests.docs.pages import (
    PREFECT,
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
from tests.prefect.shop import forget_tables

FIRST = ROOT / "docs" / "prefect.md"
FRONT = (ROOT / "README.md", ROOT / "integrations" / "prefect" / "README.md")
STAYING = ("prefect server start", "prefect worker start")
"""Commands that stay: the demo starts them."""
LOADED_ONLY = {"beside.py", "on_dask.py", "on_ray.py"}
"""Files whose flows test_dbt.py and test_fan_out.py run, as each starts something large."""


@dataclass
class Folder:
    """The folder that the pages talk of."""

    path: Path
    setenv: Callable[[str, str], None]
    ran: set[str] = field(default_factory=set)

    def write(self, file: str, text: str) -> None:
        """Write a file, which finds the shop where it is in this test."""
        target = self.path / file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text.replace("/srv/shop", str(self.path)), encoding="utf-8")

    def run(self, file: str, as_name: str = "__main__") -> None:
        """Run a file of Python, as a program."""
        self.ran.add(file)
        runpy.run_path(str(self.path / file), run_name=as_name)

    def command(self, line: str) -> None:
        """What a line of shell does, in this process."""
        words = shlex.split(line, comments=True)
        if words[:1] == ["export"]:
            variable, _, value = words[1].partition("=")
            self.setenv(variable, value.replace("/srv/shop", str(self.path)))
        elif words[:1] == ["python"]:
            (file,) = words[1:]
            self.run(file)
        elif words and not line.startswith(STAYING):
            assert words[0] == "prefect", line
            invoke_and_assert(words[1:], expected_code=0)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Folder]:
    """A shop in SQLite; Prefect knows nothing of the tables that the pages load."""
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        connection.executescript(SHOP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(Flow, "serve", _served)
    _forget()
    yield Folder(tmp_path, monkeypatch.setenv)
    _forget()
    gc.collect()


def _forget() -> None:
    """Delete the Variables of the pages' tables, and their deployments; nothing of other tests."""
    forget_tables()
    with get_client(sync_client=True) as client:
        pools = {"work_pools": {"name": {"any_": ["shop"]}}}
        for found in client.request("POST", "/deployments/filter", json=pools).json():
            client.delete_deployment(UUID(found["id"]))


def _served(flow: Flow[..., Any], name: str, *, limit: int | None = None, **options: Any) -> None:
    """Make the deployment, and one run of it in this process: the demo serves a flow for real."""
    deployment = flow.to_deployment(name=name, **options)
    flow(**deployment.parameters)


@pytest.mark.parametrize("page", PREFECT, ids=name)
def test_blocks_run_as_they_stand(page: Path, folder: Folder) -> None:
    """With the first page's pipeline and block; a file that no command runs is run as a whole."""
    first = [] if page == FIRST else [b for b in blocks(FIRST) if b.file in ("shop.yml", "save.py")]
    folder.command("export SHOP_URL=sqlite:////srv/shop/shop.db")
    own = list(blocks(page))
    for block in (*first, *own):
        try:
            _do(page, block, folder)
        except BaseException as error:
            error.add_note(f"in the block at {name(page)}:{block.line}")
            raise
    for block in own:
        if block.language == "python" and block.file not in folder.ran:
            folder.run(str(block.file), "page" if block.file in LOADED_ONLY else "__main__")


def _do(page: Path, block: Block, folder: Folder) -> None:
    if block.file is not None:
        folder.write(block.file, block.text)
    if block.language == "sh":
        for line in block.text.splitlines():
            folder.command(line)
    elif block.language == "json":
        _is_the_variable(block)
    elif block.language == "python":
        compile(block.text, str(block.file), "exec")
        if block.file == "save.py":
            folder.run("save.py")
    elif "deployments" not in yaml.safe_load(block.text):  # else a command deploys it
        CHECKS[block.language](page, block, folder.path)


def _is_the_variable(block: Block) -> None:
    shown = json.loads(block.text)
    found: Any = Variable.get("conduit-raw-orders")
    assert set(found) == set(shown)
    assert (found["cursor"], found["version"]) == (shown["cursor"], shown["version"])


@pytest.mark.parametrize("page", FRONT, ids=name)
def test_the_front_pages_example_runs(page: Path, folder: Folder) -> None:
    examples = [b for b in blocks(page) if b.language == "python" and "prefect" in b.text]
    assert examples
    (shop,) = (b.text for b in blocks(FIRST) if b.file == "shop.yml")
    its_own = shop.replace("{connection: shop-src}", "sqlite:///shop.db")
    for file in ("shop.yml", "pipeline.yml"):
        folder.write(file, its_own)
    folder.command("export SHOP_URL=sqlite:////srv/shop/shop.db")
    for number, example in enumerate(examples):
        folder.write(f"example{number}.py", example.text)
        folder.run(f"example{number}.py")


# --- tables ---------------------------------------------------------------------------------------


def _body(label: str) -> Callable[..., object]:
    found = getattr(prefect_conduit, label)
    return found.fn if isinstance(found, Flow | Task) else found  # type: ignore[no-any-return]


BLOCKS = ["ConduitConnection", "ConduitObservability", "ConduitPipeline"]
CALLED = [each for each in prefect_conduit.__all__ if each not in (*BLOCKS, "__version__")]
TWINS = {each: each.removeprefix("a") for each in CALLED if each.removeprefix("a") in CALLED}
"""Those for asynchronous flows, and the ones for others."""
TWINS = {each: of for each, of in TWINS.items() if each != of}


@pytest.mark.parametrize("label", [each for each in CALLED if each not in TWINS])
def test_arguments_are_those_of_the_signatures(label: str) -> None:
    found = inspect.signature(_body(label)).parameters
    rows = listed(PREFECT, f"Arguments of `{label}`: argument")
    assert list(rows) == list(found)
    for each, p in found.items():
        is_required = p.default is inspect.Parameter.empty
        assert_default(f"{label}: {each}", rows[each], p.default, required=is_required)


@pytest.mark.parametrize("twin", TWINS)
def test_a_twin_takes_what_the_other_takes_and_is_named_beside_it(twin: str) -> None:
    of = TWINS[twin]
    assert (
        inspect.signature(_body(twin)).parameters.keys()
        == inspect.signature(_body(of)).parameters.keys()
    )
    (page,) = (p for p in PREFECT if f"Arguments of `{of}`: argument" in tables(p))
    assert f"`{twin}`" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("label", BLOCKS)
def test_fields_are_those_of_the_blocks(label: str) -> None:
    fields = getattr(prefect_conduit, label).model_fields
    rows = listed(PREFECT, f"Fields of `{label}`: field")
    assert list(rows) == list(fields)
    for each, made in fields.items():
        default = made.get_default(call_default_factory=True)
        if isinstance(default, SecretDict):
            default = default.get_secret_value()
        assert_default(f"{label}: {each}", rows[each], default, required=made.is_required())


def test_which_errors_are_retried_is_what_their_classes_say() -> None:
    rows = tables(ROOT / "docs/prefect/failures.md")["Failures, retries, cancelled runs: `retry`"]
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
    for page in (ROOT / "docs" / "prefect").glob("*.md"):
        assert f"(prefect/{page.name})" in text, page.name
