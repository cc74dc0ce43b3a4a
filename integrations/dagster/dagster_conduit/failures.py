"""How a step fails: by the error's class it is retried, or fails at once and for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg
from dagster import DagsterRunNotFoundError

from conduit_core.errors import ConduitError, StateDivergedError

if TYPE_CHECKING:
    from dagster import OpExecutionContext

RETRIES = 2
WAIT_SECONDS = 5.0
"""Before the first retry; twice as long before the second."""

_MOST = "dagster/max_retries"
_ON_FAILURE = "dagster/retry_on_asset_or_op_failure"
"""Tags of a run, in place of what the instance says."""
_FOLLOW = (
    "if the destination is right: wipe the asset's materializations in Dagster, or run the job"
    " of build_conduit_jobs, NAME_rewind, with follow_ledger: true"
)


def retries_left(context: OpExecutionContext) -> bool:
    """Say whether a step that fails may be tried again."""
    policy = context.get_step_execution_context().op_retry_policy
    return context.retry_number < (RETRIES if policy is None else policy.max_retries)


def will_retry(error: ConduitError, context: OpExecutionContext) -> bool:
    """Say whether Dagster runs the step again after an error, or its whole run."""
    return (error.retry != "never" and retries_left(context)) or _run_is_retried(context)


def _run_is_retried(context: OpExecutionContext) -> bool:
    """Say whether Dagster's daemon starts the run anew where a step has failed."""
    instance, tags = context.instance, context.run.tags
    if not instance.run_retries_enabled:
        return False
    on_failure = tags.get(_ON_FAILURE, str(instance.run_retries_retry_on_asset_or_op_failure))
    most = tags.get(_MOST, str(instance.run_retries_max_retries))
    if on_failure.lower() == "false" or not most.isdecimal():
        return False
    try:
        group = instance.get_run_group(context.run_id)
    except DagsterRunNotFoundError:  # the first run of these was deleted
        return False
    return group is not None and len([*group[1]]) <= int(most)


def failure(error: ConduitError, context: OpExecutionContext) -> Exception:
    """Return what a step raises for an error: its text is the error's four lines.

    The state store is Dagster here, which no command of ours reaches: where it tells another story
    than the destination, the last line says what to do in Dagster.

    Where a retry may help, a retry policy of the step or of the job decides when, and how often;
    without one it is retried twice.
    """
    lines = error.lines()
    if isinstance(error, StateDivergedError):
        lines[3] = _FOLLOW
    kept = dg.Failure(
        description="\n".join(lines),
        metadata={
            "conduit/error": type(error).__name__,
            "conduit/state": dg.MetadataValue.text(lines[1]),
            "conduit/retry": error.retry,
            "conduit/command": lines[3],
        },
        allow_retries=error.retry != "never",
    )
    policy = context.get_step_execution_context().op_retry_policy
    if error.retry == "never" or policy is not None or not retries_left(context):
        return kept
    context.log.warning(kept.description)
    again = dg.RetryRequested(RETRIES, WAIT_SECONDS * 2**context.retry_number)
    again.__cause__ = kept  # what Dagster shows of it, and all it has where retries are off
    return again
