"""Objects as files of a folder: a finished, synced temporary file that is linked or renamed."""

from __future__ import annotations

import errno
import io
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from conduit_core.connectors.objects.base import Entry, ObjectStore, checked
from conduit_core.errors import ConduitError, ConfigError, ConnectionFailedError, PublishError

_UNFINISHED = ".conduit-unfinished-"
_BUFFER = 1024 * 1024
_TRIES = 20
"""How often a folder is made again that another process has just removed as empty."""


class LocalStore(ObjectStore):
    """A folder, made by the first write.

    Args:
        folder: the root; any path, not yet there or a mount.
    """

    def __init__(self, folder: Path) -> None:
        self._root = Path(os.path.abspath(folder))  # noqa: PTH100 - resolve() would follow links
        self.identity = str(self._root.resolve())

    def put(self, path: str, data: bytes, *, create: bool = False) -> bool:
        """See :meth:`ObjectStore.put`."""
        place = self._place(path)
        with self._told(place):
            temporary, stream = self._temporary(place)
            try:
                with stream:
                    stream.write(data)
                    _sync(stream)
                if not create:
                    temporary.replace(place)
                elif not self._link(temporary, place):
                    return False
                _sync_folder(place.parent)
                return True
            finally:
                temporary.unlink(missing_ok=True)

    def get(self, path: str) -> bytes | None:
        """See :meth:`ObjectStore.get`."""
        place = self._place(path)
        with self._told(place, writing=False):
            try:
                return place.read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def entries(self, prefix: str = "") -> list[Entry]:
        """See :meth:`ObjectStore.entries`."""
        return [e for e in self._walk(prefix) if not _is_unfinished(e.path)]

    def unfinished(self, prefix: str = "") -> list[Entry]:
        """See :meth:`ObjectStore.unfinished`."""
        return [e for e in self._walk(prefix) if _is_unfinished(e.path)]

    def delete(self, paths: Iterable[str]) -> None:
        """See :meth:`ObjectStore.delete`. Folders that this empties go too."""
        for path in paths:
            place = self._place(path)
            with self._told(place), suppress(FileNotFoundError, NotADirectoryError):
                place.unlink()
            for folder in place.parents:
                if folder == self._root or not folder.is_relative_to(self._root):
                    break
                try:
                    folder.rmdir()
                except FileNotFoundError:
                    continue
                except OSError:
                    break

    @contextmanager
    def writer(self, path: str) -> Iterator[BinaryIO]:
        """See :meth:`ObjectStore.writer`."""
        place = self._place(path)
        with self._told(place):
            temporary, stream = self._temporary(place)
        try:
            yield stream
            stream.close()
            with self._told(place):
                with temporary.open("rb") as written:  # pyarrow closes what it is given
                    os.fsync(written.fileno())
                temporary.replace(place)
                _sync_folder(place.parent)
        finally:
            with suppress(ConduitError):  # what is left in its buffer, on a full disk
                stream.close()
            temporary.unlink(missing_ok=True)

    def reader(self, path: str) -> BinaryIO:
        """See :meth:`ObjectStore.reader`."""
        place = self._place(path)
        with self._told(place, writing=False):
            return place.open("rb", buffering=_BUFFER)

    def _place(self, path: str) -> Path:
        return self._root.joinpath(*checked(path).split("/"))

    def _walk(self, prefix: str) -> Iterator[Entry]:
        top = self._place(prefix.rstrip("/")) if prefix else self._root
        with self._told(top, writing=False):
            found = []
            for folder, _, names in os.walk(top, onerror=_raise_unless_gone):
                for name in names:
                    place = Path(folder, name)
                    with suppress(FileNotFoundError):  # removed since
                        status = place.stat()
                        modified = datetime.fromtimestamp(status.st_mtime, UTC)
                        path = place.relative_to(self._root).as_posix()
                        found.append(Entry(path, status.st_size, modified))
        return iter(sorted(found, key=lambda entry: entry.path))

    def _temporary(self, place: Path) -> tuple[Path, BinaryIO]:
        """Open a new file beside ``place``, making its folder; the name tells what it is."""
        temporary = place.with_name(_UNFINISHED + secrets.token_hex(8))
        for _ in range(_TRIES):
            self._make_folder(place.parent)
            with suppress(FileNotFoundError):  # emptied and removed by another since
                return temporary, io.BufferedWriter(_File(self, temporary), _BUFFER)
        raise FileNotFoundError(errno.ENOENT, "the folder keeps vanishing", str(place.parent))

    def _make_folder(self, folder: Path) -> None:
        """Make a folder and its parents, each of them durable."""
        if folder.is_dir():
            return
        if folder.parent != folder:
            self._make_folder(folder.parent)
        with suppress(FileExistsError, FileNotFoundError):
            folder.mkdir()
            _sync_folder(folder.parent)
        with suppress(FileNotFoundError):  # one look: it may be removed between two
            if not stat.S_ISDIR(folder.stat().st_mode):
                raise NotADirectoryError(errno.ENOTDIR, "it is a file", str(folder))

    @staticmethod
    def _link(temporary: Path, place: Path) -> bool:
        try:
            place.hardlink_to(temporary)
        except FileExistsError:
            # Over a network the answer to our own link may have been lost.
            return temporary.stat().st_nlink == 2
        except OSError as error:
            if error.errno in {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}:
                raise ConfigError(
                    f"{place.parent}: its file system has no hard links, by which one of two "
                    "writers is told that it was second; use another file system or a bucket"
                ) from error
            raise
        return True

    @contextmanager
    def _told(self, place: Path, *, writing: bool = True) -> Iterator[None]:
        """Turn what the system refuses into an error that says what to do."""
        try:
            yield
        except FileNotFoundError:
            if writing:
                raise ConnectionFailedError(
                    f"{self._root}: the folder vanished while it was used; is it still mounted?"
                ) from None
            raise
        except OSError as error:
            raise self._said(place, error, writing=writing) from error

    def _said(self, place: Path, error: OSError, *, writing: bool) -> ConduitError:
        why = error.strerror or str(error)
        match error.errno:
            case errno.EACCES | errno.EPERM | errno.EROFS:
                right = "write to" if writing else "read"
                return ConfigError(
                    f"{place}: {why}; this process (user id {os.geteuid()}) needs the right to "
                    f"{right} {self._root}"
                )
            case errno.ENOTDIR | errno.EISDIR | errno.EEXIST | errno.ENOTEMPTY:
                return ConfigError(f"{place}: {why}; {self._root} has to be a folder of its own")
            case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
                return PublishError(f"{place}: {why}; make room, then run it again", retry="step")
            case errno.ENAMETOOLONG | errno.EINVAL | errno.EILSEQ:
                return PublishError(f"{place}: {why}; the file system takes no such name")
            case _:
                return ConnectionFailedError(f"{place}: {why}; is {self._root} still mounted?")


class _File(io.FileIO):
    """A new file whose refusals say what to do, even from below pyarrow."""

    def __init__(self, store: LocalStore, path: Path) -> None:
        super().__init__(path, "xb")
        self._store, self._path = store, path

    def write(self, data: object, /) -> int:
        """Write as much as the system takes."""
        with self._store._told(self._path.parent):  # noqa: SLF001 - the same module
            return super().write(data)  # type: ignore[arg-type]


def _is_unfinished(path: str) -> bool:
    return path.rpartition("/")[2].startswith(_UNFINISHED)


def _raise_unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _sync(stream: BinaryIO) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    """Make names durable, where the system lets a folder be opened."""
    with suppress(PermissionError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
