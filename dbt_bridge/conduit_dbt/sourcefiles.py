"""``sources.yml``: the tables that streams load, as dbt's sources, beside what a person wrote.

Nothing is ever taken away. Text in, text out; only :func:`find_source_files` looks at a disk.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from yaml.nodes import MappingNode, SequenceNode

from conduit_core.errors import ConfigError
from conduit_dbt.sourceupdate import Update, schema_of, table_of, test_key
from conduit_dbt.sqltext import has_jinja
from conduit_dbt.tables import SourceTable, Written
from conduit_dbt.yamltext import YamlText, child, dump, is_empty, items

HEADER = """\
# `conduit dbt sources` writes here what the pipeline loads. What you add stays: descriptions,
# tests, columns, order and comments.
"""
_SOURCES = re.compile(r"^[\"']?sources[\"']?\s*:", re.MULTILINE)


def write_sources(
    text: str,
    tables: Sequence[SourceTable],
    *,
    dbt_version: tuple[int, ...],
    packages: frozenset[str] = frozenset(),
    file: str = "sources.yml",
) -> Written:
    """Return a ``sources.yml`` that names these tables, with what their streams promise of them.

    Args:
        text: the file as it is; empty: a new file.
        tables: the tables that belong into it.
        dbt_version: which dbt reads it, with the patch: (1, 11, 16).
        packages: the names of the project's dbt packages, for tests that come from them.
        file: its name, for errors.

    Raises:
        ConfigError: the file is no YAML, or no file of dbt's sources.
    """
    work = Update(YamlText(text, file), dbt_version, packages, test_key(text))
    by_schema: dict[str, list[SourceTable]] = {}
    for table in tables:
        if has_jinja([table.schema, table.name, *(c.name for c in table.columns)]):
            work.notes.append(f"{table.label}: not added: dbt would render a name as a template")
            continue
        by_schema.setdefault(table.schema, []).append(table)
    root = work.yaml.root
    if root is None or is_empty(root):
        new = {"version": 2, "sources": [work.new_source(s, t) for s, t in by_schema.items()]}
        if not by_schema:
            return Written(text, notes=tuple(work.notes))
        head = f"{text.rstrip()}\n\n" if text.strip() else HEADER + "\n"
        return _written(work, head + dump(new))
    sources = child(root, "sources")
    if not isinstance(root, MappingNode) or not (
        is_empty(sources) or isinstance(sources, SequenceNode)
    ):
        raise ConfigError(
            f"{file}: this is no file of dbt's sources: it needs a list `sources:`",
            command="dbt parse",
        )
    fresh = [
        work.new_source(schema, some)
        for schema, some in by_schema.items()
        if not work.update_sources(schema, some)
    ]
    if is_empty(sources) and fresh:
        work.yaml.put(root, "sources", fresh)
    elif isinstance(sources, SequenceNode):
        for source in fresh:
            work.yaml.append(sources, source)
    return _written(work, work.yaml.text() if work.changes else text)


def find_source_files(
    project_dir: Path, model_paths: Sequence[str], tables: Sequence[SourceTable]
) -> dict[Path, tuple[SourceTable, ...]]:
    """Return which file each table belongs into: one that has it, or its schema, else a new one.

    Args:
        project_dir: the dbt project's folder.
        model_paths: its ``model-paths``; a new file is ``sources.yml`` in the first.
        tables: the streams' targets.

    Raises:
        ConfigError: a file with sources can't be read, or is no YAML.
    """
    folders = [project_dir / path for path in model_paths or ("models",)]
    new = folders[0] / "sources.yml"
    places = _places(folders)
    found: dict[Path, list[SourceTable]] = {}
    for table in tables:
        place = places.get((table.schema, table.name)) or places.get((table.schema, "")) or new
        found.setdefault(place, []).append(table)
    return {place: tuple(some) for place, some in found.items()}


def _places(folders: Sequence[Path]) -> dict[tuple[str, str], Path]:
    """Return the file of each schema and table; a schema alone stands under an empty table."""
    found: dict[tuple[str, str], Path] = {}
    files = {f for d in folders for f in d.rglob("*") if f.suffix in {".yml", ".yaml"}}
    for file in sorted(files):
        try:
            text = file.read_text(encoding="utf-8-sig")
        except (OSError, ValueError) as error:
            raise ConfigError(f"{file}: it can't be read: {error}", command="dbt parse") from None
        if not _SOURCES.search(text):
            continue
        for source in items(YamlText(text, str(file)).root, "sources"):
            schema = schema_of(source)
            for name in ("", *(table_of(table) for table in items(source, "tables"))):
                found.setdefault((schema, name), file)
    return found


def _written(work: Update, text: str) -> Written:
    return Written(text, tuple(work.changes), tuple(work.notes))
