"""One stream's load as one task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from airflow_provider_conduit.base import RequestOperator
from airflow_provider_conduit.failures import told
from airflow_provider_conduit.links import LoadReportLink
from airflow_provider_conduit.loading import LoadsStream

if TYPE_CHECKING:
    from airflow_provider_conduit.compat import Context


class ConduitLoadOperator(LoadsStream, RequestOperator):
    """Load a stream, exactly once: plan, read, audit and publish in this one task.

    A retry, a clear or a second process of the same task instance finds the load published and
    changes nothing. The table's Asset is an inlet, for its state, and has an event after each load
    that changed the table.

    Args:
        pipeline: the pipeline's file, relative to the DAG file; or a mapping, or a Pipeline. The
            file's text is not a template.
        stream: the stream to load; may be left out where the pipeline has only one.
        source_conn_id, destination_conn_id: Airflow connections in place of the file's own.
        window: ``watermark`` (what is new since the last load) or ``data_interval`` (this run's
            interval or partition).
        window_from, window_to: a given window ``[from, to)``; ``window_to`` alone caps the
            watermark's window.
        only: the slice of the rows whose column has a value, or one of some: ``{"region": "eu"}``,
            or its JSON; with a window, of the rows in it.
        full_refresh: read everything and replace the table's content.
        reload: load again what this task instance has loaded already, after a clear.
        allow_empty: let an empty extract empty the table.
        allow_deletes: let a load delete any share of the table's rows.
        chosen: the streams that this run loads, as a list or its JSON; the task of another stream
            is skipped. All by default.
        asset: the table's Asset, where its name or URI has to be another.
        kwargs: Airflow's own.

    Raises:
        ConfigError: the file is missing or is no pipeline, has no such stream, or the window can't
            be.
    """

    tells_change: ClassVar[bool] = True
    operator_extra_links = (LoadReportLink(),)

    def execute(self, context: Context) -> Mapping[str, object]:
        """Load the stream.

        Returns:
            What became of it, small enough for an XCom: the load's id, counts, watermark.

        Raises:
            AirflowFailException: it failed, and no retry can help.
            AirflowException: it failed, and a retry may help.
        """
        with told():
            request = self.request(context)
            return self.load(self.opened(), self.stream, self.asset, request, context)
