"""Database files of this process: one shared connection to each, opened when needed.

DuckDB lets one process at a time write a file, and one configuration per process. So every source
and destination on a file takes cursors of the same connection; it is read-only until someone
writes, and closed with its last user, so that another process can open it.
"""

from __future__ import annotations

import os
import re
import threading
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

from conduit_core.connectors.registry import missing_driver
from conduit_core.errors import ConnectionFailedError

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 2.0
_FOREIGN = ("not a valid DuckDB database file", "sqlite_scanner", "extension")
_HOLDER = re.compile(r"held in (.+?) \(PID (\d+)\)")


class Lease:
    """A cursor on loan, with its open reader, which alone would keep the file open."""

    def __init__(self, con: DuckDBPyConnection, owner: DuckDBFile | None) -> None:
        self.con = con
        self.reader: pa.RecordBatchReader | None = None
        self._owner = owner
        self._closed = False

    def close(self) -> None:
        """Give it back; idempotent."""
        if self._closed:
            return
        self._closed = True
        if self.reader is not None:
            self.reader.close()
        self.con.close()
        if self._owner is not None:
            self._owner.give_back(self)


class DuckDBFile:
    """One database file in this process; get it from :func:`shared_file`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.locks: dict[str, threading.Lock] = {}
        self._writers: weakref.WeakSet[object] = weakref.WeakSet()
        self._users: weakref.WeakSet[object] = weakref.WeakSet()
        self._leases: set[Lease] = set()
        self._root: DuckDBPyConnection | None = None
        self._writable = False
        self._budget_mib = 0
        self._limit_mib = 0
        self._changed = threading.Condition()

    def expect_writes(self, writer: object) -> None:
        """Note that ``writer`` may write: long reads then open the file so that it still can."""
        self._writers.add(writer)

    def lock(self, name: str) -> threading.Lock:
        """Return the lock of that name; threads of this process are all that can hold it."""
        with self._changed:
            return self.locks.setdefault(name, threading.Lock())

    def empty(self) -> Lease:
        """Return a cursor on an empty database in memory: what a missing file holds."""
        return Lease(_connect(":memory:", {"threads": 1}, read_only=False), None)

    def lease(self, user: object, budget: int, wait: float, *, write: bool, long: bool) -> Lease:
        """Return a cursor of the shared connection.

        Args:
            user: who keeps the file open until :meth:`close`.
            budget: bytes for DuckDB's own buffers, if this call opens the file.
            wait: seconds to wait for other processes, and for this one's readers, to be done.
            write: whether the cursor writes.
            long: whether the cursor stays open while others may want to write.

        Raises:
            ConnectionFailedError: the file can't be opened; the message says why.
        """
        if long and len(self._writers) > 0 and self.path.exists():
            write = write or _may_write(self.path)
        deadline = time.monotonic() + wait
        pause = _FIRST_PAUSE
        with self._changed:
            self._users.add(user)
            while True:
                if self._root is not None and write and not self._writable:
                    if self._leases:
                        self._wait_for_readers(deadline)
                        continue
                    self._root.close()
                    self._root = None
                if self._root is not None:
                    lease = Lease(self._root.cursor(), self)
                    self._leases.add(lease)
                    return lease
                held = self._try_open(budget, write=write)
                if held is None:
                    continue
                if time.monotonic() >= deadline:
                    raise self._held_by_another(held, wait)
                self._changed.wait(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)

    def widen(self, times: int, more: int = 0) -> None:
        """Raise DuckDB's memory limit to the budget several times, and ``more`` bytes.

        It is never lowered before the file is closed. What is under the limit isn't taken but when
        it is needed, with one exception: joins spill later.
        """
        limit = self._budget_mib * times + (more >> 20)
        with self._changed:
            if self._root is not None and limit > self._limit_mib:
                self._limit_mib = limit
                with self._root.cursor() as cursor:
                    cursor.execute(f"SET GLOBAL memory_limit = '{limit}MiB'")

    def give_back(self, lease: Lease) -> None:
        """Note that a cursor is closed."""
        with self._changed:
            self._leases.discard(lease)
            self._changed.notify_all()

    def close(self, user: object) -> None:
        """Let go of the file for ``user``; the last one closes it and frees its lock."""
        with self._changed:
            self._users.discard(user)
            if len(self._users) > 0 or self._root is None:
                return
            root, self._root = self._root, None
            leases = list(self._leases)
        for lease in leases:
            lease.close()
        root.close()

    def _try_open(self, budget: int, *, write: bool) -> str | None:
        """Open the file; return the driver's text if another process holds it."""
        import duckdb

        self._look(write=write)
        self._budget_mib = max(budget >> 20, 32)
        self._limit_mib = self._budget_mib
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{self._budget_mib}MiB",
            "threads": min(2, os.cpu_count() or 1),
            "preserve_insertion_order": False,
            "autoinstall_known_extensions": False,
        }
        try:
            self._root = _connect(str(self.path), config, read_only=not write)
        except duckdb.Error as error:
            text = str(error)
            if "Could not set lock" in text:
                return text
            foreign = any(sign in text for sign in _FOREIGN)
            what = "is not a DuckDB file" if foreign else f"can't be opened: {_first_line(text)}"
            raise ConnectionFailedError(
                f"{self.path} {what}", connector="duckdb", retry="never"
            ) from error
        self._writable = write
        return None

    def _look(self, *, write: bool) -> None:
        """Refuse what can't be a database before the driver touches it."""
        if problem := find_problem(self.path, write=write):
            raise ConnectionFailedError(problem, connector="duckdb", retry="never")

    def _wait_for_readers(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise ConnectionFailedError(
                f"{self.path} is being read by this process and can't be opened for writing until"
                " those reads are closed",
                connector="duckdb",
            )
        self._changed.wait(min(left, _LONGEST_PAUSE))

    def _held_by_another(self, text: str, wait: float) -> ConnectionFailedError:
        found = _HOLDER.search(text)
        who = f"process {found[2]} ({Path(found[1]).name})" if found else "another process"
        return ConnectionFailedError(
            f"{self.path} is open in {who}; waited {wait:g} s (lock_wait). A DuckDB file belongs to"
            " one process at a time",
            connector="duckdb",
            command=f"conduit run  # once {who} has closed the file",
        )


def find_problem(path: Path, *, write: bool) -> str | None:
    """Return why ``path`` can't be opened, or None.

    It never opens the file: closing it again would drop the lock that DuckDB has on it in this
    process (POSIX locks go with the first descriptor that is closed).
    """
    problem: str | None = None
    if path.is_dir():
        problem = f"{path} is a folder, not a DuckDB file"
    elif not path.exists():
        if not write:
            problem = f"{path} does not exist"
        elif not path.parent.is_dir():
            problem = f"the folder {path.parent} does not exist; {path.name} can't be made in it"
        elif not os.access(path.parent, os.W_OK):
            problem = f"the folder {path.parent} is not writable: {path.name} can't be made in it"
    elif not os.access(path, os.R_OK):
        problem = f"{path} is not readable for this user"
    elif write and not _may_write(path):
        problem = f"{path} is read-only for this user: a load can't be written to it"
    return problem


def _may_write(path: Path) -> bool:
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


def _first_line(text: str) -> str:
    return text.split("\n", 1)[0]


def _connect(
    path: str, config: dict[str, str | bool | int | float | list[str]], *, read_only: bool
) -> DuckDBPyConnection:
    try:
        import duckdb
    except ImportError as error:
        raise missing_driver("duckdb", "duckdb", error) from error
    con = duckdb.connect(path, read_only=read_only, config=config)
    con.execute("SET GLOBAL TimeZone = 'UTC'").fetchall()
    return con


_files: dict[Path, DuckDBFile] = {}
_files_lock = threading.Lock()


def shared_file(path: Path) -> DuckDBFile:
    """Return this process's only object for the file."""
    with _files_lock:
        return _files.setdefault(path, DuckDBFile(path))
