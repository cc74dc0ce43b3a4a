"""The contract of an object store: whole objects, created at most once where asked. No append."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO


@dataclass(frozen=True, slots=True)
class Entry:
    """An object: its path below the store's root, with ``/``; its bytes; when it was written."""

    path: str
    size: int
    modified: datetime


class ObjectStore(ABC):
    """Objects below one root, each there whole or not at all. Safe to use from several threads.

    Paths are relative to the root, parted by ``/``. Every method may raise:

    ConfigError: the place is missing, read-only, or isn't a store.
    ConnectionFailedError: it is out of reach, or refuses us.
    PublishError: it is full, or takes no such name.
    """

    identity: str
    """What makes this place itself, without secrets: for fingerprints and messages."""

    @abstractmethod
    def put(self, path: str, data: bytes, *, create: bool = False) -> bool:
        """Write an object, durable when this returns.

        Args:
            path: where.
            data: the whole of it.
            create: only if nothing is there, atomically.

        Returns:
            False where ``create`` found something. After a lost answer that may be our own: who
            must know reads what is there.
        """

    @abstractmethod
    def get(self, path: str) -> bytes | None:
        """Return an object, or None where there is none."""

    @abstractmethod
    def entries(self, prefix: str = "") -> list[Entry]:
        """Return all objects below the folder ``prefix``, however deep, by path; none: empty."""

    @abstractmethod
    def delete(self, paths: Iterable[str]) -> None:
        """Remove objects; those that aren't there are fine."""

    @abstractmethod
    def writer(self, path: str) -> AbstractContextManager[BinaryIO]:
        """Return a stream into an object, in bounded memory; it replaces what is there.

        The object appears whole and durable when the block ends well. When it ends by an
        exception nothing remains, and what was there before stays.
        """

    @abstractmethod
    def reader(self, path: str) -> BinaryIO:
        """Open an object for random access, as ``pyarrow.parquet`` and ``csv`` need it.

        Raises:
            FileNotFoundError: there is none.
        """

    def unfinished(self, prefix: str = "") -> list[Entry]:
        """Return what writers that were killed left behind, which ``entries`` leaves out.

        Buckets hide such parts: a lifecycle rule that aborts incomplete uploads removes them.
        """
        return []


def checked(path: str) -> str:
    """Return a path that stays below the root.

    Raises:
        ValueError: it is empty, absolute, or has empty, ``.`` or ``..`` parts: a bug of the caller.
    """
    if any(part in {"", ".", ".."} for part in path.split("/")):
        raise ValueError(f"not a path below the root: {path!r}")
    return path
