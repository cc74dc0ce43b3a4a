"""The state store of Airflow: people see a table's entry, edit it, and the next run honours that.

Each row of the table in docs/state.md, "Reconciling with a state store", by edits through the API.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from conduit_core.state.store import StateEntry
from tests.airflow.given import EDITS
from tests.airflow.scene import Scene

pytestmark = pytest.mark.slow

ROWS = 100
Entry = dict[str, str]


def cursor(entry: Entry, **changes: object) -> str:
    """Return an entry's cursor with something of its only column changed."""
    (found,) = json.loads(entry["cursor"])
    return json.dumps([found | changes], separators=(",", ":"))


def sealed(entry: Entry, **changes: str) -> Entry:
    """Return an entry as another Airflow's restored database may have it: its seal fits."""
    return StateEntry(**{**entry, **changes}).sealed().model_dump()


EARLIER = "2024-01-01T00:00:59.000000"
LATER = "2024-01-01T00:02:00.000000"
CHANGES: dict[str, Callable[[Entry], object]] = {
    "other_target": lambda e: {**e, "target_fingerprint": "0" * len(e["target_fingerprint"])},
    "unreadable": lambda _: "nonsense",
    "other_columns": lambda e: {**e, "cursor": cursor(e, column="id")},
    "other_type": lambda e: {**e, "cursor": cursor(e, type="int64", value="5")},
    "lower": lambda e: {**e, "cursor": cursor(e, value=EARLIER)},
    "initial": lambda e: {**e, "cursor": "initial"},
    "higher": lambda e: {**e, "cursor": cursor(e, value=LATER)},
    "same_cursor": lambda e: {**e, "load_id": "0" * 16},
    "behind": lambda e: sealed(e, version="0", load_id="0" * 16),
    "ahead": lambda e: sealed(e, version="9", load_id="0" * 16),
    "another_load": lambda e: sealed(e, load_id="0" * 16),
    "lower_append": lambda e: {**e, "cursor": cursor(e, value=EARLIER)},
}
"""What the test makes of each entry; ``emptied`` and ``equal`` have none."""
REFUSED = {
    "other_target": ("belongs to another target",),
    "unreadable": ("not a state entry", "nonsense"),
    "other_columns": ("['id']", "['at']"),
    "other_type": ("int64", "timestamp"),
    "higher": ("moved forward by hand", "--skip"),
    "ahead": ("version 9", "ledger at 1", "conduit state reset"),
    "another_load": ("version 1 is load 0000000000000000",),
    "lower_append": ("rewound", "--replace-after"),
}
"""What the log says where the edit stops the load."""
READ = {"lower": 41, "initial": ROWS + 1, "same_cursor": 1, "emptied": 1, "behind": 1, "equal": 1}
"""How many rows the others read; one is new."""


def test_p11_an_entry_is_seen_and_edited_through_airflows_api(scheduled: Scene) -> None:
    airflow = scheduled.airflow
    airflow.dag("state")
    airflow.run("state")
    ids = {edit: airflow.asset_id(f"raw.state_{edit}") for edit in (*EDITS, "lower_append")}

    def entry(edit: str) -> Any:
        found = airflow.ask("GET", f"assets/{ids[edit]}/state-store")["asset_state_store"]
        (one,) = found
        assert one["key"] == "conduit"
        return one

    before = {edit: entry(edit) for edit in ids}
    for edit, found in before.items():
        assert found["last_updated_by"]["task_id"] == edit
        ((load_id, version, at),) = scheduled.ledger(f"state_{edit}", "load_id, version, cursor")
        value = found["value"]
        assert (value["load_id"], value["version"], value["cursor"]) == (load_id, str(version), at)

    for edit, change in CHANGES.items():
        airflow.ask(
            "PUT",
            f"assets/{ids[edit]}/state-store/conduit",
            {"value": change(before[edit]["value"])},
        )
    edited = {edit: entry(edit)["value"] for edit in ids}
    airflow.ask("DELETE", f"assets/{ids['emptied']}/state-store/conduit")
    scheduled.insert("edited", [(ROWS, LATER.replace("T", " "))])
    run_id = airflow.trigger("state")
    airflow.finished("state", run_id, state="failed")

    tasks = airflow.tasks("state", run_id)
    assert {edit for edit, task in tasks.items() if task["state"] == "failed"} == set(REFUSED)
    for edit, words in REFUSED.items():
        log = airflow.log("state", run_id, edit)
        for word in words:
            assert word in log, edit
        assert entry(edit)["value"] == edited[edit], "an edit that stops the load stays"
    for edit, read in READ.items():
        told = airflow.xcom("state", run_id, edit)
        assert told["counts"]["read"] == read, edit
        value = entry(edit)["value"]
        assert (value["version"], value["load_id"]) == ("2", told["load_id"]), edit
        assert not StateEntry(**value).is_edited
    said = {edit: airflow.log("state", run_id, edit) for edit in READ}
    assert "rewound by hand" in said["lower"]
    assert "to the start" in said["initial"]
    assert "the edited state entry changes nothing" in said["same_cursor"]
    assert "the state store is empty: it is rolled forward" in said["emptied"]
    assert "rolled forward" in said["behind"]
    assert "rolled forward" not in said["equal"]

    for edit in ids:
        rows = ROWS if edit in REFUSED else ROWS + 1
        found = f"SELECT count(*), count(DISTINCT id) FROM raw.state_{edit}"
        assert scheduled.sql(found) == [(rows, rows)], edit
