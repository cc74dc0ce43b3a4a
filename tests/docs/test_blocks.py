"""Every code block of every page is run, or parsed, or says why not."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import re
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from conduit_core import Pipeline, raise_for_failures, run
from conduit_core.cli import main
from conduit_core.observe.jsonlog import log_schema
from conduit_core.spec import json_schema, spec_from_mapping
from conduit_core.spec.document import parse_yaml
from conduit_dbt import DbtOptions
from tests.docs.pages import AIRFLOW, DAGSTER, PAGES, PREFECT, ROOT, WALKED, Block, blocks, name

UPDATE = os.environ.get("CONDUIT_UPDATE_DOCS") == "1"
"""Set to write what the commands of ``console`` blocks say today into the pages."""

HEAD = {"name": "page", "source": "sqlite:///shop.db", "destination": "duckdb:///w.duckdb"}
IDS: dict[str, str] = {}
"""The ids that a page shows: what they are in this run, for the commands below that name them."""
_ID = re.compile(r"\b[0-9a-f]{16,64}\b")
_WHO = re.compile(r"\bhost \S+, pid \d+, user \S+")
ENV = {
    "SHOP_URL": "postgres://u@h/db",
    "SHOP_PASSWORD": "secret",
    "SLACK_URL": "slack://TokenA/TokenB/TokenC",
    "HOOK_SECRET": "secret",
    "DESK_TOKEN": "secret",
    "LAKE_KEY": "key",
    "LAKE_SECRET": "secret",
}


def _ids() -> list[Path]:
    elsewhere = {*AIRFLOW, *DAGSTER, *PREFECT, *WALKED}
    return [page for page in PAGES if page not in elsewhere and any(True for _ in blocks(page))]


@pytest.mark.parametrize("page", _ids(), ids=name)
def test_blocks_run_as_they_stand(
    page: Path, shop: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if page.stem == "dbt":
        request.getfixturevalue("quick_dbt")
    monkeypatch.chdir(shop)
    monkeypatch.setenv("HOME", str(shop.parent))
    IDS.clear()
    for block in blocks(page):
        if block.reason is not None:
            continue
        if block.copied is not None:
            assert block.text.strip() in (ROOT / block.copied).read_text(encoding="utf-8")
            continue
        if block.file is not None:
            (shop / block.file).parent.mkdir(parents=True, exist_ok=True)
            (shop / block.file).write_text(block.text, encoding="utf-8")
        check = CHECKS.get(block.language)
        assert check is not None, f"{name(page)}:{block.line}: no check for {block.language!r}"
        try:
            check(page, block, shop)
        except Exception as error:
            error.add_note(f"in the block at {name(page)}:{block.line}")
            raise


def test_few_blocks_are_left_out() -> None:
    left_out = [(name(p), b.line) for p in PAGES for b in blocks(p) if b.reason is not None]
    assert len(left_out) <= 5, left_out


def _mapping(page: Path, block: Block, shop: Path) -> None:
    """A pipeline, or a part of one: what is missing around it is filled in."""
    is_toml = block.language == "toml"
    data: Any = tomllib.loads(block.text) if is_toml else parse_yaml(block.text, page.name).data
    if block.file is not None and block.file.startswith("dbt/"):
        return  # dbt reads it, in a command below
    if isinstance(data, list):
        data = {"streams": data}
    if "streams" not in data:
        is_csv = data.get("source", {}).get("type") == "csv"
        data["streams"] = [{"path": "a.csv"}] if is_csv else ["orders"]
    if "after" in data:
        DbtOptions.model_validate(data["after"]["dbt"])
    as_editors_see_it = json.loads(json.dumps({**HEAD, **data}, default=str))
    jsonschema.validate(as_editors_see_it, json_schema())
    spec_from_mapping({**HEAD, **data}, shop, env=ENV)


def _jinja(page: Path, block: Block, shop: Path) -> None:
    """A dbt model: a command below builds it."""
    assert block.file is not None


def _json(page: Path, block: Block, shop: Path) -> None:
    item = json.loads(block.text)
    if "event" in item:
        jsonschema.validate(item, log_schema())


def _python(page: Path, block: Block, shop: Path) -> None:
    if any(runner in block.text for runner in ("airflow", "dagster", "prefect")):
        return  # test_docs.py of that runner's tests runs it
    exec(compile(block.text, f"{name(page)}:{block.line}", "exec"), {"__name__": "page"})  # noqa: S102


def _sql(page: Path, block: Block, shop: Path) -> None:
    import duckdb

    raise_for_failures(run(Pipeline.from_file(shop / "pipeline.yml")))
    with duckdb.connect(shop / "warehouse.duckdb", read_only=True) as connection:
        assert connection.sql(block.text).fetchall()


def _promql(page: Path, block: Block, shop: Path) -> None:
    """What it names is held to the metrics by tests/observe/test_examples.py."""
    import promql_parser

    for expression in re.split(r"\n\n", block.text.strip()):
        promql_parser.parse(expression)


def _mermaid(page: Path, block: Block, shop: Path) -> None:
    assert block.text.startswith("flowchart ")
    for opening, closing in ("[]", "()", "{}"):
        assert block.text.count(opening) == block.text.count(closing)


def _conduit(line: str, shop: Path) -> str:
    """Run one line, ``[NAME=VALUE] conduit ...  # exit 5``, and return what it wrote."""
    exit_code = int(found[1]) if (found := re.search(r"# exit (\d+)", line)) else 0
    words = shlex.split(line, comments=True)
    given = list(itertools.takewhile(lambda word: re.match(r"[A-Z_]+=", word), words))
    program, *arguments = words[len(given) :]
    assert program == "conduit", f"only `conduit` is run in blocks, not {program!r}"
    told = io.StringIO()
    before = dict(os.environ)
    os.environ.update(word.split("=", 1) for word in given)
    try:
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
            ended = main(arguments)
    finally:
        os.environ.clear()
        os.environ.update(before)
    assert ended == exit_code, f"{line}: exit {ended}\n{told.getvalue()}"
    said = told.getvalue().replace(str(shop), "/srv/shop")
    return _WHO.sub("host loader, pid 4711, user etl", said)


