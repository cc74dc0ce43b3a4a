"""An Airflow connection as one end of a pipeline. Airflow itself isn't imported.

What a connection's type means is known to the connectors: each says which types it takes and what
their fields stand for (:class:`~conduit_core.connectors.registry.Connector`). The type ``conduit``
is ours: its extra is what a pipeline file says of an end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

from pydantic import ValidationError

from conduit_core.errors import ConfigError
from conduit_core.spec import explain as explaining
from conduit_core.spec.endpoints import ConnectionSpec, parse_url, reveal, wrap_secrets

if TYPE_CHECKING:
    from conduit_core.connectors.registry import Connector

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
        """Return the error that says what is wrong with this connection."""
        name = f" `{self.conn_id}`" if self.conn_id else ""
        return ConfigError(f"Airflow connection{name}: {text}")

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

    Raises:
        ConfigError: no connector takes the type, or a field is missing or wrong; no value is shown.
    """
    kind = conn.conn_type.strip().lower().replace("-", "_")
    if kind == CONDUIT:
        return _laid_over(conn, _spec(conn, _said(conn)))
    connector = next((c for c in _takers() if kind in c.airflow_types), None)
    if connector is None or connector.from_airflow is None:
        raise _unknown(conn, kind)
    mapping = connector.from_airflow(conn)
    if mapping.get("type"):
        return _spec(conn, mapping)
    untyped = _spec(conn, {**mapping, "type": connector.name})
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


def _spec(conn: AirflowConnection, mapping: Mapping[str, object]) -> ConnectionSpec:
    try:
        spec = ConnectionSpec.model_validate(dict(mapping))
    except ValidationError as error:
        found = explaining.problems(error, model=ConnectionSpec)
        raise conn.refuse("; ".join(text for _, text in found)) from None
    if spec.connection:
        raise conn.refuse("a connection can't name another one")
    return spec


def _said(conn: AirflowConnection) -> dict[str, object]:
    """Return the extra of a ``conduit`` connection; a form's fields left empty aren't said."""
    said = {key: item for key, item in conn.extra.items() if item not in (None, "")}
    if not said:
        raise conn.refuse(
            'its extra is empty: it takes what a pipeline file says of a connection, as {"url":'
            ' "postgres://user@host/database"} or {"type": "duckdb", "path": "/data/shop.duckdb"}'
        )
    url = said.get("url")
    if "type" in said or not isinstance(url, str):
        return said
    try:
        return {key: item for key, item in said.items() if key != "url"} | parse_url(url)
    except ValueError as error:
        raise conn.refuse(f"`url` {error}") from None


def _laid_over(conn: AirflowConnection, spec: ConnectionSpec) -> ConnectionSpec:
    """Put login and password where the connector has user and password, or into the URL."""
    given = {k: v for k, v in (("user", conn.login), ("password", conn.password)) if v}
    if not given:
        return spec
    from conduit_core.connectors import registry

    taken = registry.get(spec.type).options.model_fields
    if lost := [key for key in given if key not in taken]:
        shown = " and ".join("login" if key == "user" else key for key in lost)
        raise conn.refuse(f"has a {shown}, which a {spec.type} connection doesn't take")
    url = reveal(spec.options.get("url"))
    laid, _ = wrap_secrets({"url": _with_login(url, given)} if isinstance(url, str) else given)
    return spec.model_copy(update={"options": spec.options | laid})


def _with_login(url: str, given: Mapping[str, str]) -> str:
    scheme, _, rest = url.partition("://")
    end = next((i for i, char in enumerate(rest) if char in "/?#"), len(rest))
    login, _, where = rest[:end].rpartition("@")
    user, _, password = login.partition(":")
    user = quote(given["user"], safe="") if "user" in given else user
    password = quote(given["password"], safe="") if "password" in given else password
    login = f"{user}:{password}@" if password else f"{user}@"
    return f"{scheme}://{login}{where}{rest[end:]}"
