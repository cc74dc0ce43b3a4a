"""The steps of a spread-out load as operators that an author puts together."""

from __future__ import annotations

from tests.airflow.lab import Lab
from tests.airflow.two_streams import open_shop, rows

DYING = """
    from airflow.sdk import DAG
    from airflow_provider_conduit import (
        ConduitAuditOperator, ConduitPlanOperator, ConduitPublishOperator, ConduitStageOperator,
    )

    def dying(kind):
        class Dying(kind):
            def post_execute(self, context, result=None):
                if context["ti"].try_number == 1:
                    raise OSError(f"{self.task_id} died after its work")
        Dying.__name__ = kind.__name__
        return Dying

    args = {"pipeline": "shop.yml", "retries": 1, "retry_delay": 0}
    with DAG("dying", schedule=None, default_args=args) as dag:
        plan = dying(ConduitPlanOperator)(task_id="plan", stream="orders")
        args["plan_task_id"] = "plan"
        stage = dying(ConduitStageOperator).partial(task_id="stage", **args).expand(
            split=plan.output
        )
        audit = dying(ConduitAuditOperator)(task_id="audit", plan_task_id="plan")
        publish = dying(ConduitPublishOperator)(
            task_id="publish", stream="orders", plan_task_id="plan", audit_task_id="audit"
        )
        stage >> audit >> publish
"""


def test_p12_steps_that_die_after_their_work_and_are_retried_load_once(lab: Lab) -> None:
    open_shop(lab, "dying")
    lab.write("dag.py", DYING)
    run = lab.once("dag.py")
    assert run.state == "success"
    assert set(run.tries.values()) == {2}
    assert rows(lab.folder, "SELECT count(*), count(DISTINCT id) FROM dying.orders") == [(30, 30)]
    assert run.xcoms["publish"]["outcome"] == "replayed"
    assert [event["name"] for event in run.events] == ["dying.orders"]


def test_what_goes_through_xcom_is_small(lab: Lab) -> None:
    """A plan of a thousand splits is under 64 kB."""
    open_shop(
        lab,
        "wide",
        """
      - table: orders
        mode: append
        cursor: [updated_at, id]
        splits: {column: id, values: VALUES}
""".replace("VALUES", str(list(range(1, 1000)))),
    )
    lab.write(
        "dag.py",
        """
        from airflow.sdk import DAG
        from airflow_provider_conduit import ConduitPlanOperator

        with DAG("wide", schedule=None) as dag:
            ConduitPlanOperator(task_id="plan", pipeline="shop.yml")
        """,
    )
    run = lab.once("dag.py")
    assert len(run.xcoms["plan"]) == 1000
    sizes = lab.call(
        """
        from airflow.models.xcom import XComModel
        from airflow.utils.session import create_session
        from sqlalchemy import select

        with create_session() as session:
            found = session.scalars(select(XComModel).filter_by(dag_id="wide")).all()
            result = {x.key: len(str(x.value)) for x in found}
        """
    )
    assert 10_000 < sizes["plan"] < 64 * 1024 * 1.2  # JSON in JSON: its quotes are escaped
