"""Waits in the triggerer until a stream's source has rows that aren't loaded yet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from airflow_provider_conduit.compat import BaseEventTrigger, TriggerEvent
from airflow_provider_conduit.news import look
from airflow_provider_conduit.pipelines import PipelineLike, dag_folder, placed
from conduit_core import shows_secret
from conduit_core.errors import ConduitError, ConfigError

NEWS = "news"
FAILED = "failed"
_ENDS = ("source", "destination")


class ConduitCursorTrigger(BaseEventTrigger):
    """Fire when a stream's source has rows behind the watermark, again when it has more.

    For a deferred ``ConduitCursorSensor``, and for an ``AssetWatcher``, where each event starts the
    DAGs that are scheduled on the asset. It compares with what is loaded, so that it needs no state
    of its own; a triggerer that starts again may fire once more for rows that still wait.

    Args:
        pipeline: the pipeline's file, relative to the file that makes the trigger; or a mapping.
            The triggerer has to have the file, too.
        stream: the stream.
        source_conn_id, destination_conn_id: Airflow connections in place of the file's own.
        poll_seconds: how long to wait between two looks.
        folder: what relative paths in a mapping are relative to; default: the folder of the file
            that makes the trigger.

    Raises:
        ConfigError: the mapping has a secret in it, which Airflow would keep with the DAG.
        TypeError: ``pipeline`` is an object, which can't be handed to the triggerer.
    """

    def __init__(
        self,
        pipeline: PipelineLike,
        stream: str,
        *,
        source_conn_id: str | None = None,
        destination_conn_id: str | None = None,
        poll_seconds: float = 60,
        folder: str | Path | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        if not isinstance(pipeline, str | Path | Mapping):
            raise TypeError("the triggerer needs the pipeline's file or mapping, not a Pipeline")
        if isinstance(pipeline, Mapping) and any(shows_secret(pipeline.get(end)) for end in _ENDS):
            raise ConfigError(
                "the pipeline has a secret in it, and the triggerer's record would show it: give an"
                " Airflow connection, ${VARIABLE}, or the pipeline as a file"
            )
        self.folder = Path(folder) if folder else dag_folder()
        self.pipeline = placed(pipeline, self.folder)
        self.stream = stream
        self.source_conn_id = source_conn_id
        self.destination_conn_id = destination_conn_id
        self.poll_seconds = poll_seconds

    def serialize(self) -> tuple[str, dict[str, object]]:
        """Return what Airflow makes the trigger from again."""
        held = self.pipeline
        given = dict(held) if isinstance(held, Mapping) else str(held)
        return (
            "airflow_provider_conduit.trigger.ConduitCursorTrigger",
            {
                "pipeline": given,
                "stream": self.stream,
                "source_conn_id": self.source_conn_id,
                "destination_conn_id": self.destination_conn_id,
                "poll_seconds": self.poll_seconds,
                "folder": str(self.folder),
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until there is something new; say so once for each cursor that it has come to."""
        told: object = None
        while True:
            try:
                news = await asyncio.to_thread(self._look)
            except ConduitError as error:
                if error.retry == "never":
                    if self.task_instance is None:  # a watcher: an event would start DAGs
                        raise
                    yield _event(FAILED, {"lines": error.lines()})
                    return
                self.log.warning("%s; looks again in %s s", error.message, self.poll_seconds)
                news = None
            if news is not None and news != told:
                told = news
                yield _event(NEWS, news)
            await asyncio.sleep(self.poll_seconds)

    def _look(self) -> dict[str, str | int | None] | None:
        found = look(
            self.pipeline,
            self.folder,
            self.stream,
            source_conn_id=self.source_conn_id,
            destination_conn_id=self.destination_conn_id,
        )
        return None if found is None else found.as_json()


def _event(kind: str, facts: Mapping[str, object]) -> TriggerEvent:
    return TriggerEvent({"event": kind, **facts})  # type: ignore[no-untyped-call]
