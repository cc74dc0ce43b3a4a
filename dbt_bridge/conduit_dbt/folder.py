"""The private folder in which dbt's artifacts and log of one caller lie."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import count
from pathlib import Path
from typing import IO

from conduit_core.errors import ConfigError
from conduit_dbt.project import Project


@contextmanager
def folder(project: Project, name: str) -> Iterator[Path]:
    """Hold ``<target path>/conduit/<name>`` while the block runs; nobody else has it meanwhile.

    The next caller gets the same folder, so that dbt's partial parsing works and people find the
    compiled SQL. While it is held, another gets ``<name>-2``, and so on. A process that is killed
    lets go of it.

    Raises:
        ConfigError: the target path can't be written.
    """
    base = project.target_path / "conduit"
    plain = re.sub(r"[^\w.-]+", "_", name).strip(".") or "dbt"
    try:
        base.mkdir(parents=True, exist_ok=True)
        path, held = _first_free(base, plain)
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{base}: dbt's artifacts can't be written there ({error.strerror}); set"
            " DBT_TARGET_PATH to a folder that can be written"
        ) from None
    with held:
        yield path


def _first_free(base: Path, name: str) -> tuple[Path, IO[bytes] | nullcontext[None]]:
    try:
        import fcntl
    except ImportError:  # no such locks here: a new folder each time is nobody else's
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=base)), nullcontext()
    for number in count(1):
        path = base / (name if number == 1 else f"{name}-{number}")
        lock = path.with_name(f"{path.name}.lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
        except BaseException:
            lock.close()
            raise
        else:
            return path, lock
    raise AssertionError  # count() has no end
