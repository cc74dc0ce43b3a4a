"""Opening files: compression by name (.gz, .zst, one-member .zip), and what the bytes say it is."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, cast

import pyarrow as pa
from pyarrow import fs

from conduit_core.connectors.files.listing import FileEntry
from conduit_core.errors import ConduitError, ConnectionFailedError, SourceDataError

_MAGIC = (
    (b"PAR1", "a Parquet file"),
    (b"\x1f\x8b", "gzip-compressed (name it .gz)"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed (name it .zst)"),
    (b"PK\x03\x04", "a zip archive (name it .zip) or an Office document"),
    (b"ARROW1", "an Arrow file"),
    (b"Obj\x01", "an Avro file"),
    (b"%PDF", "a PDF"),
    (b"SQLite format 3", "a SQLite database"),
)


@dataclass(frozen=True, slots=True)
class File:
    """One file of a stream, ready to be opened as often as needed."""

    entry: FileEntry
    filesystem: fs.FileSystem

    def __str__(self) -> str:
        return self.entry.path

    @contextmanager
    def raw(self) -> Iterator[pa.NativeFile]:
        """Open the file's own bytes for random access; closes at the end."""
        with reading(self), self.filesystem.open_input_file(self.entry.full) as handle:
            yield handle

    @contextmanager
    def open(self) -> Iterator[pa.NativeFile]:
        """Open the file's content as one stream, decompressed; closes at the end.

        Raises:
            SourceDataError: the compression is broken, or a zip has not exactly one member.
            ConnectionFailedError: the file can't be opened.
        """
        name = self.entry.path.lower()
        with reading(self):
            if name.endswith(".zip"):
                with (
                    self.filesystem.open_input_file(self.entry.full) as handle,
                    _zip(self, handle) as archive,
                    archive.open(self._member(archive)) as member,
                ):
                    yield pa.PythonFile(cast("io.IOBase", member), mode="r")
                return
            codec = "gzip" if name.endswith(".gz") else "zstd" if name.endswith(".zst") else None
            with self.filesystem.open_input_stream(
                self.entry.full, compression=codec, buffer_size=1 << 18
            ) as stream:
                yield stream

    def content_size(self) -> int | None:
        """Return the decompressed content's bytes, where that is known without reading."""
        name = self.entry.path.lower()
        if name.endswith((".gz", ".zst")):
            return None
        if name.endswith(".zip"):
            with self.raw() as handle, _zip(self, handle) as archive:
                return self._member(archive).file_size
        return self.entry.size

    def _member(self, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
        members = [
            m for m in archive.infolist()
            if not m.is_dir() and not m.filename.startswith("__MACOSX/")
        ]  # fmt: skip
        if len(members) != 1:
            names = ", ".join(m.filename for m in members[:20])
            raise SourceDataError(
                f"{self}: a zip must hold one file; this one holds {len(members)}"
                f"{': ' + names if names else ''}. Unpack it and name the files",
            )
        if members[0].flag_bits & 1:
            raise SourceDataError(f"{self}: the zip is encrypted; unpack it first")
        return members[0]


@contextmanager
def reading(file: File) -> Iterator[None]:
    """Turn what goes wrong inside into our errors that name the file."""
    try:
        yield
    except ConduitError:
        raise
    except FileNotFoundError as error:
        raise SourceDataError(f"{file}: the file is gone", retry="plan") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise SourceDataError(f"{file}: broken or unsupported compression: {error}") from error
    except PermissionError as error:
        raise ConnectionFailedError(
            f"{file}: no right to read it", retry="never", command="conduit check"
        ) from error
    except OSError as error:
        if any(word in str(error).lower() for word in ("compress", "zlib", "zstd")):
            raise SourceDataError(f"{file}: broken compression: {error}") from error
        raise ConnectionFailedError(f"{file}: {error}") from error
    except (pa.ArrowException, UnicodeError) as error:
        raise SourceDataError(f"{file}: {error}") from error


def _zip(file: File, handle: pa.NativeFile) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(cast("IO[bytes]", handle))
    except (zipfile.BadZipFile, pa.ArrowInvalid) as error:
        raise SourceDataError(f"{file}: broken compression: {error}") from error


def what_is(head: bytes) -> str | None:
    """Say what binary or foreign format these first bytes are of, if they aren't plain text."""
    for magic, what in _MAGIC:
        if head.startswith(magic):
            return what
    start = head[:256].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "HTML or XML (an error page, perhaps)"
    if b"\0" in head[:1024].partition(b"\n")[0]:
        return "binary, not text"
    return None


def head_of(stream: io.IOBase | pa.NativeFile, size: int) -> bytes:
    """Read up to ``size`` bytes, however small the stream's pieces are."""
    parts: list[bytes] = []
    while size > 0 and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
