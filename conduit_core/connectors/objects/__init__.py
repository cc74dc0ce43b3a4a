"""A small object store over a folder or a bucket: staging, manifests and data files live on it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from conduit_core.connectors.objects.base import Entry, ObjectStore
from conduit_core.errors import ConfigError

SCHEMES: tuple[str, ...] = ("s3", "gs", "az", "abfs", "abfss")
"""Schemes of buckets; anything without a scheme is a folder, ``file://`` too."""

__all__ = ["SCHEMES", "Entry", "ObjectStore", "open_store"]


def open_store(url: str, base_dir: Path, options: Mapping[str, str] | None = None) -> ObjectStore:
    """Return the store at a folder or URL. Touches nothing yet.

    Args:
        url: a folder, relative to ``base_dir``, or ``file://``, ``s3://bucket/folder``,
            ``gs://bucket/folder``, ``az://container/folder`` or
            ``abfss://container@account.dfs.core.windows.net/folder``.
        base_dir: the pipeline file's folder.
        options: what the bucket's client takes (``endpoint``, ``region``, ``access_key_id`` ...);
            the URL's query says the same, and the environment what neither does.

    Raises:
        ConfigError: no such scheme, an unknown option, or the client isn't installed.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return _local(base_dir / Path(url).expanduser())
    scheme = scheme.lower()
    if scheme == "file":
        parts = urlsplit(f"file://{rest}")
        if parts.netloc not in {"", "localhost"}:
            raise ConfigError(
                f"file://{parts.hostname}/...: a file URL has three slashes, as file:///data"
            )
        return _local(Path(unquote(parts.path)))
    if scheme in SCHEMES:
        from conduit_core.connectors.objects.remote import RemoteStore

        return RemoteStore(f"{scheme}://{rest}", options or {})
    known = ", ".join(f"{s}://" for s in ("file", *SCHEMES))
    raise ConfigError(f"no store for {scheme}:// URLs; there are folders and {known}")


def _local(folder: Path) -> ObjectStore:
    from conduit_core.connectors.objects.local import LocalStore

    return LocalStore(folder)
