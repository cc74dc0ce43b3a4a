"""Writes pipeline files from what a source holds, and edits them without losing their comments."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import yaml

from conduit_core.connectors.base import Source
from conduit_core.connectors.files.listing import glob_regex
from conduit_core.engine.pipeline import Pipeline
from conduit_core.errors import ConfigError
from conduit_core.spec import FileConnections, load_spec, split_table
from conduit_core.spec.endpoints import ConnectionSpec, parse_url
from conduit_core.spec.load import read_document
from conduit_core.spec.names import FILE_TYPES
from conduit_core.spec.template import render

if TYPE_CHECKING:
    from conduit_core.cli.session import Session

VARIABLE = "SOURCE_URL"
_PLACEHOLDER = "_"
_PATTERN = re.compile(r"[*?]")
_WAREHOUSE = {"type": "duckdb", "path": "warehouse.duckdb", "schema": "raw"}


# --- init -----------------------------------------------------------------------------------------


def draft(session: Session, origin: str, path: Path) -> tuple[str, str | None]:
    """Return a pipeline file for a URL, a path or a named connection, and the variable it needs.

    Raises:
        ConfigError: the origin is neither, or holds nothing to load.
        ConnectionFailedError: it can't be reached.
    """
    source, values, variable = _origin(origin)
    session.redact.learn([source])
    base = path.resolve().parent
    mapping = {
        "name": "draft",
        "source": {"type": source.type, **source.reveal()},
        "destination": _WAREHOUSE,
        "streams": [_PLACEHOLDER],
    }
    with Pipeline.from_mapping(mapping, base).open() as ends:
        names = [relation.name for relation in ends.source.discover()]
    if not names:
        raise ConfigError("there is nothing to load in it", command="conduit init")
    streams = _streams(names, is_files=source.type in FILE_TYPES)
    return render(base.name or "pipeline", values, _WAREHOUSE, streams), variable


def _origin(text: str) -> tuple[ConnectionSpec, dict[str, object], str | None]:
    """Return the source, how the file writes it, and the variable that holds its secret."""
    try:
        values = parse_url(text)
    except ValueError:
        if "://" in text or "/" in text or Path(text).exists():
            forms = (
                "sqlite:///shop.db, data/orders.csv (its folder's files) or postgres://user@host/db"
            )
            raise ConfigError(
                f"--from tells no type from this URL or path; write it like {forms}",
                command="conduit init --help",
            ) from None
        return FileConnections().resolve(text), {"connection": text}, None
    source = ConnectionSpec.model_validate(dict(values))
    escaped = {key: str(item).replace("${", "$${") for key, item in values.items()}
    if "url" in values and urlsplit(text).password:
        return source, {"type": source.type, "url": f"${{{VARIABLE}}}"}, VARIABLE
    return source, dict(escaped), None


def _streams(names: Sequence[str], *, is_files: bool) -> list[str | Mapping[str, object]]:
    if is_files:
        return [{"path": name} for name in names]
    twice = Counter(split_table(name)[1] for name in names)
    out: list[str | Mapping[str, object]] = []
    for name in names:
        schema, table = split_table(name)
        if twice[table] == 1:
            out.append(name)
        else:
            out.append({"table": name, "name": f"{schema}_{table}"})
    return out


# --- discover -------------------------------------------------------------------------------------


@contextmanager
def open_source(session: Session, path: Path) -> Iterator[tuple[Source, list[object]]]:
    """Open a file's source, whatever its streams say; give its streams as written, too.

    Raises:
        ConfigError: the file is missing or wrong elsewhere.
    """
    _, document = read_document(path)
    streams = _written(document.data)
    if isinstance(document.data, dict) and any(_pattern(item) for item in streams):
        mapping = {**document.data, "streams": [_PLACEHOLDER]}
        pipeline = Pipeline.from_mapping(mapping, path.resolve().parent)
        session.redact.learn([pipeline.loaded.spec.source, pipeline.loaded.spec.destination])
    else:
        pipeline = session.pipeline(str(path))
    with pipeline.open() as ends:
        yield ends.source, streams


def _written(data: object) -> list[object]:
    streams = data.get("streams") if isinstance(data, dict) else None
    return streams if isinstance(streams, list) else [streams] if streams else []


def _table(item: object) -> str:
    found = (item.get("table") or item.get("path")) if isinstance(item, dict) else item
    return found if isinstance(found, str) else ""


def _pattern(item: object) -> str:
    text = _table(item)
    is_path = isinstance(item, dict) and "path" in item
    return text if _PATTERN.search(text) and not is_path and "/" not in text else ""


def is_listed(name: str, streams: Sequence[object]) -> bool:
    """Tell whether one of the file's streams loads the table or path ``name``."""
    return any(_same(name, _table(item)) or _loads(item, name) for item in streams)


