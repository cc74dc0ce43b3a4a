"""An Airflow without a scheduler, in a process of its own: runs DAG files as ``dag.test()`` does.

Airflow takes seconds to import and its first run ten more, so that one process serves many tests.
It reads requests as lines of JSON and answers each with one.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from datetime import datetime
from pathlib import Path
from typing import Any


def main() -> None:
    """Serve until the input ends; what Airflow prints goes into a file for each request."""
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        log = Path(request["log"])
        with log.open("a") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        os.environ.update(request["env"])
        try:
            answer = {"answer": _DOINGS[request["do"]](**request["args"])}
        except BaseException:  # noqa: BLE001 - the test shows it
            answer = {"error": traceback.format_exc()}
        finally:
            for name in request["env"]:
                os.environ.pop(name, None)
            sys.stdout.flush()
            sys.stderr.flush()
        answers.write(json.dumps(answer, default=str) + "\n")
        answers.flush()


def _migrate() -> str:
    from airflow import __version__
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.utils.db import initdb

    initdb()
    DagBundlesManager().sync_bundles_to_db()
    return __version__


def _run(file: str, runs: list[dict[str, Any]], dag: str | None) -> list[dict[str, Any]]:
    found = _dags(file)
    chosen = found[dag] if dag else next(iter(found.values()))
    return [_one(chosen, run) for run in runs]


def _dags(file: str) -> dict[str, Any]:
    """Parse a DAG file as the DAG processor does, and put its DAGs into the database."""
    try:
        from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
    except ImportError:  # before 3.2
        from airflow.models.dagbag import DagBag as BundleDagBag
        from airflow.models.dagbag import sync_bag_to_db

    kinds = {"bundle_path": Path(file).parent, "bundle_name": "dags-folder"}
    known = BundleDagBag.__init__.__code__.co_varnames
    given = {name: value for name, value in kinds.items() if name in known}
    bag = BundleDagBag(dag_folder=file, **given)
    if bag.import_errors:
        raise AssertionError("\n".join(map(str, bag.import_errors.values())))
    sync_bag_to_db(bag, "dags-folder", None)
    return dict(bag.dags)


def _one(dag: Any, run: dict[str, Any]) -> dict[str, Any]:
    for key in ("logical_date", "run_after"):
        if isinstance(run.get(key), str):
            run[key] = datetime.fromisoformat(run[key])
    made = dag.test(**run)
    return _told(dag.dag_id, made.run_id)


def _told(dag_id: str, run_id: str) -> dict[str, Any]:
    """Return what the database says of a run."""
    from airflow.models.asset import AssetEvent
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        run = session.scalar(select(DagRun).filter_by(dag_id=dag_id, run_id=run_id))
        items = session.scalars(select(TaskInstance).filter_by(dag_id=dag_id, run_id=run_id)).all()
        events = session.scalars(
            select(AssetEvent).filter_by(source_dag_id=dag_id, source_run_id=run_id)
        ).all()
        xcoms = session.scalars(
            select(XComModel).filter_by(dag_id=dag_id, run_id=run_id, key="return_value")
        ).all()
        return {
            "run_id": run_id,
            "state": str(run.state) if run else "",
            "tasks": {_name(ti.task_id, ti.map_index): str(ti.state) for ti in items},
            "tries": {_name(ti.task_id, ti.map_index): ti.try_number for ti in items},
            "xcoms": {_name(x.task_id, x.map_index): XComModel.deserialize_value(x) for x in xcoms},
            "events": [
                {
                    "name": e.asset.name,
                    "uri": e.asset.uri,
                    "task": e.source_task_id,
                    "extra": e.extra,
                }
                for e in events
            ],
        }


def _name(task_id: str, map_index: int) -> str:
    return task_id if map_index < 0 else f"{task_id}[{map_index}]"


def _call(code: str, args: dict[str, Any]) -> Any:
    """Run code that sets ``result``."""
    names: dict[str, Any] = {**args, "result": None, "dags": _dags, "told": _told}
    exec(code, names)  # noqa: S102 - what a test gives
    return names["result"]


_DOINGS: dict[str, Any] = {"migrate": _migrate, "run": _run, "call": _call}

if __name__ == "__main__":
    main()
