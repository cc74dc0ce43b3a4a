"""What a pipeline file says of a PostgreSQL connection, and the string that libpq gets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, Self
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from pydantic import BaseModel, ConfigDict, SecretStr, model_validator

from conduit_core.connectors.datasets import Dataset, table_dataset
from conduit_core.types.dialect import Table

if TYPE_CHECKING:
    from conduit_core.connectors.airflow import AirflowConnection

CONNECT_TIMEOUT_SECONDS = 10
_SCHEMES = ("postgresql", "postgres")
# What every connection has unless the user's URL says otherwise. A peer that is gone is noticed
# within about a minute, on both sides of a COPY that waits.
_DEFAULTS = {
    "application_name": "conduit",
    "client_encoding": "UTF8",
    "connect_timeout": str(CONNECT_TIMEOUT_SECONDS),
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
# What an Airflow connection's extra may hand to libpq. Rows are always read as UTF-8.
_LIBPQ = frozenset({
    "application_name", "channel_binding", "connect_timeout", "fallback_application_name",
    "gssdelegation", "gssencmode", "gsslib", "hostaddr", "keepalives", "keepalives_count",
    "keepalives_idle", "keepalives_interval", "krbsrvname", "load_balance_hosts",
    "max_protocol_version", "min_protocol_version", "options", "passfile", "require_auth",
    "requirepeer", "service", "ssl_max_protocol_version", "ssl_min_protocol_version", "sslcert",
    "sslcertmode", "sslcompression", "sslcrl", "sslcrldir", "sslkey", "sslnegotiation",
    "sslpassword", "sslrootcert", "sslsni", "target_session_attrs", "tcp_user_timeout",
})  # fmt: skip


class PostgresOptions(BaseModel):
    """A connection: ``url``, or its parts. What neither says, libpq takes from its environment."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: SecretStr | None = None
    """``postgresql://user:password@host:port/database?sslmode=require``."""
    host: str | None = None
    """A host's name or address, or the folder of its socket."""
    port: int | None = None
    """Default: 5432."""
    user: str | None = None
    """The role that loads."""
    password: SecretStr | None = None
    """Its password; absent, libpq looks into ``PGPASSWORD`` and ``~/.pgpass``."""
    database: str | None = None
    """The database; absent, libpq takes the one of the role's name."""
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] | None = (
        None
    )
    """libpq's word for whether, and how strictly, the connection is encrypted."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        parts = (self.host, self.port, self.user, self.password, self.database, self.sslmode)
        if self.url is None:
            if self.host is None and self.database is None:
                raise ValueError("say where it is: url, or host, port, user, password, database")
            return self
        if any(p is not None for p in parts):
            raise ValueError("give either url or host, port, user, password, database, not both")
        scheme, _, rest = self.url.get_secret_value().partition("://")
        if scheme.partition("+")[0] not in _SCHEMES or not rest:
            raise ValueError("url must look like postgresql://user:password@host:port/database")
        authority = rest.partition("/")[0].partition("?")[0].partition("#")[0]
        if rest.count("@") > 1 or "@" in rest[len(authority) :]:
            raise ValueError(
                "url has an @, /, ? or # in its user or password: write them percent-encoded"
                " (%40, %2F, %3F, %23)"
            )
        try:
            urlsplit(self.url.get_secret_value())
        except ValueError:  # its own text would show what stands there
            raise ValueError(
                "url has a [ or ] where no address is: write them percent-encoded (%5B, %5D)"
            ) from None
        return self

    def conninfo(self) -> str:
        """Return libpq's connection string, secrets included: for the driver's eyes only."""
        if self.url is not None:
            text = "postgresql://" + self.url.get_secret_value().partition("://")[2]
            known = parse_qs(urlsplit(text).query, keep_blank_values=True)
            extra = urlencode({k: v for k, v in _DEFAULTS.items() if k not in known})
            return f"{text}{'&' if known else '?'}{extra}"
        values = {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password.get_secret_value() if self.password else None,
            "dbname": self.database,
            "sslmode": self.sslmode,
            **_DEFAULTS,
        }
        return " ".join(f"{k}={_quoted(str(v))}" for k, v in values.items() if v is not None)

    def secrets(self) -> tuple[str, ...]:
        """Return every spelling of the password, to look for in texts that others wrote."""
        found = {self.password.get_secret_value()} if self.password else set()
        if self.url is not None:
            authority = urlsplit(self.url.get_secret_value()).netloc.rpartition("@")[0]
            raw = authority.partition(":")[2]
            query = parse_qs(urlsplit(self.url.get_secret_value()).query)
            found |= {raw, unquote(raw), *query.get("password", [])}
        return tuple(sorted((s for s in found if s), key=len, reverse=True))

    def place(self) -> tuple[str, str]:
        """Return ``host:port`` and the database, as far as options and environment say."""
        host, port, user, database = self.host, self.port, self.user, self.database
        if self.url is not None:
            parts = urlsplit(self.url.get_secret_value())
            query = parse_qs(parts.query)
            login, _, where = parts.netloc.rpartition("@")
            user = unquote(login.partition(":")[0]) or query.get("user", [None])[0]
            where = unquote(where) or query.get("host", [""])[0]
            database = unquote(parts.path.lstrip("/")) or query.get("dbname", [None])[0]
            if where and ":" not in where.rpartition("]")[2]:
                where += f":{query.get('port', ['5432'])[0]}"
        else:
            where = f"{host}:{port or 5432}" if host else ""
        if not where:
            where = f"{os.environ.get('PGHOST', 'localhost')}:{os.environ.get('PGPORT', '5432')}"
        user = user or os.environ.get("PGUSER") or ""
        return where, database or os.environ.get("PGDATABASE") or user

    def dataset(self, table: Table) -> Dataset:
        """Return what lineage calls a table."""
        where, database = self.place()
        return table_dataset(f"postgres://{where}", database, table.schema, table.name)

    @property
    def identity(self) -> str:
        """What makes the database itself, without user and secrets."""
        where, database = self.place()
        return f"postgres://{where}/{database}"


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", r"\\").replace("'", r"\'") + "'"


def from_airflow(conn: AirflowConnection) -> Mapping[str, object]:
    """Return an Airflow connection's parts; as a URL where its extra has more for libpq.

    Raises:
        ConfigError: its password isn't one, but is made by AWS or Azure.
    """
    if made := [key for key in ("iam", "azure_conn_id") if conn.extra.get(key)]:
        raise conn.refuse(f"extra `{made[0]}`: passwords that a cloud makes aren't supported")
    values = {
        "host": conn.host,
        "port": conn.port,
        "user": conn.login,
        "password": conn.password,
        "database": conn.schema or conn.extra.get("database") or conn.extra.get("dbname"),
        "sslmode": conn.extra.get("sslmode"),
    }
    parts = {key: value for key, value in values.items() if value not in (None, "")}
    if not {"host", "database"} & parts.keys():
        raise conn.refuse("`host` is empty: it is the server; `schema` is the database")
    more = {k: _text(v) for k, v in conn.extra.items() if k in _LIBPQ and v not in (None, "")}
    return {"type": "postgres", **({"url": _url(parts | more)} if more else parts)}


def _text(value: object) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def _url(values: Mapping[str, object]) -> str:
    """Return libpq's URL: all but the login in its query, where sockets and several hosts fit."""
    query = {{"database": "dbname"}.get(key, key): str(value) for key, value in values.items()}
    login = quote(query.pop("user", ""), safe="")
    if password := query.pop("password", ""):
        login += f":{quote(password, safe='')}"
    return f"postgresql://{login}{'@' if login else ''}/?{urlencode(query, quote_via=quote)}"
