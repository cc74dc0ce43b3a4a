"""A pipeline that loads from desk, once the package is installed."""

from __future__ import annotations

from pathlib import Path

import pytest
from conduit_core import Pipeline, RunResult, raise_for_failures, run
from server import TOKEN, Desk


def load(folder: Path, desk: Desk) -> RunResult:
    pipeline = Pipeline.from_mapping(
        {
            "name": "support",
            "source": {"type": "desk", "url": desk.url, "token": "${DESK_TOKEN}"},
            "destination": {"type": "duckdb", "path": "warehouse.duckdb"},
            "streams": [
                {
                    "table": "tickets",
                    "mode": "upsert",
                    "unique_key": "id",
                    "cursor": ["updated_at", "id"],
                }
            ],
        },
        base_dir=folder,
    )
    result = run(pipeline)
    raise_for_failures(result)
    return result


def ticket(number: int, day: int) -> dict[str, object]:
    return {"id": number, "updated_at": f"2024-03-{day:02}T00:00:00+00:00", "subject": "Hello"}


def test_a_second_run_asks_for_what_is_new(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DESK_TOKEN", TOKEN)
    desk.columns["tickets"] = {"id": "int", "updated_at": "datetime", "subject": "str"}
    desk.rows["tickets"] = [ticket(number, number) for number in range(1, 11)]
    assert [one.counts.inserted for one in load(tmp_path, desk).results] == [10]
    desk.rows["tickets"] += [ticket(3, 11), ticket(11, 12)]
    desk.asked.clear()
    (second,) = load(tmp_path, desk).results
    assert (second.counts.updated, second.counts.inserted) == (1, 1)
    rows = [path for path in desk.asked if "/rows" in path]
    assert rows
    assert all("updated_since=2024-03-10" in path for path in rows)
