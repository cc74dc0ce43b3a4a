"""Schemas for others: SQL DDL, Arrow's own file form, dbt columns; and back. Text, no I/O.

What each says of a column is its name, its type as the form spells it, and NOT NULL. DDL and dbt
columns speak a destination's types, so what comes back is what a table of it would hold
(:func:`conduit_core.types.diff.landed`); Arrow's form keeps all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import yaml

from conduit_core.types.dialect import Dialect, Table

YAML_WIDTH = 10_000


def to_ddl(schema: pa.Schema, dialect: Dialect, table: Table) -> str:
    """Return the CREATE TABLE statement of a new table with the schema's columns.

    Raises:
        SchemaError: the system has no place for a type.
        ValueError: there are no columns.
    """
    if not schema.names:
        raise ValueError("a table needs a column")
    lines = [
        f"  {dialect.quote(f.name)} {dialect.landing(f).ddl}{'' if f.nullable else ' NOT NULL'}"
        for f in schema
    ]
    columns = ",\n".join(lines)
    return f"CREATE TABLE {dialect.table(table)} (\n{columns}\n);\n"


def to_arrow(schema: pa.Schema) -> bytes:
    """Return the schema as an Arrow IPC message, which any Arrow library reads."""
    return bytes(schema.serialize().to_pybytes())


def from_arrow(data: bytes) -> pa.Schema:
    """Read what :func:`to_arrow` wrote, or the head of an Arrow stream.

    Raises:
        ValueError: it is no Arrow schema.
    """
    try:
        schema: pa.Schema = pa.ipc.read_schema(pa.py_buffer(data))
    except (pa.ArrowException, OSError) as error:
        raise ValueError("not an Arrow schema") from error
    return schema


def to_dbt(schema: pa.Schema, dialect: Dialect, model: str) -> str:
    """Return a dbt properties file: the model's columns with ``data_type`` and ``not_null``.

    They are those of a contract: ``dbt build`` compares names and types with what the model makes.

    Raises:
        SchemaError: the system has no place for a type.
    """
    columns: list[dict[str, object]] = []
    for field in schema:
        column: dict[str, object] = {
            "name": field.name,
            "quote": True,
            "data_type": dialect.landing(field).ddl,
        }
        if not field.nullable:
            column["constraints"] = [{"type": "not_null"}]
        columns.append(column)
    document = {"version": 2, "models": [{"name": model, "columns": columns}]}
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=YAML_WIDTH)


def from_dbt(text: str, dialect: Dialect) -> dict[str, pa.Schema]:
    """Return each model, and each source's table, of a dbt properties file as a schema.

    Columns without a ``data_type`` are left out: dbt asks for none.

    Raises:
        ValueError: it is no properties file.
    """
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError("not valid YAML") from error
    if not isinstance(document, Mapping):
        raise ValueError("not a dbt properties file: it has no `models:` and no `sources:`")  # noqa: TRY004 - a bad value
    tables = [*_items(document, "models")]
    for source in _items(document, "sources"):
        tables += _items(source, "tables")
    return {str(t["name"]): _dbt_schema(_items(t, "columns"), dialect) for t in tables}


def _items(mapping: Mapping[object, object], key: str) -> list[Mapping[object, object]]:
    found = mapping.get(key)
    if found is None:
        return []
    if not isinstance(found, list) or not all(
        isinstance(i, Mapping) and "name" in i for i in found
    ):
        raise ValueError(f"not a dbt properties file: `{key}` is no list of things with a name")
    return found


def _dbt_schema(columns: Sequence[Mapping[object, object]], dialect: Dialect) -> pa.Schema:
    fields = []
    for column in columns:
        if not column.get("data_type"):
            continue
        constraints = column.get("constraints")
        kinds = [c.get("type") for c in constraints] if isinstance(constraints, list) else []
        nullable = "not_null" not in kinds
        name, ddl = str(column["name"]), str(column["data_type"])
        fields.append(dialect.field_of(name, ddl, nullable=nullable))
    return pa.schema(fields)
