"""Prefect as a runner: flow runs of this process, against an API that keeps them."""

from __future__ import annotations

from typing import Any

from prefect import flow, unmapped
from prefect.client.orchestration import get_client
from prefect.variables import Variable

from conduit_core import LoadResult
from conduit_core.errors import ConduitError
from prefect_conduit import (
    PrefectStateStore,
    audit_load,
    load_stream,
    plan_stream,
    publish_load,
    replay_letters,
    run_pipeline,
    stage_split,
)
from tests.conformance.cases import Scene
from tests.conformance.place import Place, cursor_at


@flow
def spread(pipeline: str, streams: list[str]) -> list[LoadResult]:
    """Load streams whose splits are tasks of their own."""
    done = []
    for stream in streams:
        plan = plan_stream(pipeline, stream)
        receipts = stage_split.map(unmapped(pipeline), unmapped(plan), plan.splits.ids()).result()
        report = audit_load(pipeline, plan, receipts)
        done.append(publish_load(pipeline, plan, receipts, report))
    return done


@flow
def alone(pipeline: str, streams: list[str]) -> list[LoadResult]:
    """Load streams, and do nothing of what follows."""
    return [load_stream(pipeline, stream) for stream in streams]


@flow
def replaying(pipeline: str) -> list[LoadResult]:
    """Replay dead letters in a flow."""
    return replay_letters(pipeline)


class InPrefect:
    """``run_pipeline``, or a flow of steps where the case has splits."""

    name = "Prefect"
    mark = "prefect"

    def __init__(self, place: Place) -> None:
        self.place = place
        self.said = ""
        for target in place.targets:  # of another place, whose tables had these names
            Variable.unset(self._variable(target))

    def load(self, scene: Scene) -> bool:
        """Run the flow."""
        file = str(self.place.file)
        streams = [stream["name"] for stream in self.place.mapping["streams"]]
        if self.place.case.is_spread:
            return self._fine(spread, file, streams)
        if not scene.hooks:
            return self._fine(alone, file, streams)
        more: dict[str, Any] = {}
        if scene.day is not None:
            more["window_from"] = f"2026-01-{scene.day:02}T00:00:00+00:00"
            more["window_to"] = f"2026-01-{scene.day + 1:02}T00:00:00+00:00"
        return self._fine(run_pipeline, file, full_refresh=scene.full_refresh, **more)

    def replay(self) -> bool:
        """Run a flow that replays."""
        return self._fine(replaying, str(self.place.file))

    def edit(self, target: str, values: str) -> None:
        """Write into the table's Variable."""
        name = self._variable(target)
        with get_client(sync_client=True) as client:
            found = client.read_variable_by_name(name)
        assert found is not None
        entry: Any = found.value
        Variable.set(name, cursor_at(entry, values), overwrite=True)

    def entry(self, target: str) -> str | None:
        """Return the Variable's entry, as a load reads it."""
        return PrefectStateStore().get(self._key(target))

    def _key(self, target: str) -> str:
        return f"{self.place.system.schema}.{target}"

    def _variable(self, target: str) -> str:
        return PrefectStateStore().name(self._key(target))

    def _fine(self, run: Any, *arguments: object, **more: object) -> bool:
        try:
            run(*arguments, **more)
        except ConduitError as error:
            self.said = str(error)
            return False
        return True
