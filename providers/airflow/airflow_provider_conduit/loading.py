"""What every task that loads one stream does: run it, stop it, tell what became of it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from airflow_provider_conduit.assets import facts, tell_change
from airflow_provider_conduit.watching import watching

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.event_v2 import Dataset
    from openlineage.client.facet_v2 import JobFacet, RunFacet

    from airflow_provider_conduit.compat import Asset, Context
    from conduit_core import LoadHeard, LoadResult, Pipeline, RunRequest

_log = logging.getLogger("airflow.task.conduit")


class Killable:
    """A mixin of operators whose read ends when their task is killed, or is out of time."""

    _cancel: threading.Event | None = None

    def cancelled(self) -> threading.Event:
        """Return what is set then."""
        self._cancel = threading.Event()
        return self._cancel

    def on_kill(self) -> None:
        """End the read: its query is cancelled, its transaction rolled back."""
        if self._cancel is not None:
            self._cancel.set()


class LoadsStream(Killable):
    """A mixin of operators whose task publishes one stream into the table of one Asset."""

    load_facts: Mapping[str, object] = {}
    _lineage: OperatorLineage[Dataset, RunFacet | JobFacet] | None = None

    def load(
        self, pipeline: Pipeline, stream: str, asset: Asset, request: RunRequest, context: Context
    ) -> Mapping[str, object]:
        """Run the load, and tell the Asset's change.

        Returns:
            What became of it, small enough for an XCom: the load's id, counts, watermark.

        Raises:
            ConduitError: it failed.
        """
        return self.ended(self._run(pipeline, stream, asset, request, context), asset, context)

    def ended(self, result: LoadResult, asset: Asset, context: Context) -> Mapping[str, object]:
        """Tell the Asset's change, and return what became of the load."""
        tell_change(result, asset, context)
        self.load_facts = {"outcome": result.outcome, "target": result.target, **facts(result)}
        return self.load_facts

    def _run(
        self, pipeline: Pipeline, stream: str, asset: Asset, request: RunRequest, context: Context
    ) -> LoadResult:
        from airflow_provider_conduit.state import state_store
        from conduit_core import LoadHeard, run

        heard = LoadHeard()
        with watching(pipeline, context, heard) as listeners:
            done = run(
                pipeline,
                (stream,),
                request=request,
                store=state_store(asset, context),
                listeners=listeners,
                cancel=self.cancelled(),
            )
            result = done.results[0] if done.results else None
            self.collect(pipeline, stream, heard)
            if result is not None:
                return result
            if not done.failures:  # killed before its turn came
                raise _killed(pipeline, stream)
            raise done.failures[0].to_error()

    def collect(self, pipeline: Pipeline, stream: str, heard: LoadHeard) -> None:
        """Collect the load's lineage, where Airflow sends it anywhere."""
        from airflow_provider_conduit.lineage import is_on, lineage_of

        if is_on():
            self._lineage = lineage_of(pipeline, stream, heard)

    def get_openlineage_facets_on_complete(
        self, _: object
    ) -> OperatorLineage[Dataset, RunFacet | JobFacet] | None:
        """Return the load's lineage, for Airflow's OpenLineage provider.

        Of a load that failed it has the datasets, and what the rules found.
        """
        return self._lineage

    get_openlineage_facets_on_failure = get_openlineage_facets_on_complete


def _killed(pipeline: Pipeline, stream: str) -> Exception:
    from conduit_core.errors import ConduitError

    return pipeline.at(ConduitError("the task was ended before it began", retry="step"), stream)
