"""How a stream and its rules become an asset and its checks: what users override."""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from conduit_core import Outline, RuleOutline, StreamOutline

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_]+")


@dataclass(frozen=True)
class StreamData:
    """What is known of a stream while definitions are loaded.

    Args:
        pipeline: the pipeline's outline: its name, source, destination, hooks.
        stream: the stream's: its target, what it reads, its rules.
    """

    pipeline: Outline
    stream: StreamOutline


@dataclass(frozen=True)
class CheckData:
    """What is known of a rule while definitions are loaded.

    Args:
        pipeline, stream: the rule's.
        rule: its name, kind, action, columns, description.
        asset_key: the asset's that it checks.
    """

    pipeline: Outline
    stream: StreamOutline
    rule: RuleOutline
    asset_key: dg.AssetKey


class DagsterConduitTranslator:
    """Turns streams into assets and rules into checks. Subclass it to change keys and more.

    Examples:
        >>> class Ours(DagsterConduitTranslator):
        ...     def get_asset_spec(self, data):
        ...         return super().get_asset_spec(data).replace_attributes(group_name="shop")
    """

    def get_asset_spec(self, data: StreamData) -> dg.AssetSpec:
        """Return a stream's asset.

        Its key is ``[schema, table]``: the one that dagster-dbt gives a dbt source of that name.
        What it reads is an asset upstream of it. ``freshness:`` of the file is its policy.

        Args:
            data: what is known of the stream.
        """
        pipeline, stream = data.pipeline, data.stream
        late = stream.freshness
        return dg.AssetSpec(
            key=[stream.schema, stream.table] if stream.schema else [stream.table],
            deps=[source_key(data)],
            description=f"Loaded by the pipeline {pipeline.name}, stream {stream.name}.",
            metadata={"dagster/table_name": stream.target, **_said(data)},
            kinds={"conduit", *([pipeline.system] if pipeline.system else [])},
            freshness_policy=dg.FreshnessPolicy.time_window(fail_window=late) if late else None,
        )

    def get_check_spec(self, data: CheckData) -> dg.AssetCheckSpec:
        """Return a rule's check. With ``action: fail`` it is a blocking one.

        Its name is the rule's, with ``_`` for what a check's name can't hold.

        Args:
            data: what is known of the rule.
        """
        rule = data.rule
        return dg.AssetCheckSpec(
            name=plain_name(rule.name),
            asset=data.asset_key,
            description=rule.description or None,
            blocking=rule.action == "fail",
            metadata={"conduit/rule": rule.name, "conduit/action": rule.action},
        )


def source_key(data: StreamData) -> dg.AssetKey:
    """Return the key of what a stream reads: its connection or system, then the table or path."""
    parts = data.stream.reads or (data.stream.name,)
    if len(parts) == 1 and "/" in parts[0]:
        parts = tuple(part for part in parts[0].split("/") if part)
    return dg.AssetKey([data.pipeline.source or "source", *parts])


def plain_name(text: str) -> str:
    """Return a text as Dagster takes names: letters, digits and ``_``."""
    return _NOT_IN_NAMES.sub("_", text).strip("_") or "_"


def free_name(text: str, taken: Container[str]) -> str:
    """Return a text as Dagster takes names, with a number where that one is taken."""
    plain = plain_name(text)
    name, number = plain, 2
    while name in taken:
        name, number = f"{plain}_{number}", number + 1
    return name


def _said(data: StreamData) -> dict[str, str]:
    return {"conduit/pipeline": data.pipeline.name, "conduit/stream": data.stream.name}
