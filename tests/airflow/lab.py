"""What tests of the Airflow provider stand in: a DAG folder and an Airflow that runs its files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
MEMBERS = (ROOT, ROOT / "providers" / "airflow", ROOT / "dbt_bridge")
QUIET = {
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
    "AIRFLOW__CORE__FERNET_KEY": "",
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    "AIRFLOW__OPENLINEAGE__DISABLED": "True",
    "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
    "DO_NOT_TRACK": "1",
    "NO_COLOR": "1",
}


@dataclass(frozen=True, slots=True)
class Run:
    """What became of a DAG's run; mapped tasks are named ``task[0]``."""

    run_id: str
    state: str
    tasks: dict[str, str]
    tries: dict[str, int]
    xcoms: dict[str, Any]
    events: list[dict[str, Any]]
    log: str = field(repr=False)


class Airflow:
    """An Airflow of its own: home, database, and the process that runs DAGs in it.

    Args:
        home: its folder.
        python: the interpreter that has Airflow.
        path: more folders to import from.
    """

    def __init__(self, home: Path, python: str = sys.executable, path: str = "") -> None:
        self.home = home
        env = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "CONDUIT_"))}
        env |= QUIET | {"AIRFLOW_HOME": str(home), "PYTHONPATH": _path(path)}
        env["AIRFLOW__CORE__DAGS_FOLDER"] = str(home / "dags")
        (home / "dags").mkdir(parents=True)
        self._said = home / "worker.log"
        with self._said.open("w") as errors:
            self._process = subprocess.Popen(
                [python, "-m", "tests.airflow.worker"],
                cwd=ROOT,
                env=env,
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        self.version: str = self.ask("migrate", home / "migrate.log", {})

    def ask(self, do: str, log: Path, env: dict[str, str], **args: object) -> Any:
        """Have the process do something; what Airflow prints goes into ``log``."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"do": do, "log": str(log), "env": env, "args": args}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        told = log if log.exists() else self._said
        assert line, f"the worker has died:\n{told.read_text()[-4000:]}"
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["answer"]

    def end(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=120)
        self._process.stdout.close()


class Lab:
    """A folder of DAG and pipeline files, and environment, of one test.

    DAG ids are the tests' own: all share one database.
    """

    def __init__(self, folder: Path, airflow: Airflow) -> None:
        self.folder = folder
        self.airflow = airflow
        self.env: dict[str, str] = {}
        self._runs = 0

    def write(self, name: str, text: str) -> Path:
        """Write a file into the folder, without the indentation of a test's text."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    def connection(self, conn_id: str, **fields: object) -> None:
        """Give the next runs an Airflow connection."""
        self.env[f"AIRFLOW_CONN_{conn_id.upper()}"] = json.dumps(fields)

    def run(self, file: str, *runs: dict[str, Any], dag: str | None = None) -> list[Run]:
        """Run a DAG file's DAG with ``dag.test()``, once for each of ``runs``: its arguments."""
        log = self._log()
        path = str(self.folder / file)
        told = self.airflow.ask("run", log, self.env, file=path, runs=list(runs) or [{}], dag=dag)
        return [Run(**one, log=log.read_text()) for one in told]

    def once(self, file: str, *, dag: str | None = None, **arguments: object) -> Run:
        """Run a DAG file's DAG once."""
        return self.run(file, dict(arguments), dag=dag)[0]

    def call(self, code: str, **args: object) -> Any:
        """Run code in Airflow's process, and return what it names ``result``.

        It may use ``dags(file)``, which imports a DAG file, and ``told(dag_id, run_id)``.
        """
        given = textwrap.dedent(code)
        return self.airflow.ask("call", self._log(), self.env, code=given, args=args)

    def said(self) -> str:
        """Return what Airflow printed last."""
        return (self.folder / f"airflow-{self._runs}.log").read_text()

    def _log(self) -> Path:
        self._runs += 1
        return self.folder / f"airflow-{self._runs}.log"


def _path(more: str) -> str:
    return os.pathsep.join([*map(str, MEMBERS), *([more] if more else [])])
