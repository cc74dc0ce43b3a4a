"""Names in a pipeline file: ``schema.table`` with quotes where a name has a dot, file stems."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Sequence

_PART = re.compile(r'"((?:[^"]|"")+)"|([^".][^.]*)')
_GLOB = re.compile(r"[*?\[\]{}]")
FILE_SUFFIXES: dict[str, str] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
DATABASE_SUFFIXES = {
    ".duckdb": "duckdb",
    ".ddb": "duckdb",
    ".sqlite": "sqlite",
    ".sqlite3": "sqlite",
}
IMPORT_PATH = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$"
"""package.module:name, of something in Python."""
COMPRESSED = (".gz", ".zst", ".zip")
FILE_TYPES = frozenset(FILE_SUFFIXES.values())


def split_table(text: str) -> tuple[str | None, str]:
    """Split ``schema.table`` (or ``table``) into its names; quoted parts lose their quotes.

    Names keep their case: ``Orders`` is not ``orders``.

    Raises:
        ValueError: more than two parts, or an empty one; the message never holds the text.
    """
    parts: list[str] = []
    position = 0
    while position <= len(text):
        match = _PART.match(text, position)
        if match is None:
            raise ValueError("has an empty name; write table or schema.table")
        quoted, plain = match.groups()
        parts.append(quoted.replace('""', '"') if quoted is not None else plain)
        position = match.end() + 1
        if match.end() < len(text) and text[match.end()] != ".":
            raise ValueError('has text behind a closing quote; write "a.b" or schema."a.b"')
    if len(parts) > 2:
        raise ValueError('has more than two parts; a name with a dot needs quotes: schema."a.b"')
    return (parts[0], parts[1]) if len(parts) == 2 else (None, parts[0])


def quote_name(name: str) -> str:
    """Return ``name`` so that :func:`split_table` reads it back as one part."""
    if "." in name or name.startswith('"'):
        return '"' + name.replace('"', '""') + '"'
    return name


def file_type(path: str) -> str | None:
    """Return the connector type that a path's suffix names, or None."""
    name = path.partition("?")[0] if "://" in path else path
    lowered = name.lower()
    for packed in COMPRESSED:
        lowered = lowered.removesuffix(packed)
    for suffix, kind in FILE_SUFFIXES.items():
        if lowered.endswith(suffix):
            return kind
    return None


def looks_like_path(text: str) -> bool:
    """Tell whether a plain stream is more likely a file, a folder or a glob than a table."""
    return "/" in text or "\\" in text or "*" in text or file_type(text) is not None


def file_stem(path: str) -> str:
    """Return the name that a file, folder or glob gives its stream; empty if it gives none.

    ``data/flights.csv.zip`` and ``flights/*.parquet`` and ``flights-*.csv`` are all ``flights``.
    """
    bare = re.sub(r"^[a-z0-9+.-]+://", "", path.partition("?")[0] if "://" in path else path)
    for part in reversed(re.split(r"[/\\]+", bare)):
        name = part
        for packed in COMPRESSED:
            name = name[: -len(packed)] if name.lower().endswith(packed) else name
        for suffix in FILE_SUFFIXES:
            name = name[: -len(suffix)] if name.lower().endswith(suffix) else name
        if _GLOB.search(name):
            name = re.sub(r"\.\*$", "", name)
            name = _GLOB.split(name)[0].rstrip("-_. ")
        if name and name not in {".", ".."}:
            return name
    return ""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'updated_at'?`` where a column has nearly this name, else ``;``.

    Args:
        name: what isn't there.
        known: what is.
    """
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ";"


def no_stream(name: str, known: Sequence[str]) -> str:
    """Return what is said of a stream that isn't there: the nearest name, and all there are."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"no stream {name!r}{hint}; there are: {', '.join(known)}"


def name_rules(rules: Sequence[tuple[str, str, Sequence[str]]]) -> tuple[str, ...]:
    """Return the name of each rule: its own, or ``range(amount)``, the second time with ``#2``.

    Args:
        rules: of each the name that it was given ("" for none), its kind and its columns.

    Raises:
        ValueError: two rules were given the same name.
    """
    given = Counter(name for name, _, _ in rules if name)
    if twice := [name for name, count in given.items() if count > 1]:
        raise ValueError(f"two rules have the name {twice[0]!r}")
    used: set[str] = set(given)
    out: list[str] = []
    for own, kind, columns in rules:
        base = f"{kind}({', '.join(columns)})" if columns else kind
        name, number = own or base, 2
        while not own and name in used:
            name, number = f"{base}#{number}", number + 1
        used.add(name)
        out.append(name)
    return tuple(out)