def _sh(page: Path, block: Block, shop: Path) -> None:
    for line in block.text.splitlines():
        if line.split("#")[0].strip():
            _conduit(line, shop)


def _console(page: Path, block: Block, shop: Path) -> None:
    """Commands behind ``$``, each with what it writes; numbers, times and ids aside."""
    now = said_now(block.text, lambda line: _conduit(line, shop), IDS)
    if UPDATE:
        text = page.read_text(encoding="utf-8")
        page.write_text(text.replace(block.text, now), encoding="utf-8")
    else:
        assert _plain(block.text) == _plain(now)


def said_now(text: str, run: Callable[[str], str], ids: dict[str, str]) -> str:
    """Run the commands of a block, and return it as it would be written today.

    Args:
        text: the block's.
        run: runs one line, and returns what it wrote.
        ids: what the ids of the page are called here; those of this block are added.
    """
    told: list[str] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            now_named = _ID.sub(lambda found: ids.get(found[0], found[0]), line)
            told += [now_named, *run(now_named[2:]).splitlines()]
    now = "\n".join(line.rstrip() for line in told).rstrip() + "\n"
    ids.update(zip(_ID.findall(text), _ID.findall(now), strict=False))
    return now


def _plain(text: str) -> list[str]:
    text = re.sub(r"\d{4}-\d\d-\d\d[T ][\d:.]+(Z|\+00:00)?", "TIME", text)
    text = _ID.sub("ID", text)
    # what a load of milliseconds waits for most is the machine's to say
    text = re.sub(
        r"\b(plan|source|network|rules|destination|commit|balanced), \d+%", "PART, N%", text
    )
    text = re.sub(r"[\d,.]+( (ms|s|B|KiB|MiB|rows/s))?", "N", text)
    return [" ".join(re.sub(r"[─━-]{2,}", "", line).split()) for line in text.splitlines()]


CHECKS = {
    "yaml": _mapping,
    "toml": _mapping,
    "jinja": _jinja,
    "json": _json,
    "python": _python,
    "sql": _sql,
    "promql": _promql,
    "mermaid": _mermaid,
    "sh": _sh,
    "console": _console,
}
