"""Waits until a stream's source has rows that aren't loaded yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_conduit.compat import (
    AirflowFailException,
    BaseSensorOperator,
    PokeReturnValue,
    deferrable_by_default,
)
from airflow_provider_conduit.failures import told
from airflow_provider_conduit.pipelines import PipelineLike, dag_folder, outline_of, placed

if TYPE_CHECKING:
    from airflow_provider_conduit.compat import Context


class ConduitCursorSensor(BaseSensorOperator):
    """Succeed when a stream's source has rows behind the watermark. Reads, and writes nothing.

    Args:
        pipeline: the pipeline's file, relative to the DAG file; or a mapping, or a Pipeline.
        stream: the stream, which needs a ``cursor``; may be left out where there is only one.
        source_conn_id, destination_conn_id: Airflow connections in place of the file's own.
        deferrable: wait in the triggerer, not on a worker; default: Airflow's own setting.
        kwargs: Airflow's own: ``poke_interval``, ``timeout``, ``mode``, ``soft_fail``.

    Raises:
        ConfigError: the file is missing or is no pipeline, or has no such stream.
    """

    template_fields: Sequence[str] = ("source_conn_id", "destination_conn_id")
    ui_color: str = "#e8e4d7"

    def __init__(
        self,
        *,
        pipeline: PipelineLike,
        stream: str | None = None,
        source_conn_id: str | None = None,
        destination_conn_id: str | None = None,
        deferrable: bool | None = None,
        **kwargs: object,
    ) -> None:
        super().__init__(**kwargs)  # type: ignore[arg-type]
        self.folder = dag_folder(self)
        self.pipeline = placed(pipeline, self.folder)
        found = outline_of(self.pipeline, destination_conn_id)
        self.stream = found.stream(stream).name if stream else found.only().name
        self.source_conn_id = source_conn_id
        self.destination_conn_id = destination_conn_id
        self.deferrable = deferrable_by_default() if deferrable is None else deferrable

    def execute(self, context: Context) -> object:
        """Wait; return what is new."""
        if not self.deferrable:
            return super().execute(context)
        found = self.poke(context)
        if found.is_done:
            return found.xcom_value
        from datetime import timedelta

        from airflow_provider_conduit.trigger import ConduitCursorTrigger

        if not isinstance(self.pipeline, str | Path | Mapping):
            raise AirflowFailException(
                "deferrable=True hands the pipeline to the triggerer: give its file or mapping"
            )
        with told():
            trigger = ConduitCursorTrigger(
                self.pipeline,
                self.stream,
                source_conn_id=self.source_conn_id,
                destination_conn_id=self.destination_conn_id,
                poll_seconds=self.poke_interval,
                folder=self.folder,
            )
        self.defer(
            trigger=trigger,
            method_name="resume",
            timeout=timedelta(seconds=self.timeout),
        )
        raise AssertionError("unreachable: deferring raises")

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once."""
        from airflow_provider_conduit.news import look

        with told():
            news = look(
                self.pipeline,
                self.folder,
                self.stream,
                source_conn_id=self.source_conn_id,
                destination_conn_id=self.destination_conn_id,
            )
        if news is None:
            self.log.info("%s: nothing new", self.stream)
            return PokeReturnValue(is_done=False)
        self.log.info("%s: new: %s", self.stream, news.window)
        return PokeReturnValue(is_done=True, xcom_value=news.as_json())

    def resume(
        self, context: Context, event: Mapping[str, object] | None = None
    ) -> dict[str, object]:
        """Go on with what the trigger found.

        Raises:
            AirflowFailException: it can't look, and no retry can help.
        """
        from airflow_provider_conduit.trigger import FAILED

        found = dict(event or {})
        if found.pop("event", None) == FAILED:
            lines = found.get("lines")
            text = "\n".join(map(str, lines)) if isinstance(lines, list) else str(lines)
            raise AirflowFailException(text)
        return found
