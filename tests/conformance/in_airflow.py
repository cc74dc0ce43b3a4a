"""Airflow as a runner: DAG files that it parses and runs task by task, in a process of its own."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.airflow.lab import Airflow, Lab
from tests.airflow.shop import FORGET
from tests.conformance.cases import Scene
from tests.conformance.place import Place, cursor_at

DAGS = """
    from datetime import UTC, datetime

    from airflow.sdk import DAG, CronDataIntervalTimetable
    from airflow_provider_conduit import ConduitDag, ConduitReplayOperator

    daily = CronDataIntervalTimetable("0 0 * * *", timezone="UTC")
    loads = ConduitDag("{name}", pipeline="pipeline.yml", {more})
    alone = ConduitDag("{name}_alone", pipeline="pipeline.yml", after=False, {more})
    with DAG("{name}_replay", schedule=None) as replays:
        ConduitReplayOperator(task_id="replay", pipeline="pipeline.yml")
"""
BY_HAND = "schedule=None"
BY_DAY = 'schedule=daily, start_date=datetime(2026, 1, 1, tzinfo=UTC), window="data_interval"'
FIND = """
    from airflow.models.asset import AssetModel
    from airflow.models.asset_state_store import AssetStateStoreModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        asset = session.scalar(select(AssetModel).filter_by(name=name))
        found = asset and session.scalar(
            select(AssetStateStoreModel).filter_by(asset_id=asset.id, key="conduit")
        )
        result = found and found.value
        if entry is not None:
            found.value = entry
"""
"""What an Asset's state has; another text takes its place where one is given."""


class InAirflow:
    """A ``ConduitDag``: a task for each stream, mapped ones for splits, one for each hook.

    Args:
        place: what is loaded.
        airflow: who loads.
    """

    name = "Airflow"
    mark = "airflow"

    def __init__(self, place: Place, airflow: Airflow) -> None:
        self.place = place
        self.said = ""
        self._lab = Lab(place.folder, airflow)
        self._dag = f"conform_{place.case.name}"
        self._runs = 0
        more = BY_DAY if place.case.has_windows else BY_HAND
        self._lab.call(FORGET)  # of another place, whose tables had these names
        self._lab.write("dag.py", DAGS.format(name=self._dag, more=more))

    def load(self, scene: Scene) -> bool:
        """Run the DAG."""
        more: dict[str, Any] = {}
        if scene.day is not None:
            # Of runs by hand within a day, each has the day before as its interval.
            self._runs += 1
            at = datetime(2026, 1, scene.day + 1, tzinfo=UTC) + timedelta(minutes=self._runs)
            more["logical_date"] = at.isoformat()
        if scene.full_refresh:
            more["run_conf"] = {"full_refresh": True}
        return self._fine(self._dag if scene.hooks else f"{self._dag}_alone", **more)

    def replay(self) -> bool:
        """Run the DAG that replays."""
        return self._fine(f"{self._dag}_replay")

    def edit(self, target: str, values: str) -> None:
        """Write into the state store of the table's Asset, as its page does."""
        entry = self.entry(target)
        assert entry is not None
        self._find(target, json.dumps(cursor_at(json.loads(entry), values)))

    def entry(self, target: str) -> str | None:
        """Return what the Asset's state store has."""
        return self._find(target, None)

    def _find(self, target: str, entry: str | None) -> str | None:
        name = f"{self.place.system.schema}.{target}"
        found = self._lab.call(FIND, name=name, entry=entry)
        return None if found is None else str(found)

    def _fine(self, dag: str, **arguments: object) -> bool:
        run = self._lab.once("dag.py", dag=dag, **arguments)
        self.said = run.log[-4000:]
        return run.state == "success"
