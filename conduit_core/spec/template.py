"""Writes pipeline files: the commented template of ``conduit init``, or one for given streams."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

Values = Mapping[str, object]

_TEMPLATE = """\
# A pipeline: one source, one destination, and the streams to load.
# `conduit check` tests both ends, `conduit plan` shows what would happen, `conduit run` loads.
name: shop

# Where rows come from. ${NAME} takes an environment variable, ${NAME:-default} falls back.
source:
  type: sqlite
  path: ${SHOP_DB:-shop.db}          # relative to this file
# source: {type: postgres, url: "${SHOP_URL}"}     # postgres://user:password@host:5432/database
# source: {type: csv, path: data}                  # also json, jsonl, parquet; a folder or a URL
# source: {connection: shop}                       # named in ~/.conduit/connections.yml

# Where they go. The tables, and the ledger of what was loaded, live in this schema.
destination:
  type: duckdb
  path: warehouse.duckdb
  schema: raw
# destination: {type: postgres, url: "${WAREHOUSE_URL}", schema: raw}

# on_error: stop        # a failed stream stops the rest; default: continue
# freshness: 24h        # `conduit status` exits 5 where a watermark lags more than this

streams:
  # A name is enough: the whole table is replaced at each run; readers see old or new, never half.
  - customers

  # Only what is new since the last run. Ties on the cursor neither lose nor double a row.
  - table: orders
    mode: append
    cursor: [updated_at, id]         # one column or several, ordered like the rows' changes
    # cursor_timezone: UTC           # where the cursor is a date, or a time without a zone
    # initial: 2024-01-01            # start here instead of at the first row
    # into: sales.orders             # default: the stream's name, in the destination's schema
    # columns: [id, updated_at, total]

  # A query of the source's own.
  # - name: big_orders
  #   query: SELECT * FROM orders WHERE total > 1000

  # Files (type: csv, json, jsonl, parquet): each new file once, whole.
  # - path: orders/*.csv.gz
  #   mode: append
  #   cursor: [_file_modified, _file_path]
"""


def template() -> str:
    """Return a commented ``pipeline.yml`` whose active lines are a whole, valid pipeline."""
    return _TEMPLATE


def render(name: str, source: Values, destination: Values, streams: Sequence[str | Values]) -> str:
    """Return a commented pipeline file for what a connection holds.

    Args:
        name: the pipeline's name.
        source: a mapping as the file has it; ``${NAME}`` in it stays a variable, so pass a secret
            as one.
        destination: the same for the other end.
        streams: names, or mappings of stream keys; ``${`` in them is escaped.
    """
    lines = [
        "# `conduit check` tests both ends, `conduit plan` shows what would happen, `conduit run`",
        "# loads. Each stream is replaced as a whole until it says otherwise, for example:",
        "#   {table: orders, mode: append, cursor: [updated_at, id]}",
        f"name: {_scalar(name)}",
        "",
    ]
    for key, values in (("source", source), ("destination", destination)):
        lines.append(f"{key}:")
        lines.extend(f"  {_scalar(k)}: {_flow(v)}" for k, v in values.items())
        lines.append("")
    lines.append("streams:")
    for stream in streams:
        if isinstance(stream, str):
            lines.append(f"  - {_scalar(_escape(stream))}")
            continue
        indent = "  - "
        for key, value in stream.items():
            lines.append(f"{indent}{_scalar(key)}: {_flow(value, escape=True)}")
            indent = "    "
    return "\n".join(lines) + "\n"


def _flow(value: object, *, escape: bool = False) -> str:
    if isinstance(value, Mapping):
        inner = (f"{_scalar(str(k))}: {_flow(v, escape=escape)}" for k, v in value.items())
        return "{" + ", ".join(inner) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_flow(item, escape=escape) for item in value) + "]"
    if value is None or isinstance(value, bool | int | float):
        return json.dumps(value)
    text = str(value)
    return _scalar(_escape(text) if escape else text)


def _escape(text: str) -> str:
    return text.replace("${", "$${")


def _scalar(text: str) -> str:
    """Write text plainly where YAML reads that back as the same text, else in double quotes."""
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_./-]*", text)
    if plain and text.lower() not in {"true", "false", "null"}:
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in quoted)
