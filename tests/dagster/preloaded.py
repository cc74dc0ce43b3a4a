"""What a step's process imports, imported once: steps are forks of a process that has this."""

from __future__ import annotations

import gc
import importlib

from tests import warm

_OF_DAGSTER = (
    "dagster._core.storage.sqlite_storage", "dagster._core.storage.root", "dagster._daemon.daemon",
    "dagster._core.storage.local_compute_log_manager", "dagster._core.execution.api",
    "dagster._core.storage.fs_io_manager", "dagster._core.secrets.env_file",
    "dagster._core.instance.factory", "dagster._core.storage.migration.utils",
    "dagster._core.definitions.external_asset", "dagster._core.system_config.composite_descent",
    "dagster._core.definitions.repository_definition.repository_data_builder",
    "dagster._core.execution.execute_in_process", "dagster._core.executor.in_process",
    "dagster._core.utility_ops", "dagster._core.workspace.autodiscovery",
    "dagster._utils.test.definitions",
    "upath.implementations.local", "structlog", "stamina",
)  # fmt: skip

for name in (*warm.modules(), *warm.DRIVERS, *_OF_DAGSTER):
    importlib.import_module(name)

gc.collect()
gc.freeze()  # else the first look for garbage in a fork copies all of it
