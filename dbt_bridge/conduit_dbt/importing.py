"""A dbt project's tests of sources as quality rules of the streams that load them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from conduit_core.errors import ConfigError
from conduit_dbt.rules import checks, columns_of, key_checks, told
from conduit_dbt.sourcetests import make_test
from conduit_dbt.tables import Rule, SourceTable, Written
from conduit_dbt.tests_to_rules import one_or_many, rule_of
from conduit_dbt.yamltext import Flow, FlowMap, YamlText, child, is_empty, plain

_TOLERANT = {"error_if": "!= 0", "warn_if": "!= 0", "fail_calc": "count(*)", "limit": None}


@dataclass(frozen=True, slots=True)
class Imported:
    """The rules by stream, and a note for each test that no rule of a load can say."""

    rules: Mapping[str, tuple[Rule, ...]]
    notes: tuple[str, ...]


def rules_from_manifest(manifest: Mapping[str, object], tables: Sequence[SourceTable]) -> Imported:
    """Return the rules that a project's tests of these tables say.

    Args:
        manifest: ``target/manifest.json``, of dbt 1.8 or later.
        tables: the streams' targets; tests of other sources aren't looked at.
    """
    by_place = {(table.schema, table.name): table for table in tables}
    sources: dict[str, SourceTable] = {}
    for unique_id, source in _mappings(manifest.get("sources")):
        place = str(source.get("schema")), str(source.get("identifier") or source.get("name"))
        if place in by_place:
            sources[unique_id] = by_place[place]
    rules: dict[str, list[Rule]] = {}
    notes: list[str] = []
    for unique_id, node in sorted(_mappings(manifest.get("nodes"))):
        table = sources.get(_tested(node))
        if node.get("resource_type") != "test" or table is None:
            continue
        found = _rule_of_node(node, table)
        if isinstance(found, str):
            notes.append(f"{table.label}: {node.get('name') or unique_id} is no rule: {found}")
        elif not set(checks(found)) <= key_checks(table):
            rules.setdefault(table.stream, []).append(found)
    return Imported({name: _joined(some) for name, some in rules.items()}, tuple(notes))


def _mappings(value: object) -> Iterator[tuple[str, Mapping[str, object]]]:
    for key, item in value.items() if isinstance(value, Mapping) else ():
        if isinstance(item, Mapping):
            yield str(key), item


def _tested(node: Mapping[str, object]) -> str:
    """The node that a test is of: of a relationship, the one whose rows can break it."""
    attached, depends = node.get("attached_node"), node.get("depends_on")
    nodes = depends.get("nodes") if isinstance(depends, Mapping) else None
    listed = [str(each) for each in nodes] if isinstance(nodes, list) else []
    return str(attached) if attached else next(iter(listed[-1:]), "")


def _rule_of_node(node: Mapping[str, object], table: SourceTable) -> Rule | str:
    metadata, config = node.get("test_metadata"), node.get("config")
    if not isinstance(metadata, Mapping):
        return "it is a query of its own"
    config = config if isinstance(config, Mapping) else {}
    for key, usual in _TOLERANT.items():
        if config.get(key, usual) not in {None, usual}:
            return f"no rule has its {key}"
    space, kwargs = metadata.get("namespace"), metadata.get("kwargs")
    name = f"{space}.{metadata.get('name')}" if space else str(metadata.get("name"))
    kwargs = kwargs if isinstance(kwargs, Mapping) else {}
    rule = rule_of(make_test(name, None, kwargs, config))
    return rule if isinstance(rule, str) else _for_load(rule, table)


def _for_load(rule: Rule, table: SourceTable) -> Rule | str:
    """Return the rule that holds a stream's loads to what the test says of its table."""
    names: list[str] = []
    for name in columns_of(rule):
        if name.startswith("_conduit_"):
            return f"{name} is added after the rules have looked"
        column = table.column(name)
        if table.columns and column is None:
            return f"the table has no column {name}"
        names.append(column.name if column else name)
    kind = rule["rule"]
    out = dict(rule)
    if names:
        out.pop("column", None)
        out.pop("columns", None)
        out = {"rule": out.pop("rule"), **one_or_many(names), **out}
    if table.mode == "replace" or set(checks(rule)) <= key_checks(table):
        return out
    if kind == "row_count":
        return f"it counts the table's rows; under mode: {table.mode} a load has others"
    if kind == "unique" and "where" in rule:
        return "`unique` over the target takes no `where`"
    if kind == "unique":
        out["within"] = "target"
    return out


