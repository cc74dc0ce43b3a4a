"""The statement that made a table, with other types for some of its columns.

SQLite alters no column, and keeps the text of ``CREATE TABLE`` as it was written: defaults, checks,
keys, collations and comments are in there and nowhere else, so the text is what is changed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from conduit_core.connectors.publish import Column
from conduit_core.errors import SchemaError

_TOKEN = re.compile(
    r"""(?P<space>\s+|--[^\n]*|/\*.*?(?:\*/|\Z))|(?P<quoted>"(?:[^"]|"")*"|`(?:[^`]|``)*`"""
    r"""|\[[^\]]*\]|'(?:[^']|'')*')|(?P<word>\w+)|(?P<sign>.)""",
    re.DOTALL,
)
_TABLE_CONSTRAINTS = frozenset({"CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN"})
_COLUMN_CONSTRAINTS = _TABLE_CONSTRAINTS | {
    "NOT", "NULL", "DEFAULT", "COLLATE", "REFERENCES", "GENERATED", "AS",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    start: int
    end: int
    depth: int
    is_word: bool

    @property
    def upper(self) -> str:
        return self.text.upper() if self.is_word else ""


def redeclared(sql: str, name: str, columns: tuple[Column, ...]) -> str:
    """Return a table's ``CREATE TABLE`` for a table of another name, with some columns changed.

    Args:
        sql: the text that SQLite keeps.
        name: the quoted name of the new table.
        columns: those that change: their new types; a nullable one loses its NOT NULL.

    Raises:
        SchemaError: a column isn't found in the text.
    """
    tokens = _tokens(sql)
    body = next((t for t in tokens if t.text == "("), None)
    wanted = {_fold(c.name): c for c in columns}
    edits: list[tuple[int, int, str]] = []
    for item in _items(tokens):
        column = wanted.pop(_fold(_unquoted(item[0].text)), None)
        if column is not None and item[0].upper not in _TABLE_CONSTRAINTS:
            edits += _edits(item, column)
    if wanted or body is None:
        names = ", ".join(c.name for c in wanted.values())
        raise SchemaError(
            f"{names}: not found in the statement that made the table, so SQLite can't have it"
            " widened: make the table anew",
            command="conduit run --full-refresh",
        )
    text = sql
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return f"CREATE TABLE {name} {text[body.start :]}"


def _edits(item: list[_Token], column: Column) -> list[tuple[int, int, str]]:
    """Return what to put where in a column's definition."""
    rest = [t for t in item[1:] if t.depth == 1]
    first = next((t for t in rest if t.upper in _COLUMN_CONSTRAINTS), None)
    kind = [t for t in item[1:] if first is None or t.start < first.start]
    if kind:
        edits = [(kind[0].start, kind[-1].end, column.ddl)]
    else:
        edits = [(item[0].end, item[0].end, f" {column.ddl}")]
    if column.nullable:
        edits += [(*span, "") for span in _not_nulls(rest)]
    return edits


def _not_nulls(tokens: list[_Token]) -> list[tuple[int, int]]:
    """Return where NOT NULL stands, with its name and its ON CONFLICT."""
    words = [t.upper for t in tokens]
    found = []
    for i in range(len(words) - 1):
        if words[i : i + 2] != ["NOT", "NULL"]:
            continue
        start = i - 2 if i >= 2 and words[i - 2] == "CONSTRAINT" else i
        end = i + 4 if words[i + 2 : i + 4] == ["ON", "CONFLICT"] else i + 1
        found.append((tokens[start].start, tokens[min(end, len(tokens) - 1)].end))
    return found


def _tokens(sql: str) -> list[_Token]:
    found: list[_Token] = []
    depth = 0
    for match in _TOKEN.finditer(sql):
        if match["space"] is not None:
            continue
        text = match[0]
        depth -= text == ")"
        found.append(_Token(text, *match.span(), depth, match["word"] is not None))
        depth += text == "("
    return found


def _items(tokens: list[_Token]) -> list[list[_Token]]:
    """Return the definitions between the table's parentheses."""
    items: list[list[_Token]] = [[]]
    for token in tokens:
        if token.depth == 1 and token.text == ",":
            items.append([])
        elif token.depth >= 1:
            items[-1].append(token)
    return [item for item in items if item]


def _unquoted(text: str) -> str:
    if text[0] in "\"`'":
        return text[1:-1].replace(text[0] * 2, text[0])
    return text[1:-1] if text[0] == "[" else text


def _fold(name: str) -> str:
    return "".join(c.lower() if c.isascii() else c for c in name)
