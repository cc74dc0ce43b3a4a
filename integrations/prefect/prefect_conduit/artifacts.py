"""What people see of a load on its run's page: a summary, tables of rules, and samples.

Text is escaped: Prefect renders descriptions and the cells of its tables as Markdown.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.logging import get_logger
from prefect.runtime import flow_run, task_run

from prefect_conduit.shown import block, code, plain, row

if TYPE_CHECKING:
    from uuid import UUID

    from conduit_core import HookResult, LoadResult, RunResult
    from conduit_core.errors import ConduitError

MOST_ROWS = 200
"""Rows of a table, and streams of a summary; what is left out is counted."""
_PLAIN = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*")
_LONGEST_KEY = 200
_REPORTED = ("rule", "action", "result", "checked", "failed", "text")


def artifact_key(*parts: str) -> str:
    """Return an artifact's key: ``conduit-PIPELINE--STREAM--KIND``.

    Prefect takes small letters, digits and dashes alone. ``_`` becomes ``-``; where a name has
    other signs, a digest of the exact names at the end keeps two keys apart.
    """
    key = "conduit-" + "--".join(re.sub(r"[^a-z0-9]+", "-", p.lower()).strip("-") for p in parts)
    if all(_PLAIN.fullmatch(part) for part in parts) and len(key) <= _LONGEST_KEY:
        return key
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]
    return f"{key[:_LONGEST_KEY]}-{digest}"


def make(kind: str, key: str, data: object, description: str) -> UUID:
    """Make an artifact of the run that this is called in.

    Raises:
        Exception: Prefect can't be reached, or refuses it.
    """
    with get_client(sync_client=True) as client:
        wanted = {
            "type": kind,
            "key": key,
            "data": data,
            "description": description,
            "flow_run_id": flow_run.id,
            "task_run_id": task_run.id,
        }
        return client.create_artifact(ArtifactCreate.model_validate(wanted)).id


@contextmanager
def never_failing(what: str) -> Iterator[None]:
    """Make a warning of whatever fails: a load is what it is, shown or not."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever Prefect's client raises
        get_logger("conduit").warning("%s: %s: %s", what, type(error).__name__, error)


def show_rules(pipeline: str, stream: str, reports: Iterable[Mapping[str, Any]]) -> None:
    """Make the tables of what each rule found, and of values that broke one.

    The core has left out the values of columns that the stream's ``redact:`` names.
    """
    found = list(reports)
    if not found:
        return
    table = [_cells_of(report) for report in found[:MOST_ROWS]]
    make(
        "table",
        artifact_key(pipeline, stream, "rules"),
        json.dumps(table),
        f"What each rule found in the load of {code(stream)}.{_left_out(len(found))}",
    )
    samples = [
        {"rule": plain(report["rule"]), "value": code(value)}
        for report in found
        for value in report.get("sample") or ()
    ]
    if samples:
        make(
            "table",
            artifact_key(pipeline, stream, "samples"),
            json.dumps(samples[:MOST_ROWS]),
            f"Values of {code(stream)} that broke a rule, none of a column under `redact:`."
            f"{_left_out(len(samples))}",
        )


def show_load(result: LoadResult) -> None:
    """Make the summary of a load."""
    lines = [f"## {plain(result.pipeline)}: {plain(result.stream)}", "", *_table([result])]
    lines += ["", *_about(result)]
    make(
        "markdown",
        artifact_key(result.pipeline, result.stream),
        "\n".join(lines),
        f"The load of {code(result.target)}.",
    )


def show_failure(pipeline: str, stream: str, error: ConduitError) -> None:
    """Make the summary of a load that failed: the error's four lines."""
    lines = [f"## {plain(pipeline)}: {plain(stream)}", "", "**failed**", ""]
    make(
        "markdown",
        artifact_key(pipeline, stream),
        "\n".join([*lines, *block(error.lines())]),
        f"The load of {code(stream)} failed.",
    )


