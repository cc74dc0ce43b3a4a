"""Bringing dbt's sources up to date: what a file has is kept, what it lacks is added. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from conduit_dbt.freshness import loaded_at, period
from conduit_dbt.rules import Check, checks
from conduit_dbt.rules_to_tests import tests_of
from conduit_dbt.sourcetests import KEYS, read_test, told_test, write_test
from conduit_dbt.sqltext import has_jinja, needs_quotes
from conduit_dbt.tables import GenericTest, SourceColumn, SourceTable
from conduit_dbt.tests_to_rules import rule_of
from conduit_dbt.yamltext import (
    Flow,
    YamlText,
    child,
    is_empty,
    items,
    plain,
    text_of,
)

_Tests: TypeAlias = "dict[str | None, list[object]]"
_CONFIGURED = (1, 10)  # freshness, loaded_at_field and meta go under `config:`
_ARGUMENTS = (1, 10, 8)  # that patch turned the flag on: a test's arguments go under `arguments:`


def schema_of(source: Node) -> str:
    """Return the schema that a source is of; its name where it says none, or a template."""
    schema = text_of(source, "schema")
    return schema if schema and not has_jinja(schema) else text_of(source, "name")


def table_of(table: Node) -> str:
    """Return the table that an entry of ``tables:`` is of."""
    return text_of(table, "identifier") or text_of(table, "name")


def test_key(text: str) -> str:
    """Return the key that a file has its tests under."""
    used = [key for key in KEYS if re.search(rf"(^|[\s{{,]){key}\s*:", text)]
    return used[0] if used else KEYS[0]


@dataclass(slots=True)
class Update:
    """One pass over a file: edits wait in ``yaml``, what they are in ``changes`` and ``notes``."""

    yaml: YamlText
    version: tuple[int, ...]
    packages: frozenset[str]
    test_key: str
    changes: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    # --- what is new ------------------------------------------------------------------------------

    def new_source(self, schema: str, tables: Sequence[SourceTable]) -> dict[str, object]:
        """Return a source with its tables."""
        listed = [self.new_table(table) for table in tables]
        name = _dbt_name(schema)
        if name in {text_of(s, "name") for s in items(self.yaml.root, "sources")}:
            name = f"{name}_loaded"
            self.notes.append(f"{schema}: a source of another schema has its name, so it is {name}")
        place = {} if name == schema else {"schema": schema}
        return {"name": name, **place, "tables": listed}

    def new_table(self, table: SourceTable) -> dict[str, object]:
        """Return a table with all that is told of it."""
        self.changes.append(f"{table.label}: added")
        found = tests_of(table, self.packages)
        self.notes.extend(found.notes)
        tests = self._entries(found.tests, table)
        out: dict[str, object] = {"name": _dbt_name(table.name)}
        if out["name"] != table.name:
            out["identifier"] = table.name
        if _can_describe(table.description):
            out["description"] = table.description
        out.update(self._settings(table, self._freshness(table)))
        if of_table := tests.pop(None, []):
            out[self.test_key] = of_table
        columns = [self._new_column(c, tests.pop(c.name, [])) for c in table.columns]
        if columns := [*columns, *self._bare_columns(tests)]:
            out["columns"] = columns
        return out

    def _bare_columns(self, tests: _Tests) -> list[dict[str, object]]:
        """Columns that nobody described to us: their tests still need a place."""
        return [{"name": name, self.test_key: some} for name, some in tests.items()]

    def _entries(self, tests: Sequence[GenericTest], table: SourceTable) -> _Tests:
        """Return the entries of tests, by column; None: of the table."""
        out: _Tests = {}
        for test in tests:
            column = table.column(test.column) if test.column else None
            entry = write_test(test, nests_arguments=self.version >= _ARGUMENTS)
            out.setdefault(column.name if column else test.column, []).append(entry)
        return out

    def _new_column(self, column: SourceColumn, tests: list[object]) -> dict[str, object]:
        out: dict[str, object] = {"name": column.name}
        if needs_quotes(column.name):
            out["quote"] = True
        if _can_describe(column.description):
            out["description"] = column.description
        out["data_type"] = column.data_type
        if tests:
            out[self.test_key] = tests
        return out

    def _settings(self, table: SourceTable, fresh: dict[str, object]) -> dict[str, object]:
        dagster = {"dagster": {"asset_key": Flow([table.schema, table.name])}}
        settings = {**fresh, "meta": dagster}
        return {"config": settings} if self.version >= _CONFIGURED else settings

    def _freshness(self, table: SourceTable) -> dict[str, object]:
        if table.freshness is None:
            return {}
        where = loaded_at(table, takes_query=self.version >= _CONFIGURED)
        if not where:
            self.notes.append(
                f"{table.label}: no freshness: without `metadata: [load]` and a time cursor it"
                " needs dbt 1.10"
            )
            return {}
        return {**where, "freshness": {"error_after": period(table.freshness)}}

    # --- what is there ----------------------------------------------------------------------------

    def update_sources(self, schema: str, tables: Sequence[SourceTable]) -> bool:
        """Bring a schema's sources up to date; False if there is none."""
        listed = items(self.yaml.root, "sources")
        sources = [s for s in listed if isinstance(s, MappingNode) and schema_of(s) == schema]
        if not sources:
            return False
        there = [
            (table_of(node), source, node)
            for source in sources
            for node in items(source, "tables")
            if isinstance(node, MappingNode)
        ]
        missing: list[SourceTable] = []
        for table in tables:
            match = next(((s, n) for name, s, n in there if name == table.name), None)
            if match is None:
                missing.append(table)
            elif self.yaml.shares(match[1]):
                self.notes.append(
                    f"{table.label}: it has YAML aliases or merge keys, so it is left as it is"
                )
            else:
                self._update_table(*match, table)
        loaded = {table.name for table in tables}
        self.notes.extend(
            f"{schema}.{name}: this pipeline doesn't load it; it is left as it is"
            for name, _, _ in there
            if name not in loaded
        )
        self._add_tables(sources[0], missing)
        return True

    def _add_tables(self, source: MappingNode, missing: Sequence[SourceTable]) -> None:
        listed = child(source, "tables")
        if not missing:
            return
        if self.yaml.borrows(source, "tables"):
            names = ", ".join(table.label for table in missing)
            self.notes.append(f"{names}: not added: the source has YAML aliases or merge keys")
        elif isinstance(listed, SequenceNode) and not is_empty(listed):
            for table in missing:
                self.yaml.append(listed, self.new_table(table))
        else:
            self.yaml.put(source, "tables", [self.new_table(table) for table in missing])

    def _update_table(self, source: MappingNode, node: MappingNode, table: SourceTable) -> None:
        if _can_describe(table.description) and is_empty(child(node, "description")):
            self.yaml.put(node, "description", table.description)
            self.changes.append(f"{table.label}: description")
        self._update_settings(source, node, table)
        tests = self._missing_tests(node, table)
        self._add_tests(node, tests.pop(None, []))
        self._update_columns(node, table, tests)

    def _update_settings(self, source: MappingNode, node: MappingNode, table: SourceTable) -> None:
        """Add freshness and Dagster's key, where no one has said anything about them."""
        places = [node, child(node, "config"), source, child(source, "config")]
        fresh: dict[str, object] = {}
        if all(child(place, "freshness") is None for place in places):
            fresh = self._freshness(table)
        if any(
            child(p, k) is not None for p in places for k in ("loaded_at_field", "loaded_at_query")
        ):
            fresh = {key: value for key, value in fresh.items() if key == "freshness"}
        settings = self._settings(table, fresh)
        metas = [child(place, "meta") for place in places[:2]]
        if any(child(meta, "dagster") is not None for meta in metas):
            settings = _without_meta(settings)
        elif not is_empty(metas[0]) and self.version >= _CONFIGURED:
            # dbt takes one `meta`: this one is written in the older place.
            config = settings.get("config")
            meta = config.pop("meta") if isinstance(config, dict) else None
            settings = {**settings, "meta": meta}
        if self._merge(node, settings):
            what = "freshness and " if fresh else ""
            self.changes.append(f"{table.label}: {what}settings")

    def _merge(self, node: MappingNode, new: dict[str, object]) -> bool:
        """Add what a mapping lacks, at every level; tell whether anything was added."""
        changed = False
        for key, value in new.items():
            there = child(node, key)
            if isinstance(value, dict) and isinstance(there, MappingNode) and there.value:
                changed = self._merge(there, value) or changed
            elif value and is_empty(there):
                self.yaml.put(node, key, value)
                changed = True
        return changed

    def _missing_tests(self, node: MappingNode, table: SourceTable) -> _Tests:
        """Return the tests, by column, that the table lacks."""
        wanted = tests_of(table, self.packages)
        self.notes.extend(wanted.notes)
        there = self._checks_there(node)
        ours = {check for test in wanted.tests for check in _checks(test)}
        rivals = {check.rival for check in there - ours}
        missing: list[GenericTest] = []
        for test in wanted.tests:
            mine = set(_checks(test))
            if mine <= there:
                continue
            if any(check.rival in rivals for check in mine):
                self.notes.append(
                    f"{table.label}: {told_test(test)} is there with other values than the rule's;"
                    " it is left as it is"
                )
                continue
            self.changes.append(f"{table.label}: test {told_test(test)}")
            missing.append(test)
        return self._entries(missing, table)

    def _checks_there(self, node: MappingNode) -> set[Check]:
        found: set[Check] = set()
        places: list[tuple[str | None, Node]] = [(None, node)]
        places += [(text_of(c, "name"), c) for c in items(node, "columns")]
        for column, place in places:
            for entry in (each for key in KEYS for each in items(place, key)):
                test = read_test(plain(entry), column)
                found.update(_checks(test) if test else ())
        return found

    def _add_tests(self, node: MappingNode, tests: list[object]) -> None:
        if not tests:
            return
        key = next((key for key in KEYS if child(node, key) is not None), self.test_key)
        listed = child(node, key)
        if isinstance(listed, SequenceNode) and listed.value:
            for test in tests:
                self.yaml.append(listed, test)
        else:
            self.yaml.put(node, key, tests)

    def _update_columns(self, node: MappingNode, table: SourceTable, tests: _Tests) -> None:
        there = {
            text_of(each, "name"): each
            for each in items(node, "columns")
            if isinstance(each, MappingNode)
        }
        folded = {name.casefold(): each for name, each in there.items()}
        missing: list[object] = []
        for column in table.columns:
            match = there.get(column.name) or folded.get(column.name.casefold())
            wanted = tests.pop(column.name, [])
            if match is None:
                self.changes.append(f"{table.label}.{column.name}: added")
                missing.append(self._new_column(column, wanted))
            else:
                self._update_column(match, column, table)
                self._add_tests(match, wanted)
        listed = child(node, "columns")
        for name in [name for name in tests if name in there]:
            self._add_tests(there[str(name)], tests.pop(name))
        missing += self._bare_columns(tests)
        if isinstance(listed, SequenceNode) and listed.value:
            for each in missing:
                self.yaml.append(listed, each)
        elif missing:
            self.yaml.put(node, "columns", missing)
        if table.columns:
            self.notes.extend(
                f"{table.label}.{name}: the table hasn't got it; it is left as it is"
                for name in there
                if table.column(name) is None
            )

    def _update_column(self, node: MappingNode, column: SourceColumn, table: SourceTable) -> None:
        label = f"{table.label}.{column.name}"
        if _can_describe(column.description) and is_empty(child(node, "description")):
            self.yaml.put(node, "description", column.description)
            self.changes.append(f"{label}: description")
        kind = child(node, "data_type")
        if is_empty(kind):
            self.yaml.put(node, "data_type", column.data_type)
            self.changes.append(f"{label}: data_type {column.data_type}")
        elif isinstance(kind, ScalarNode) and not _same_type(kind.value, column.data_type):
            self.yaml.replace(kind, column.data_type)
            self.changes.append(f"{label}: data_type {kind.value} is now {column.data_type}")
        if needs_quotes(column.name) and child(node, "quote") is None:
            self.yaml.add(node, "quote", value=True)
            self.changes.append(f"{label}: quote")


def _dbt_name(name: str) -> str:
    """Return a name without spaces: dbt has no place for them in the names of its tests."""
    return "_".join(name.split())


def _can_describe(text: str) -> bool:
    """Tell whether a text can be a description, which dbt renders as a template."""
    return bool(text) and not has_jinja(text)


def _checks(test: GenericTest) -> tuple[Check, ...]:
    rule = rule_of(test)
    return () if isinstance(rule, str) else checks(rule)


def _same_type(one: str, other: str) -> bool:
    return "".join(one.split()).casefold() == "".join(other.split()).casefold()


def _without_meta(settings: dict[str, object]) -> dict[str, object]:
    config = settings.get("config")
    if isinstance(config, dict):
        return {"config": {key: value for key, value in config.items() if key != "meta"}}
    return {key: value for key, value in settings.items() if key != "meta"}
