"""Prefect's blocks as the named connections of a pipeline: ours, and those that people have.

A block is read as its document, not as its class: the package that brings the class needn't be
where the load runs, and nothing of it is imported.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from httpx import HTTPStatusError
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from pydantic import SecretStr, ValidationError

from conduit_core.errors import ConfigError, ConnectionFailedError
from prefect_conduit.blocks import ConduitConnection

if TYPE_CHECKING:
    from conduit_core import ConnectionSpec

Document = Mapping[str, Any]
"""What a block holds, its secrets in plain text."""
_OURS = "conduit-connection"
_NAME = re.compile(r"[a-z0-9-]+")


class PrefectConnections:
    """Resolves a connection's name as a block: ``shop``, or ``TYPE/NAME`` of a type below.

    Names of blocks have small letters, digits and dashes only, so that ``shop_pg``, as a file that
    is shared with another runner says, is the block ``shop-pg``.

    - ``conduit-connection/shop``: a ConduitConnection; the same as ``shop``.
    - ``secret/shop-url``: a URL, or a mapping as a pipeline file has it.
    - ``sqlalchemy-connector/shop``: its URL or its parts.
    - ``aws-credentials/lake``, ``minio-credentials/lake``, ``gcp-credentials/lake``: the keys of a
      bucket; type and path stand beside ``connection:``.
    """

    def resolve(self, name: str) -> ConnectionSpec:
        """Return the connection that a block says.

        Raises:
            ConfigError: Prefect has no such block, or it says nothing to a connector.
            ConnectionFailedError: Prefect can't be asked.
        """
        kind, _, own = name.rpartition("/")
        kind, own = kind or _OURS, own.replace("_", "-").lower()
        reader = _READERS.get(kind)
        if reader is None:
            near = difflib.get_close_matches(kind, _READERS, n=1)
            hint = f"; did you mean {near[0]}/{own}?" if near else ""
            raise ConfigError(
                f"a block of type {kind} says nothing to a connector{hint} Types that do:"
                f" {', '.join(_READERS)}",
                command="prefect block ls",
            )
        if not _NAME.fullmatch(own):
            raise ConfigError(
                f"{name!r} can't be a block: its name has small letters, digits and dashes only",
                command="prefect block ls",
            )
        try:
            return reader(_document(kind, own), f"Prefect block {kind}/{own}")
        except ConfigError as error:
            raise error.at(command=f"prefect block inspect {kind}/{own}") from None


def _document(kind: str, name: str) -> Document:
    try:
        with get_client(sync_client=True) as client:
            try:
                return client.read_block_document_by_name(name, kind).data
            except ObjectNotFound:
                pass
            try:
                client.read_block_type_by_slug(kind)
            except ObjectNotFound:
                raise _no_type(kind, name) from None
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever keeps Prefect from answering
        refused = isinstance(error, HTTPStatusError) and error.response.status_code in (401, 403)
        why = "" if isinstance(error, HTTPStatusError) else f": {error}"
        raise ConnectionFailedError(
            f"Prefect can't be asked for the block {kind}/{name}: {type(error).__name__}{why}",
            retry="never" if refused else "step",
            command="prefect config view",
        ) from None
    made = f": ConduitConnection(...).save({name!r}), or" if kind == _OURS else ","
    raise ConfigError(
        f"Prefect has no block {kind}/{name}: make it{made} in its pages under Blocks",
        command="prefect block ls",
    )


def _no_type(kind: str, name: str) -> ConfigError:
    package = _PACKAGES.get(kind, "prefect_conduit")
    return ConfigError(
        f"Prefect has no block {kind}/{name}, and doesn't know the type {kind} yet: register it,"
        " then make the block",
        command=f"prefect block register -m {package}",
    )


def _ours(data: Document, place: str) -> ConnectionSpec:
    try:
        block = ConduitConnection.model_validate(dict(data))
    except ValidationError as error:
        told = "; ".join(_problem(dict(each)) for each in error.errors(include_input=False))
        raise ConfigError(f"{place}: {told}") from None
    return block.spec()


def _problem(found: Mapping[str, Any]) -> str:
    where = ".".join(map(str, found["loc"]))
    return f"{where}: {found['msg']}" if where else str(found["msg"])


def _secret(data: Document, place: str) -> ConnectionSpec:
    from conduit_core import connection_from_mapping

    value = data.get("value")
    if isinstance(value, str):
        try:
            read = json.loads(value)
        except ValueError:
            read = None
        value = read if isinstance(read, dict) else {"url": value}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{place}: its value is neither a URL nor a mapping")
    return connection_from_mapping(value, place)


def _sqlalchemy(data: Document, place: str) -> ConnectionSpec:
    from conduit_core import connection_from_mapping

    info, more = data.get("connection_info"), data.get("connect_args") or {}
    url = info if isinstance(info, str) else _url(info or {})
    driver, _, rest = url.partition("://")
    system = driver.partition("+")[0]
    url, _, query = f"{system}://{rest}".partition("?")
    if system.startswith("postgres"):
        query = "&".join(filter(None, (query, _query(more))))
        url = f"{url}?{query}" if query else url
    elif query:
        raise ConfigError(f"{place}: options in a URL are taken for PostgreSQL only")
    return connection_from_mapping({"url": url}, f"{place} (driver {driver})")


def _url(parts: Document) -> str:
    """Return the URL that SQLAlchemy makes of a connector's parts."""
    login = quote(parts.get("username") or "", safe="")
    if parts.get("password"):
        login += ":" + quote(parts["password"], safe="")
    host, port = parts.get("host") or "", parts.get("port")
    where = f"{login}@{host}" if login else host
    database = parts.get("database") or ""
    if where:
        database = quote(database, safe="")
    url = f"{parts.get('driver') or ''}://{where}{f':{port}' if port else ''}/{database}"
    query = _query(parts.get("query") or {})
    return f"{url}?{query}" if query else url


