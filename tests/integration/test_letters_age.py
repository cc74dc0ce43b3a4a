"""``conduit clean`` and dead letters: those that are settled lose their rows, open ones don't."""

from __future__ import annotations

from datetime import timedelta

from conduit_core.engine import admin, deadletters
from tests.lab import Lab, stream


def test_clean_forgets_the_rows_of_settled_letters(lab: Lab) -> None:
    lab.sql("CREATE TABLE paid (id INTEGER PRIMARY KEY, cents INTEGER)")
    lab.sql("INSERT INTO paid VALUES (1, -1), (2, -2), (3, 3)")
    rule = {"rule": "range", "column": "cents", "min": 0, "action": "dlq"}
    pipeline = lab.pipeline(
        stream("paid", mode="upsert", unique_key="id", cursor=None, quality=[rule])
    )
    assert lab.run(pipeline).counts.rejected == 2
    lab.sql("UPDATE paid SET cents = 1 WHERE id = 1")
    lab.run(pipeline)

    kept = admin.clean(pipeline, timedelta(days=1), dry_run=False)
    listed = admin.clean(pipeline, timedelta(0), dry_run=True)
    gone = admin.clean(pipeline, timedelta(0), dry_run=False)

    assert [i for i in kept if i.kind == "letters"] == []
    assert [i.name for i in listed if i.kind == "letters"] == ["1 dead letter"]
    assert [i.name for i in gone if i.kind == "letters"] == ["1 dead letter"]
    found = deadletters.letters(pipeline, statuses=deadletters.ALL)
    assert {x.row_key: (x.status, x.payload is None) for x in found} == {
        "[1]": ("purged", True),
        "[2]": ("open", False),
    }
