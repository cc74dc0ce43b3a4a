"""Rules, letters and changed columns where they meet other features, as whole loads."""

from __future__ import annotations

import pytest

from tests.integration.test_dead_letters import judged, letters, loosened, replay
from tests.integration.test_merge import counted
from tests.lab import Lab


@pytest.mark.parametrize("mode", ["upsert", "scd2"])
def test_a_replayed_row_that_came_back_after_its_delete_is_alive(each_lab: Lab, mode: str) -> None:
    lab = each_lab
    keys = {"mode": mode, "deletes": {"detect": "flag", "column": "gone", "apply": "soft"}}
    lab.sql(
        "CREATE TABLE items (id INTEGER, at INTEGER, v TEXT, gone BOOLEAN)",
        "INSERT INTO items VALUES (1, 1, 'a', 0), (2, 1, 'b', 0)",
    )
    strict, loose = judged(lab, **keys), loosened(lab, **keys)
    lab.run(strict)
    lab.sql("UPDATE items SET gone = 1, at = 2 WHERE id = 1")
    lab.run(strict)
    lab.sql("UPDATE items SET gone = 0, at = 3, v = NULL WHERE id = 1")
    assert counted(lab.run(strict)) == {"read": 1, "rejected": 1}
    assert sum(counted(replay(loose)).values()) == 2
    assert [letter.status for letter in letters(loose)] == ["resolved"]
    (row,) = (r for r in lab.rows("items", loose) if (r["id"], r["at"]) == (1, 3))
    assert row["_conduit_deleted_at"] is None
