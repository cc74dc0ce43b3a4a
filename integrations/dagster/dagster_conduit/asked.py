"""What a step asks the core for: a window or a slice, and a key that each of its retries has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg

from conduit_core.errors import ConfigError

if TYPE_CHECKING:
    from dagster import AssetExecutionContext

    from conduit_core import RunRequest
    from dagster_conduit.specs import StreamLoad


@dataclass(frozen=True)
class Asked:
    """What a step's caller asks for beside its partitions."""

    full_refresh: bool = False
    reload: bool = False
    allow_empty: bool = False
    allow_deletes: bool = False


def request_of(
    context: AssetExecutionContext, key: dg.AssetKey, load: StreamLoad, given: Asked
) -> RunRequest:
    """Return the request of a step.

    Its key is made of the run that was started first, the asset and its partitions, so that each
    retry of the step and of the run is the same request. With ``reload`` each run is one of its
    own.

    Raises:
        ConfigError: the partition can't be a slice.
    """
    from conduit_core import RunRequest

    run = context.run
    parts = ["dagster", run.root_run_id or run.run_id, key.to_user_string()]
    partitioned = is_partitioned(context, key)
    if partitioned:
        span = context.partition_key_range
        parts.append(span.start if span.start == span.end else f"{span.start}...{span.end}")
    if given.reload:
        parts += ["reload", run.run_id]
    asked: dict[str, object] = slice_of(context, key, load) if partitioned else {}
    return RunRequest.model_validate(
        {
            **asked,
            "full_refresh": given.full_refresh,
            "request_key": "/".join(parts),
            "allow_empty": given.allow_empty,
            "allow_deletes": given.allow_deletes,
            "runner": runner_text(context),
            "after": False,
        }
    )


def runner_text(context: AssetExecutionContext) -> str:
    """Return who asks, for the ledger."""
    run = context.run
    facts = {
        "runner": "dagster",
        "job": run.job_name,
        "run_id": run.run_id,
        "root_run_id": run.root_run_id or run.run_id,
        "step": context.op_execution_context.get_step_execution_context().step.key,
        "retry": context.retry_number,
    }
    return json.dumps(facts)


def is_partitioned(context: AssetExecutionContext, key: dg.AssetKey) -> bool:
    """Say whether the run is of partitions, and the asset has any."""
    has = context.has_partition_key or context.has_partition_key_range
    return has and context.assets_def.specs_by_key[key].partitions_def is not None


def slice_of(
    context: AssetExecutionContext, key: dg.AssetKey, load: StreamLoad
) -> dict[str, object]:
    """Return what the step's partitions ask for: a window of time, values of a column, or both.

    Raises:
        ConfigError: it isn't known which column the keys are values of.
    """
    from conduit_core import SliceBy

    definition = context.assets_def.specs_by_key[key].partitions_def
    if isinstance(definition, dg.TimeWindowPartitionsDefinition):
        span = context.partition_key_range
        first = definition.time_window_for_partition_key(span.start)
        last = definition.time_window_for_partition_key(span.end)
        return {"window_from": first.start.isoformat(), "window_to": last.end.isoformat()}
    keys = context.partition_keys
    if isinstance(definition, dg.MultiPartitionsDefinition):
        return _of_dimensions(
            definition, [definition.get_partition_key_from_str(k) for k in keys], load
        )
    return {"only": SliceBy.of({_column(load, None): list(keys)})}


def _of_dimensions(
    definition: dg.MultiPartitionsDefinition, keys: list[dg.MultiPartitionKey], load: StreamLoad
) -> dict[str, object]:
    from conduit_core import SliceBy

    asked: dict[str, object] = {}
    for dimension in definition.partitions_defs:
        values = list(dict.fromkeys(key.keys_by_dimension[dimension.name] for key in keys))
        inner = dimension.partitions_def
        if isinstance(inner, dg.TimeWindowPartitionsDefinition):
            spans = [inner.time_window_for_partition_key(value) for value in values]
            asked["window_from"] = min(span.start for span in spans).isoformat()
            asked["window_to"] = max(span.end for span in spans).isoformat()
        elif "only" in asked:
            raise ConfigError(
                "partitions of two dimensions without time: a load is a slice by one column",
                stream=load.stream.name,
            )
        else:
            asked["only"] = SliceBy.of({_column(load, dimension.name): values})
    return asked


def _column(load: StreamLoad, dimension: str | None) -> str:
    expr = load.partition_expr
    if isinstance(expr, Mapping):
        expr = expr.get(dimension or "")
    if isinstance(expr, str) and expr:
        return expr
    of = f" of dimension {dimension!r}" if dimension else ""
    raise ConfigError(
        f"which column are the partitions' keys{of} values of? Say it: partition_expr='region' of"
        " conduit_assets, or in the asset's metadata",
        stream=load.stream.name,
    )
