"""An Airflow connection as one end of a pipeline. Airflow itself isn't imported.

What a connection's type means is known to the connectors: each says which types it takes and what
their fields stand for (:class:`~conduit_core.connectors.registry.Connector`). The type ``conduit``
is ours: its extra is what a pipeline file says of an end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from conduit_core.connectors.said import TAKES, connection_from_mapping, filled, spec_of
from conduit_core.errors import ConfigError

if TYPE_CHECKING:
    from conduit_core.connectors.registry import Connector
    from conduit_core.spec import ConnectionSpec

CONDUIT = "conduit"
"""The connection type that takes what a pipeline file takes."""


@dataclass(frozen=True, slots=True)
class AirflowConnection:
    """The fields of an Airflow connection. Its repr shows none that may hold a secret.

    Args:
        conn_type: the connection's type: ``postgres``, ``fs``, ...
        host, port, login, password, schema: as Airflow has them, percent-decoded.
        extra: the extra, read from its JSON.
        conn_id: its name, for messages.
    """

    conn_type: str
    host: str | None = field(default=None, repr=False)
    port: int | None = field(default=None, repr=False)
    login: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    schema: str | None = field(default=None, repr=False)
    extra: Mapping[str, object] = field(default_factory=dict, repr=False)
    conn_id: str = ""

    def refuse(self, text: str) -> ConfigError:
        """Return the error that says what is wrong with this connection.

        Args:
            text: what is wrong, without any value of it.
        """
        return ConfigError(f"{self.place}: {text}")

    @property
    def place(self) -> str:
        """What messages call it."""
        return "Airflow connection" + (f" `{self.conn_id}`" if self.conn_id else "")

    def file_path(self) -> str:
        """Return the path of a database file, which is the host.

        A URI such as ``sqlite:///data/shop.db`` leaves the host empty and puts ``data/shop.db``
        into the schema; the path is then absolute, as it is for Airflow's own hook.

        Raises:
            ConfigError: it has none.
        """
        path = (self.host or "").removeprefix("sqlite:///").removeprefix("duckdb:///")
        if self.schema:
            path = f"{path.rstrip('/')}/{self.schema}"
        if not path:
            raise self.refuse("`host` is empty: it is the path of the database file")
        return path


def connection_from_airflow(conn: AirflowConnection) -> ConnectionSpec:
    """Return what an Airflow connection says, as a pipeline file would, with its secrets wrapped.

    A connection that only says where files are (``fs``) has an empty type: the pipeline's
    ``type: csv`` beside ``connection:`` says it.

    Args:
        conn: the connection's fields.

    Raises:
        ConfigError: no connector takes the type, or a field is missing or wrong; no value is shown.
    """
    kind = conn.conn_type.strip().lower().replace("-", "_")
    if kind == CONDUIT:
        if not filled(conn.extra):
            raise conn.refuse(f"its extra is empty: {TAKES}")
        return connection_from_mapping(
            conn.extra, conn.place, user=conn.login, password=conn.password
        )
    connector = next((c for c in _takers() if kind in c.airflow_types), None)
    if connector is None or connector.from_airflow is None:
        raise _unknown(conn, kind)
    mapping = connector.from_airflow(conn)
    if mapping.get("type"):
        return spec_of(mapping, conn.place)
    untyped = spec_of({**mapping, "type": connector.name}, conn.place)
    return untyped.model_copy(update={"type": ""})


def _takers() -> Iterator[Connector]:
    """Return the connectors that take Airflow connections, ours first."""
    from conduit_core.connectors import registry

    found = (registry.get(name) for name in registry.names_ours_first())
    return (connector for connector in found if connector.from_airflow is not None)


def _unknown(conn: AirflowConnection, kind: str) -> ConfigError:
    known = sorted({CONDUIT, *(t for c in _takers() for t in c.airflow_types)})
    return conn.refuse(
        f"no connector takes the type {kind[:60]!r}, only {', '.join(known)}; make it of type"
        f" `{CONDUIT}`, with what a pipeline file says of it as its extra:"
        ' {"url": "postgres://user@host/database"}'
    )
