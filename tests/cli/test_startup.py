"""What the command does to its own process, it doesn't do to a process that calls it."""

from __future__ import annotations

import gc
import os
from typing import Any

PLUGINS = "PYDANTIC_DISABLE_PLUGINS"


def test_a_call_from_python_leaves_the_collector_and_the_environment_alone(
    here: Any, shop: Any
) -> None:
    before, frozen = (gc.isenabled(), os.environ.get(PLUGINS)), gc.get_freeze_count()
    assert here("plan").code == 0
    assert (gc.isenabled(), os.environ.get(PLUGINS)) == before
    assert gc.get_freeze_count() <= frozen  # what was frozen may be gone by now