def _query(values: Document) -> str:
    return urlencode({key: str(item) for key, item in values.items()}, quote_via=quote)


def _s3(data: Document, place: str) -> ConnectionSpec:
    if data.get("profile_name"):
        raise ConfigError(f"{place}: a profile can't be taken: write its keys into the block")
    client = data.get("aws_client_parameters") or {}
    keys = {
        "access_key_id": data.get("aws_access_key_id") or data.get("minio_root_user"),
        "secret_access_key": data.get("aws_secret_access_key") or data.get("minio_root_password"),
        "session_token": data.get("aws_session_token"),
        "region": data.get("region_name"),
        "endpoint": client.get("endpoint_url"),
    }
    return _bucket(keys, place)


def _gs(data: Document, place: str) -> ConnectionSpec:
    info = data.get("service_account_info")
    keys = {
        "service_account_key": json.dumps(info) if isinstance(info, Mapping) else info,
        "service_account": data.get("service_account_file"),
    }
    return _bucket(keys, place)


def _bucket(keys: Mapping[str, object], place: str) -> ConnectionSpec:
    from conduit_core import connection_from_mapping

    known = {key: SecretStr(str(item)) for key, item in keys.items() if item}
    if not known:
        raise ConfigError(
            f"{place}: it holds no keys; those of the environment are used where a pipeline names"
            " no connection"
        )
    return connection_from_mapping({"credentials": known}, place)


_READERS: Mapping[str, Callable[[Document, str], ConnectionSpec]] = {
    _OURS: _ours,
    "secret": _secret,
    "sqlalchemy-connector": _sqlalchemy,
    "aws-credentials": _s3,
    "minio-credentials": _s3,
    "gcp-credentials": _gs,
}
_PACKAGES = {
    "secret": "prefect.blocks.system",
    "sqlalchemy-connector": "prefect_sqlalchemy",
    "aws-credentials": "prefect_aws",
    "minio-credentials": "prefect_aws",
    "gcp-credentials": "prefect_gcp",
}
