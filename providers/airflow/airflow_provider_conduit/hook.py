"""The connection type ``conduit``: its form, and what the button "Test" looks at."""

from __future__ import annotations

from airflow_provider_conduit.compat import BaseHook
from airflow_provider_conduit.connections import AirflowConnections, mask


class ConduitHook(BaseHook):
    """An Airflow connection of any type that a connector takes, looked at by the connector.

    "Test" is off in Airflow unless ``AIRFLOW__CORE__TEST_CONNECTION=Enabled``.

    Args:
        conduit_conn_id: the connection's id.
        kwargs: the arguments of any hook.
    """

    conn_name_attr = "conduit_conn_id"
    default_conn_name = "conduit_default"
    conn_type = "conduit"
    hook_name = "Conduit"

    def __init__(self, conduit_conn_id: str = default_conn_name, **kwargs: object) -> None:
        super().__init__(**kwargs)  # type: ignore[arg-type]
        self.conduit_conn_id = conduit_conn_id

    def test_connection(self) -> tuple[bool, str]:
        """Return whether the connection is fit for a load, and what was seen; no secret in it."""
        from conduit_core import check_connection
        from conduit_core.errors import ConduitError

        try:
            spec = AirflowConnections().resolve(self.conduit_conn_id)
        except ConduitError as error:
            return False, error.message
        mask(spec.secrets())
        items = check_connection(spec)
        told = (f"{i.name}: {i.detail}{'' if i.ok else f' ({i.remedy})'}" for i in items)
        return all(i.ok for i in items), "; ".join(told)

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, object]:
        """Return which standard fields the form shows, where Airflow doesn't read it elsewhere."""
        from airflow_provider_conduit.provider_info import FIELD_BEHAVIOUR

        return {key.replace("-", "_"): value for key, value in FIELD_BEHAVIOUR.items()}
