"""The byte budget: constants, shrunk by the container's limit, never by the host alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conduit_core.engine.budget import (
    DRIVER_BYTES,
    MIB,
    QUEUE_BYTES,
    budgets,
    container_limit_bytes,
    memory_limit_bytes,
)

NO_LIMIT_V1 = "9223372036854771712\n"


@pytest.mark.parametrize(
    ("v2", "v1", "limit"),
    [
        ("268435456\n", None, 268435456),
        (None, "134217728\n", 134217728),
        ("max\n", None, None),
        ("max\n", "134217728\n", 134217728),
        (None, NO_LIMIT_V1, None),
        ("268435456", "134217728", 268435456),
        (None, None, None),
        ("", "", None),
    ],
)
def test_the_container_s_limit_is_read_from_either_version(
    tmp_path: Path, v2: str | None, v1: str | None, limit: int | None
) -> None:
    files = tmp_path / "memory.max", tmp_path / "memory.limit_in_bytes"
    for path, text in zip(files, (v2, v1), strict=True):
        if text is not None:
            path.write_text(text)
    assert container_limit_bytes(tuple(str(f) for f in files)) == limit


def test_the_process_s_limit_is_at_most_the_machine_s_memory() -> None:
    assert 0 < memory_limit_bytes() < 1 << 50


def test_a_big_machine_gets_the_same_budget_as_a_bigger_one() -> None:
    assert budgets(1, 4 << 30) == budgets(1, 1 << 40) == (QUEUE_BYTES, DRIVER_BYTES)


def test_a_small_container_gets_less() -> None:
    assert budgets(1, 128 * MIB) == (16 * MIB, 32 * MIB)


@given(st.integers(0, 64), st.integers(1, 1 << 42))
def test_all_queues_together_stay_a_small_part_of_the_limit(jobs: int, limit: int) -> None:
    queue, driver = budgets(jobs, limit)
    assert MIB <= queue <= QUEUE_BYTES
    assert 16 * MIB <= driver <= DRIVER_BYTES
    assert max(jobs, 1) * queue <= max(limit // 8, max(jobs, 1) * MIB)
    assert driver <= max(limit // 4, 16 * MIB)
