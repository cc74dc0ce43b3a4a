"""What dbt is to select: ``changed+`` becomes the sources of the tables that changed. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import product

from conduit_dbt.results import DbtSource

_CHANGED = re.compile(r"(?P<before>@|\d*\+)?changed(?P<after>\+\d*)?")
_SPECIAL = re.compile(r"[\s,.+*?\[\]]")


def selector(source: DbtSource) -> str:
    """Return what selects this source table.

    dbt splits a selection at spaces, commas and dots, and can't be given a quoted name. So ``?``
    stands for such a character: at worst, a table with another one there is selected as well.
    """
    project = source.unique_id.split(".")[1]
    names = (_SPECIAL.sub("?", name) for name in (source.source_name, source.name))
    return f"source:{project}.{'.'.join(names)}"


def sources_for(schema: str, table: str, sources: Iterable[DbtSource]) -> tuple[DbtSource, ...]:
    """Return the sources that are a table: by schema and name, in whichever case.

    Whichever their database: it is the profile's, which is the destination's.
    """
    wanted = (schema.lower(), table.lower())
    return tuple(s for s in sources if (s.schema_name.lower(), s.identifier.lower()) == wanted)


def names_changed(select: Sequence[str]) -> bool:
    """Whether a selection has ``changed`` in it."""
    return any(_CHANGED.fullmatch(part) for text in select for part in _parts(text))


def expand(select: Sequence[str], sources: Sequence[DbtSource]) -> tuple[str, ...]:
    """Return the selection with ``changed`` replaced by each source, as dbt's union of them.

    Example:
        >>> orders = DbtSource(
        ...     unique_id="source.shop.raw.orders",
        ...     source_name="raw",
        ...     name="orders",
        ...     database=None,
        ...     schema_name="raw",
        ...     identifier="orders",
        ... )
        >>> expand(("changed+,tag:nightly", "tag:always"), (orders,))
        ('source:shop.raw.orders+,tag:nightly', 'tag:always')
    """
    out: list[str] = []
    for text in " ".join(select).split():
        choices = [_choices(part, sources) for part in text.split(",")]
        out.extend(",".join(parts) for parts in product(*choices))
    return tuple(dict.fromkeys(out))


def _parts(text: str) -> list[str]:
    return [part for union in text.split() for part in union.split(",")]


def _choices(part: str, sources: Sequence[DbtSource]) -> list[str]:
    match = _CHANGED.fullmatch(part)
    if match is None:
        return [part]
    before, after = match["before"] or "", match["after"] or ""
    return [f"{before}{selector(s)}{after}" for s in sources]
