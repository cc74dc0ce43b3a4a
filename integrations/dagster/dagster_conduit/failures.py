"""How a step fails: by the error's class it is retried, or fails at once and for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from conduit_core.errors import ConduitError

if TYPE_CHECKING:
    from dagster import OpExecutionContext

RETRIES = 2
WAIT_SECONDS = 5.0
"""Before the first retry; twice as long before the second."""


def failure(error: ConduitError, context: OpExecutionContext) -> Exception:
    """Return what a step raises for an error: its text is the error's four lines.

    Where a retry may help, a retry policy of the step decides when, and how often; without one it
    is retried twice.
    """
    lines = error.lines()
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
    if error.retry == "never" or context.op_def.retry_policy is not None:
        return kept
    if context.retry_number >= RETRIES:
        return kept
    context.log.warning("\n".join(lines))
    return dg.RetryRequested(RETRIES, WAIT_SECONDS * 2**context.retry_number)
