"""What follows the loads, as tasks: dbt, and any other hook of ``after:``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from prefect_conduit.failures import RETRIES, WAITS_SECONDS, retry_may_help
from prefect_conduit.pipelines import PipelineLike, opened
from prefect_conduit.tasks import listeners
from prefect_conduit.twins import in_thread

if TYPE_CHECKING:
    from conduit_core import HookResult


@task(
    name="run-hook",
    task_run_name="after {hook}",
    retries=RETRIES,
    retry_delay_seconds=WAITS_SECONDS,
    retry_condition_fn=retry_may_help,
    cache_policy=NO_CACHE,
)
def run_after(pipeline: PipelineLike, hook: str, failed: Sequence[str] = ()) -> HookResult:
    """Run a hook of ``after:`` on what changed since it last finished."""
    return _ran(pipeline, hook, {}, failed)


@task(
    name="run-dbt",
    retries=RETRIES,
    retry_delay_seconds=WAITS_SECONDS,
    retry_condition_fn=retry_may_help,
    cache_policy=NO_CACHE,
)
def run_dbt(
    pipeline: PipelineLike,
    *,
    failed: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
) -> HookResult:
    """Let dbt build what is downstream of the tables that changed, and nothing else.

    Args:
        pipeline: as of ``load_stream``.
        failed: streams of this run that failed.
        options: keys of ``after.dbt`` that win over the file's.

    Raises:
        ConduitError: dbt failed.
    """
    return _ran(pipeline, "dbt", options or {}, failed)


arun_dbt = in_thread(run_dbt)


def _ran(
    given: PipelineLike, hook: str, over: Mapping[str, Any], failed: Sequence[str]
) -> HookResult:
    from conduit_core import bound_hook, run_hook
    from conduit_core.events import Emitter

    pipeline = opened(given)
    bound = bound_hook(pipeline, hook, over)
    result = run_hook(pipeline, bound, tuple(failed), Emitter(listeners()))
    if result.failure is not None:
        raise result.failure.to_error()
    return result
