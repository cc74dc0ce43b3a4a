"""A bucket as Arrow's file system, by the client that destinations use: with keys of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast
from urllib.parse import unquote, urlsplit, urlunsplit

import pyarrow as pa
from pyarrow import fs

from conduit_core.connectors.objects import SCHEMES, Entry, open_store
from conduit_core.errors import ConfigError

if TYPE_CHECKING:
    from conduit_core.connectors.objects.remote import RemoteStore


def open_bucket(url: str, credentials: Mapping[str, str]) -> tuple[fs.FileSystem, str]:
    """Return a URL's bucket as a file system, and the path in it.

    Raises:
        ConfigError: the URL names no bucket, or its client doesn't take the credentials.
    """
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise ConfigError(
            f"path: credentials are for a bucket, {', '.join(f'{s}://' for s in SCHEMES)}",
            command="conduit check",
        )
    bucket = urlunsplit((parts.scheme, parts.netloc, "", parts.query, ""))
    store = cast("RemoteStore", open_store(bucket, Path(), credentials))
    return fs.PyFileSystem(_Bucket(store)), unquote(parts.path).strip("/")


class _Bucket(fs.FileSystemHandler):
    """What a source does with a file system: look at paths, list folders, read files."""

    def __init__(self, store: RemoteStore) -> None:
        self._store = store

    def get_type_name(self) -> str:
        return "bucket"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: str | list[str]) -> list[fs.FileInfo]:
        return [self._info(path) for path in ([paths] if isinstance(paths, str) else paths)]

    def _info(self, path: str) -> fs.FileInfo:
        found = self._store.entry(path) if path else None
        if found is not None:
            return _file(found)
        is_folder = not path or self._store.holds(path)
        return fs.FileInfo(path, fs.FileType.Directory if is_folder else fs.FileType.NotFound)

    def get_file_info_selector(self, selector: fs.FileSelector) -> list[fs.FileInfo]:
        base = selector.base_dir.strip("/")
        entries = self._store.entries(base)
        if selector.recursive:
            return [_file(entry) for entry in entries]
        skip = len(base) + 1 if base else 0
        return [_file(entry) for entry in entries if "/" not in entry.path[skip:]]

    def open_input_file(self, path: str) -> pa.PythonFile:
        return pa.PythonFile(cast("Any", self._store.reader(path)), mode="r")

    def open_input_stream(self, path: str) -> pa.PythonFile:
        return self.open_input_file(path)

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise NotImplementedError("a source only reads")

    create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = _refuse
    delete_file = move = copy_file = open_output_stream = open_append_stream = _refuse


def _file(entry: Entry) -> fs.FileInfo:
    # In whole seconds: a listing has fractions of them that a look at the object hasn't.
    modified = float(int(entry.modified.timestamp()))
    return fs.FileInfo(entry.path, fs.FileType.File, size=entry.size, mtime=modified)
