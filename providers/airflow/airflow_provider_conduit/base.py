"""What the tasks of a stream have in common: its pipeline, its Asset, what is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from airflow_provider_conduit.asked import Asked, names_of, request_of
from airflow_provider_conduit.assets import asset_of, without
from airflow_provider_conduit.compat import AirflowSkipException, Asset, BaseOperator
from airflow_provider_conduit.pipelines import (
    PipelineLike,
    dag_folder,
    opened,
    outline_of,
    placed,
)
from airflow_provider_conduit.windows import check_window
from conduit_core.errors import ConfigError

if TYPE_CHECKING:
    from airflow_provider_conduit.compat import Context, OperatorPartial
    from conduit_core import Pipeline, RunRequest


class PipelineOperator(BaseOperator):
    """A task that opens a pipeline.

    Args:
        pipeline: the pipeline's file, relative to the DAG file; or a mapping, or a Pipeline.
        source_conn_id, destination_conn_id: Airflow connections in place of the file's own.
        kwargs: Airflow's own.
    """

    template_fields: Sequence[str] = ("source_conn_id", "destination_conn_id")
    ui_color: str = "#d7ece4"

    def __init__(
        self,
        *,
        pipeline: PipelineLike,
        source_conn_id: str | None = None,
        destination_conn_id: str | None = None,
        **kwargs: object,
    ) -> None:
        super().__init__(**kwargs)  # type: ignore[arg-type]
        self.folder = dag_folder(self)
        self.pipeline = placed(pipeline, self.folder)
        self.source_conn_id = source_conn_id
        self.destination_conn_id = destination_conn_id

    @classmethod
    def partial(cls, **kwargs: object) -> OperatorPartial:
        """Return the task to be mapped, its pipeline placed now and shown in no record."""
        made = super().partial(**kwargs)
        if "pipeline" in made.kwargs:
            folder = dag_folder(made.kwargs.get("dag"))
            made.kwargs["pipeline"] = placed(made.kwargs["pipeline"], folder)
        return made

    def opened(self) -> Pipeline:
        """Return the pipeline, its named connections Airflow's."""
        return opened(
            self.pipeline,
            self.folder,
            source_conn_id=self.source_conn_id,
            destination_conn_id=self.destination_conn_id,
        )


class StreamOperator(PipelineOperator):
    """A task of one stream; the stream's Asset is an inlet, for its state.

    Args:
        pipeline: see :class:`PipelineOperator`.
        stream: the stream; may be left out where the pipeline has only one.
        source_conn_id, destination_conn_id: Airflow connections in place of the file's own.
        asset: the table's Asset, where its name or URI has to be another.
        kwargs: Airflow's own.

    Raises:
        ConfigError: the file is missing or is no pipeline, or has no such stream.
    """

    tells_change: ClassVar[bool] = False
    """Whether the task may tell that the table changed; the Asset is then an outlet, too."""

    def __init__(
        self,
        *,
        pipeline: PipelineLike,
        stream: str | None = None,
        source_conn_id: str | None = None,
        destination_conn_id: str | None = None,
        asset: Asset | None = None,
        **kwargs: object,
    ) -> None:
        super().__init__(
            pipeline=pipeline,
            source_conn_id=source_conn_id,
            destination_conn_id=destination_conn_id,
            **kwargs,
        )
        found = outline_of(self.pipeline, self.destination_conn_id)
        self.stream = (found.stream(stream) if stream else found.only()).name
        if asset is not None and not isinstance(asset, Asset):
            raise ConfigError(f"asset={asset!r}: must be an airflow.sdk.Asset")
        self.asset = asset or asset_of(found, self.stream)
        declared = [self.asset]
        if self.inlets or self.outlets:  # of a task mapped over streams: all streams' Assets
            declared += [asset_of(found, s.name) for s in found.streams]
        self.inlets = [*without(self.inlets, declared), self.asset]
        if self.tells_change:
            self.outlets = [*without(self.outlets, declared), self.asset]

    @classmethod
    def partial(cls, **kwargs: object) -> OperatorPartial:
        """Return the task to be mapped, with the Assets that its instances may come to have.

        Airflow keeps state and takes events of those only that a DAG names when it is parsed.
        """
        made = super().partial(**kwargs)
        given = made.kwargs
        if "pipeline" not in given:
            return made
        found = outline_of(given["pipeline"], given.get("destination_conn_id"))
        stream = given.get("stream")
        chosen = [found.stream(stream)] if stream else found.streams
        assets = (
            [given["asset"]] if given.get("asset") else [asset_of(found, s.name) for s in chosen]
        )
        given["inlets"] = [*without(given.get("inlets") or (), assets), *assets]
        if cls.tells_change:
            given["outlets"] = [*without(given.get("outlets") or (), assets), *assets]
        return made


class RequestOperator(StreamOperator):
    """A task that asks for a load of its stream; :class:`ConduitLoadOperator` says with what.

    Raises:
        ConfigError: the file is missing or is no pipeline, has no such stream, or the window can't
            be.
    """

    template_fields: Sequence[str] = (
        *StreamOperator.template_fields,
        "window",
        "window_from",
        "window_to",
        "only",
        "full_refresh",
        "reload",
        "allow_empty",
        "allow_deletes",
        "chosen",
    )

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
        only: Mapping[str, object] | str | None = None,
        full_refresh: bool | str = False,
        reload: bool | str = False,
        allow_empty: bool | str = False,
        allow_deletes: bool | str = False,
        chosen: Sequence[str] | str | None = None,
        asset: Asset | None = None,
        **kwargs: object,
    ) -> None:
        super().__init__(
            pipeline=pipeline,
            stream=stream,
            source_conn_id=source_conn_id,
            destination_conn_id=destination_conn_id,
            asset=asset,
            **kwargs,
        )
        check_window(window, window_from, window_to)
        self.window = window
        self.window_from = window_from
        self.window_to = window_to
        self.only = only
        self.full_refresh = full_refresh
        self.reload = reload
        self.allow_empty = allow_empty
        self.allow_deletes = allow_deletes
        self.chosen = chosen

    def request(self, context: Context) -> RunRequest:
        """Return what this task instance asks for.

        Raises:
            AirflowSkipException: this run doesn't load the stream.
            ConfigError: an argument isn't what it must be.
        """
        names = names_of("chosen", self.chosen)
        if names is not None:
            known = outline_of(self.pipeline)
            if self.stream not in {known.stream(name).name for name in names}:
                raise AirflowSkipException(f"stream {self.stream!r} isn't chosen in this run")
        asked = Asked(
            window=self.window,
            window_from=self.window_from,
            window_to=self.window_to,
            only=self.only,
            full_refresh=self.full_refresh,
            reload=self.reload,
            allow_empty=self.allow_empty,
            allow_deletes=self.allow_deletes,
        )
        return request_of(asked, context)
