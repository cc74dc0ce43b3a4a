"""Dead letters, replayed by Airflow."""

from __future__ import annotations

from tests.airflow.lab import Lab
from tests.airflow.two_streams import change, open_shop, rows

STREAMS = """
      - table: customers
        mode: upsert
        unique_key: id
        quality: [{rule: regex, column: name, pattern: "^[A-Z]", action: dlq}]
      - {table: orders, mode: append, cursor: [updated_at, id]}
"""
DAG = """
    from airflow.sdk import DAG
    from airflow_provider_conduit import ConduitReplayOperator, ConduitTaskGroup

    with DAG("replay_load", schedule=None) as loads:
        ConduitTaskGroup(pipeline="shop.yml")

    with DAG("replay", schedule=None, params={"rule": None}) as dag:
        ConduitReplayOperator(task_id="all", pipeline="shop.yml", rule="{{ params.rule }}")
"""


def test_letters_that_pass_are_loaded_once_and_told(lab: Lab) -> None:
    open_shop(lab, "letters", STREAMS)
    change(lab.folder, "INSERT INTO customers VALUES (3, 'eve'), (4, '4th')")
    lab.write("dag.py", DAG)
    first = lab.run("dag.py", {}, dag="replay_load")[0]
    assert first.xcoms["load.customers"]["counts"] == {"read": 4, "inserted": 2, "rejected": 2}

    open_shop(lab, "letters", STREAMS.replace("[A-Z]", "[A-Za-z]"))
    (replayed,) = lab.run("dag.py", {}, dag="replay")
    assert replayed.state == "success"
    told = replayed.xcoms["all"]
    assert told["customers"]["outcome"] == "published"
    assert told["customers"]["counts"] == {"read": 2, "inserted": 1, "rejected": 1}
    assert told["orders"] == {"outcome": "empty", "load_id": None, "counts": {}}
    assert [(e["name"], e["extra"]["mode"]) for e in replayed.events] == [
        ("letters.customers", "replay")
    ]
    (again,) = lab.run("dag.py", {}, dag="replay")
    assert again.state == "success"
    assert again.events == []
    assert "Traceback" not in again.log
    assert rows(lab.folder, "SELECT id FROM letters.customers ORDER BY id") == [(1,), (2,), (3,)]

    (unknown,) = lab.run("dag.py", {"run_conf": {"rule": "nope"}}, dag="replay")
    assert unknown.state == "failed"
    assert "no rule is called 'nope'" in unknown.log
    assert unknown.tries["all"] == 1
