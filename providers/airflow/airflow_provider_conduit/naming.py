"""Task ids of what a pipeline file names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_UNSAFE = re.compile(r"[^\w-]+", re.ASCII)


def safe_ids(names: Sequence[str]) -> list[str]:
    """Return a task id for each name, no two equal: of ASCII letters, digits, ``_`` and ``-``.

    Airflow would take other letters too, and then fail where it puts them into addresses.
    """
    plain = [
        unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode() for name in names
    ]
    wanted = [_UNSAFE.sub("_", name).strip("_") or "stream" for name in plain]
    kept = {name for name, task_id in zip(names, wanted, strict=True) if name == task_id}
    taken: set[str] = set()
    ids: list[str] = []
    for name, task_id in zip(names, wanted, strict=True):
        found, number = task_id, 2
        while found in taken or (found in kept and found != name):
            found, number = f"{task_id}_{number}", number + 1
        taken.add(found)
        ids.append(found)
    return ids