def show_run(result: RunResult) -> None:
    """Make the summary of a run."""
    lines = [f"## {plain(result.pipeline)}", ""]
    failed, left = len(result.failures), result.not_started
    if result.results or failed:
        failures = [(f.stream, f.error) for f in result.failures]
        lines += _table(result.results, failures, left)
    for failure in result.failed[:MOST_ROWS]:
        lines += ["", f"### {plain(failure.stream)}", "", *block(failure.lines)]
    for each in result.results[:MOST_ROWS]:
        if about := _about(each):
            lines += ["", f"### {plain(each.stream)}", "", *about]
    if result.hooks:
        lines += ["", "### after", "", *(_hook(hook) for hook in result.hooks)]
    make(
        "markdown",
        artifact_key(result.pipeline),
        "\n".join(lines),
        f"The loads of {code(result.pipeline)}: {len(result.results)} done, {failed} failed"
        f"{f', {len(left)} not started' if left else ''}.",
    )


def show_hook(pipeline: str, result: HookResult) -> None:
    """Make the table of what dbt built: each node, its status and its seconds. No messages."""
    nodes = result.details.get("nodes")
    if not isinstance(nodes, list) or not nodes:
        return
    table = [
        {
            "kind": plain(str(node["kind"])),
            "node": plain(str(node["name"])),
            "status": plain(str(node["status"])),
            "seconds": round(float(node["seconds"]), 2),
        }
        for node in nodes[:MOST_ROWS]
    ]
    make(
        "table",
        artifact_key(pipeline, "after", result.hook),
        json.dumps(table),
        f"What {code(f'after.{result.hook}')} did.{_left_out(len(nodes))}",
    )


_HEAD = ("stream", "outcome", "read", "inserted", "updated", "deleted", "rejected", "watermark")


def _table(
    results: Sequence[LoadResult],
    failed: Sequence[tuple[str, str]] = (),
    not_started: Sequence[str] = (),
) -> list[str]:
    told = [(stream, f"**failed** ({plain(error)})") for stream, error in failed]
    told += [(stream, "not started") for stream in not_started]
    rows = [_cells(each) for each in results]
    rows += [[plain(stream), outcome, *[""] * (len(_HEAD) - 2)] for stream, outcome in told]
    table = [row(_HEAD), row(["---"] * len(_HEAD)), *(row(cells) for cells in rows[:MOST_ROWS])]
    return table + (["", _left_out(len(rows)).strip()] if len(rows) > MOST_ROWS else [])


def _cells(result: LoadResult) -> list[str]:
    counts = result.counts
    numbers = (counts.read, counts.inserted, counts.updated, counts.deleted, counts.rejected)
    return [
        plain(result.stream),
        result.outcome,
        *(f"{number:,}" for number in numbers),
        plain(result.watermark or ""),
    ]


def _about(result: LoadResult) -> list[str]:
    """Return what a table has no column for: window, changed columns, notes."""
    lines = []
    if result.outcome == "published":
        version = f" version {result.version}" if result.version else ""
        lines.append(
            f"- {plain(result.target)}{version}, mode {plain(result.mode)}, window"
            f" {plain(result.window)}, {result.seconds:,.1f} s, load {plain(result.load_id or '')}"
        )
    if result.held_up:
        lines.append(f"- held up by {plain(result.held_up, 500)}")
    for change in result.schema_changes[:MOST_ROWS]:
        was = f" (was {plain(change.was)})" if change.was else ""
        lines.append(f"- column {plain(change.column)} {change.change}: {plain(change.now)}{was}")
    lines += [f"- {plain(note)}" for note in result.notes[:MOST_ROWS]]
    return lines


def _hook(hook: HookResult) -> str:
    return f"- after.{plain(hook.hook)}: {hook.outcome}: {plain(hook.text)}"


def _cells_of(report: Mapping[str, Any]) -> dict[str, object]:
    values = {key: report.get(key) for key in _REPORTED}
    return {key: plain(v) if isinstance(v, str) else v for key, v in values.items()}


def _left_out(count: int) -> str:
    return f" {count - MOST_ROWS:,} more are left out." if count > MOST_ROWS else ""
