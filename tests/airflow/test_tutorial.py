"""The tutorial in Airflow, and what the how-tos say of it, walked from the first block to the last."""

from __future__ import annotations

import shutil
from datetime import date, timedelta
from pathlib import Path

import pytest

from tests.airflow.lab import Lab, Run
from tests.airflow.shop import FORGET
from tests.docs.pages import ROOT
from tests.docs.walk import PLACE, Walk

pytestmark = pytest.mark.slow
TUTORIAL = ROOT / "docs" / "tutorials" / "airflow.md"
HOWTO = {
    "backfill": ["", "Airflow"],
    "rewind": ["", "Airflow"],
    "replay": ["", "The rule was wrong", "Airflow"],
}


class Airflow:
    """Who runs the lines that are Airflow's: the suite's own Airflow, which has no scheduler."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        lab.call(FORGET)  # other tests have a table of that name
        self.last: Run | None = None
        self.commands = {
            "airflow standalone": self.nothing,
            "airflow dags unpause": self.nothing,
            "airflow dags trigger": self.trigger,
            "airflow tasks clear": self.trigger,  # without a scheduler it is one more run
            "airflow backfill create": self.backfill,
            "export AIRFLOW": self.nothing,
            "text": self.said,
        }

    def nothing(self, _: Walk, __: str) -> str:
        """It is there already."""
        return ""

    def trigger(self, _: Walk, line: str) -> str:
        """Run the DAG to its end."""
        dag = line.split()[3]
        self.last = self.lab.once(self.file(dag), dag=dag)
        wanted = "failed" if line.endswith("# fails") else "success"
        assert self.last.state == wanted, self.last.log[-4000:]
        return ""

    def file(self, dag: str) -> str:
        """Return the DAG file that has a DAG."""
        (found,) = (f for f in self.lab.folder.glob("dags/*.py") if f'"{dag}"' in f.read_text())
        return str(found.relative_to(self.lab.folder))

    def backfill(self, _: Walk, line: str) -> str:
        """Run its first day and its last: a scheduler's own backfill is tests/airflow/scheduled's."""
        words = line.split()
        given = dict(zip(words[3::2], words[4::2], strict=True))
        days = [date.fromisoformat(given[f"--{end}-date"]) for end in ("from", "to")]
        # without a scheduler a run's interval is the one that ends at its date
        at = [{"logical_date": f"{day + timedelta(days=1)}T00:00:00+00:00"} for day in days]
        dag = given["--dag-id"]
        runs = self.lab.run(self.file(dag), *at, dag=dag)
        assert [run.state for run in runs] == ["success"] * 2, runs[-1].log[-4000:]
        assert [run.xcoms["load"]["counts"]["inserted"] > 0 for run in runs] == [True, True]
        return ""

    def said(self, walk: Walk, text: str) -> str:
        """Check that the last run's log has these lines, one below the other."""
        assert self.last is not None
        assert text.strip().replace(PLACE, str(walk.folder)) in self.last.log
        return ""


def test_the_tutorial(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(lab.folder)
    Walk(TUTORIAL, lab.folder, monkeypatch.setenv, Airflow(lab).commands).go()


@pytest.mark.parametrize("page", HOWTO)
def test_a_how_to(lab: Lab, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    monkeypatch.chdir(lab.folder)
    shutil.copytree(ROOT / "examples" / "tutorial", lab.folder, dirs_exist_ok=True)
    walk = Walk(
        ROOT / "docs" / "howto" / f"{page}.md",
        lab.folder,
        monkeypatch.setenv,
        Airflow(lab).commands,
        frozenset(HOWTO[page]),
    )
    walk.go()
