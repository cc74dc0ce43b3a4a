"""A pipeline's outline: what a scheduler needs while it reads its DAG files, and no more.

Reads the file as it is written and checks nothing else, so that it costs milliseconds, imports no
Arrow and no driver, and opens nothing. The whole file is checked where it is run.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from string import printable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from conduit_core.errors import ConfigError
from conduit_core.spec.durations import parse_duration
from conduit_core.spec.interpolate import interpolate
from conduit_core.spec.names import (
    DATABASE_SUFFIXES,
    file_stem,
    file_type,
    name_rules,
    no_stream,
    quote_name,
    split_table,
)

if TYPE_CHECKING:
    from conduit_core.spec.model import PipelineSpec, StreamSpec

DEFAULT_SCHEMAS = {"postgres": "public", "duckdb": "main", "sqlite": "main"}
"""The schema of a table whose file names none, where the system has one."""
_SYSTEMS = {"postgresql": "postgres"}


@dataclass(frozen=True, slots=True)
class RuleOutline:
    """A rule of a stream's ``quality:``, by the name that reports give it.

    Args:
        name: the rule's.
        kind: the word after ``rule:``.
        action: ``fail``, ``dlq`` or ``warn``.
        columns: what it looks at.
        description: why it is there; "" where the file doesn't say.
    """

    name: str
    kind: str
    action: str = "fail"
    columns: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True, slots=True)
class StreamOutline:
    """A stream as its file names it.

    Args:
        name: the stream's.
        schema: the target's; "" where only the destination's connection knows it.
        table: the target's name.
        splits: into how many parts a load is cut; 1 for none.
        reads: what it reads: a table's names, or a path alone; nothing for a query.
        rules: what its rows are held to.
        freshness: how far its watermark may lag.
    """

    name: str
    schema: str
    table: str
    splits: int = 1
    reads: tuple[str, ...] = ()
    rules: tuple[RuleOutline, ...] = ()
    freshness: timedelta | None = None

    @property
    def target(self) -> str:
        """``schema.table``, or the table alone where the file doesn't say the schema."""
        return f"{self.schema}.{self.table}" if self.schema else self.table


@dataclass(frozen=True, slots=True)
class Outline:
    """A pipeline as its file describes it.

    Args:
        name: the pipeline's.
        streams: in the file's order.
        hooks: the names under ``after:``.
        destination: where the file says the tables are, as OpenLineage and Cosmos spell it:
            ``postgres://host:5432/database``; "" where it takes a connection or a variable.
        source: the source's connection by its name, else its system; "" where a variable says it.
        system: the destination's system; "" where a connection or a variable says it.
        stops: whether a stream that fails keeps the later ones from being started: ``on_error``.
    """

    name: str
    streams: tuple[StreamOutline, ...]
    hooks: tuple[str, ...] = ()
    destination: str = ""
    source: str = ""
    system: str = ""
    stops: bool = False

    def stream(self, name: str) -> StreamOutline:
        """Return a stream by its name.

        Args:
            name: the stream's.

        Raises:
            ConfigError: there is none; the nearest is named.
        """
        for stream in self.streams:
            if stream.name == name:
                return stream
        raise ConfigError(no_stream(name, [s.name for s in self.streams]), pipeline=self.name)

    def only(self) -> StreamOutline:
        """Return the stream of a pipeline that has one.

        Raises:
            ConfigError: it has several, or none.
        """
        if len(self.streams) != 1:
            names = ", ".join(s.name for s in self.streams) or "none"
            raise ConfigError(f"say which stream; there are: {names}", pipeline=self.name)
        return self.streams[0]

    def uri(self, stream: StreamOutline) -> str:
        """Return the URI of a stream's target; "" where the file doesn't say where that is.

        Args:
            stream: one of the pipeline's.
        """
        if not self.destination or not stream.schema:
            return ""
        return f"{self.destination}/{quote(stream.schema)}/{quote(stream.table)}"


