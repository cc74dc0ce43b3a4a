"""The page lists what there is: the cases and runners of the table, every order of the handover."""

from __future__ import annotations

from tests.conformance import page, play
from tests.conformance.cases import CASES
from tests.docs.pages import code, tables

DONE = {"rows": 3, "records": 2, "letters": 1}


def test_the_page_has_every_case_in_every_runner() -> None:
    rows = tables(page.PAGE)["Cases: case"]
    told = [(code(row[0])[0], row[1], row[2 : 2 + len(page.RUNNERS)]) for row in rows]
    assert told == [
        (case.name, case.about, [str(len(case.scenes))] * len(page.RUNNERS)) for case in CASES
    ]


def test_the_page_has_every_handover() -> None:
    rows = tables(page.PAGE)["From runner to runner: who played each scene"]
    assert {row[0] for row in rows} == {" → ".join(order) for order in play.orders()}


def test_a_table_is_written_between_its_comments() -> None:
    text = "a\n<!-- generated: kills -->\nold\n<!-- end of kills -->\nb\n"
    told = [
        {"runner": "Dagster", "point": point, "schedules": n, "pipeline": "shop"}
        for point, n in (("mid-stage", 2), ("at random", 5), ("mid-stage", 1), ("before plan", 1))
    ]
    written = page.put(text, page.KILLS, page.kills_table(told))
    assert written.splitlines() == [
        "a",
        "<!-- generated: kills -->",
        "| killed | command line | Airflow | Prefect | Dagster |",
        "| --- | --- | --- | --- | --- |",
        "| before plan | 0 | 0 | 0 | 1 |",
        "| mid-stage | 0 | 0 | 0 | 3 |",
        "| at random | 0 | 0 | 0 | 5 |",
        "| all | 0 | 0 | 0 | 9 |",
        "<!-- end of kills -->",
        "b",
    ]


def test_cases_are_in_their_order_with_a_cell_for_each_runner() -> None:
    told = [
        {"case": name, "runner": runner, "about": f"about {name}", "scenes": 2, **DONE}
        for runner in page.RUNNERS[::-1]
        for name in ("b", "a")
    ]
    _, _, *rows = page.cases_table(told, ["a", "b"]).splitlines()
    assert rows == [f"| `{n}` | about {n} | 2 | 2 | 2 | 2 | 3 | 2 | 1 |" for n in "ab"]
