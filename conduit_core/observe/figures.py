"""Numbers as people read them: rows, bytes, seconds, speed."""

from __future__ import annotations

from collections.abc import Mapping


def count(rows: int) -> str:
    """Return a number of rows with thousands apart: ``336,776``."""
    return f"{rows:,}"


def many(things: int, name: str) -> str:
    """Return a number with what it counts: ``1 load``, ``1,200 loads``."""
    return f"{count(things)} {name}{'' if things == 1 else 's'}"


def kinds(counts: Mapping[str, int]) -> str:
    """Return what became of rows: ``3 inserted, 1 deleted``; kinds without rows are left out."""
    return ", ".join(f"{count(n)} {kind}" for kind, n in counts.items() if n and kind != "read")


def share(rate: float) -> str:
    """Return a share in percent: ``2.50%``; it says 0% and 100% only of none and all."""
    if 0 < rate < 0.0001:
        return "<0.01%"
    if 0.9999 < rate < 1:
        return ">99.99%"
    return f"{rate:.2%}" if 0 < rate < 1 else f"{rate:.0%}"


def size(amount: float) -> str:
    """Return bytes in the largest unit that fits: ``41.2 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def duration(seconds: float) -> str:
    """Return seconds as people read them: ``0.42 s``, ``3m 05s``, ``2h 03m``, ``5d 01h``."""
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours}h {minutes:02d}m"
    days, hours = divmod(hours, 24)
    return f"{days}d {hours:02d}h"


def rate(rows: int, seconds: float) -> str:
    """Return rows per second, or an empty text where there is nothing to divide."""
    return f"{rows / seconds:,.0f} rows/s" if rows and seconds > 0 else ""