def _joined(rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """Put rules that differ in their column alone together."""
    out: dict[object, dict[str, object]] = {}
    for rule in rules:
        rest = {key: value for key, value in rule.items() if key not in {"column", "columns"}}
        shared = repr(sorted(rest.items(), key=lambda item: item[0]))
        each = rule["rule"] == "unique" or not columns_of(rule)
        first = out.setdefault((shared, columns_of(rule) if each else ()), dict(rule))
        names = list(dict.fromkeys([*columns_of(first), *columns_of(rule)]))
        if not each and len(names) > 1:
            first.pop("column", None)
            out[shared, ()] = {"rule": rule["rule"], "columns": names, **rest}
    return tuple(out.values())


# --- into the pipeline file -----------------------------------------------------------------------


def add_rules(
    text: str,
    position: int,
    rules: Sequence[Rule],
    *,
    key: Literal["table", "path"] = "table",
    file: str = "pipeline.yml",
) -> Written:
    """Return a pipeline file in which a stream has these rules, beside those that it had.

    Args:
        text: the pipeline file.
        position: which of its streams, from 0.
        rules: what it is to be held to; a rule that it has already, with any ``action``, isn't
            added again.
        key: what a stream that is only a name names: a table, or a file.
        file: the file's name; it says whether the text is YAML.

    Raises:
        ConfigError: the file is TOML, no YAML, or written so that nothing can be added safely.
    """
    if PurePath(file).suffix.lower() == ".toml":
        raise ConfigError(
            f"{file}: rules can be added to a YAML file only: write them into the TOML by hand",
            command="conduit dbt import-rules --json",
        )
    yaml = YamlText(text, file)
    streams = child(yaml.root, "streams")
    if not isinstance(streams, SequenceNode) or position >= len(streams.value):
        raise ConfigError(
            f"{file}: `streams` is no list with {position + 1} streams",
            command=f"conduit check {file}",
        )
    stream = streams.value[position]
    quality = child(stream, "quality")
    there = {check for rule in _rules_there(quality) for check in checks(rule)}
    rivals = {check.rival for check in there}
    label = _label(stream, position)
    missing: list[Rule] = []
    notes: list[str] = []
    for rule in rules:
        mine = set(checks(rule))
        if mine <= there:
            continue
        if any(check.rival in rivals for check in mine - there):
            notes.append(
                f"{label}: {told(rule)} is there with other values than the test's; left as it is"
            )
            continue
        columns = [check.columns for check in checks(rule) if check not in there]
        missing.append(rule if mine.isdisjoint(there) else _only(rule, columns))
    if missing:
        new = [_literal(rule) for rule in missing]
        if isinstance(stream, ScalarNode):
            yaml.unfold(streams, stream, key, {"quality": new})
        else:
            _put_rules(yaml, stream, new, file)
    changes = tuple(f"{label}: rule {told(rule)}" for rule in missing)
    return Written(yaml.text() if missing else text, changes, tuple(notes))


def _rules_there(quality: Node | None) -> list[Rule]:
    value = plain(quality)
    rules = value if isinstance(value, list) else [value]
    return [_unescaped(rule) for rule in rules if isinstance(rule, dict)]


def _unescaped(rule: Mapping[str, object]) -> Rule:
    return {k: v.replace("$${", "${") if isinstance(v, str) else v for k, v in rule.items()}


def _label(stream: Node | None, position: int) -> str:
    value = plain(stream)
    if isinstance(value, Mapping):
        value = value.get("name") or value.get("table") or value.get("path")
    return str(value or f"stream {position + 1}")


def _only(rule: Rule, columns: Sequence[tuple[str, ...]]) -> Rule:
    rest = {key: value for key, value in rule.items() if key not in {"column", "columns"}}
    return {
        "rule": rest.pop("rule"),
        "columns": [name for some in columns for name in some],
        **rest,
    }


def _literal(value: object) -> object:
    """Write a rule on one line; ``${`` would be a variable in a pipeline file."""
    if isinstance(value, Mapping):
        return FlowMap({key: _literal(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return Flow([_literal(item) for item in value])
    return value.replace("${", "$${") if isinstance(value, str) else value


def _put_rules(yaml: YamlText, stream: Node, rules: list[object], file: str) -> None:
    quality = child(stream, "quality")
    if isinstance(quality, SequenceNode) and quality.value:
        for rule in rules:
            yaml.append(quality, rule)
    elif isinstance(stream, MappingNode) and is_empty(quality):
        yaml.put(stream, "quality", rules)
    else:
        line = quality.start_mark.line + 1 if quality is not None else 0
        raise ConfigError(
            f"{file}:{line}: `quality` is one rule: write it as a list (`- rule: ...`), so that"
            " others can be added",
            command=f"conduit check {file}",
        )
