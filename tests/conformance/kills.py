"""Pipelines whose loads are killed, in any runner, and what must be there in the end all the same.

A scene is a pipeline that has loaded once, before anything fails. Then its source grows, its
schedule of kills is laid out (`armed.py`), and a runner loads what is new, as often as it must.
What is there then must be what a load that never failed has left.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from conduit_core import Pipeline, raise_for_failures, run
from conduit_core.engine import admin, hooks
from tests import order, services
from tests.conformance.armed import FOLDER, SPENT
from tests.conformance.page import KILLS
from tests.conformance.picture import picture
from tests.conformance.tell import hook
from tests.crash.source import FILES, Source
from tests.crash.systems import DuckDB, Postgres, System

WHOLE = os.environ.get(order.DEEP) == "1"
"""Whether all points and many schedules are tried, or the daily ones."""
LISTENERS = {"CONDUIT_LISTENERS": "tests.conformance.armed:listener"}
PLAIN, SPREAD, DBT = "plain", "spread", "dbt"
"""Two streams into PostgreSQL, appended by cursor; one stream in splits that wait in a folder, into
DuckDB; both with dead letters and a hook. One stream into DuckDB, then dbt."""
STREAMS = {PLAIN: ("orders", "items"), SPREAD: ("orders",), DBT: ("orders",)}
SPLITS = 4
AT_ONCE = 4
"""How many scenes this process loads, or looks after, side by side."""
SLOW_SECONDS = 0.3
"""How long a commit takes in PostgreSQL where the kill is to hit it."""

IN_COMMIT, COMMITTED, LEFT = "during commit", "after commit before mirror", "after hooks"
AT: Mapping[str, Mapping[str, Sequence[str]]] = {
    "before plan": {PLAIN: ["before_plan:1:items"]},  # steps have no event before it
    "mid-stage": {PLAIN: ["mid_stage:2:items"], SPREAD: ["mid_stage:1"]},
    "after a split's commit": {SPREAD: ["after_split:1"]},
    "during audit": {PLAIN: ["audit:1:orders"], SPREAD: ["audit:1"]},
    "mid-publish before commit": {PLAIN: ["before_commit:1:items"], SPREAD: ["before_commit:1"]},
    IN_COMMIT: {PLAIN: ["commit:100000:orders"], SPREAD: ["commit:200", "commit:1000"]},
    COMMITTED: {PLAIN: ["after_commit:1:items"], SPREAD: ["after_commit:1"]},
    "after mirror before hooks": {
        PLAIN: ["after_mirror:1:orders", "before_hooks:1"],
        SPREAD: ["before_hooks:1"],
        DBT: ["before_hooks:1"],
    },
    "in a hook, before it is remembered": {PLAIN: ["after_hook:1"], DBT: ["after_hook:1"]},
    LEFT: {PLAIN: ["hook_left:1"], DBT: ["hook_left:1"]},
}
"""Each point of the page, and where its kills hit: one schedule each, by pipeline."""
DAILY = {
    "mid-stage": SPREAD, IN_COMMIT: PLAIN, COMMITTED: PLAIN,
    "after mirror before hooks": DBT,
}  # fmt: skip
"""The points that the daily suite has in every runner, each in one pipeline."""
RANDOM_EVENTS = "at random events, twice in a row"
RANDOM_MOMENTS = "at random moments, twice in a row"


@dataclass(frozen=True)
class Schedule:
    """Kills of one pipeline's load, each of them once, in this order.

    Args:
        point: where it belongs on the page.
        kind: the pipeline.
        kills: as `armed.py` reads them.
    """

    point: str
    kind: str
    kills: tuple[str, ...]


def each_point(*, daily: Mapping[str, str] = DAILY) -> list[Schedule]:
    """Return a schedule for each place of each point; in the daily suite, for some.

    Args:
        daily: the points that the daily suite has, and the pipeline of each.
    """
    return [
        Schedule(point, kind, (kill,))
        for point, by_kind in AT.items()
        for kind, kills in by_kind.items()
        for kill in kills
        if WHOLE or daily.get(point) == kind
    ]


def at_random(
    runner: str, *, daily: int, whole: int, milliseconds: int, moments: str = "moment"
) -> list[Schedule]:
    """Make schedules up: two kills in a row, at any events or any moments.

    Args:
        runner: whose; the same one gets the same schedules.
        daily, whole: how many.
        milliseconds: the latest moment of a kill, from a load's first event.
        moments: which ones: ``moment``, or ``within`` the load alone.
    """
    chance = random.Random(runner)
    made: list[Schedule] = []
    for number in range(whole if WHOLE else daily):
        kind = (PLAIN, SPREAD)[number // 2 % 2]
        stream = chance.choice([*STREAMS[kind], ""])
        if number % 2:
            kills = [f"{moments}:{chance.randrange(milliseconds)}:{stream}" for _ in range(2)]
        else:
            kills = [f"event:{chance.randrange(1, 20)}:{stream}" for _ in range(2)]
        made.append(Schedule((RANDOM_EVENTS, RANDOM_MOMENTS)[number % 2], kind, tuple(kills)))
    return made


class Scene:
    """A pipeline with files of its own, a destination of its own, and its schedule.

    Args:
        folder: of its files; its schedule is in the folder `kills` beside it.
        name: the pipeline's.
        kind: which one.
        database: the PostgreSQL of those that load into one.
        source: what it reads.
    """

    def __init__(self, folder: Path, name: str, kind: str, database: str, source: Source) -> None:
        self.folder, self.name, self.kind, self.source = folder, name, kind, source
        self._database = database
        self.streams = STREAMS[kind]
        self.folder.mkdir(parents=True)
        self._kills = folder.parent / "kills" / name
        self._kills.mkdir(parents=True)
        self.system: System = Postgres(database) if kind == PLAIN else DuckDB(folder)
        self.system.schema = name  # what a runner keeps of a table goes by schema and table
        if kind == DBT:
            self._write_dbt()
        self.file = folder / "pipeline.yml"
        self.file.write_text(json.dumps(self.mapping))

    @property
    def mapping(self) -> dict[str, Any]:
        """The pipeline."""
        staging = {"staging": str(self.folder / "staging")} if self.kind == SPREAD else {}
        splits = {"splits": SPLITS} if self.kind == SPREAD else {}
        after: dict[str, Any] = {"tell": {"file": str(self.folder / "told")}}
        if self.kind == DBT:
            after = {"dbt": {"project_dir": "dbt", "profile": "from_destination"}}
        rule = {"rule": "not_null", "column": "note", "action": "dlq"}
        return {
            "name": self.name,
            "source": {"type": "parquet", "path": str(self.source.folder)},
            "destination": {**self.system.config(), **staging},
            "streams": [
                {"path": "*.parquet", "name": name, "into": name, "mode": "append"}
                | {"cursor": "id", "quality": [rule], **splits}
                for name in self.streams
            ],
            "after": after,
        }

    def load(self) -> None:
        """Load in this process, without a kill; it must know the hook `tell`."""
        raise_for_failures(run(Pipeline.from_file(self.file)))

    def arm(self, schedule: Schedule) -> None:
        """Lay out its kills."""
        if schedule.point == IN_COMMIT and self.kind == PLAIN:
            self._slow_commits()
        for turn, kill in enumerate(schedule.kills):
            (self._kills / f"{turn} {kill}").touch()

    def _slow_commits(self) -> None:
        """Let a commit into this schema take its time in the server."""
        ledger = f"{self.name}._conduit_ledger"
        services.sql(
            self._database,
            f"CREATE FUNCTION {self.name}.slow() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN PERFORM pg_sleep({SLOW_SECONDS}); RETURN NULL; END $$;"
            f" CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON {ledger}"
            f" DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION {self.name}.slow()",
        )

    def hit(self) -> list[str]:
        """Return the kills that have hit, in their order, each with the event that it hit at."""
        return sorted(file.name for file in (self._kills / SPENT).glob("*"))

    def lasts(self) -> list[str]:
        """Return the last event before each kill that has hit."""
        return [each.rpartition(" ")[2].rstrip("+") for each in self.hit()]

    def left(self) -> list[str]:
        """Return the kills that nothing came to."""
        return sorted(file.name for file in self._kills.glob("[0-9]*"))

    def _write_dbt(self) -> None:
        project = self.folder / "dbt"
        (project / "models").mkdir(parents=True)
        (project / "dbt_project.yml").write_text(
            'name: shop\nversion: "1.0"\nprofile: shop\n'
            "flags: {send_anonymous_usage_stats: false}\nmodels: {+materialized: table}\n"
        )
        (project / "models/sources.yml").write_text(
            f"sources: [{{name: {self.name}, tables: [{{name: orders}}]}}]\n"
        )
        (project / "models/totals.sql").write_text(
            "select count(*) as orders, sum(amount) as amount"
            f" from {{{{ source('{self.name}', 'orders') }}}}"
        )

    # --- what is there ----------------------------------------------------------------------------

    def picture(self) -> dict[str, Any]:
        """Return all that a load leaves, as it is the same in each scene of its kind."""
        made: dict[str, Any] = {**picture(self.system), "told": sorted(set(self.told()))}
        if self.kind == DBT:
            made["built"] = self.system.query(f"SELECT * FROM {self.system.place('totals')}")
        text = json.dumps(made, default=str).replace(str(self.folder), "FOLDER")
        same: dict[str, Any] = json.loads(text.replace(self.name, "NAME"))
        return same

    def close(self) -> None:
        """Let go of the destination."""
        if isinstance(self.system, DuckDB):
            self.system.close()

    def told(self) -> list[str]:
        """Return what the hook `tell` was given, in order."""
        file = self.folder / "told"
        return file.read_text().splitlines() if file.exists() else []

    def newest(self, table: str) -> tuple[str, str, str]:
        """Return what the runner's copy of the state must hold: version, load, cursor."""
        (found,) = self.system.query(
            f"SELECT version, load_id, cursor FROM {self.system.place('_conduit_ledger')}"
            f" WHERE target_table = '{table}' ORDER BY version DESC LIMIT 1"
        )
        return str(found[0]), found[1], found[2]

    def staged(self) -> list[str]:
        """Return what waits in staging."""
        files = (self.folder / "staging").rglob("*")
        waiting = [str(f) for f in files if f.is_file() and f.name != "probe.json"]
        return waiting + [n for n in self.system.relations() if n.startswith("_conduit_stage")]

    def is_as_if_nothing_had_failed(self, schedule: Schedule, unharmed: Mapping[str, Any]) -> None:
        """Compare what is there with what a load that never failed has left."""
        found = self.picture()
        for what, expected in unharmed.items():
            assert found[what] == expected, (self.name, what, self.hit())
        if set(self.lasts()) & {"CommitStarted", "Committed"}:  # who publishes tidies up after it
            admin.clean(Pipeline.from_file(self.file), timedelta(0), dry_run=False)
        assert self.staged() == [], (self.name, self.hit())
        # A hook that was killed in its work, or before that was written down, does it again.
        again = sum("Hook" in last for last in self.lasts()) if schedule.point != LEFT else 0
        doubled = len(self.told()) - len(unharmed["told"])
        assert doubled == 0 or (again and doubled <= again * len(self.streams)), self.told()
        if not schedule.point.startswith("at random"):
            assert self.left() == [], "a kill that nothing came to"


