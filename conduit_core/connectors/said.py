"""What a runner says of a connection, in the words of a pipeline file, as one end of a pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from pydantic import ValidationError

from conduit_core.errors import ConfigError
from conduit_core.spec import explain as explaining
from conduit_core.spec.endpoints import ConnectionSpec, parse_url, reveal, wrap_secrets

TAKES = (
    'it takes what a pipeline file says of a connection, as {"url":'
    ' "postgres://user@host/database"} or {"type": "duckdb", "path": "/data/shop.duckdb"}'
)


def connection_from_mapping(
    said: Mapping[str, object],
    place: str,
    *,
    user: str | None = None,
    password: str | None = None,
) -> ConnectionSpec:
    """Return a connection from what a pipeline file would say of it, with its secrets wrapped.

    ``${NAME}`` isn't filled in. Keys without a value, as a form leaves them, aren't said. One that
    has neither type nor URL, but ``path`` or ``credentials``, says where files are: the pipeline's
    ``type: csv`` beside ``connection:`` says what they are.

    Args:
        said: the keys of a pipeline's ``source:`` or ``destination:``.
        place: what holds them, for messages.
        user: put where the connector has its user, or into the URL.
        password: the same.

    Raises:
        ConfigError: it is none; no value is shown.
    """
    given = filled(said)
    if not given:
        raise ConfigError(f"{place}: it is empty: {TAKES}")
    if given.keys() <= {"path", "credentials"}:
        spec = spec_of({**given, "type": "csv"}, place).model_copy(update={"type": ""})
    else:
        spec = spec_of(_typed(given, place), place)
    return _laid_over(spec, place, user, password)


def filled(said: Mapping[str, object]) -> Mapping[str, object]:
    """Return the keys that have a value: a form leaves others empty."""
    return {key: item for key, item in said.items() if item not in (None, "", {})}


def spec_of(mapping: Mapping[str, object], place: str) -> ConnectionSpec:
    """Return what a mapping says.

    Raises:
        ConfigError: it is wrong.
    """
    try:
        spec = ConnectionSpec.model_validate(dict(mapping))
    except ValidationError as error:
        found = explaining.problems(error, model=ConnectionSpec)
        raise ConfigError(f"{place}: {'; '.join(text for _, text in found)}") from None
    if spec.connection:
        raise ConfigError(f"{place}: a connection can't name another one")
    return spec


def _typed(given: Mapping[str, object], place: str) -> Mapping[str, object]:
    url = reveal(given.get("url"))
    if "type" in given or not isinstance(url, str):
        return given
    try:
        return {key: item for key, item in given.items() if key != "url"} | parse_url(url)
    except ValueError as error:
        raise ConfigError(f"{place}: `url` {error}") from None


def _laid_over(
    spec: ConnectionSpec, place: str, user: str | None, password: str | None
) -> ConnectionSpec:
    """Put user and password where the connector has them, or into the URL."""
    given = {key: item for key, item in (("user", user), ("password", password)) if item}
    if not given:
        return spec
    from conduit_core.connectors import registry

    taken = registry.get(spec.type or "csv").options.model_fields
    if lost := [key for key in given if key not in taken]:
        shown = " and ".join("login" if key == "user" else key for key in lost)
        kind = spec.type or "file"
        raise ConfigError(f"{place}: has a {shown}, which a {kind} connection doesn't take")
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
