"""What a load tells OpenLineage by Airflow's own provider.

Everything is collected while the task runs, since Airflow asks for it in a fork, where no driver
should be opened. Without the OpenLineage provider, or with it disabled, nothing is collected.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.event_v2 import Dataset
    from openlineage.client.facet_v2 import JobFacet, RunFacet

    from conduit_core import LoadHeard, Pipeline

_log = logging.getLogger("airflow.task.conduit")


def is_on() -> bool:
    """Tell whether Airflow sends lineage anywhere."""
    try:
        from airflow.providers.openlineage import conf
    except ImportError:
        return False
    return not conf.is_disabled()


def lineage_of(
    pipeline: Pipeline, stream: str, heard: LoadHeard
) -> OperatorLineage[Dataset, RunFacet | JobFacet] | None:
    """Return what is known of a load, as Airflow's provider takes it; None where nothing is."""
    from airflow.providers.openlineage.extractors import OperatorLineage

    from conduit_core import lineage_datasets

    try:
        ((inputs, outputs),) = lineage_datasets(pipeline, [(stream, heard)], _log.warning)
    except Exception as error:  # noqa: BLE001 - the load stands, whatever becomes of its lineage
        _log.warning("no lineage of this load: %s", type(error).__name__)
        return None
    return OperatorLineage(inputs=[*inputs], outputs=[*outputs])
