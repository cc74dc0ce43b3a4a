"""One stream's load as one task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from airflow_provider_conduit.assets import asset_of
from airflow_provider_conduit.compat import Asset, BaseOperator
from airflow_provider_conduit.failures import told
from airflow_provider_conduit.links import LoadReportLink
from airflow_provider_conduit.loading import LoadsStream
from airflow_provider_conduit.pipelines import (
    PipelineLike,
    dag_folder,
    opened,
    outline_of,
    placed,
)
from airflow_provider_conduit.requests import Asked, request_of
from airflow_provider_conduit.windows import check_window

if TYPE_CHECKING:
    from airflow_provider_conduit.compat import Context
    from conduit_core import RunRequest


class ConduitLoadOperator(LoadsStream, BaseOperator):
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
        full_refresh: read everything and replace the table's content.
        reload: load again what this task instance has loaded already, after a clear.
        allow_empty: let an empty extract empty the table.
        allow_deletes: let a load delete any share of the table's rows.
        asset: the table's Asset, where its name or URI has to be another.
        kwargs: Airflow's own.

    Raises:
        ConfigError: the file is missing or is no pipeline, has no such stream, or the window can't
            be.
    """

    template_fields: Sequence[str] = (
        "source_conn_id",
        "destination_conn_id",
        "window",
        "window_from",
        "window_to",
        "full_refresh",
        "reload",
        "allow_empty",
        "allow_deletes",
    )
    ui_color: str = "#d7ece4"
    operator_extra_links = (LoadReportLink(),)

    def __init__(
        self,
        *,
        pipeline: PipelineLike,
        stream: str | None = None,
        source_conn_id: str | None = None,
        destination_conn_id: str | None = None,
        window: str = "watermark",
        window_from: str | None = None,
        window_to: str | None = None,
        full_refresh: bool | str = False,
        reload: bool | str = False,
        allow_empty: bool | str = False,
        allow_deletes: bool | str = False,
        asset: Asset | None = None,
        **kwargs: object,
    ) -> None:
        super().__init__(**kwargs)  # type: ignore[arg-type]
        check_window(window, window_from, window_to)
        self.folder = dag_folder(self)
        self.pipeline = placed(pipeline, self.folder)
        found = outline_of(self.pipeline, destination_conn_id)
        self.stream = stream or found.only().name
        self.source_conn_id = source_conn_id
        self.destination_conn_id = destination_conn_id
        self.window = window
        self.window_from = window_from
        self.window_to = window_to
        self.full_refresh = full_refresh
        self.reload = reload
        self.allow_empty = allow_empty
        self.allow_deletes = allow_deletes
        self.asset = asset or asset_of(found, self.stream)
        self.inlets = [*self.inlets, self.asset]
        self.outlets = [*self.outlets, self.asset]

    def execute(self, context: Context) -> Mapping[str, object]:
        """Load the stream.

        Returns:
            What became of it, small enough for an XCom: the load's id, counts, watermark.

        Raises:
            AirflowFailException: it failed, and no retry can help.
            AirflowException: it failed, and a retry may help.
        """
        with told():
            request = self._request(context)
            pipeline = opened(
                self.pipeline,
                self.folder,
                source_conn_id=self.source_conn_id,
                destination_conn_id=self.destination_conn_id,
            )
            return self.load(pipeline, self.stream, self.asset, request, context)

    def _request(self, context: Context) -> RunRequest:
        asked = Asked(
            window=self.window,
            window_from=self.window_from,
            window_to=self.window_to,
            full_refresh=self.full_refresh,
            reload=self.reload,
            allow_empty=self.allow_empty,
            allow_deletes=self.allow_deletes,
        )
        return request_of(asked, context)
