"""What a flow run's process imports, imported once: runs are forks of a process that has this."""

from __future__ import annotations

import gc
import importlib

from tests import warm

_OF_PREFECT = (
    "prefect.flow_engine", "prefect.task_engine", "prefect.events.clients", "prefect.artifacts",
    "prefect.client.orchestration", "prefect.main", "prefect_conduit", "stamina",
)  # fmt: skip

for name in (*warm.modules(), *warm.DRIVERS, *_OF_PREFECT):
    importlib.import_module(name)

gc.collect()
gc.freeze()  # else the first look for garbage in a fork copies all of it
