"""Finding files: a source's root on any file system, and the files a stream's ``path`` means."""

from __future__ import annotations

import difflib
import os
import re
import shlex
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from conduit_core.connectors.datasets import Dataset, files_dataset
from conduit_core.connectors.files.bucket import open_bucket
from conduit_core.errors import ConfigError, ConnectionFailedError, SchemaError, SourceDataError
from conduit_core.spec.names import file_type

COMPRESSED = ("", ".gz", ".zst", ".zip")
_MAGIC = re.compile(r"[*?\[]")
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file as a listing shows it.

    Args:
        path: relative to the source's root, with ``/``; what cursors, messages and targets carry.
        full: the same file for the file system.
        size: bytes on disk (compressed, where it is).
        modified: nanoseconds since 1970 (UTC); object stores tick in seconds.
    """

    path: str
    full: str
    size: int
    modified: int


def glob_regex(pattern: str) -> re.Pattern[str]:
    """Translate ``*``, ``?``, ``[a-z]`` (inside one folder) and ``**`` (any depth, none too)."""
    out: list[str] = []
    for i, part in enumerate(parts := pattern.split("/")):
        if part == "**":
            out.append("(?:(?!\\.)[^/]+/)*" + ("" if i < len(parts) - 1 else "(?!\\.)[^/]+"))
            continue
        out.append(_glob_part(part) + ("/" if i < len(parts) - 1 else ""))
    return re.compile("".join(out), re.DOTALL)


def _glob_part(part: str) -> str:
    out: list[str] = ["(?!\\.)"] if part[:1] != "." else []
    i = 0
    while i < len(part):
        char = part[i]
        end = part.find("]", i + 2) if char == "[" else -1
        if char == "*":
            out.append("[^/]*")
        elif char == "?":
            out.append("[^/]")
        elif end > 0:
            body = part[i + 1 : end].replace("\\", "\\\\").replace("[", "\\[")
            out.append(f"[{'^' + body[1:] if body[0] == '!' else body}]")
            i = end
        else:
            out.append(re.escape(char))
        i += 1
    return "".join(out)


class Root:
    """Where a source's files are. Made without touching the file system; safe between threads.

    Args:
        location: a folder, one file, or a URL that ``pyarrow.fs`` opens; "": ``base_dir`` itself.
        base_dir: what a relative location is relative to.
        filesystem: used instead of the one the location names (``location`` is then its path).
        credentials: a bucket's, instead of those of the environment.
    """

    def __init__(
        self,
        location: str,
        base_dir: Path,
        filesystem: fs.FileSystem | None = None,
        credentials: Mapping[str, str] | None = None,
    ) -> None:
        self._location = location
        self._given = filesystem
        self._credentials = credentials
        self._lock = threading.Lock()
        self._opened: tuple[fs.FileSystem, str, str] | None = None
        if filesystem is not None or "://" in location:
            self.identity = _without_secrets(location).rstrip("/")
        else:
            local = Path.cwd() / base_dir / Path(location).expanduser()
            self.identity = Path(os.path.normpath(local)).as_posix()

    def dataset(self, path: str) -> Dataset:
        """Return what lineage calls a path below the root; the root itself where it is the file."""
        root = self._location if "://" in self._location else self.identity
        is_file = file_type(root) is not None and root.rpartition("/")[2] == path
        return files_dataset(root, "" if is_file else path)

    def _open(self) -> tuple[fs.FileSystem, str, str]:
        """Return file system, base folder, and the one file's name where the root is a file."""
        with self._lock:
            if self._opened is None:
                self._opened = self._resolve()
            return self._opened

    def _resolve(self) -> tuple[fs.FileSystem, str, str]:
        try:
            if self._given is not None:
                system, base = self._given, self._location
            elif self._credentials:
                system, base = open_bucket(self._location, self._credentials)
            elif "://" in self._location:
                system, base = fs.FileSystem.from_uri(self._location)
            else:
                system, base = fs.LocalFileSystem(), self.identity
            base = base.rstrip("/") or base[:1]
            info = system.get_file_info(base)
        except (OSError, pa.ArrowException, ValueError) as error:
            raise ConnectionFailedError(f"{self.identity}: can't be opened: {error}") from error
        if info.type == fs.FileType.NotFound:
            raise ConnectionFailedError(
                f"{self.identity}: no such file or folder", retry="never", command="conduit check"
            )
        if info.type == fs.FileType.File:
            folder, slash, name = base.rpartition("/")
            return system, folder or slash, name
        return system, base, ""

    @property
    def filesystem(self) -> fs.FileSystem:
        """The file system, opened at first use.

        Raises:
            ConnectionFailedError: it can't be opened, or the root doesn't exist.
        """
        return self._open()[0]

    def stat(self, entry: FileEntry) -> FileEntry | None:
        """Look at the file again; None where it is gone."""
        info = self._info(entry.full)
        return _entry(info, entry.path) if info.type == fs.FileType.File else None

    def select(
        self, path: str | None, suffixes: tuple[str, ...], *, only_text: bool = False
    ) -> list[FileEntry]:
        """Return the files that a stream's ``path`` means, sorted by path.

        Args:
            path: relative to the root: one file (any name), a glob (``flights*.csv``,
                ``**/*.parquet``), or a folder, in which files that end in ``suffixes`` count at
                any depth, hidden ones (``.x``, ``_x``) aside. None or ".": the root.
            suffixes: with the dot, without the compression's.
            only_text: leave out files whose names aren't UTF-8 text, which none can be loaded of.

        Raises:
            SchemaError: there is no such file; the message lists what is there.
            SourceDataError: a file's name isn't UTF-8 text.
            ConnectionFailedError: the file system refuses.
        """
        _, base, single = self._open()
        wanted = (path or ".").strip("/") if path != "/" else "."
        if path and (path.startswith("/") or "://" in path or ".." in path.split("/")):
            raise ConfigError(
                f"path {path!r} must be relative to the source's path ({self.identity})"
            )
        wanted = wanted.removeprefix("./")
        if not _is_text(wanted):
            raise self._odd(wanted)
        if wanted == "." and single:
            wanted = single
        info = self._info(base if wanted == "." else _join(base, wanted))
        if info.type == fs.FileType.File:
            return [_entry(info, wanted)]
        if info.type == fs.FileType.Directory:
            found = self._in_folder(base, wanted, suffixes)
        elif _MAGIC.search(wanted):
            found = self._glob(base, wanted)
        else:
            found = []
        if odd := [e.path for e in found if not _is_text(e.path)]:
            if not only_text:
                raise self._odd(odd[0])
            found = [e for e in found if e.path not in odd]
        if not found:
            raise SchemaError(self._missing(wanted, suffixes), command="conduit discover")
        return sorted(found, key=lambda e: e.path)

    def _in_folder(self, base: str, folder: str, suffixes: tuple[str, ...]) -> list[FileEntry]:
        endings = tuple(s + c for s in suffixes for c in COMPRESSED)
        prefix = "" if folder == "." else folder + "/"
        return [
            entry
            for entry in self._list(base, prefix, recursive=True)
            if entry.path.lower().endswith(endings)
            and not any(p[0] in "._" for p in entry.path[len(prefix) :].split("/"))
        ]

    def _glob(self, base: str, pattern: str) -> list[FileEntry]:
        parts = pattern.split("/")
        fixed = next(i for i, p in enumerate(parts) if _MAGIC.search(p))
        prefix = "".join(p + "/" for p in parts[:fixed])
        regex = glob_regex("/".join(parts[fixed:]))
        deep = len(parts) - fixed > 1 or parts[fixed] == "**"
        return [
            entry
            for entry in self._list(base, prefix, recursive=deep)
            if regex.fullmatch(entry.path[len(prefix) :])
        ]

    def _list(self, base: str, prefix: str, *, recursive: bool) -> list[FileEntry]:
        folder = _join(base, prefix.rstrip("/")) if prefix else base
        selector = fs.FileSelector(folder, allow_not_found=True, recursive=recursive)
        try:
            infos = self.filesystem.get_file_info(selector)
        except (OSError, pa.ArrowException) as error:
            raise ConnectionFailedError(f"{self.identity}: can't be listed: {error}") from error
        skip = len(folder.rstrip("/")) + 1 if folder else 0
        files = (i for i in infos if i.type == fs.FileType.File)
        return [_entry(i, prefix + _path_of(i)[skip:]) for i in files]

    def _info(self, full: str) -> fs.FileInfo:
        try:
            return self.filesystem.get_file_info(full)
        except (OSError, pa.ArrowException) as error:
            raise ConnectionFailedError(f"{full}: can't be looked at: {error}") from error

    def _odd(self, path: str) -> SourceDataError:
        folder = shlex.quote(_shown(self.identity))
        return SourceDataError(
            f"{_shown(path)} in {_shown(self.identity)}: its name isn't UTF-8 text, so that no"
            " target can keep it: rename the file",
            command=f"ls -b {folder}",
        )

    def _missing(self, wanted: str, suffixes: tuple[str, ...]) -> str:
        base = self._open()[1]
        folder = ""
        for part in wanted.split("/")[:-1]:
            if self._info(_join(base, folder + part)).type != fs.FileType.Directory:
                break
            folder += part + "/"
        try:
            found = self._list(base, folder, recursive=wanted == ".")
            there = sorted(_shown(e.path) for e in found)
        except ConnectionFailedError:
            there = []
        near = difflib.get_close_matches(wanted, there, n=1)
        what = f"no {' or '.join(suffixes)} file" if wanted == "." else f"no file {wanted!r}"
        shown = ", ".join(there[:_SHOWN]) + (", ..." if len(there) > _SHOWN else "")
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{what} in {_join(self.identity, folder)}{hint}; there: {shown or 'no files'}"


def _path_of(info: fs.FileInfo) -> str:
    """Return a file's path; bytes of it that aren't UTF-8 as Python's ``os`` has them."""
    try:
        return str(info.path)
    except UnicodeDecodeError as error:
        return os.fsdecode(error.object)


def _is_text(path: str) -> bool:
    return not any("\ud800" <= c <= "\udfff" for c in path)


def _shown(path: str) -> str:
    r"""Return a path as it can be written: a byte that isn't UTF-8 as ``\xe9``."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _entry(info: fs.FileInfo, path: str) -> FileEntry:
    return FileEntry(path, _path_of(info), info.size or 0, info.mtime_ns or 0)


def _join(base: str, path: str) -> str:
    return f"{base.rstrip('/')}/{path}".rstrip("/") if base else path


def _without_secrets(url: str) -> str:
    parts = urlsplit(url)
    if not parts.scheme:
        return url
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
