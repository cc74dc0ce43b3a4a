"""Schema files: what ``conduit schema infer`` writes, and ``expected:`` reads. YAML.

    streams:
      orders:
        - {name: id, type: int64, nullable: false}
        - {name: email, type: string, max_length: 50}
        - {name: payload, type: string, logical: json}

``type`` is Arrow's text. Without ``nullable`` a column may have NULLs; ``max_length`` is a text's
capacity in characters, ``logical`` is json, uuid or numeric, ``native`` the exact type that a
system gave (``postgres:jsonb``), ``arrow`` the bytes of a type that its text doesn't say wholly.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches

import pyarrow as pa
import yaml

from conduit_core.errors import ConfigError
from conduit_core.spec.document import Document, Loc, parse_yaml, safe_key
from conduit_core.types.schema import schema_from_json, schema_to_json

_TAGS = {
    "logical": "conduit:type",
    "native": "conduit:native",
    "max_length": "conduit:max_length",
}
_COLUMN_LINE = re.compile(r" +(?:: )?- \{")
"""A column's line; that of a stream with an odd name, ``? name``, stands behind a colon."""
_LOGICAL = ("json", "uuid", "numeric")
_KEYS: dict[str, type] = {
    "name": str, "type": str, "nullable": bool, "logical": str, "max_length": int, "native": str,
    "arrow": str,
}  # fmt: skip
_SAID = {str: "text", bool: "true or false", int: "a number"}


def write_schemas(
    schemas: Mapping[str, pa.Schema],
    notes: Mapping[str, Mapping[str, str]] | None = None,
    head: Sequence[str] = (),
) -> str:
    """Return the schema file of these streams.

    Args:
        schemas: by stream.
        notes: what to remark beside a column, by stream and column.
        head: remarks at the top.
    """
    streams = {name: [_column(i) for i in schema_to_json(s)] for name, s in schemas.items()}
    text: str = yaml.dump(
        {"streams": streams}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=sys.maxsize
    )
    remarks = iter(
        (notes or {}).get(name, {}).get(column, "")
        for name, s in schemas.items()
        for column in s.names
    )
    lines = [f"# {_plain(line)}" for line in head]
    for line in text.removesuffix("\n").split("\n"):
        remark = next(remarks) if _COLUMN_LINE.match(line) else ""
        lines.append(f"{line}  # {_plain(remark)}" if remark else line)
    return "\n".join([*lines, ""])


def _plain(remark: str) -> str:
    return " ".join(remark.split())


def read_schemas(text: str, origin: str) -> dict[str, pa.Schema]:
    """Return each stream's schema of a schema file.

    Args:
        text: the file's content.
        origin: its name, for messages.

    Raises:
        ConfigError: a syntax error, an unknown key or type, a column twice; with the line.
    """
    document = parse_yaml(text, origin)
    data = document.data
    streams = data.get("streams") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(streams, dict):
        raise ConfigError(
            f"{origin}: not a schema file: it needs `streams:`, each with its columns",
            command="conduit schema infer",
        )
    for key in data:
        if key != "streams":
            raise _wrong(document, origin, (key,), f"`{safe_key(key)}` is not known; `streams` is")
    return {
        name: pa.schema(list(_fields(document, origin, ("streams", name), columns)))
        for name, columns in streams.items()
    }


class _Column(dict[str, object]):
    """A column on its way into a file."""


def _column(item: Mapping[str, object]) -> _Column:
    back = {tag: key for key, tag in _TAGS.items()}
    column = _Column({back.get(key, key): value for key, value in item.items()})
    if "max_length" in column:
        column["max_length"] = int(str(column["max_length"]))
    return column


def _fields(
    document: Document, origin: str, at: Loc, columns: object
) -> Iterator[pa.Field[pa.DataType]]:
    if not isinstance(columns, list):
        raise _wrong(document, origin, at, "needs a list of columns, each with name and type")
    seen: set[str] = set()
    for i, column in enumerate(columns):
        here = (*at, i)
        if not isinstance(column, dict):
            raise _wrong(document, origin, here, "a column is {name: id, type: int64}")
        _check(document, origin, here, column)
        if column["name"] in seen:
            raise _wrong(document, origin, here, f"column {column['name']!r} is there twice")
        seen.add(column["name"])
        item = {_TAGS.get(str(k), str(k)): value for k, value in column.items()}
        try:
            yield schema_from_json([item]).field(0)
        except ValueError:
            text = f"column {column['name']!r}: `type` is not an Arrow type, as int64 or string are"
            raise _wrong(document, origin, (*here, "type"), text) from None


def _check(document: Document, origin: str, at: Loc, column: dict[str, object]) -> None:
    for key, value in column.items():
        if key not in _KEYS:
            near = get_close_matches(key, _KEYS, 1)
            hint = f"; did you mean `{near[0]}`?" if near else f"; there are {', '.join(_KEYS)}"
            raise _wrong(document, origin, (*at, key), f"`{safe_key(key)}` is not known{hint}")
        if type(value) is not _KEYS[key]:
            text = f"`{key}` must be {_SAID[_KEYS[key]]}"
            if key == "name":
                text += ", in quotes if it looks like something else"
            raise _wrong(document, origin, (*at, key), text)
    for key in ("name", "type"):
        if not column.get(key):
            raise _wrong(document, origin, at, f"a column needs a `{key}`")
    if column.get("logical", "json") not in _LOGICAL:
        text = f"`logical` is one of {', '.join(_LOGICAL)}"
        raise _wrong(document, origin, (*at, "logical"), text)
    limit = column.get("max_length", 1)
    if not isinstance(limit, int) or limit < 1:
        raise _wrong(document, origin, (*at, "max_length"), "`max_length` is at least 1")


def _wrong(document: Document, origin: str, at: Loc, text: str) -> ConfigError:
    line = next(document.lines[at[:n]] for n in range(len(at), -1, -1) if at[:n] in document.lines)
    return ConfigError(f"{origin}:{line}: {text}", command="conduit schema infer")


class _Dumper(yaml.SafeDumper):
    """Writes a column in one line, and quotes what any YAML reader could take for no plain text."""


_PLAIN = re.compile(
    r"(?!(?:true|false|null|yes|no|on|off|y|n)$)[a-z_]\w*", re.IGNORECASE | re.ASCII
)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None if _PLAIN.fullmatch(text) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


def _flat(dumper: yaml.SafeDumper, column: _Column) -> yaml.MappingNode:
    return dumper.represent_mapping("tag:yaml.org,2002:map", column.items(), flow_style=True)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(_Column, _flat)
