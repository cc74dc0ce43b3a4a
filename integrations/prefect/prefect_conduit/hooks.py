"""What follows the loads, as tasks: dbt, and any other hook of ``after:``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from prefect import task

from conduit_core.errors import ConfigError
from prefect_conduit.artifacts import never_failing, show_hook
from prefect_conduit.failures import PLANS, short
from prefect_conduit.pipelines import PipelineLike, opened
from prefect_conduit.twins import in_thread
from prefect_conduit.watching import watching

if TYPE_CHECKING:
    from conduit_core import HookResult, Pipeline

Command = Literal["build", "run", "test", "seed", "freshness"]


@task(
    name="run-hook",
    task_run_name="after {hook}",
    **PLANS,
)
def run_after(pipeline: PipelineLike, hook: str, failed: Sequence[str] = ()) -> HookResult:
    """Run a hook of ``after:`` on what changed since it last finished."""
    return _ran(pipeline, hook, {}, failed)


@task(
    name="run-dbt",
    **PLANS,
)
def run_dbt(
    pipeline: PipelineLike,
    *,
    failed: Sequence[str] = (),
    project_dir: str | None = None,
    profiles_dir: str | None = None,
    profile: str | None = None,
    target: str | None = None,
    threads: int | None = None,
    command: Command | None = None,
    select: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
    vars: Mapping[str, object] | None = None,
    args: str | Sequence[str] | None = None,
    full_refresh_on: Literal["schema_change"] | None = None,
    executable: str | None = None,
    on_partial: Literal["skip", "changed"] | None = None,
) -> HookResult:
    """Let dbt build what is downstream of the tables that changed, and nothing else.

    What dbt has finished with is kept in the destination: a run that died between a load and dbt,
    or in which dbt failed, is made good by the next. What is given here wins over ``after.dbt``.

    Call it behind the loads, not beside them: dbt takes the process's working directory while it
    runs. Two of them in one process wait for each other. In a thread (``submit``, ``arun_dbt``) a
    flow run that is cancelled waits for dbt; in the main thread it ends dbt at once.

    Args:
        pipeline: as of ``load_stream``.
        failed: streams of this run that failed; see ``on_partial``.
        project_dir: the dbt project's folder, relative to the pipeline file.
        profiles_dir: the folder of ``profiles.yml``.
        profile: a profile's name; ``from_destination`` makes one.
        target: the profile's target.
        threads: how many nodes dbt works on at once.
        command: what dbt is to do; ``build`` by default.
        select: what dbt selects; ``changed`` stands for the sources that changed.
        exclude: what dbt leaves out.
        vars: the project's own variables.
        args: more arguments of the command.
        full_refresh_on: ``schema_change``: --full-refresh where a table's columns changed.
        executable: a dbt to run as a process of its own.
        on_partial: ``skip`` or ``changed``, after a failed load.

    Returns:
        What became of it; ``details`` is what dbt did, node by node.

    Raises:
        ConfigError: conduit-dbt isn't installed, an option is wrong, or there is no such project.
        HookError: a node failed, or no source names a changed table.
    """
    given = {
        "project_dir": project_dir,
        "profiles_dir": profiles_dir,
        "profile": profile,
        "target": target,
        "threads": threads,
        "command": command,
        "select": select,
        "exclude": exclude,
        "vars": vars,
        "args": args,
        "full_refresh_on": full_refresh_on,
        "executable": executable,
        "on_partial": on_partial,
    }
    over = {name: value for name, value in given.items() if value is not None}
    return _ran(pipeline, "dbt", over, failed)


arun_dbt = in_thread(run_dbt)


def check_hooks(pipeline: Pipeline, hooks: Sequence[str]) -> None:
    """Look, before anything is loaded, whether hooks are there and their options are right.

    Raises:
        ConfigError: one isn't, or they aren't.
    """
    from conduit_core import bound_hook

    for hook in hooks:
        _look_for(hook, pipeline)
        bound_hook(pipeline, hook)


def _ran(
    given: PipelineLike, hook: str, over: Mapping[str, object], failed: Sequence[str]
) -> HookResult:
    from conduit_core import bound_hook, run_hook
    from conduit_core.events import Emitter

    with short():
        pipeline = opened(given)
        _look_for(hook, pipeline)
        bound = bound_hook(pipeline, hook, over)
        with watching(pipeline) as listeners:
            result = run_hook(pipeline, bound, tuple(failed), Emitter(listeners))
            with never_failing(f"what after.{hook} did can't be shown"):
                show_hook(pipeline.name, result)
            if result.failure is not None:
                raise result.failure.to_error()
        return result


def _look_for(hook: str, pipeline: Pipeline) -> None:
    if hook == "dbt" and find_spec("conduit_dbt") is None:
        raise ConfigError(
            "dbt behind the loads is done by conduit-dbt, which isn't installed: install it from a"
            " checkout, its folder is dbt_bridge",
            pipeline=pipeline.name,
            command="pip install ./dbt_bridge",
        )
