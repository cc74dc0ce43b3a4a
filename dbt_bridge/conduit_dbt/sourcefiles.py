"""``sources.yml``: the tables that streams load, as dbt's sources, beside what a person wrote.

Nothing is ever taken away. Text in, text out; only :func:`find_source_files` looks at a disk.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from yaml.nodes import MappingNode, SequenceNode

from conduit_core.errors import ConfigError
from conduit_dbt.sourceupdate import Update, schema_of, test_key
from conduit_dbt.tables import SourceTable, Written
from conduit_dbt.yamltext import YamlText, child, dump, is_empty, items, text_of

HEADER = """\
# `conduit dbt sources` writes here what the pipeline loads. What you add stays: descriptions,
# tests, columns, order and comments.
"""
_SOURCES = re.compile(r"^[\"']?sources[\"']?\s*:", re.MULTILINE)


def write_sources(
    text: str,
    tables: Sequence[SourceTable],
    *,
    dbt_version: tuple[int, int],
    packages: frozenset[str] = frozenset(),
    file: str = "sources.yml",
) -> Written:
    """Return a ``sources.yml`` that names these tables, with what their streams promise of them.

    Args:
        text: the file as it is; empty: a new file.
        tables: the tables that belong into it.
        dbt_version: which dbt reads it: (1, 11).
        packages: the names of the project's dbt packages, for tests that come from them.
        file: its name, for errors.

    Raises:
        ConfigError: the file is no YAML, or no file of dbt's sources.
    """
    work = Update(YamlText(text, file), dbt_version, packages, test_key(text))
    by_schema: dict[str, list[SourceTable]] = {}
    for table in tables:
        by_schema.setdefault(table.schema, []).append(table)
    root = work.yaml.root
    if root is None or is_empty(root):
        new = {"version": 2, "sources": [work.new_source(s, t) for s, t in by_schema.items()]}
        text = f"{text.rstrip()}\n\n" if text.strip() else HEADER + "\n"
        return _written(work, text + dump(new)) if by_schema else Written("")
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


def _written(work: Update, text: str) -> Written:
    return Written(text, tuple(work.changes), tuple(work.notes))


def find_source_files(
    project_dir: Path, model_paths: Sequence[str], schemas: Iterable[str]
) -> dict[str, Path]:
    """Return for each schema the file that holds its source, else the one where it should go.

    Args:
        project_dir: the dbt project's folder.
        model_paths: its ``model-paths``; a new file is ``sources.yml`` in the first.
        schemas: the targets' schemas.

    Raises:
        ConfigError: a file with sources can't be read, or is no YAML.
    """
    folders = [project_dir / path for path in model_paths or ("models",)]
    files = sorted(f for d in folders for f in d.rglob("*") if f.suffix in {".yml", ".yaml"})
    found: dict[str, Path] = {}
    named: dict[str, Path] = {}
    for file in files:
        try:
            text = file.read_text(encoding="utf-8-sig")
        except (OSError, ValueError) as error:
            raise ConfigError(f"{file}: it can't be read: {error}", command="dbt parse") from None
        if not _SOURCES.search(text):
            continue
        for source in items(YamlText(text, str(file)).root, "sources"):
            found.setdefault(schema_of(source), file)
            named.setdefault(text_of(source, "name"), file)
    new = folders[0] / "sources.yml"
    return {s: found.get(s) or named.get(s) or new for s in schemas}
