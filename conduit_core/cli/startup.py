"""What the command does once so that it starts fast."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from types import ModuleType


class _HidesPandas:
    """A finder that says pandas isn't there."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name=name)


def arrow_without_pandas() -> None:
    """Import Arrow without pandas, which nothing here needs and which costs half of the start.

    Arrow imports pandas where it is installed, the first time a Python value becomes an array, to
    ask whether the value is pandas' own. It asks once; code that uses pandas later still can.
    """
    if "pandas" in sys.modules:
        return
    finder = _HidesPandas()
    sys.meta_path.insert(0, finder)
    try:
        import pyarrow as pa

        pa.array([0])
    finally:
        sys.meta_path.remove(finder)


def imports_are_done() -> None:
    """Turn the collector on where it was off, for what is made from now on.

    What was imported stays until the process ends, which would take 0.1 s to take it apart first.
    """
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
