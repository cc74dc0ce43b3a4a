"""The tutorial in Airflow, walked from the first block to the last."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.airflow.lab import Lab, Run
from tests.docs.pages import ROOT
from tests.docs.walk import PLACE, Walk

pytestmark = pytest.mark.slow
TUTORIAL = ROOT / "docs" / "tutorials" / "airflow.md"
DAG_FILE = "dags/flights_dag.py"


class Airflow:
    """Who runs the lines that are Airflow's: the suite's own Airflow, which has no scheduler."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.last: Run | None = None
        self.commands = {
            "airflow standalone": self.nothing,
            "airflow dags unpause": self.nothing,
            "airflow dags trigger": self.trigger,
            "airflow tasks clear": self.trigger,  # without a scheduler it is one more run
            "export AIRFLOW": self.nothing,
            "text": self.said,
        }

    def nothing(self, _: Walk, __: str) -> str:
        """It is there already."""
        return ""

    def trigger(self, _: Walk, line: str) -> str:
        """Run the DAG to its end."""
        self.last = self.lab.once(DAG_FILE, dag="flights")
        wanted = "failed" if line.endswith("# fails") else "success"
        assert self.last.state == wanted, self.last.log[-4000:]
        return ""

    def said(self, walk: Walk, text: str) -> str:
        """Check that the last run's log has these lines, one below the other."""
        assert self.last is not None
        assert text.strip().replace(PLACE, str(walk.folder)) in self.last.log
        return ""


def test_the_tutorial(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(lab.folder)
    assert list(Path(lab.folder).iterdir()) == []
    Walk(TUTORIAL, lab.folder, monkeypatch.setenv, Airflow(lab).commands).go()
