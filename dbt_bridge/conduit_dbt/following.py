"""dbt after the loads, for whoever calls it from Python."""

from __future__ import annotations

from collections.abc import Sequence

from conduit_core import HookResult, Pipeline, bound_hook, run_hook
from conduit_core.events import Emitter, Listener


def run_after(
    pipeline: Pipeline,
    *,
    failed: Sequence[str] = (),
    listeners: tuple[Listener, ...] = (),
    anew: bool = False,
    **options: object,
) -> HookResult:
    """Run dbt on what changed since it last finished for this pipeline.

    Args:
        pipeline: the pipeline whose loads are published; nothing of it may be open.
        failed: streams of this run that failed; see ``on_partial``.
        listeners: called with every event.
        anew: for all tables that were ever loaded, as if dbt had never finished.
        options: keys of ``after.dbt``, over those of the file: ``project_dir``, ``select`` ...

    Returns:
        What became of it; ``DbtResult.model_validate(result.details)`` is what dbt did, unless it
        was skipped.

    Raises:
        ConfigError: an option is wrong, or there is no such project, profile or dbt.
        HookError: a node failed, the project doesn't compile, or no source names a changed table.
    """
    bound = bound_hook(pipeline, "dbt", options)
    result = run_hook(pipeline, bound, tuple(failed), Emitter(listeners), anew=anew)
    if result.failure is not None:
        raise result.failure.to_error()
    return result
