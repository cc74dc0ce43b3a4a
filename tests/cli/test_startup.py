"""What the command does to its own process, it doesn't do to a process that calls it."""

from __future__ import annotations

import gc
import os
from typing import Any

PLUGINS = "PYDANTIC_DISABLE_PLUGINS"


def test_a_call_from_python_leaves_the_collector_and_the_environment_alone(
    here: Any, shop: Any
) -> None:
    before = (gc.isenabled(), gc.get_freeze_count(), os.environ.get(PLUGINS))
    assert here("plan").code == 0
    assert (gc.isenabled(), gc.get_freeze_count(), os.environ.get(PLUGINS)) == before