class Scenes:
    """Scenes over one source, which has grown once all of them have loaded its beginning.

    Args:
        folder: of their files.
        database: an empty PostgreSQL database.
        schedules: one for each.
    """

    def __init__(self, folder: Path, database: str, schedules: Sequence[Schedule]) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        source = Source(folder / "source")
        source.fill()
        own = f"k{uuid4().hex[:6]}_"  # a runner's database has those of other tests, too
        self.schedules = {f"{own}{number}": each for number, each in enumerate(schedules)}

        def scene(name: str, kind: str) -> Scene:
            return Scene(folder / name, name, kind, database, source)

        kinds = sorted({each.kind for each in schedules})
        never_failed = {kind: scene(f"{own}{kind}", kind) for kind in kinds}
        self.all = {name: scene(name, each.kind) for name, each in self.schedules.items()}
        _load((*never_failed.values(), *self.all.values()))
        for part in range(FILES, 2 * FILES):
            source.write(part)
        _load(never_failed.values())
        self._unharmed = {kind: _seen(each) for kind, each in never_failed.items()}
        for name, each in self.all.items():
            each.arm(self.schedules[name])

    @property
    def env(self) -> dict[str, str]:
        """The environment of processes that load."""
        return {**LISTENERS, FOLDER: str(self.folder / "kills")}

    def check(self, name: str) -> None:
        """Compare a scene with one of its kind that never failed."""
        scene = self.all[name]
        schedule = self.schedules[name]
        scene.is_as_if_nothing_had_failed(schedule, self._unharmed[schedule.kind])
        scene.close()

    def report(self, runner: str, record: Any) -> None:
        """Record for the page what was tried: schedules of which a kill has hit."""
        for name, schedule in self.schedules.items():
            self.all[name].close()
            if lasts := self.all[name].lasts():
                point = schedule.point
                if point == IN_COMMIT and lasts != ["CommitStarted"]:
                    point = COMMITTED  # DuckDB was quicker
                tried = {"runner": runner, "point": point, "pipeline": schedule.kind}
                record(KILLS, {**tried, "schedules": 1})


def _load(scenes: Collection[Scene]) -> None:
    """Load scenes side by side, but for those with dbt, which has a process for itself."""
    alone = [each for each in scenes if each.kind == DBT]
    with hooks.added(hook), ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(Scene.load, [each for each in scenes if each.kind != DBT]))
        for each in alone:
            each.load()


def _seen(scene: Scene) -> dict[str, Any]:
    made = scene.picture()
    scene.close()
    return made