def _loads(item: object, name: str) -> bool:
    """Tell whether a stream's folder or glob takes in a file, or lies in the folder ``name``."""
    path = item.get("path") if isinstance(item, dict) else None
    if not isinstance(path, str):
        return False
    path = path.removeprefix("./").rstrip("/")
    return (
        path.split("/")[0] in ("", ".", "**")
        or path.startswith(f"{name}/")
        or glob_regex(path).fullmatch(name) is not None
    )


def _same(name: str, written: str) -> bool:
    if name == written:
        return True
    try:
        (schema, table), (own_schema, own) = split_table(name), split_table(written)
    except ValueError:
        return False
    return table == own and (own_schema is None or schema is None or own_schema == schema)


def rewritten(path: Path, names: Sequence[str]) -> list[str]:
    """Add streams to a YAML file, and return the names that were added. Comments stay.

    Raises:
        ConfigError: it isn't YAML with a list of streams, or wouldn't be a pipeline any more; it
            is left as it was.
    """
    command = f"conduit discover {path}"
    if path.suffix.lower() == ".toml":
        raise ConfigError("--write edits YAML only: add the streams by hand", command=command)
    _, document = read_document(path)
    text = path.read_text(encoding="utf-8")
    sequence = _sequence(text)
    if sequence is None or not sequence.value:
        raise ConfigError(f"{path}: `streams` must be a list to add to", command=command)
    streams = _written(document.data)
    known = [item for item in streams if not _pattern(item)]
    fresh = [name for name in names if not is_listed(name, known)]
    if any(_pattern(item) for item in streams):
        edited, added = _resolve(text, sequence, streams, fresh)
    else:
        edited, added = _append(text, sequence, fresh), fresh
    if edited != text:
        with tempfile.TemporaryDirectory() as folder:
            trial = Path(folder) / path.name
            trial.write_text(edited, encoding="utf-8")
            load_spec(trial)
        path.write_text(edited, encoding="utf-8")
    return added


def _sequence(text: str) -> yaml.SequenceNode | None:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        return None
    for key, value in root.value:
        if key.value == "streams" and isinstance(value, yaml.SequenceNode):
            return value
    return None


def _resolve(
    text: str, sequence: yaml.SequenceNode, streams: Sequence[object], fresh: Sequence[str]
) -> tuple[str, list[str]]:
    """Put the tables that each pattern finds in its place; a table goes to the first that does."""
    left = list(fresh)
    found: list[list[str]] = []
    for item in streams:
        pattern = _pattern(item)
        excluded = _excluded(item)
        mine = [
            name
            for name in left
            if pattern
            and fnmatchcase(name, pattern)
            and not any(fnmatchcase(name, e) for e in excluded)
        ]
        left = [name for name in left if name not in mine]
        found.append(mine)
    glue = ", " if sequence.flow_style else f"\n{' ' * sequence.start_mark.column}- "
    for node, item, mine in reversed(list(zip(sequence.value, streams, found, strict=True))):
        if mine:
            copies = glue.join(_item(item, name) for name in mine)
            text = text[: node.start_mark.index] + copies + text[_end(node) :]
    return text, [name for mine in found for name in mine]


def _excluded(item: object) -> list[str]:
    value = item.get("exclude") if isinstance(item, dict) else None
    return [str(v) for v in value] if isinstance(value, list) else [str(value)] if value else []


def _item(item: object, name: str) -> str:
    if not isinstance(item, dict):
        return _flow(name)
    kept = {k: v for k, v in item.items() if k not in {"exclude", "table"}}
    return _flow({"table": name, **kept}) if kept else _flow(name)


def _flow(value: object) -> str:
    text: str = yaml.safe_dump(
        [value], default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000
    )
    return text.strip()[1:-1]


def _append(text: str, sequence: yaml.SequenceNode, names: Sequence[str]) -> str:
    end = _end(sequence.value[-1])
    if sequence.flow_style:
        return text[:end] + "".join(f", {_flow(name)}" for name in names) + text[end:]
    newline = text.find("\n", end)
    end = len(text) if newline < 0 else newline
    indent = " " * sequence.start_mark.column
    while own := re.compile(rf"\n{indent} +#.*").match(text, end):  # the last stream's comments
        end = own.end()
    return text[:end] + "".join(f"\n{indent}- {_flow(name)}" for name in names) + text[end:]


def _end(node: yaml.Node) -> int:
    """Return where a node's text ends: a block's own mark lies behind the comments below it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)
