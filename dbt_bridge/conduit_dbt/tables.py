"""What the sources half is told about loaded tables, and what it answers. Plain data, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeAlias

Rule: TypeAlias = Mapping[str, object]
"""A quality rule as the pipeline file says it: ``{"rule": "not_null", "column": "id"}``."""

KEYED_MODES = frozenset({"insert_only", "upsert", "scd2", "replace_window"})
"""The modes that go by the unique key: in these no key is NULL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceColumn:
    """A column of a target, with the type as the database writes it."""

    name: str
    data_type: str
    nullable: bool = True
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceTable:
    """A target as dbt's source: where it is, what it has, and what its stream promises of it.

    Args:
        stream: the stream that loads it.
        schema, name: where it lies; the dbt source is named after the schema.
        system: the destination's type, ``postgres`` or ``duckdb``.
        mode: the stream's mode; it decides which rules hold for the table, not only for a load.
        rules: the stream's quality rules.
        freshness: how far it may lag; None writes no freshness.
        cursor_timezone: the zone of a cursor that has none.
        metadata: the stream's ``metadata``: with ``load``, rows say when they were loaded.
        ledger_schema: where ``_conduit_ledger`` lies; empty: the table's schema.
    """

    stream: str
    schema: str
    name: str
    system: str
    mode: str = "replace"
    columns: tuple[SourceColumn, ...] = ()
    rules: tuple[Rule, ...] = ()
    unique_key: tuple[str, ...] = ()
    cursor: tuple[str, ...] = ()
    cursor_timezone: str | None = None
    freshness: timedelta | None = None
    metadata: tuple[str, ...] = ("load",)
    ledger_schema: str = ""
    description: str = ""

    @property
    def label(self) -> str:
        """``schema.table``, as notes and changes name it."""
        return f"{self.schema}.{self.name}"

    @property
    def key(self) -> tuple[str, ...]:
        """The unique key, where the mode goes by it; else nothing."""
        return self.unique_key if self.mode in KEYED_MODES else ()

    def column(self, name: str) -> SourceColumn | None:
        """Return the column of that name; in another case if there is none in this one."""
        exact = next((each for each in self.columns if each.name == name), None)
        folded = name.casefold()
        return exact or next((c for c in self.columns if c.name.casefold() == folded), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenericTest:
    """One of dbt's generic tests, however it was written.

    Args:
        name: with its package, if it is of one: ``not_null``, ``dbt_utils.accepted_range``.
        column: the column it is of, unquoted; None: of the table.
        arguments: its arguments, without ``column_name`` and ``model``.
        where: which rows it looks at; empty: all.
        severity: ``error`` or ``warn``.
    """

    name: str
    column: str | None = None
    arguments: Mapping[str, object] = field(default_factory=dict)
    where: str = ""
    severity: str = "error"


@dataclass(frozen=True, slots=True)
class Written:
    """A file's new text, what is different in it, and what a person should know.

    Without ``changes`` the text is the old one, byte by byte.
    """

    text: str
    changes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
