"""What dbt is told of the loads: variables, environment, a query comment. Pure.

The variable is passed where a file of the project names it (``'conduit'``, in quotes): vars that
differ from the last time make dbt parse the whole project again. The environment always is.

A model that reads them selects exactly the rows that were loaded::

    {% set orders = var('conduit', {}).get('tables', {}).get('raw.orders') %}
    select * from {{ source('raw', 'orders') }}
    {% if orders %} where _conduit_load_id in ('{{ orders.load_ids | join("', '") }}') {% endif %}
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from conduit_core import ChangedTable

VARIABLE = "conduit"
PREFIX = "DBT_ENV_CUSTOM_ENV_CONDUIT_"
_MAX_COMMENT_IDS = 5
# One argument of a program, as --vars is, takes 128 KiB on Linux; a load takes some 350 bytes.
_MAX_LOADS = 200


def variables(pipeline: str, changed: Sequence[ChangedTable]) -> dict[str, object]:
    """Return the value of ``var('conduit')``: plain data.

    A table whose loads aren't all known, or too many, isn't in ``tables``: a model then reads all
    its rows. ``load_ids`` are those of ``tables``.
    """
    told = described(changed)
    return {
        "pipeline": pipeline,
        "load_ids": _ids(told),
        "tables": {table.target: _table(table) for table in told},
    }


def described(changed: Sequence[ChangedTable]) -> list[ChangedTable]:
    """Return the tables that are told of load by load: as many as a command line takes."""
    found: list[ChangedTable] = []
    left = _MAX_LOADS
    for table in sorted(changed, key=lambda t: len(t.loads)):
        left -= len(table.loads)
        if table.complete and left >= 0:
            found.append(table)
    return found


def _ids(tables: Sequence[ChangedTable]) -> list[str]:
    return [load.load_id for table in tables for load in table.loads]


def _table(table: ChangedTable) -> dict[str, object]:
    rows: Counter[str] = Counter()
    for load in table.loads:
        rows.update({k: n for k, n in load.counts.model_dump().items() if n})
    columns = [c.column for load in table.loads for c in load.schema_changes]
    return {
        "stream": table.stream,
        "load_ids": [load.load_id for load in table.loads],
        "version": table.version,
        "since_version": table.finished,
        "loaded_from": min((load.loaded_at for load in table.loads), default=None),
        "window": _window(table),
        "rows": dict(rows),
        "changed_columns": list(dict.fromkeys(columns)),
        "loads": [
            {
                "load_id": load.load_id,
                "version": load.version,
                "mode": load.mode,
                "window": load.window.model_dump(),
                "loaded_at": load.loaded_at,
                "rows": {k: n for k, n in load.counts.model_dump().items() if n},
            }
            for load in table.loads
        ],
    }


def _window(table: ChangedTable) -> dict[str, object] | None:
    """Return the one window that all loads cover together; None where there is none.

    Each must begin where the one before it ended: slices, or a watermark that was set back, leave
    rows outside of what lies between the first bound and the last.
    """
    windows = [load.window for load in table.loads]
    if not windows or any(w.column is None or w.null_cursor or w.kind == "full" for w in windows):
        return None
    touch = all(
        (one.kind, one.column, one.high) == (next_.kind, next_.column, next_.low)
        for one, next_ in pairwise(windows)
    )
    first, last = windows[0], windows[-1]
    if not touch or (first.kind == "given" and len(windows) > 1):
        return None
    return {"kind": first.kind, "column": first.column, "low": first.low, "high": last.high}


def environment(pipeline: str, changed: Sequence[ChangedTable]) -> dict[str, str]:
    """Return the same as environment variables, which dbt also writes into its artifacts."""
    ids = _ids(described(changed))
    return {
        f"{PREFIX}PIPELINE": pipeline,
        f"{PREFIX}TABLES": ",".join(table.target for table in changed),
        f"{PREFIX}LOAD_IDS": ",".join(ids),
        f"{PREFIX}QUERY_COMMENT": comment(pipeline, ids),
    }


def comment(pipeline: str, load_ids: Sequence[str]) -> str:
    """Return the comment for a project's ``query-comment``: whose loads a statement follows."""
    shown = load_ids[:_MAX_COMMENT_IDS]
    facts: dict[str, object] = {"app": "dbt", "conduit_pipeline": pipeline, "conduit_loads": shown}
    if len(load_ids) > len(shown):
        facts["conduit_loads_more"] = len(load_ids) - len(shown)
    return json.dumps(facts, ensure_ascii=True).replace("*/", "* /")
