"""Dagster as a runner: jobs of assets, in an instance that keeps its runs in the place's folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import dagster as dg

from dagster_conduit import ConduitResource, build_conduit_jobs, conduit_assets
from dagster_conduit.state import current
from tests.conformance.cases import Scene
from tests.conformance.place import Place, cursor_at

DAILY = dg.DailyPartitionsDefinition("2026-01-01", end_date="2026-02-01", timezone="UTC")


class InDagster:
    """A job of all the case's assets; splits are dynamic outputs, a window is a partition.

    Args:
        place: what is loaded.
        instance: Dagster's, which the place has to itself.
    """

    name = "Dagster"
    mark = "dagster"

    def __init__(self, place: Place, instance: dg.DagsterInstance) -> None:
        self.place = place
        self.said = ""
        self._instance = instance

    def load(self, scene: Scene) -> bool:
        """Run the job ``load``."""
        assets = self._assets(scene)
        found = dg.Definitions(
            assets=[assets],
            jobs=[dg.define_asset_job("load", selection=[assets])],
            resources={"conduit": ConduitResource()},
        )
        day = None if scene.day is None else f"2026-01-{scene.day:02}"
        return self._fine(found.resolve_job_def("load"), partition_key=day)

    def replay(self) -> bool:
        """Run the job that replays."""
        name = f"{self.place.case.name}_replay"
        jobs = {job.name: job for job in build_conduit_jobs(assets=self._assets(Scene()))}
        return self._fine(jobs[name], resources={"conduit": ConduitResource()})

    def edit(self, target: str, values: str) -> None:
        """Report a materialisation with an entry that was edited."""
        entry = self.entry(target)
        assert entry is not None
        edited: Any = cursor_at(json.loads(entry), values)
        self._instance.report_runless_asset_event(
            dg.AssetMaterialization(self._key(target), metadata={"conduit/state": edited})
        )

    def entry(self, target: str) -> str | None:
        """Return the entry in the asset's events that counts."""
        return current(self._instance, self._key(target))

    def _assets(self, scene: Scene) -> dg.AssetsDefinition:
        case = self.place.case

        @conduit_assets(
            pipeline=self.place.file,
            name=case.name,
            after=case.dbt and scene.hooks,
            fan_out="*" if case.is_spread else "",
            partitions_def=DAILY if case.has_windows else None,
        )
        def load(context: dg.AssetExecutionContext, conduit: ConduitResource) -> Iterator[object]:
            yield from conduit.run(context=context, full_refresh=scene.full_refresh)

        return load

    def _key(self, target: str) -> dg.AssetKey:
        return dg.AssetKey([self.place.system.schema, target])

    def _fine(self, job: Any, **more: object) -> bool:
        result = job.execute_in_process(instance=self._instance, raise_on_error=False, **more)
        self.said = "\n".join(str(e.message) for e in result.all_events if e.is_failure)
        return bool(result.success)
