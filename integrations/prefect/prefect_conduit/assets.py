"""What Prefect calls a table or a set of files: the key of its asset. Pure functions.

A table's key is ``SYSTEM://DATABASE/SCHEMA/TABLE``, as prefect-dbt makes it of the same table: what
Conduit loads and what dbt builds of it are one graph. It is the same wherever the table is a source
or a target. A file's key is its URL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conduit_core import Dataset

LONGEST = 512
_REFUSED = frozenset("\n\r\t\0 #?&%\"'<>[]{}|\\^`")
"""Signs that Prefect lets no key have; as in prefect-dbt, they are left out."""
_DATABASES = ("duckdb", "postgres", "sqlite")


def asset_key(dataset: Dataset) -> str:
    """Return the key of the asset that a table or a set of files is.

    Host, port and folder of a database aren't in it, nor in prefect-dbt's: two databases of one
    name share their tables' assets. Nothing of it is secret.
    """
    scheme, separator, where = dataset.namespace.partition("://")
    if scheme in _DATABASES and separator:
        name = dataset.name.replace(r"\.", ".").replace(".", "/")
        if scheme == "sqlite":  # its names have no database: it is called as its file
            name = f"{where.rpartition('/')[2].partition('.')[0]}/{name}"
        key = f"{scheme}://{name}"
    elif separator:
        key = f"{dataset.namespace}/{dataset.name.lstrip('/')}"
    else:
        key = f"{scheme}://{dataset.name}"
    return "".join(sign for sign in key if sign not in _REFUSED)[:LONGEST]