def outline(pipeline: str | Path | Mapping[str, object], *, connection: bool = False) -> Outline:
    """Return a pipeline's outline.

    Args:
        pipeline: its file (YAML or TOML), or the same as a mapping.
        connection: whether the runner gives another destination than the file's.

    Raises:
        ConfigError: the file is missing or is no pipeline.
    """
    where, data = ("<python>", pipeline) if isinstance(pipeline, Mapping) else _read(Path(pipeline))
    streams = data.get("streams") if isinstance(data, Mapping) else None
    if isinstance(streams, str):  # a list of one may be its item
        streams = [streams]
    if not isinstance(data, Mapping) or not isinstance(streams, list | tuple):
        raise _wrong(where, "must be a mapping with `streams`, a list")
    given = data.get("destination")
    end: Mapping[object, object] = given if isinstance(given, Mapping) else {}
    kind, place = ("", "") if connection else _place(given if isinstance(given, str) else end)
    schema = str(end.get("schema") or "") or DEFAULT_SCHEMAS.get(kind, "")
    given_defaults = data.get("defaults")
    defaults = given_defaults if isinstance(given_defaults, Mapping) else {}
    after = data.get("after")
    return Outline(
        name=str(data.get("name") or ""),
        streams=tuple(_stream(item, schema, defaults, where) for item in streams),
        hooks=tuple(str(key) for key in after) if isinstance(after, Mapping) else (),
        destination=place,
        source=_source(data.get("source")),
        system=kind,
        stops=_filled(data.get("on_error")) == "stop",
    )


def outline_of(spec: PipelineSpec, *, connection: bool = False) -> Outline:
    """Return the outline of a pipeline that was read whole; the same as of its file."""
    end = spec.destination
    kind, place = ("", "") if connection else _place({**end.reveal(), "type": end.type})
    schema = end.schema_name or DEFAULT_SCHEMAS.get(kind, "")
    own = spec.source
    return Outline(
        name=spec.name,
        streams=tuple(_stream_of(s, schema) for s in spec.streams),
        hooks=tuple(spec.after),
        destination=place,
        source=own.connection or own.type,
        system=kind,
        stops=spec.on_error == "stop",
    )


def _stream_of(stream: StreamSpec, schema: str) -> StreamOutline:
    from conduit_core.spec.rules import rule_names

    names = rule_names(stream.quality)
    return StreamOutline(
        name=stream.name,
        schema=stream.into_schema or schema,
        table=stream.into_table,
        splits=stream.splits.parts if stream.splits else 1,
        reads=_reads(stream.table, stream.path),
        rules=tuple(
            RuleOutline(name, rule.rule, rule.action, rule.columns, rule.description)
            for name, rule in zip(names, stream.quality, strict=True)
        ),
        freshness=stream.freshness,
    )


def _read(path: Path) -> tuple[str, object]:
    from conduit_core.spec.document import parse_toml, parse_yaml

    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise ConfigError(f"{path}: {why}", command="conduit init") from None
    parse = parse_toml if path.suffix == ".toml" else parse_yaml
    return path.name, parse(text, path.name).data


def _wrong(where: str, text: str) -> ConfigError:
    return ConfigError(f"{where}: {text}", command="conduit check")


def _stream(
    item: object, schema: str, defaults: Mapping[object, object], where: str
) -> StreamOutline:
    given = {"table": item} if isinstance(item, str) else item
    if not isinstance(given, Mapping):
        raise _wrong(where, "each of `streams` must be a table's name, or a mapping")
    found = {key: value if key == "path" else _filled(value) for key, value in given.items()}
    try:
        name = str(found.get("name") or "") or _name(found)
        own, table = split_table(str(found.get("into") or "") or quote_name(name))
        reads = _reads(found.get("table"), found.get("path"))
    except ValueError as error:
        raise _wrong(where, f"a stream's table or target {error}") from None
    try:
        rules = _rules(found.get("quality"))
    except ValueError as error:
        raise _wrong(where, f"`quality` of stream {name!r}: {error}") from None
    return StreamOutline(
        name=name,
        schema=own or schema,
        table=table,
        splits=_splits(found.get("splits", defaults.get("splits"))),
        reads=reads,
        rules=rules,
        freshness=_duration(found.get("freshness", defaults.get("freshness"))),
    )


def _filled(value: object) -> object:
    """Return a value with its variables filled in; as it is where one of them isn't set here.

    A runner needs names before the file is read whole. Connections and paths, which may have a
    secret in them, aren't filled in.
    """
    found = interpolate(value, os.environ)
    return value if found.problems else found.data


def _reads(table: object, path: object) -> tuple[str, ...]:
    if isinstance(table, str):
        return tuple(part for part in split_table(table) if part)
    return (path,) if isinstance(path, str) else ()


