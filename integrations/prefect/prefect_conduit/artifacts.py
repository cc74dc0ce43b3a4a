"""What people see of a load on its flow run's page: tables of rules, samples and a summary."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from prefect import artifacts

if TYPE_CHECKING:
    from conduit_core import LoadResult, RunResult

# Called on an event loop's own thread these give a coroutine, unless they are told not to.
_table: Any = partial(cast("Any", artifacts.create_table_artifact), _sync=True)
_markdown: Any = partial(cast("Any", artifacts.create_markdown_artifact), _sync=True)


def artifact_key(*parts: str) -> str:
    """Return an artifact's key: small letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")


def show_rules(pipeline: str, stream: str, reports: Iterable[Mapping[str, Any]]) -> None:
    """Make the tables of what each rule found, and of samples with their values redacted."""
    found = list(reports)
    if not found:
        return
    table = [
        {key: report.get(key) for key in ("rule", "action", "result", "checked", "failed", "text")}
        for report in found
    ]
    _table(
        key=artifact_key("conduit", pipeline, stream, "rules"),
        table=table,
        description=f"What each rule found in the load of `{stream}`.",
    )
    samples = [
        {"rule": report["rule"], "row": str(row)}
        for report in found
        for row in report.get("sample") or ()
    ]
    if samples:
        _table(
            key=artifact_key("conduit", pipeline, stream, "samples"),
            table=samples,
            description=f"Some rows of `{stream}` that rules rejected, values redacted.",
        )


def show_run(result: RunResult) -> None:
    """Make the summary of a run."""
    lines = [f"## {result.pipeline}", "", _row(_HEAD), _row(["---"] * len(_HEAD))]
    lines += [_row(_cells(each)) for each in result.results]
    for failure in result.failures:
        lines.append(_row([failure.stream, f"**failed** ({failure.error})", *[""] * 6]))
    for failure in result.failures:
        lines += ["", f"### {failure.stream}", "", "```", *failure.lines, "```"]
    for hook in result.hooks:
        lines += ["", f"`after.{hook.hook}`: {hook.outcome}: {hook.text}"]
    _markdown(
        key=artifact_key("conduit", result.pipeline),
        markdown="\n".join(lines),
        description=f"The loads of `{result.pipeline}`.",
    )


_HEAD = ["stream", "outcome", "read", "inserted", "updated", "deleted", "rejected", "watermark"]


def _cells(result: LoadResult) -> list[str]:
    counts = result.counts
    numbers = (counts.read, counts.inserted, counts.updated, counts.deleted, counts.rejected)
    return [
        result.stream,
        result.outcome,
        *(f"{number:,}" for number in numbers),
        result.watermark or "",
    ]


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
