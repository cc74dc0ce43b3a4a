"""How a step fails: by the error's class it is retried, or fails at once and for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from conduit_core.errors import ConduitError, StateDivergedError

if TYPE_CHECKING:
    from dagster import OpExecutionContext

RETRIES = 2
WAIT_SECONDS = 5.0
"""Before the first retry; twice as long before the second."""

_FOLLOW = (
    "if the destination is right: wipe the asset's materializations in Dagster, or run the job"
    " of build_conduit_jobs, NAME_rewind, with follow_ledger: true"
)


def retries_left(context: OpExecutionContext) -> bool:
    """Say whether a step that fails may be tried again."""
    policy = context.get_step_execution_context().op_retry_policy
    return context.retry_number < (RETRIES if policy is None else policy.max_retries)


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
