"""Airflow's Connections as the named connections of a pipeline, by the connectors' own hooks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from airflow_provider_conduit.compat import AirflowNotFoundException, BaseHook, mask_secret
from conduit_core.errors import ConfigError

if TYPE_CHECKING:
    from conduit_core import ConnectionSpec


class AirflowConnections:
    """Resolves a connection's name as an Airflow connection id; picklable, it holds nothing."""

    def resolve(self, name: str) -> ConnectionSpec:
        """Return the connection, as its connector reads it.

        Raises:
            ConfigError: Airflow has none of that id, or its type says nothing to a connector.
        """
        from conduit_core import AirflowConnection, connection_from_airflow

        try:
            found = BaseHook.get_connection(name)
        except AirflowNotFoundException:
            raise ConfigError(
                f"Airflow has no connection {name!r}: add it under Admin > Connections, in a"
                f" secrets backend, or as AIRFLOW_CONN_{name.upper()}",
                command=f"airflow connections get {name}",
            ) from None
        extra = _extra(name, found.extra)
        return connection_from_airflow(
            AirflowConnection(
                conn_type=found.conn_type or "",
                host=found.host,
                port=found.port,
                login=found.login,
                password=found.password,
                schema=found.schema,
                extra=extra,
                conn_id=name,
            )
        )


def _extra(name: str, text: str | None) -> Mapping[str, object]:
    """Read an extra. Airflow's own reading takes one that is wrong for an empty one."""
    try:
        extra = json.loads(text) if text else {}
    except ValueError:
        extra = None
    if isinstance(extra, dict):
        return extra
    raise ConfigError(
        f"the extra of connection {name!r} isn't a JSON object such as {{}}",
        command=f"airflow connections get {name}",
    )


def mask(secrets: Iterable[str]) -> None:
    """Have Airflow mask these texts in the task's log."""
    for secret in secrets:
        mask_secret(secret)
