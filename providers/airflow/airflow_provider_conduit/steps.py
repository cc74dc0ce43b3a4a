"""A load spread over tasks: plan, a mapped stage, audit, publish.

From one to the next goes small JSON only, by XCom: the plan as a text, under the key ``plan`` of
the plan's task; the splits' ids as what that returns, to map over; the audit's report. Receipts of
what is staged lie beside the staging.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from airflow_provider_conduit.base import PipelineOperator, RequestOperator, StreamOperator
from airflow_provider_conduit.compat import AirflowSkipException, Asset
from airflow_provider_conduit.failures import told
from airflow_provider_conduit.links import LoadReportLink
from airflow_provider_conduit.loading import Killable, LoadsStream
from airflow_provider_conduit.pipelines import PipelineLike
from airflow_provider_conduit.watching import watching

if TYPE_CHECKING:
    from airflow_provider_conduit.compat import Context
    from conduit_core import AuditReport, LoadPlan, LoadResult

PLAN_KEY = "plan"
REPORT_KEY = "report"


class ConduitPlanOperator(RequestOperator):
    """Plan a load whose rows are staged by tasks of their own; the window is frozen here.

    Returns the ids of the splits to stage, for a ``ConduitStageOperator`` to be mapped over;
    none where nothing is new. The arguments are those of ``ConduitLoadOperator``.
    """

    def execute(self, context: Context) -> list[str]:
        """Plan, and leave the plan in XCom.

        Raises:
            AirflowFailException: it failed, and no retry can help.
            AirflowException: it failed, and a retry may help.
        """
        from airflow_provider_conduit.state import state_store
        from conduit_core import plan

        with told():
            pipeline = self.opened()
            with watching(pipeline, context) as listeners:
                (made,) = plan(
                    pipeline,
                    (self.stream,),
                    request=self.request(context),
                    store=state_store(self.asset, context),
                    staged=True,
                    listeners=listeners,
                )
        for note in (*made.notes, *made.warnings):
            self.log.info("%s: %s", made.stream, note)
        context["ti"].xcom_push(PLAN_KEY, made.model_dump_json())
        return list(made.splits.ids())


class ConduitStageOperator(Killable, PipelineOperator):
    """Read one split of a plan and stage its rows; once it is staged it isn't read again.

    Args:
        pipeline: the plan's pipeline.
        plan_task_id: the task that planned.
        split: the split's id: ``.expand(split=plan.output)``.
        source_conn_id, destination_conn_id: as the plan's task has them.
        kwargs: Airflow's own.
    """

    template_fields: Sequence[str] = (*PipelineOperator.template_fields, "split")

    def __init__(
        self,
        *,
        pipeline: PipelineLike,
        plan_task_id: str,
        split: str,
        source_conn_id: str | None = None,
        destination_conn_id: str | None = None,
        **kwargs: object,
    ) -> None:
        super().__init__(
            pipeline=pipeline,
            source_conn_id=source_conn_id,
            destination_conn_id=destination_conn_id,
            **kwargs,
        )
        self.plan_task_id = plan_task_id
        self.split = split

    def execute(self, context: Context) -> Mapping[str, object]:
        """Stage the split.

        Returns:
            What was staged, in numbers.

        Raises:
            AirflowFailException: no retry can help; where the plan is stale, its task has to be
                cleared.
            AirflowException: a retry may help.
        """
        from conduit_core import stage

        plan = planned(context, self.plan_task_id)
        with told(replan=self.plan_task_id):
            pipeline = self.opened()
            with watching(pipeline, context, has_plan=True) as listeners:
                receipt = stage(
                    pipeline, plan, self.split, listeners=listeners, cancel=self.cancelled()
                )
        return {"split": receipt.split, "rows": receipt.rows, "bytes": receipt.bytes}


class ConduitAuditOperator(PipelineOperator):
    """Check that every split is staged, and hold the load as a whole to the stream's rules.

    It is skipped where nothing is new.

    Args:
        pipeline: the plan's pipeline.
        plan_task_id: the task that planned.
        source_conn_id, destination_conn_id: as the plan's task has them.
        kwargs: Airflow's own. The trigger rule is ``none_failed``: without splits there is no
            stage.
    """

    def __init__(
        self,
        *,
        pipeline: PipelineLike,
        plan_task_id: str,
        source_conn_id: str | None = None,
        destination_conn_id: str | None = None,
        **kwargs: object,
    ) -> None:
        super().__init__(
            pipeline=pipeline,
            source_conn_id=source_conn_id,
            destination_conn_id=destination_conn_id,
            **{"trigger_rule": "none_failed", **kwargs},
        )
        self.plan_task_id = plan_task_id

    def execute(self, context: Context) -> Mapping[str, object]:
        """Audit what is staged.

        Returns:
            How much was staged, in numbers; the report is in XCom, under ``report``.

        Raises:
            AirflowSkipException: nothing is new.
            AirflowFailException: no retry can help: rows break a rule, or the plan is stale.
            AirflowException: a retry may help.
        """
        from conduit_core import audit

        plan = planned(context, self.plan_task_id)
        if plan.empty:
            raise AirflowSkipException(_window(plan))
        with told(replan=self.plan_task_id):
            pipeline = self.opened()
            with watching(pipeline, context, has_plan=True) as listeners:
                report = audit(pipeline, plan, listeners=listeners)
        context["ti"].xcom_push(REPORT_KEY, report.model_dump_json())
        return {"splits": report.splits, "rows": report.counts.read, "bytes": report.bytes}


class ConduitPublishOperator(LoadsStream, StreamOperator):
    """Publish what is staged, in one transaction; the table's Asset has its event from here.

    Where nothing is new it says so, and changes nothing.

    Args:
        pipeline: the plan's pipeline.
        stream: the stream; may be left out where the pipeline has only one.
        plan_task_id: the task that planned.
        audit_task_id: the task that audited; without one it is done here.
        source_conn_id, destination_conn_id: as the plan's task has them.
        asset: the table's Asset, as the plan's task has it.
        kwargs: Airflow's own. The trigger rule is ``none_failed``.
    """

    tells_change: ClassVar[bool] = True
    operator_extra_links = (LoadReportLink(),)

    def __init__(
        self,
        *,
        pipeline: PipelineLike,
        plan_task_id: str,
        audit_task_id: str | None = None,
        stream: str | None = None,
        source_conn_id: str | None = None,
        destination_conn_id: str | None = None,
        asset: Asset | None = None,
        **kwargs: object,
    ) -> None:
        super().__init__(
            pipeline=pipeline,
            stream=stream,
            source_conn_id=source_conn_id,
            destination_conn_id=destination_conn_id,
            asset=asset,
            **{"trigger_rule": "none_failed", **kwargs},
        )
        self.plan_task_id = plan_task_id
        self.audit_task_id = audit_task_id

    def execute(self, context: Context) -> Mapping[str, object]:
        """Publish, mirror the watermark, and tell that the table changed.

        Returns:
            What became of the load: its id, counts, watermark.

        Raises:
            AirflowFailException: no retry can help; where the plan is stale, its task has to be
                cleared.
            AirflowException: a retry may help.
        """
        plan = planned(context, self.plan_task_id)
        with told(replan=self.plan_task_id):
            result = self._publish(context, plan)
        if result.outcome == "empty":
            self.log.info("%s: nothing new; watermark %s", self.stream, result.watermark)
        return self.ended(result, self.asset, context)

    def _publish(self, context: Context, plan: LoadPlan) -> LoadResult:
        from airflow_provider_conduit.state import state_store
        from conduit_core import LoadHeard, after, publish

        pipeline, heard = self.opened(), LoadHeard()
        report = self._report(context, plan)
        with watching(pipeline, context, heard, has_plan=True) as listeners:
            result = publish(pipeline, plan, report=report, listeners=listeners)
            store = state_store(self.asset, context)
            after(pipeline, [result], store=store, hooks=False, listeners=listeners)
        self.collect(pipeline, self.stream, heard)
        return result

    def _report(self, context: Context, plan: LoadPlan) -> AuditReport | None:
        from conduit_core import AuditReport

        if self.audit_task_id is None or plan.empty:
            return None
        text = context["ti"].xcom_pull(task_ids=self.audit_task_id, key=REPORT_KEY)
        return AuditReport.model_validate_json(text) if text else None


def planned(context: Context, plan_task_id: str) -> LoadPlan:
    """Return the plan that a task left in XCom.

    Raises:
        AirflowSkipException: there is none: this run doesn't load the stream.
    """
    from conduit_core import LoadPlan

    text = context["ti"].xcom_pull(task_ids=plan_task_id, key=PLAN_KEY)
    if not text:
        raise AirflowSkipException(f"{plan_task_id} has made no plan in this run")
    return LoadPlan.model_validate_json(text)


def _window(plan: LoadPlan) -> str:
    if plan.replayed is not None:
        return f"this request was loaded before, as {plan.replayed.load_id}"
    if plan.empty:
        return "nothing new"
    split = f", {plan.splits.count} splits" if plan.splits.count > 1 else ""
    return f"{plan.window_text}{split}"
