"""Splits: how a window is cut into disjoint parts that together are the window. Data only.

A plan keeps the cut points, not the parts, so that a thousand splits stay small as JSON.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from conduit_core.errors import ConfigError, StateError
from conduit_core.spec.splits import MAX_SPLITS

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["MAX_SPLITS", "NOTHING", "WHOLE", "Split", "SplitBy", "SplitKind", "refuse_kind"]

SplitKind = Literal["whole", "range", "hash", "values", "file", "among", "nothing"]


@dataclass(frozen=True, slots=True)
class Split:
    """One part of a window; what it holds is a pure function of its bounds.

    Args:
        id: a digest of the bounds.
        kind: ``whole`` (all of it), ``range`` (``low <= column < high``; the first holds NULLs
            too), ``hash`` (``bucket`` of ``buckets``), ``values`` (``column = value``; without
            ``value`` the rest: every other value, and NULL), ``file`` (``low <= path < high``),
            ``among`` (one of ``others``: no part of a cut, but of a look at some keys).
        column: what is compared; None for ``whole`` and ``file``.
        low, high: bounds of a range or of paths; None is open.
        value: of a values split.
        others: the values that the rest is not, or that it is among.
        bucket, buckets: of a hash split.
    """

    id: str
    kind: SplitKind
    column: str | None = None
    low: pa.Scalar[pa.DataType] | None = None
    high: pa.Scalar[pa.DataType] | None = None
    value: pa.Scalar[pa.DataType] | None = None
    others: tuple[pa.Scalar[pa.DataType], ...] = ()
    bucket: int = 0
    buckets: int = 1


class SplitBy(BaseModel):
    """The cut of one window, as JSON.

    Args:
        kind: see :class:`Split`; ``nothing`` has no splits: there is nothing to read.
        column: the column that is compared.
        type: the column's Arrow type as text.
        cuts: ``range`` and ``file``: ascending bounds between neighbours (n cuts make n+1 splits);
            ``values``: the values. As ``state.cursor.to_text`` writes them.
        buckets: of a hash.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: SplitKind = "whole"
    column: str | None = None
    type: str = "string"
    cuts: tuple[str, ...] = ()
    buckets: int = 1

    @property
    def count(self) -> int:
        """How many splits there are."""
        if self.kind in ("whole", "nothing"):
            return int(self.kind == "whole")
        return self.buckets if self.kind == "hash" else len(self.cuts) + 1

    def splits(self) -> list[Split]:
        """Return the splits in order.

        Raises:
            StateError: a cut isn't a value of the column's type.
        """
        match self.kind:
            case "whole":
                return [Split(self._id("whole"), "whole")]
            case "nothing":
                return []
            case "hash":
                return [
                    Split(
                        self._id("hash", n, self.buckets),
                        "hash",
                        self.column,
                        bucket=n,
                        buckets=self.buckets,
                    )
                    for n in range(self.buckets)
                ]
            case "values":
                return self._by_values()
            case _:
                return self._between()

    def split(self, split_id: str) -> Split:
        """Return one split by its id.

        Raises:
            StateError: there is none.
        """
        for split in self.splits():
            if split.id == split_id:
                return split
        raise StateError(f"the plan has no split {split_id!r}", retry="plan")

    def ids(self) -> tuple[str, ...]:
        """Return the ids of all splits, in order."""
        return tuple(split.id for split in self.splits())

    def _between(self) -> list[Split]:
        bounds: list[str | None] = [None, *self.cuts, None]
        values = [None, *self._values(), None]
        return [
            Split(
                self._id(self.kind, bounds[n], bounds[n + 1]),
                self.kind,
                self.column,
                low=values[n],
                high=values[n + 1],
            )
            for n in range(len(bounds) - 1)
        ]

    def _by_values(self) -> list[Split]:
        values = self._values()
        found = [
            Split(self._id("values", text), "values", self.column, value=value)
            for text, value in zip(self.cuts, values, strict=True)
        ]
        rest = Split(self._id("values", *self.cuts, None), "values", self.column, others=values)
        return [*found, rest]

    def _values(self) -> tuple[pa.Scalar[pa.DataType], ...]:
        import pyarrow as pa

        from conduit_core.state.cursor import from_text
        from conduit_core.types.schema import parse_type

        try:
            kind = parse_type(self.type)
            return tuple(from_text(kind, text) for text in self.cuts)
        except (ValueError, ArithmeticError, pa.ArrowException) as error:
            raise StateError(f"the plan's splits can't be read: {error}", retry="plan") from error

    def _id(self, *bounds: object) -> str:
        text = json.dumps([self.column, *bounds], ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


WHOLE = SplitBy()
"""A window that isn't cut."""
NOTHING = SplitBy(kind="nothing")
"""That of an empty plan: a task that is mapped over its splits has none."""


def refuse_kind(kind: str, claimed: frozenset[str], system: str) -> None:
    """Refuse a kind of split that a source doesn't claim, by name.

    Raises:
        ConfigError: it doesn't.
    """
    if kind == "whole" or kind in claimed or (kind == "among" and "values" in claimed):
        return
    there = f"it can be by {' or '.join(sorted(claimed))}" if claimed else "remove `splits`"
    raise ConfigError(
        f"a {system} source can't be split by {kind}: {there}",
        connector=system,
        command="conduit plan",
    )