def _rules(given: object) -> tuple[RuleOutline, ...]:
    """Return a stream's rules, named as reports name them; what isn't one is told where it runs."""
    listed = (given,) if isinstance(given, Mapping) else given
    if not isinstance(listed, list | tuple):
        return ()
    found = [rule for rule in listed if isinstance(rule, Mapping) and rule.get("rule")]
    columns = [_many(rule.get("columns", rule.get("column"))) for rule in found]
    names = name_rules(
        [
            (str(rule.get("name") or ""), str(rule["rule"]), of)
            for rule, of in zip(found, columns, strict=True)
        ]
    )
    return tuple(
        RuleOutline(
            name=name,
            kind=str(rule["rule"]),
            action=str(rule.get("action") or "fail"),
            columns=of,
            description=str(rule.get("description") or ""),
        )
        for name, rule, of in zip(names, found, columns, strict=True)
    )


def _many(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return tuple(str(one) for one in value) if isinstance(value, Iterable) else ()


def _duration(value: object) -> timedelta | None:
    try:
        found = parse_duration(value) if value is not None else None
    except ValueError:
        return None  # a variable, or wrong, which is told where it runs
    return found if isinstance(found, timedelta) else None


def _source(given: object) -> str:
    """Return the source's connection, or its system, as far as the file's text says it."""
    if isinstance(given, str):
        return _kind_of(given)
    if not isinstance(given, Mapping):
        return ""
    if isinstance(name := given.get("connection"), str):
        return _plain(name)
    kind = given.get("type")
    if not kind:
        kind = _kind_of(str(given.get("url") or given.get("path") or ""))
    return _plain(str(kind))


def _kind_of(text: str) -> str:
    """Return the system that a URL or a path names; "" where a variable is to say it."""
    scheme, colon, _ = text.partition("://")
    if colon and file_type(text) is None:
        return _plain(_SYSTEMS.get(scheme, scheme))
    return DATABASE_SUFFIXES.get(Path(text).suffix.lower(), "") or file_type(text) or ""


def _name(stream: Mapping[object, object]) -> str:
    table, path = stream.get("table"), stream.get("path")
    name = split_table(table)[1] if isinstance(table, str) else file_stem(str(path or ""))
    if not name:
        raise ValueError("gives it no name: it needs `name`")
    return name


def _splits(value: object) -> int:
    if isinstance(value, Mapping):
        values = value.get("values")
        value = value.get("count") or (len(values) + 1 if isinstance(values, list | tuple) else 1)
    text = str(value)
    return max(int(text), 1) if text.isdecimal() else 1


def _place(end: str | Mapping[Any, object]) -> tuple[str, str]:
    """Return a destination's type, and where it is, as far as the file's text says it."""
    if isinstance(end, Mapping):
        kind, url = str(end.get("type") or ""), end.get("url")
        if isinstance(url, str):
            return _place(url)
        if kind == "postgres" and end.get("host") and end.get("database"):
            host, port, database = end["host"], end.get("port") or 5432, end["database"]
            return kind, _plain(f"postgres://{host}:{port}/{database}")
        if kind == "duckdb" and end.get("path"):
            return kind, _file("duckdb", str(end["path"]))
        return kind, ""
    scheme, colon, rest = end.partition("://")
    kind = (
        _SYSTEMS.get(scheme, scheme)
        if colon
        else DATABASE_SUFFIXES.get(Path(end).suffix.lower(), "")
    )
    if kind == "postgres":
        return kind, _plain(_database(end))
    if kind == "duckdb":
        return kind, _file("duckdb", rest.removeprefix("/") if colon else end)
    return kind, ""


def _database(url: str) -> str:
    """Return ``postgres://host:port/database``, "" where a variable is to say a part of it."""
    if "$" in url.rpartition("@")[2]:
        return ""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return ""
    database = parts.path.strip("/")
    return f"postgres://{host}:{port or 5432}/{database}" if host and database else ""


def _file(system: str, path: str) -> str:
    """Return a database file's URI, as dbt's profile names it: its path, then its own name."""
    return _plain(f"{system}://{path}/{Path(path).stem}")


def _plain(uri: str) -> str:
    return "" if "$" in uri else quote(uri, safe=printable)
