"""Dead letters once more, as a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from airflow_provider_conduit.asked import names_of, runner_text
from airflow_provider_conduit.assets import asset_of, tell_change, withhold
from airflow_provider_conduit.base import PipelineOperator
from airflow_provider_conduit.failures import told
from airflow_provider_conduit.pipelines import PipelineLike, outline_of
from airflow_provider_conduit.watching import watching

if TYPE_CHECKING:
    from airflow_provider_conduit.compat import Context
    from conduit_core import LoadResult


class ConduitReplayOperator(PipelineOperator):
    """Hold open dead letters to today's rules, and load those that pass, once.

    A retry finds only what is still open. Each table's Asset has an event if rows came into it.

    Args:
        pipeline: the pipeline's file, relative to the DAG file; or a mapping, or a Pipeline.
        stream: whose letters; None for those of all streams.
        load_id: only letters that this load rejected last.
        rule: only those that break this rule.
        ids: only these letters, by their ids or what those begin with.
        source_conn_id, destination_conn_id: as the load's tasks have them.
        kwargs: Airflow's own.

    Raises:
        ConfigError: the file is missing or is no pipeline, or has no such stream.
    """

    template_fields: Sequence[str] = (*PipelineOperator.template_fields, "load_id", "rule", "ids")

    def __init__(
        self,
        *,
        pipeline: PipelineLike,
        stream: str | None = None,
        load_id: str | None = None,
        rule: str | None = None,
        ids: Sequence[str] | str = (),
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
        outline = outline_of(self.pipeline, destination_conn_id)
        chosen = (outline.stream(stream),) if stream else outline.streams
        self.assets = {s.name: asset_of(outline, s.name) for s in chosen}
        self.inlets = [*self.inlets, *self.assets.values()]
        self.outlets = [*self.outlets, *self.assets.values()]
        self.load_id = load_id
        self.rule = rule
        self.ids = ids

    def execute(self, context: Context) -> Mapping[str, object]:
        """Replay the letters.

        Returns:
            What became of them, by stream: the load's id, and rows by what became of them;
            ``rejected`` are those that are still open.

        Raises:
            AirflowFailException: it failed, and no retry can help.
            AirflowException: it failed, and a retry may help.
        """
        with told():
            results = self._replay(context)
        for asset in self.assets.values():
            withhold(asset, context)
        for result in results:
            tell_change(result, self.assets[result.stream], context)
        return {result.stream: _facts(result) for result in results}

    def _replay(self, context: Context) -> list[LoadResult]:
        from airflow_provider_conduit.state import state_stores
        from conduit_core import replay

        pipeline = self.opened()
        with watching(pipeline, context) as listeners:
            return replay(
                pipeline,
                tuple(self.assets),
                load_id=_text(self.load_id),
                rule=_text(self.rule),
                ids=names_of("ids", self.ids) or (),
                store=state_stores(self.assets.values(), context),
                listeners=listeners,
                runner=runner_text(context),
            )


def _text(value: str | None) -> str | None:
    """Return a filter, None for one whose template gave nothing."""
    return None if value is None or value.strip() in {"", "None"} else value.strip()


def _facts(result: LoadResult) -> dict[str, object]:
    counts = {name: count for name, count in result.counts.model_dump().items() if count}
    load_id = result.load_id if result.outcome == "published" else None
    return {"outcome": result.outcome, "load_id": load_id, "counts": counts}
