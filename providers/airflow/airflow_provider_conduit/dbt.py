"""What follows the loads, as tasks: dbt, and any other hook of ``after:``."""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from airflow_provider_conduit.base import PipelineOperator
from airflow_provider_conduit.compat import AirflowException, AirflowFailException
from airflow_provider_conduit.failures import told
from airflow_provider_conduit.links import DbtDocsLink
from airflow_provider_conduit.pipelines import PipelineLike
from airflow_provider_conduit.watching import watching

if TYPE_CHECKING:
    from airflow_provider_conduit.compat import Context
    from conduit_core import HookResult

_FAILED = ("failed", "upstream_failed")


class ConduitHookOperator(PipelineOperator):
    """Run a hook of ``after:`` on what changed since it last finished for this pipeline.

    It waits for all tasks before it, and runs whatever became of them. Where one failed, the hook
    is told which streams did, and decides (dbt by ``on_partial``); this task fails then, so that a
    run with a failed load never ends well. Where all were skipped, the hook is asked too: it does
    what an earlier run has left.

    A retry or a clear does what is left: the destination keeps what the hook has finished with.

    Args:
        pipeline: the pipeline's file, relative to the DAG file; or a mapping, or a Pipeline.
        hook: the hook's name.
        options: what stands under the hook's key, over that of the file.
        source_conn_id, destination_conn_id: as the load's tasks have them.
        kwargs: Airflow's own. The trigger rule is ``all_done``.
    """

    template_fields: Sequence[str] = (*PipelineOperator.template_fields, "options")

    def __init__(
        self,
        *,
        pipeline: PipelineLike,
        hook: str,
        options: Mapping[str, object] | None = None,
        source_conn_id: str | None = None,
        destination_conn_id: str | None = None,
        **kwargs: object,
    ) -> None:
        super().__init__(
            pipeline=pipeline,
            source_conn_id=source_conn_id,
            destination_conn_id=destination_conn_id,
            **{"trigger_rule": "all_done", **kwargs},
        )
        self.hook = hook
        self.options = dict(options or {})
        self._runs = False

    def execute(self, context: Context) -> Mapping[str, object]:
        """Run the hook.

        Returns:
            What became of it, in numbers and names.

        Raises:
            AirflowFailException: the hook or a load before it failed, and no retry can help.
            AirflowException: the hook failed, and a retry may help.
        """
        failed, tasks = self._failed(context)
        with told():
            result = self._run(tuple(failed), context)
        self.log.info("after.%s: %s: %s", self.hook, result.outcome, result.text)
        if failed:
            raise AirflowFailException(
                f"not loaded in this run: {', '.join(failed)}\n"
                f"after.{self.hook}: {result.outcome}: {result.text}\n"
                "a retry of this task will not help\n"
                f"clear what failed, and all after it: {', '.join(tasks)}"
            )
        return {
            "outcome": result.outcome,
            "text": result.text,
            "tables": list(result.tables),
            **self._facts(result),
        }

    def on_kill(self) -> None:
        """End the hook as Ctrl-C does."""
        if self._runs:
            os.kill(os.getpid(), signal.SIGINT)

    def _facts(self, result: HookResult) -> Mapping[str, object]:
        """Return what else of a result is worth an XCom."""
        return {}

    def _run(self, failed: tuple[str, ...], context: Context) -> HookResult:
        from conduit_core import bound_hook, run_hook
        from conduit_core.events import Emitter

        pipeline = self.opened()
        bound = bound_hook(pipeline, self.hook, self.options)
        self._runs = True
        with watching(pipeline, context) as listeners:
            try:
                result = run_hook(pipeline, bound, failed, Emitter(listeners))
            except KeyboardInterrupt:
                raise AirflowException(f"after.{self.hook} was ended; the rest is left") from None
            finally:
                self._runs = False
            if result.failure is not None:
                raise result.failure.to_error()
        return result

    def _failed(self, context: Context) -> tuple[list[str], list[str]]:
        """Return the streams that were not loaded, and the tasks that failed."""
        if not self.upstream_task_ids:
            return [], []
        before = {task.task_id: task for task in self.upstream_list}
        ti, ids = context["ti"], sorted(self.get_flat_relative_ids(upstream=True))
        found = ti.get_task_states(dag_id=ti.dag_id, task_ids=ids, run_ids=[ti.run_id])
        states = {key: str(state) for key, state in found.get(ti.run_id, {}).items()}
        streams = [
            str(getattr(task, "stream", task_id))
            for task_id, task in before.items()
            if _states_of(task_id, states, ids) & set(_FAILED)
        ]
        tasks = [i for i in ids if "failed" in _states_of(i, states, ids)]
        return sorted(streams), tasks


def _states_of(task_id: str, states: Mapping[str, str], ids: Sequence[str]) -> set[str]:
    """Return a task's states; those of a mapped one are under its id and ``_INDEX``.

    Args:
        task_id: the task's.
        states: of all tasks, by their keys.
        ids: of all tasks: one of them may look like an instance of this one.
    """
    mapped = re.compile(rf"{re.escape(task_id)}_\d+")
    return {
        state
        for key, state in states.items()
        if key == task_id or (key not in ids and mapped.fullmatch(key))
    }


class ConduitDbtOperator(ConduitHookOperator):
    """Let dbt build what is downstream of the tables that changed, and nothing else.

    See ``ConduitHookOperator`` for when it runs and how it fails, and ``docs/dbt.md`` for the
    keys of ``after.dbt``; what is given here wins over those of the file.

    Args:
        pipeline: the pipeline's file, relative to the DAG file; or a mapping, or a Pipeline.
        project_dir, profiles_dir, profile, target, threads: which project, database and how.
        command, select, exclude, vars, args, full_refresh_on: what dbt does.
        executable: a dbt to run as a process of its own.
        on_partial: ``skip`` or ``changed``, after a failed load.
        docs_url: where the project's docs are, for the link on the task's page.
        source_conn_id, destination_conn_id: as the load's tasks have them.
        kwargs: Airflow's own.
    """

    operator_extra_links = (DbtDocsLink(),)

    def __init__(
        self,
        *,
        pipeline: PipelineLike,
        project_dir: str | None = None,
        profiles_dir: str | None = None,
        profile: str | None = None,
        target: str | None = None,
        threads: int | None = None,
        command: str | None = None,
        select: str | Sequence[str] | None = None,
        exclude: str | Sequence[str] | None = None,
        vars: Mapping[str, object] | None = None,
        args: str | Sequence[str] | None = None,
        full_refresh_on: str | None = None,
        executable: str | None = None,
        on_partial: str | None = None,
        docs_url: str | None = None,
        source_conn_id: str | None = None,
        destination_conn_id: str | None = None,
        **kwargs: object,
    ) -> None:
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
        super().__init__(
            pipeline=pipeline,
            hook="dbt",
            options={name: value for name, value in given.items() if value is not None},
            source_conn_id=source_conn_id,
            destination_conn_id=destination_conn_id,
            **kwargs,
        )
        self.docs_url = docs_url

    def _facts(self, result: HookResult) -> Mapping[str, object]:
        nodes = result.details.get("nodes")
        found = nodes if isinstance(nodes, list) else []
        return {"statuses": dict(Counter(str(node["status"]) for node in found))}
