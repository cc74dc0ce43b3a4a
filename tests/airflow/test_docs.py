"""The pages on Airflow: every block is run, every table of arguments is the signature."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conduit_core import errors
from tests.airflow.lab import Lab
from tests.airflow.shop import ENTRY, FORGET
from tests.airflow.two_streams import order
from tests.docs.pages import AIRFLOW, ROOT, Block, blocks, code, name, tables
from tests.docs.test_blocks import CHECKS

FIRST = ROOT / "docs" / "airflow.md"
FRONT = (ROOT / "README.md", ROOT / "providers" / "airflow" / "README.md")
RUN_AT = "2026-01-02T00:00:00+00:00"
_DAG = re.compile(r"\b(?:DAG|ConduitDag)\(\s*\"(\w+)\"")


@pytest.mark.parametrize("page", [*AIRFLOW, *FRONT], ids=name)
def test_blocks_run_as_they_stand(page: Path, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder with the shop of the entry page: its file, its connections, its tables."""
    monkeypatch.chdir(lab.folder)
    own = list(_own(page))
    order(lab.folder, 0, 30)
    if any(block.language == "python" for block in own):
        lab.call(FORGET)
    shop = [] if page == FIRST else [b for b in blocks(FIRST) if b.language in {"yaml", "sh"}]
    for block in (*shop, *own):
        try:
            _do(page, block, lab)
        except BaseException as error:
            error.add_note(f"in the block at {name(page)}:{block.line}")
            raise

    if page.stem == "state":
        (shown,) = (json.loads(b.text) for b in own if b.language == "json")
        entry = lab.call(ENTRY)
        assert set(entry) == set(shown)
        assert (entry["cursor"], entry["version"]) == (shown["cursor"], shown["version"])


def _own(page: Path) -> Iterator[Block]:
    for block in blocks(page):
        if page in AIRFLOW or (block.language == "python" and "airflow" in block.text):
            yield block


def _do(page: Path, block: Block, lab: Lab) -> None:
    if block.copied is not None:
        assert block.text.strip() in (ROOT / block.copied).read_text(encoding="utf-8")
        return
    if block.file is not None:
        (lab.folder / block.file).parent.mkdir(parents=True, exist_ok=True)
        (lab.folder / block.file).write_text(block.text, encoding="utf-8")
    if block.language == "python":
        _run(block, lab)
    elif block.language == "sh":
        _export(block, lab)
    elif block.language != "text":
        CHECKS[block.language](page, block, lab.folder)


def _run(block: Block, lab: Lab) -> None:
    """A DAG file: all of its DAGs are parsed, the first runs once, and ends well."""
    file = block.file or "page_dag.py"
    lab.write(file, block.text)
    if "pipeline.yml" in block.text:  # as the front page calls it
        lab.write("pipeline.yml", (lab.folder / "shop.yml").read_text())
    found = _DAG.search(block.text)
    assert found, "a block of Python on these pages is a DAG file"
    at = {"logical_date": RUN_AT} if "data_interval" in block.text else {}
    (run,) = lab.run(file, at, dag=found[1])
    assert run.state == "success", run.log[-4000:]


def _export(block: Block, lab: Lab) -> None:
    """Settings of Airflow as a shell exports them."""
    for line in block.text.splitlines():
        words = shlex.split(line, comments=True)
        if words:
            assert words[0] == "export", line
            key, _, value = words[1].partition("=")
            assert key.startswith("AIRFLOW_"), line
            lab.env[key] = value.replace("/srv/shop", str(lab.folder))


# --- tables ---------------------------------------------------------------------------------------

SIGNATURES = """
    import inspect
    import airflow_provider_conduit as provider
    from airflow_provider_conduit.decorator import ConduitDecoratedOperator
    known = {n: getattr(provider, n) for n in provider.__all__ if n[0] in "cC"}
    known["@task.conduit"] = ConduitDecoratedOperator
    result = {
        label: {
            p.name: (p.default is inspect.Parameter.empty, p.default, p.name in
                     getattr(made, "template_fields", ()))
            for p in inspect.signature(made).parameters.values()
            if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
        }
        for label, made in known.items()
    }
"""
NOT_LISTED = {"python_callable", "op_args", "op_kwargs", "declared"}
"""What Airflow, or the decorator itself, gives its class."""


def test_arguments_are_those_of_the_signatures(lab: Lab) -> None:
    """Every public name has its table; each row has the default, and whether it is a template."""
    documented: dict[str, list[list[str]]] = {}
    for page in AIRFLOW:
        for heading, rows in tables(page).items():
            if heading.startswith("Arguments of `"):
                assert heading.endswith(": argument"), heading
                documented[code(heading)[0]] = rows
    signatures: dict[str, dict[str, Any]] = lab.call(SIGNATURES)
    assert set(documented) == set(signatures)
    for label, arguments in signatures.items():
        listed = {code(row[0])[0]: row for row in documented[label]}
        assert set(listed) == set(arguments) - NOT_LISTED, label
        for argument, row in listed.items():
            required, default, template = arguments[argument]
            if required:
                assert row[1] == "required", (label, argument)
            elif default not in (None, []):
                text = default if isinstance(default, str) else json.dumps(default)
                assert code(row[1]) == [text], (label, argument)
            else:
                assert row[1] != "required", (label, argument)
            assert (row[2] == "yes") == template, (label, argument)


def test_which_errors_are_retried_is_what_their_classes_say() -> None:
    rows = tables(ROOT / "docs/airflow/failures.md")["Failures, retries, clears: `retry`"]
    kinds = [
        k for k in vars(errors).values() if isinstance(k, type) and k.__module__ == errors.__name__
    ]
    listed = {code(row[0])[0]: set(code(row[2])) for row in rows}
    for retry in ("step", "plan"):
        found = {k.__name__ for k in kinds if getattr(k, "default_retry", "") == retry}
        assert listed[retry] == found


def test_each_page_is_linked_from_the_first() -> None:
    text = FIRST.read_text(encoding="utf-8")
    for page in (ROOT / "docs" / "airflow").glob("*.md"):
        assert f"(airflow/{page.name})" in text, page.name
