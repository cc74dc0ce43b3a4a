"""Where everything lies below a destination's root: paths in, paths out. Pure.

::

    orders/day=2024-01-01/<load>-<split>-<attempt>-0000.parquet    data files
    _conduit/orders/00000042.json                                  manifests, one a version
    _conduit/orders/_lists/<load>-<split>-<attempt>.json           which data files a version has
    _conduit/orders/_staging/...                                   splits that wait

A schema is one more folder above the table's, in both places. Names are percent-encoded, a leading
``_`` or ``.`` too, so that no table's folder is ever one of ours.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from urllib.parse import quote, unquote

from conduit_core.errors import ConfigError
from conduit_core.types.dialect import Table

ROOT = "_conduit"
HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
"""The folder of a partition whose value is NULL, as Hive, Spark, DuckDB and Arrow spell it."""
MAX_NAME = 240
"""Bytes of one folder's name: file systems take 255, and temporary names are longer."""

_MANIFEST = re.compile(r"(\d{8,})\.json")
_DATA = re.compile(r"[^/]+-[0-9a-z]+-[0-9a-f]{12}-\d{4,}\.(?:parquet|csv|jsonl)(?:\.gz|\.zst)?")


def escape(name: str) -> str:
    """Return a name as one path segment, in ASCII; :func:`unescape` gives it back."""
    text = quote(name, safe=" ", errors="surrogatepass").replace("~", "%7E").replace(" ", "%20")
    if text[:1] in ("_", "."):
        text = f"%{ord(text[0]):02X}{text[1:]}"
    return text


def unescape(segment: str) -> str:
    """Return the name that :func:`escape` made the segment of."""
    return unquote(segment, errors="surrogatepass")


def new_attempt() -> str:
    """Return a text that tells one attempt's files from any other's."""
    return secrets.token_hex(6)


@dataclass(frozen=True, slots=True)
class TargetPaths:
    """The paths of one target."""

    data: str
    """The folder of its data files."""
    log: str
    """The folder of its manifests."""

    @property
    def lists(self) -> str:
        """The folder of the lists of data files."""
        return f"{self.log}/_lists"

    @property
    def staging(self) -> str:
        """The folder of splits that wait."""
        return f"{self.log}/_staging"

    def manifest(self, version: int) -> str:
        """Return the path of a version's manifest."""
        return f"{self.log}/{version:08d}.json"

    def version(self, path: str) -> int | None:
        """Return the version whose manifest this path is, or None."""
        folder, _, name = path.rpartition("/")
        found = _MANIFEST.fullmatch(name)
        return int(found[1]) if found and folder == self.log else None

    def list_of(self, load_id: str, split: str, attempt: str) -> str:
        """Return the path of a list of data files."""
        return f"{self.lists}/{escape(load_id)}-{split}-{attempt}.json"


def target_paths(target: Table) -> TargetPaths:
    """Return where a target's files lie.

    Raises:
        ConfigError: a name is longer than folders' names may be.
    """
    parts = [escape(name) for name in (target.schema, target.name) if name]
    for name, part in zip((n for n in (target.schema, target.name) if n), parts, strict=True):
        if len(part) > MAX_NAME:
            raise ConfigError(
                f"{name!r} is too long for a folder's name ({len(part)} bytes as it is written,"
                f" {MAX_NAME} at most): give the stream another `into`"
            )
    folder = "/".join(parts)
    return TargetPaths(folder, f"{ROOT}/{folder}")


def target_of(path: str) -> Table | None:
    """Return the target whose manifest this path is; None: it isn't one."""
    parts = path.split("/")
    if len(parts) not in (3, 4) or parts[0] != ROOT or not _MANIFEST.fullmatch(parts[-1]):
        return None
    if any(part.startswith("_") for part in parts[1:-1]):
        return None
    names = [unescape(part) for part in parts[1:-1]]
    return Table(names[0] if len(names) == 2 else "", names[-1])


def data_name(load_id: str, split: str, attempt: str, number: int, suffix: str) -> str:
    """Return a data file's own name."""
    return f"{escape(load_id)}-{split}-{attempt}-{number:04d}{suffix}"


def is_data(path: str) -> bool:
    """Say whether a path ends in a name that :func:`data_name` makes."""
    return _DATA.fullmatch(path.rpartition("/")[2]) is not None


def partition_segment(column: str, value: str | None) -> str:
    """Return the folder of a partition, ``column=value`` (Hive's way, percent-encoded).

    Raises:
        ConfigError: the value is too long for a folder's name.
    """
    text = HIVE_NULL if value is None else quote(value, safe="", errors="surrogatepass")
    segment = f"{escape(column)}={text.replace('~', '%7E')}"
    if len(segment) > MAX_NAME:
        shown = (value or "")[:40]
        raise ConfigError(
            f"partition_by: column {column!r} has a value that is too long for a folder's name"
            f" ({shown!r}...): partition by another column"
        )
    return segment
