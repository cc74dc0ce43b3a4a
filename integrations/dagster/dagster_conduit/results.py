"""What a step tells of a load: its materialisation, and what each rule found."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from dagster_conduit.state import KEY

if TYPE_CHECKING:
    from conduit_core import LoadResult, Pipeline
    from dagster_conduit.specs import StreamLoad


def materialized(
    result: LoadResult,
    entry: str | None,
    version: int | None,
    pipeline: Pipeline,
    load: StreamLoad,
    spec: dg.AssetSpec,
    checks: Iterable[dg.AssetCheckResult],
) -> dg.MaterializeResult[object]:
    """Return a load's materialisation; with nothing new, one of 0 rows and the same data version.

    Args:
        result: what became of the load.
        entry: the state's entry; None for none.
        version: the target's as the state has it, where the load has none of its own.
        pipeline: asked for the target's columns.
        load: the stream.
        spec: the asset's.
        checks: what the rules found.
    """
    version = version if result.version is None else result.version
    metadata = {**facts_of(result, entry), **_of_columns(pipeline, load, spec)}
    return dg.MaterializeResult(
        asset_key=spec.key,
        metadata=metadata,
        data_version=dg.DataVersion(str(version or 0)),
        check_results=list(checks),
    )


def facts_of(result: LoadResult, entry: str | None) -> dict[str, Any]:
    """Return what became of a load as metadata, and the state's entry."""
    told = {**_of_load(result), **_of_rows(result)}
    if entry is not None:
        told[KEY] = json.loads(entry)
    return told


def _of_load(result: LoadResult) -> dict[str, Any]:
    told: dict[str, Any] = {
        "conduit/outcome": result.outcome,
        "conduit/load_id": result.load_id or "",
        "conduit/mode": result.mode,
        "conduit/window": result.window,
        "conduit/guarantee": result.guarantee,
        "conduit/bytes_read": result.bytes_read,
        "conduit/seconds": round(result.seconds, 3),
        "conduit/stages": dict(result.stages),
    }
    if result.bottleneck is not None:
        told["conduit/bottleneck"] = result.bottleneck.model_dump()
    if result.watermark is not None:
        told["conduit/watermark"] = result.watermark
    if result.notes:
        told["conduit/notes"] = dg.MetadataValue.md("\n".join(f"- {n}" for n in result.notes))
    if result.schema_changes:
        told["conduit/schema_changes"] = [c.model_dump() for c in result.schema_changes]
    return told


def _of_rows(result: LoadResult) -> dict[str, Any]:
    counts = result.counts.model_dump()
    told: dict[str, Any] = {f"conduit/rows_{kind}": n for kind, n in counts.items()}
    held = counts["inserted"] + counts["updated"] + counts["unchanged"]
    if result.outcome == "published" and result.mode == "replace":
        told["dagster/row_count"] = held
    elif result.outcome == "published" and result.mode == "replace_window":
        told["dagster/partition_row_count"] = held
    return told


def _of_columns(pipeline: Pipeline, load: StreamLoad, spec: dg.AssetSpec) -> dict[str, Any]:
    """Return the target's columns, and which column of the source each comes from."""
    from conduit_core import column_lineage, table_facts

    (table,) = table_facts(pipeline, (load.stream.name,))
    if not table.exists:
        return {}
    told: dict[str, Any] = {
        "dagster/column_schema": dg.TableSchema(
            [
                dg.TableColumn(
                    c.name, c.type, constraints=dg.TableColumnConstraints(nullable=c.nullable)
                )
                for c in table.columns
            ]
        )
    }
    upstream = next((dep.asset_key for dep in spec.deps), None)
    lineage = column_lineage(pipeline, load.stream.name, [c.name for c in table.columns])
    if upstream is not None and lineage:
        told["dagster/column_lineage"] = dg.TableColumnLineage(
            {
                column: [dg.TableColumnDep(upstream, source) for source in sources]
                for column, sources in lineage.items()
            }
        )
    return told


def check_results(
    reports: Iterable[Mapping[str, object]], names: Mapping[str, str], key: dg.AssetKey
) -> Iterator[dg.AssetCheckResult]:
    """Yield what rules found, as check results.

    Args:
        reports: of each rule, as :class:`conduit_core.RuleReport` says it.
        names: of each check that is asked for, the rule.
        key: the asset's.
    """
    found = list(reports)
    for check, rule in names.items():
        # A pandera model's own `unique` is a report beside the rule's: NAME.unique(COLUMNS).
        of_rule = [r for r in found if r["rule"] == rule or str(r["rule"]).startswith(f"{rule}.")]
        if not of_rule:
            continue
        broken = [r for r in of_rule if r["result"] == "failed"]
        report = (broken or of_rule)[0]
        stops = any(r["action"] == "fail" for r in broken or of_rule)
        metadata: dict[str, Any] = {
            "conduit/action": report["action"],
            "conduit/result": report["result"],
            "conduit/rows_checked": report["checked"],
            "conduit/rows_failed": report["failed"],
        }
        if report["sample"]:
            metadata["conduit/sample"] = [str(each) for each in _listed(report["sample"])]
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name=check,
            passed=not broken,
            severity=dg.AssetCheckSeverity.ERROR if stops else dg.AssetCheckSeverity.WARN,
            description="; ".join(str(r["text"]) for r in broken or of_rule if r["text"]) or None,
            metadata=metadata,
        )


def _listed(value: object) -> Iterable[object]:
    return value if isinstance(value, list | tuple) else ()
