"""The steps of a load as tasks of their own: plan, stage each split, audit, publish."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prefect import task

from conduit_core.errors import ConduitError, ConfigError
from prefect_conduit.asked import Asked, Moment, request_of
from prefect_conduit.failures import HAS_A_PLAN, PLANS
from prefect_conduit.news import News
from prefect_conduit.pipelines import PipelineLike, opened
from prefect_conduit.progress import Progress
from prefect_conduit.state import store_of
from prefect_conduit.stopping import stop_event
from prefect_conduit.tasks import failed, published
from prefect_conduit.twins import in_thread
from prefect_conduit.watching import watching

if TYPE_CHECKING:
    from conduit_core import AuditReport, LoadPlan, LoadResult, StageReceipt


@task(
    name="plan-stream",
    task_run_name="plan {stream}",
    **PLANS,
)
def plan_stream(
    pipeline: PipelineLike,
    stream: str,
    *,
    window_from: Moment | None = None,
    window_to: Moment | None = None,
    full_refresh: bool = False,
    reload: bool = False,
    allow_empty: bool = False,
    allow_deletes: bool = False,
    only: Mapping[str, object] | None = None,
    state_prefix: str | None = None,
) -> LoadPlan:
    """Plan a load that is staged split by split: ``plan.splits.ids()`` are for ``stage_split``.

    Where nothing is new, or the flow run has loaded it already, there are no splits;
    ``publish_load`` then returns what became of the load.

    Args:
        pipeline: the pipeline's file, its content as a mapping, or a ConduitPipeline block.
        stream: the stream's name.
        window_from: the start of a given window, which belongs to it.
        window_to: its end, which doesn't.
        full_refresh: replace the table's content.
        reload: load again what this flow run has loaded already.
        allow_empty: let an empty extract empty the table.
        allow_deletes: let the load delete any share of the table's rows.
        only: as of ``load_stream``.
        state_prefix: what the Variables with the state begin with; default: what the block says,
            or ``conduit``.

    Raises:
        ConduitError: it can't be planned.
    """
    from conduit_core import plan

    asked = Asked(
        window_from=window_from,
        window_to=window_to,
        full_refresh=full_refresh,
        reload=reload,
        allow_empty=allow_empty,
        allow_deletes=allow_deletes,
        only=only,
    )
    store = None
    try:
        store = store_of(pipeline, state_prefix)
        found = opened(pipeline)
        with watching(found) as listeners:
            (made,) = plan(
                found,
                (stream,),
                request=request_of(stream, asked),
                store=store,
                staged=True,
                listeners=listeners,
            )
    except ConduitError as error:
        if store is not None:
            store.explain(error)
        failed(error, "", stream, plans=True)
        raise
    return made


@task(
    name="stage-split",
    task_run_name="stage {split}",
    **HAS_A_PLAN,
)
def stage_split(pipeline: PipelineLike, plan: LoadPlan, split: str) -> StageReceipt:
    """Read one split of a plan and stage its rows, on any worker.

    Args:
        pipeline: as of ``plan_stream``.
        plan: what ``plan_stream`` returned.
        split: one of ``plan.splits.ids()``.

    Raises:
        ConduitError: it failed; a stale plan is final here, ``plan_stream`` has to run again.
    """
    from conduit_core import stage

    _check(plan)
    estimate = plan.rows_estimate
    rows = estimate and max(estimate // max(plan.splits.count, 1), 1)
    with _told(plan), Progress(plan.pipeline, plan.stream, rows) as progress:
        found = opened(pipeline)
        with watching(found, progress.hear, plans=False) as listeners:
            return stage(found, plan, split, listeners=listeners, cancel=stop_event())


@task(
    name="audit-load",
    **HAS_A_PLAN,
)
def audit_load(
    pipeline: PipelineLike, plan: LoadPlan, receipts: Sequence[StageReceipt]
) -> AuditReport:
    """Check that each split is staged, and hold the stream's rules to all of it.

    Args:
        pipeline: as for ``plan_stream``.
        plan: what ``plan_stream`` returned.
        receipts: of all splits.

    Raises:
        ConduitError: a rule stops the load, or staged rows are gone.
    """
    from conduit_core import audit

    _check(plan, receipts)
    with _told(plan):
        found = opened(pipeline)
        with watching(found, plans=False) as listeners:
            return audit(found, plan, receipts, listeners=listeners)


@task(
    name="publish-load",
    **HAS_A_PLAN,
)
def publish_load(
    pipeline: PipelineLike,
    plan: LoadPlan,
    receipts: Sequence[StageReceipt],
    report: AuditReport | None = None,
    *,
    state_prefix: str | None = None,
) -> LoadResult:
    """Publish what is staged in one transaction, and write the state.

    Args:
        pipeline: as of ``plan_stream``.
        plan: what ``plan_stream`` returned.
        receipts: what each ``stage_split`` returned.
        report: what ``audit_load`` returned; None: it is made here.
        state_prefix: as of ``plan_stream``.

    Raises:
        ConduitError: nothing was published.
    """
    from conduit_core import after, publish

    _check(plan, receipts)
    with _told(plan):
        found = opened(pipeline)
        news = News(store_of(pipeline, state_prefix), found, plan.stream)
        with watching(found, news.hear, plans=False) as listeners:
            result = publish(found, plan, receipts, report, listeners=listeners)
            after(found, [result], store=news, hooks=False, listeners=listeners)
    published(result)
    return result


def _check(plan: object, receipts: object = ()) -> None:
    """Look whether a step got what the steps before it return."""
    from conduit_core import LoadPlan, StageReceipt

    if not isinstance(plan, LoadPlan):
        raise ConfigError(f"plan= is what plan_stream returned, not {type(plan).__name__}")
    if not isinstance(receipts, Sequence):
        raise ConfigError(f"receipts= is a list of receipts, not {type(receipts).__name__}")
    for each in receipts:
        if not isinstance(each, StageReceipt):
            raise ConfigError(
                f"receipts= has a {type(each).__name__}: each is what a stage_split returned"
            )


@contextmanager
def _told(plan: LoadPlan) -> Iterator[None]:
    """Tell of what a step of a plan raises; that a plan is stale, no retry of the step mends."""
    try:
        yield
    except ConduitError as error:
        if error.retry == "plan":
            error.message += "; in Prefect: retry the flow run, so that plan_stream runs again"
        failed(error, plan.pipeline, plan.stream, plans=False)
        raise


aplan_stream = in_thread(plan_stream)
"""Do what ``plan_stream`` does, for an asynchronous flow that awaits it."""
astage_split = in_thread(stage_split)
"""Do what ``stage_split`` does, for an asynchronous flow that awaits it."""
aaudit_load = in_thread(audit_load)
"""Do what ``audit_load`` does, for an asynchronous flow that awaits it."""
apublish_load = in_thread(publish_load)
"""Do what ``publish_load`` does, for an asynchronous flow that awaits it."""
