"""Links on a task's page: the load's report, and the docs of the dbt project."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from airflow_provider_conduit.compat import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk.types import TaskInstanceKey

    from airflow_provider_conduit.compat import BaseOperator

SECTION = "conduit"
"""The provider's section of Airflow's configuration."""


class LoadReportLink(BaseOperatorLink):
    """The report of the task's load.

    With ``[conduit] report_url`` in Airflow's configuration it is that URL with ``{load_id}``,
    ``{pipeline}`` and ``{stream}`` filled in, where a site of reports is kept (``conduit runs show
    --html`` writes one). Without it, it is the task's XCom page, which has the load's facts.
    """

    name = "Load report"

    @property
    def xcom_key(self) -> str:
        """Under which the worker leaves the link for the web server."""
        return "conduit_load_report"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the link; called on the worker when the task has ended."""
        from airflow_provider_conduit.compat import setting

        facts = getattr(operator, "load_facts", None) or {}
        template = setting(SECTION, "report_url")
        if template and facts.get("load_id"):
            known = {
                k: quote(str(facts.get(k)), safe="") for k in ("load_id", "pipeline", "stream")
            }
            for key, value in known.items():
                template = template.replace(f"{{{key}}}", value)
            return template
        run, task = quote(ti_key.run_id, safe=""), quote(ti_key.task_id, safe="")
        page = f"/dags/{quote(ti_key.dag_id, safe='')}/runs/{run}/tasks/{task}"
        if ti_key.map_index >= 0:
            page = f"{page}/mapped/{ti_key.map_index}"
        return f"{(setting('api', 'base_url') or '').rstrip('/')}{page}/xcom"


class DbtDocsLink(BaseOperatorLink):
    """The site that ``dbt docs generate`` made, where the operator or ``[conduit]`` says it is."""

    name = "dbt docs"

    @property
    def xcom_key(self) -> str:
        """Under which the worker leaves the link for the web server."""
        return "conduit_dbt_docs"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the link; "" shows none. Called on the worker when the task has ended."""
        from airflow_provider_conduit.compat import setting

        return str(getattr(operator, "docs_url", None) or setting(SECTION, "dbt_docs_url") or "")
