"""What a step's process imports, imported once: steps are forks of a process that has this."""

from __future__ import annotations

import importlib

from tests import warm

_OF_DAGSTER = (
    "dagster._core.storage.sqlite_storage", "dagster._core.storage.root", "dagster._daemon.daemon",
    "dagster._core.storage.local_compute_log_manager", "dagster._core.execution.api",
    "dagster._core.storage.fs_io_manager", "dagster._core.secrets.env_file",
    "upath.implementations.local", "structlog", "stamina",
)  # fmt: skip

for name in (*warm._modules(), *warm.DRIVERS, *_OF_DAGSTER):
    importlib.import_module(name)
