"""What the pages list is what the code has: keys, columns, events, errors, connectors."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from conduit_core import ChangedTable, errors, events
from conduit_core.cli import main
from conduit_core.cli.commands import commands
from conduit_core.connectors import registry
from conduit_core.connectors.files.convert import _TYPES
from conduit_core.connectors.postgres.types import MAX_COLUMNS, MAX_IDENTIFIER_BYTES
from conduit_core.connectors.sql.incidents import COLUMNS as INCIDENT_COLUMNS
from conduit_core.connectors.sql.ledger import COLUMNS
from conduit_core.engine.hooks import LoadFacts, WindowFacts
from conduit_core.observe.alerts_text import NAMES, alert_schema
from conduit_core.observe.metrics import METRICS
from conduit_core.observe.receivers import KINDS
from conduit_core.spec import json_schema, parse_duration
from conduit_core.spec.model import PipelineSpec
from conduit_core.spec.notify import WORDS
from conduit_core.state.ledger import Counts
from conduit_dbt import DbtNode, DbtOptions, DbtResult, SourceFreshness
from conduit_dbt.context import PREFIX, environment, variables
from docs_site.pipeline_file import PAGE as GENERATED
from tests.docs.pages import PAGES, ROOT, blocks, code, name, tables

DOCS = ROOT / "docs"


# --- docs/pipeline.md -----------------------------------------------------------------------------


def _documented(*headings: str) -> dict[str, list[str]]:
    found = tables(DOCS / "pipeline.md")
    return {code(row[0])[0]: row for h in headings for row in found[f"{h}: key"]}


def _properties(definition: str | None) -> dict[str, Any]:
    schema = json_schema()
    node = schema if definition is None else schema["$defs"][definition]
    if "properties" not in node:
        node = next(part for part in node["anyOf"] if "properties" in part)
    properties: dict[str, Any] = node["properties"]
    return properties


SECTIONS = [
    ("Pipeline", None),
    ("Source", "source"),
    ("Destination", "destination"),
    ("Streams", "StreamSpec"),
    ("Notify", "NotifyRule"),
    ("Receivers", "ReceiverSpec"),
]


@pytest.mark.parametrize(("heading", "definition"), SECTIONS)
def test_every_key_is_documented_and_no_other(heading: str, definition: str | None) -> None:
    assert set(_documented(heading)) == set(_properties(definition))


@pytest.mark.parametrize(("heading", "definition"), SECTIONS)
def test_defaults_and_choices_are_the_models(heading: str, definition: str | None) -> None:
    for key, node in _properties(definition).items():
        _, kind, default, _ = _documented(heading)[key]
        if "default" in node:
            wanted = node["default"]
            wanted = wanted if isinstance(wanted, list) else [wanted]
            wanted = [str(w).lower() if isinstance(w, bool) else w for w in wanted]
            assert code(default) == wanted, key
        if "enum" in node:
            assert code(kind) == node["enum"], key
        if "pattern" in str(node) and "0-9" in str(node) and "%" not in str(node):
            assert kind.startswith("duration"), key


def test_default_durations_are_the_models() -> None:
    for heading, key in (("Pipeline", "resume_within"), ("Source", "lock_wait")):
        text = code(_documented(heading)[key][2])[0]
        model: Any = PipelineSpec
        if heading == "Source":
            model = PipelineSpec.model_fields["source"].annotation
        assert parse_duration(text) == model.model_fields[key].default


# --- docs/connectors.md, README.md ----------------------------------------------------------------


def test_connectors_are_those_installed() -> None:
    rows = {code(r[0])[0]: r for r in tables(DOCS / "connectors.md")["Connectors: type"]}
    assert set(rows) == set(registry.names())
    for kind, (_, source, destination, extra, options) in rows.items():
        connector = registry.get(kind)
        assert (source == "yes") == (connector.source is not None), kind
        assert (destination == "yes") == (connector.destination is not None), kind
        assert code(extra) == ([connector.extra] if connector.extra else []), kind
        assert set(code(options)) == set(connector.options.model_fields), kind


def test_types_of_airflow_connections_are_the_connectors() -> None:
    known: dict[str, list[str]] = {}
    for kind in registry.names():
        for taken in registry.get(kind).airflow_types:
            known.setdefault(taken, []).append(kind)
    rows = tables(DOCS / "connectors.md")["Airflow connections: type"]
    listed = {taken: code(row[1]) for row in rows for taken in code(row[0])}
    assert listed == {**known, "conduit": []}


def test_limits_are_the_codes() -> None:
    rows = {r[0]: r for r in tables(DOCS / "connectors.md")["What each can do: "]}
    assert rows["longest name"][1] == f"{MAX_IDENTIFIER_BYTES} bytes"
    assert rows["most columns"][1] == str(MAX_COLUMNS)


def test_names_of_types_are_those_that_are_read() -> None:
    text = (DOCS / "connectors.md").read_text().partition("Names under `types:`:")[2]
    listed = code(text.partition("\n\n")[0])
    assert set(listed) == {*_TYPES, "decimal(p, s)", "json", "uuid"}


# --- docs/state.md, docs/events.md, docs/errors.md ------------------------------------------------


def test_ledger_columns_are_documented() -> None:
    rows = tables(DOCS / "state.md")["The ledger: column"]
    assert [c for row in rows for c in code(row[0])] == list(COLUMNS)


def _below(kind: type[Any]) -> Iterator[type[Any]]:
    for child in kind.__subclasses__():
        yield child
        yield from _below(child)


def test_events_and_their_fields_are_documented() -> None:
    shared = {f.name for f in dataclasses.fields(events.Event)}
    known = {
        c.__name__: [f.name for f in dataclasses.fields(c) if f.name not in shared]
        for c in _below(events.Event)
        if c.__module__ == events.__name__
    }
    rows = tables(DOCS / "events.md")["Events: event"]
    assert {code(event)[0]: code(fields) for event, fields in rows} == known


def test_metrics_and_receivers_are_documented() -> None:
    rows = tables(DOCS / "observe" / "metrics.md")["Metrics: metric"]
    told = [(code(r[0])[0], r[1], r[2], tuple(code(r[3])), r[4]) for r in rows]
    assert told == [(m.name, m.kind, m.unit, m.labels, m.help) for m in METRICS]
    labels = tables(DOCS / "observe" / "metrics.md")["Metrics: label"]
    assert {c for r in labels for c in code(r[0])} == {c for m in METRICS for c in m.labels}
    receivers = tables(DOCS / "observe.md")["Watching loads: receiver"]
    kinds = {re.split(r"[+:]", word)[0] for r in receivers for word in code(r[0])}
    assert kinds == set(KINDS)


def test_the_order_of_events_names_real_ones() -> None:
    text = (DOCS / "events.md").read_text()
    order = text.partition("```text\n")[2].partition("```")[0]
    assert all(hasattr(events, word) for word in re.findall(r"\w+", order))


def test_errors_are_documented_with_code_and_retry() -> None:
    rows = {code(r[0])[0]: r for r in tables(DOCS / "errors.md")["The tree: class"]}
    own = [c for c in _below(errors.ConduitError) if c.__module__ == errors.__name__]
    assert set(rows) == {"ConduitError"} | {c.__name__ for c in own}
    for kind in (errors.ConduitError, *own):
        _, exit_code, retry, _ = rows[kind.__name__]
        if kind is not errors.LoadFailedError:
            assert (int(exit_code), retry) == (kind.exit_code, kind.default_retry), kind


# --- docs/observe/alerts.md -----------------------------------------------------------------------


def test_names_of_alerts_are_those_of_their_facts() -> None:
    rows = tables(DOCS / "observe" / "alerts.md")["Conditions and templates: name"]
    assert sorted(n for row in rows for n in code(row[0])) == sorted(NAMES)
    words = tables(DOCS / "observe" / "alerts.md")["What is told: word"]
    assert {code(row[0])[0] for row in words} == set(WORDS)


def test_the_body_of_an_alert_is_of_the_published_form() -> None:
    page = blocks(DOCS / "observe" / "alerts.md")
    (body,) = (json.loads(b.text) for b in page if b.language == "json")
    jsonschema.Draft202012Validator(alert_schema()).validate(body)
    assert set(body["alerts"][0]) == {"key", *NAMES}


def test_columns_of_incidents_are_documented() -> None:
    rows = tables(DOCS / "state.md")["Incidents: column"]
    assert [c for row in rows for c in code(row[0])] == list(INCIDENT_COLUMNS)


# --- docs/cli.md ----------------------------------------------------------------------------------


def test_every_command_is_documented() -> None:
    text = (DOCS / "cli.md").read_text()
    for command in commands():
        assert f"conduit {command}" in text, command


def test_every_option_of_run_is_documented() -> None:
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        main(["run", "--help"])
    rows = tables(DOCS / "cli.md")
    listed = [*rows["run: option"], *rows["The `conduit` command: option"]]
    documented = {word for row in listed for word in row[0].strip("`").split() if word[:2] == "--"}
    assert documented == set(re.findall(r"^  (--[a-z-]+)", told.getvalue(), re.M)) - {"--help"}


# --- docs/dbt.md ----------------------------------------------------------------------------------

DBT = tables(DOCS / "dbt.md")


def test_every_key_of_after_dbt_is_documented_with_its_default_and_choices() -> None:
    rows = {code(row[0])[0]: row for row in DBT["Keys of `after.dbt`: key"]}
    schema = DbtOptions.model_json_schema()["properties"]
    assert set(rows) == set(schema)
    for key, node in schema.items():
        _, kind, default, _ = rows[key]
        assert (default == "required") == DbtOptions.model_fields[key].is_required(), key
        if isinstance(node.get("default"), str):
            assert code(default) == [node["default"]], key
        if "enum" in node:
            assert code(kind) == node["enum"], key


def test_what_dbt_is_told_is_documented() -> None:
    load = LoadFacts(
        load_id="l", version=1, mode="append", window=WindowFacts(kind="full"), watermark=None,
        loaded_at="", counts=Counts(),
    )  # fmt: skip
    table = ChangedTable(
        stream="s", schema_name="raw", table="t", finished=None, version=1, loads=(load,)
    )
    told: dict[str, Any] = variables("shop", [table])

    def documented(header: str) -> list[str]:
        rows = DBT[f"What dbt is told: {header}"]
        return [name for row in rows for name in code(row[0])]

    assert documented("field") == list(told)
    (fields,) = told["tables"].values()
    assert documented("field of a table") == list(fields)
    listed = next(row for row in DBT["What dbt is told: field of a table"] if "`loads`" in row[0])
    assert code(listed[1]) == list(fields["loads"][0])
    text = (DOCS / "dbt.md").read_text()
    assert all(
        f"`..._{name.removeprefix(PREFIX)}`" in text or f"`{name}`" in text
        for name in environment("shop", [table])
    )


def test_what_dbt_did_is_documented() -> None:
    rows = DBT["Results: field of `DbtResult`"]
    assert {n for row in rows for n in code(row[0])} == set(DbtResult.model_fields)
    (nodes,) = [row for row in rows if "`nodes`" in row[0]]
    (freshness,) = [row for row in rows if "`freshness`" in row[0]]
    assert code(nodes[1]) == list(DbtNode.model_fields)
    assert code(freshness[1]) == list(SourceFreshness.model_fields)


# --- every page -----------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_names_in_the_code_exist(page: Path) -> None:
    for dotted in re.findall(
        r"`(conduit_(?:core|dbt)(?:\.\w+)+)`", page.read_text(encoding="utf-8")
    ):
        _import(dotted)


def _import(dotted: str) -> object:
    try:
        return importlib.import_module(dotted)
    except ModuleNotFoundError:
        home, _, last = dotted.rpartition(".")
        return getattr(_import(home), last)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_names_no_private_place(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"/(root|work|tmp|home)/|pip install conduit", text)
    if page != GENERATED:
        assert max(map(len, text.splitlines())) <= 240
