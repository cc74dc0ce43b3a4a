"""A ``profiles.yml`` made from a destination, so that its credentials live once."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from conduit_core.errors import ConfigError
from conduit_dbt.places import Place
from conduit_dbt.project import PROFILES_FILE

_SECRET = "DBT_ENV_SECRET_CONDUIT_"  # noqa: S105 - dbt keeps such variables out of its logs
# dbt-duckdb waits 1, 2, 4 and 8 seconds for a file that another process has locked.
_LOCKED_ATTEMPTS = 4
_NUMBERS = ("port", "connect_timeout", "keepalives_idle")
_TEXTS = ("host", "user", "dbname", "sslmode", "sslcert", "sslkey", "sslrootcert")
# dbt has no setting for these, but libpq reads them from its environment.
_LIBPQ = {
    "channel_binding": "PGCHANNELBINDING",
    "client_encoding": "PGCLIENTENCODING",
    "gssencmode": "PGGSSENCMODE",
    "gsslib": "PGGSSLIB",
    "hostaddr": "PGHOSTADDR",
    "krbsrvname": "PGKRBSRVNAME",
    "load_balance_hosts": "PGLOADBALANCEHOSTS",
    "options": "PGOPTIONS",
    "passfile": "PGPASSFILE",
    "require_auth": "PGREQUIREAUTH",
    "requirepeer": "PGREQUIREPEER",
    "ssl_max_protocol_version": "PGSSLMAXPROTOCOLVERSION",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
    "sslcertmode": "PGSSLCERTMODE",
    "sslcompression": "PGSSLCOMPRESSION",
    "sslcrl": "PGSSLCRL",
    "sslcrldir": "PGSSLCRLDIR",
    "sslnegotiation": "PGSSLNEGOTIATION",
    "sslsni": "PGSSLSNI",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}
# They tune a connection or are replaced; which database it is doesn't depend on them.
_LEFT_OUT = {
    "application_name",
    "fallback_application_name",
    "keepalives",
    "keepalives_count",
    "keepalives_interval",
    "password",
    "tcp_user_timeout",
}


@dataclass(frozen=True)
class PrivateProfile:
    """A folder with a ``profiles.yml``, what it is called there, and the variables it needs.

    ``environment`` is to be set for the invocation only; it holds the secrets.
    """

    folder: Path
    profile: str
    target: str
    environment: Mapping[str, str] = field(repr=False)


@contextmanager
def from_destination(
    place: Place, *, profile: str = "conduit", target: str = "conduit", threads: int = 4
) -> Iterator[PrivateProfile]:
    """Write a profile for a destination, readable by this user only; remove it afterwards.

    Args:
        place: the destination.
        profile: the profile's name: the one that the project asks for.
        target: the target's name, which models see as ``target.name``.
        threads: how many models dbt builds at once.

    Raises:
        ConfigError: dbt has no way to reach such a destination.
    """
    import yaml

    makers = {"postgres": _postgres, "duckdb": _duckdb}
    if place.system not in makers:
        raise ConfigError(
            f"no profile can be made for a destination of type {place.system}, only for"
            f" {' and '.join(sorted(makers))}; if dbt has an adapter for it, write a profiles.yml"
            " and name its folder as profiles_dir"
        )
    environment: dict[str, str] = {}
    output = makers[place.system](place, environment)
    output |= {"type": place.system, "schema": place.schema, "threads": threads}
    written = {key: _kept_apart(key, value, environment) for key, value in output.items()}
    with tempfile.TemporaryDirectory(prefix="conduit-dbt-") as made:  # 0700
        file = Path(made) / PROFILES_FILE
        file.touch(mode=0o600)
        file.write_text(
            yaml.safe_dump({profile: {"target": target, "outputs": {target: written}}}),
            encoding="utf-8",
        )
        yield PrivateProfile(Path(made), profile, target, environment)


def _kept_apart(key: str, value: object, environment: dict[str, str]) -> object:
    """Return what to write: text that dbt would render goes by a variable, as secrets do."""
    if isinstance(value, str) and value and ("{" in value or key == "password"):
        variable = f"{_SECRET}{key.upper()}"
        environment[variable] = value
        return f"{{{{ env_var('{variable}') }}}}"
    return value


def _duckdb(place: Place, environment: dict[str, str]) -> dict[str, object]:
    del environment
    path = place.values["path"]
    if path.endswith(":memory:"):
        raise ConfigError("dbt can't see a DuckDB in this process's memory; give it a file (path)")
    return {"path": path, "retries": {"connect_attempts": _LOCKED_ATTEMPTS}}


def _postgres(place: Place, environment: dict[str, str]) -> dict[str, object]:
    values = place.values
    known = {*_LIBPQ, *_LEFT_OUT, *_TEXTS, *_NUMBERS}
    if unknown := sorted(values.keys() - known):
        raise ConfigError(
            f"dbt can't be given {', '.join(unknown)} of the destination's connection string;"
            " write a profiles.yml and name its folder as profiles_dir"
        )
    for key, variable in _LIBPQ.items():
        if key in values:
            environment[variable] = values[key]
    numbers: dict[str, object] = {}
    for key in _NUMBERS:
        if key in values and not values[key].isdigit():
            raise ConfigError(
                f"dbt takes one number as {key}, not {values[key]!r}; write a profiles.yml and"
                " name its folder as profiles_dir"
            )
        if key in values:
            numbers[key] = int(values[key])
    return {
        **{key: values[key] for key in _TEXTS if key in values},
        **numbers,
        # Mandatory for dbt. Empty, libpq looks into its password file.
        "password": values.get("password", ""),
        "application_name": "conduit dbt",
    }
