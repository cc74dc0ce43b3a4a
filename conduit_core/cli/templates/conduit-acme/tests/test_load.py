"""A pipeline that loads from acme, once the package is installed."""

from __future__ import annotations

import json
from pathlib import Path

from conduit_core import Pipeline, RunResult, raise_for_failures, run

COLUMNS = {"id": "integer", "amount": "number"}


def load(folder: Path) -> RunResult:
    pipeline = Pipeline.from_mapping(
        {
            "name": "shop",
            "source": {"type": "acme", "path": "data"},
            "destination": {"type": "duckdb", "path": "warehouse.duckdb"},
            "streams": [{"table": "orders", "mode": "append", "cursor": "id"}],
        },
        base_dir=folder,
    )
    result = run(pipeline)
    raise_for_failures(result)
    return result


def test_a_second_run_loads_what_is_new(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    file = tmp_path / "data" / "orders.jsonl"
    rows = [{"id": number, "amount": number / 4} for number in range(1, 11)]
    file.write_text("\n".join(json.dumps(line) for line in [COLUMNS, *rows]) + "\n")
    assert [one.counts.inserted for one in load(tmp_path).results] == [10]
    with file.open("a") as more:
        more.write('{"id": 11, "amount": 2.75}\n')
    (second,) = load(tmp_path).results
    assert second.counts.inserted == 1
    assert second.watermark == "11"
