"""The tutorial in Airflow, and what the how-tos say of it, walked from top to bottom."""

from __future__ import annotations

import shutil
from datetime import date, timedelta
from pathlib import Path

import pytest

from tests.airflow.lab import Lab, Run
from tests.airflow.shop import FORGET
from tests.docs.pages import ROOT
from tests.docs.walk import PLACE, Walk, how_tos, tutorial

pytestmark = pytest.mark.slow
TUTORIAL = ROOT / "docs" / "tutorials" / "airflow.md"


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
        """Run its first day and its last; tests/airflow/scheduled has a real backfill."""
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


@pytest.mark.parametrize("sections", tutorial(TUTORIAL))
def test_the_tutorial(lab: Lab, monkeypatch: pytest.MonkeyPatch, sections: set[str]) -> None:
    walk(TUTORIAL, lab, monkeypatch, sections)


@pytest.mark.parametrize(("page", "sections"), how_tos("Airflow"))
def test_a_how_to(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, page: Path, sections: set[str]
) -> None:
    shutil.copytree(ROOT / "examples" / "tutorial", lab.folder, dirs_exist_ok=True)
    walk(page, lab, monkeypatch, sections)


def walk(page: Path, lab: Lab, monkeypatch: pytest.MonkeyPatch, sections: set[str]) -> None:
    """Walk a page in the lab's folder."""
    monkeypatch.chdir(lab.folder)
    commands = Airflow(lab).commands
    Walk(page, lab.folder, monkeypatch.setenv, commands, frozenset(sections)).go()
