"""A pipeline ready to run: its file, and the two ends opened from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ValidationError

from conduit_core.connectors import registry
from conduit_core.connectors.base import Context, Destination, Source, StreamRef
from conduit_core.engine.budget import budgets
from conduit_core.engine.pasting import complete
from conduit_core.errors import ConduitError, ConfigError
from conduit_core.spec import (
    DEFAULT_FILE,
    ConnectionResolver,
    ConnectionSpec,
    FileConnections,
    LoadedSpec,
    PipelineSpec,
    StreamSpec,
    load_spec,
    resolve_connections,
    spec_from_mapping,
)
from conduit_core.spec.data import OF_PYTHON, data_mapping
from conduit_core.spec.names import no_stream
from conduit_core.types.dialect import Table

if TYPE_CHECKING:
    from conduit_core.connectors.staging import Staging
    from conduit_core.spec.model import Mode
    from conduit_core.spec.notify import ReceiverSpec
    from conduit_core.spec.outline import Outline


@dataclass(slots=True)
class Ends:
    """A pipeline's open source and destination, and the place where its rows are staged.

    Args:
        source, destination: the two.
        staging_url: the destination's ``staging:``, which may hold a secret.
        base_dir: the pipeline file's folder.
    """

    source: Source
    destination: Destination
    staging_url: str | None = None
    base_dir: Path = Path()
    _staging: Staging | None = None

    def staging(self) -> Staging:
        """Return where rows of a spread-out load wait: the destination's own, or ``staging:``.

        Raises:
            ConfigError: there is neither.
        """
        if self._staging is None:
            self._staging = self.destination.staging() or self._folder()
        return self._staging

    @property
    def has_staging(self) -> bool:
        """Whether there is a place where rows can wait."""
        return self.staging_url is not None or self.destination.staging() is not None

    def _folder(self) -> Staging:
        if self.staging_url is None:
            raise ConfigError(
                f"a load in several steps or splits into {self.destination.system} needs a place"
                " where its rows wait: give the destination a `staging:` (a folder or a URL that"
                " every worker reaches), or leave out"
                " `splits:` and `--executor processes`",
                command="conduit check",
            )
        from conduit_core.connectors.objects import open_store
        from conduit_core.connectors.objects.staging import FolderStaging

        return FolderStaging(open_store(self.staging_url, self.base_dir))

    def close(self) -> None:
        """Close all."""
        if self._staging is not None:
            self._staging.close()
            self._staging = None
        self.source.close()
        self.destination.close()


class Pipeline:
    """A pipeline file, read and checked. Making one opens no connection.

    Args:
        loaded: the file as it was read; ``from_file``, ``from_mapping`` and ``from_data`` make it.
        connections: finds named connections; default: ``~/.conduit/connections.yml``.
        again: makes the same pipeline in another process.
        instead: names of connections in place of the file's ``source`` and ``destination``.
        source: makes the source, where it is data of this process.

    Examples:
        >>> pipeline = Pipeline.from_mapping(
        ...     {
        ...         "name": "demo",
        ...         "source": "sqlite:///a.db",
        ...         "destination": "duckdb:///b.duckdb",
        ...         "streams": ["orders"],
        ...     }
        ... )
        >>> [s.name for s in pipeline.streams]
        ['orders']
    """

    def __init__(
        self,
        loaded: LoadedSpec,
        connections: ConnectionResolver | None = None,
        *,
        again: Callable[[], Pipeline] | None = None,
        instead: Mapping[str, str] = MappingProxyType({}),
        source: Callable[[], Source] | None = None,
    ) -> None:
        self.loaded = loaded
        self._connections = connections or FileConnections()
        self._again = again
        self._instead = instead
        self._own_source = source

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle as the file to read again, not as what was read: no secret travels."""
        if self._own_source is not None:
            raise TypeError(
                "a Pipeline from data can't be pickled: its rows are in this process alone"
            )
        if self._again is None:
            raise TypeError("a Pipeline is pickled by its file or mapping: make it from one")
        return (self._again, ())

    def __repr__(self) -> str:
        return f"Pipeline({self.name!r}, streams={[s.name for s in self.streams]})"

    @classmethod
    def from_file(
        cls,
        path: str | Path = DEFAULT_FILE,
        *,
        connections: ConnectionResolver | None = None,
        env: Mapping[str, str] | None = None,
        source: str | None = None,
        destination: str | None = None,
    ) -> Self:
        """Read a pipeline file (YAML or TOML).

        Args:
            path: the file.
            connections: finds named connections.
            env: the variables that ``${NAME}`` takes; default the process's own.
            source: the name of a connection in place of the file's own (see
                ``with_connections``), which may then be left out.
            destination: the same for the other end.

        Raises:
            ConfigError: it is missing or wrong; every problem with file, line and nearest key.
        """
        ends = _named(source, destination)
        again = partial(
            cls.from_file, Path(path).absolute(), connections=connections, env=env, **ends
        )
        loaded = load_spec(Path(path), env=env, ends=ends)
        return cls(loaded, connections, again=again, instead=ends)

    @classmethod
    def from_mapping(
        cls,
        mapping: Mapping[str, object],
        base_dir: str | Path = ".",
        *,
        connections: ConnectionResolver | None = None,
        env: Mapping[str, str] | None = None,
        source: str | None = None,
        destination: str | None = None,
    ) -> Self:
        """Take a pipeline as Python data, with the same keys as the file; see ``from_file``.

        Args:
            mapping: what the file would hold.
            base_dir: what relative paths are relative to.
            connections: finds named connections.
            env: the variables that ``${NAME}`` takes; default the process's own.
            source: the name of a connection in place of the mapping's own.
            destination: the same for the other end.

        Raises:
            ConfigError: it is wrong.
        """
        ends = _named(source, destination)
        base = Path(base_dir).absolute()
        again = partial(cls.from_mapping, mapping, base, connections=connections, env=env, **ends)
        loaded = spec_from_mapping(mapping, Path(base_dir), env=env, ends=ends)
        return cls(loaded, connections, again=again, instead=ends)

    def with_connections(
        self,
        source: str | None = None,
        destination: str | None = None,
        connections: ConnectionResolver | None = None,
    ) -> Self:
        """Return the same pipeline from, or to, other connections. Opens and resolves none.

        A name stands in place of the file's ``connection:``, and what the file says beside it is
        laid over it as before; or of all that says where that end is (``url``, ``host``, ``path``
        ...), but ``schema``, ``internal_schema``, ``staging`` and ``lock_wait`` stay.

        Args:
            source: the source's name; None for what it is now.
            destination: the destination's; None for what it is now.
            connections: finds named connections; None for the one it has now.

        Raises:
            ConfigError: a source for data that Python made.
        """
        if source is not None and self._own_source is not None:
            raise ConfigError(f"there is no source to put {source!r} in place of: it is the data")
        ends = {**self._instead, **_named(source, destination)}
        again = self._again
        if again is not None:
            again = partial(_with_connections, again, source, destination, connections)
        known = connections or self._connections
        own = self._own_source
        return type(self)(self.loaded, known, again=again, instead=ends, source=own)

    @classmethod
    def from_data(
        cls,
        data: object,
        *,
        name: str,
        into: str,
        destination: str | Mapping[str, object] | ConnectionSpec,
        mode: Mode = "append",
        key: str | Sequence[str] | None = None,
        cursor: str | Sequence[str] | None = None,
        stream: Mapping[str, object] | None = None,
        base_dir: str | Path = ".",
        connections: ConnectionResolver | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Self:
        """Take data that Python made as a pipeline of one stream. None of it is looked at yet.

        Args:
            data: a pyarrow Table, RecordBatch, RecordBatchReader or Dataset, a pandas or polars
                DataFrame, a polars LazyFrame, anything with ``__arrow_c_stream__``, or a list or
                generator of these; or a function without arguments that makes it, called only if it
                is needed; None: nothing is to be loaded. What can be taken only once is kept in a
                temporary file, so memory stays bounded.
            name: the pipeline's name. With the stream's it says which loads belong together.
            into: the target, ``table`` or ``schema.table``; the table's name is the stream's.
            destination: as in a file: a mapping or a URL.
            mode: as in a file.
            key: the stream's ``unique_key``.
            cursor: the stream's ``cursor``.
            stream: further keys of a stream, as in a file: ``quality``, ``transform``, ``name``.
            base_dir: what relative paths are relative to.
            connections: finds the destination by its name, where it is ``{connection: name}``.
            env: the variables that ``${NAME}`` takes; default the process's own.

        Raises:
            ConfigError: a key is wrong, or the data is of a type that has no columns.
        """
        from conduit_core.connectors.frames import Data, FrameSource  # most pipelines read systems

        mapping = data_mapping(name, into, destination, mode, key, cursor, stream or {})
        loaded = spec_from_mapping(mapping, Path(base_dir), env=env)
        (only,) = loaded.spec.streams
        made = {only.table or "": Data(data)}
        identity = f"{OF_PYTHON}:{loaded.spec.name}/{only.name}"
        return cls(loaded, connections, source=partial(FrameSource, identity, made))

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self.loaded.spec.name

    @property
    def file(self) -> str:
        """The file as the user named it, or ``""`` for Python."""
        return str(self.loaded.path or "")

    def at(self, error: ConduitError, stream: str | None = None, command: str = "") -> ConduitError:
        """Fill in where an error is, and let its command name this pipeline's file and the stream.

        Args:
            error: what is known in it stays.
            stream: the stream it is about.
            command: the command to paste where it has none, without file and stream.
        """
        error.at(pipeline=self.name, stream=stream, command=command or None)
        if error.command:
            error.command = complete(error.command, self.file, error.stream)
        return error

    @property
    def streams(self) -> tuple[StreamSpec, ...]:
        """The streams in the file's order."""
        return self.loaded.spec.streams

    def select(self, names: tuple[str, ...] | None) -> tuple[StreamSpec, ...]:
        """Return the named streams in the file's order, all for None.

        Args:
            names: of streams.

        Raises:
            ConfigError: a name is not a stream; the nearest is named.
        """
        if not names:
            return self.streams
        known = [s.name for s in self.streams]
        for name in names:
            if name not in known:
                raise ConfigError(
                    no_stream(name, known),
                    pipeline=self.name,
                    command=complete("conduit plan", self.file, None),
                )
        return tuple(s for s in self.streams if s.name in names)

    def target(self, stream: StreamSpec, destination: Destination) -> Table:
        """Return the table a stream feeds.

        Args:
            stream: one of the pipeline's.
            destination: the open destination, which knows its default schema.
        """
        schema = (
            stream.into_schema
            or self.loaded.spec.destination.schema_name
            or destination.capabilities.default_schema
        )
        return Table(schema, stream.into_table)

    def connected(self) -> PipelineSpec:
        """Return what the file says, with named connections resolved; opens none of them.

        Raises:
            ConfigError: a name isn't known.
        """
        return resolve_connections(self.loaded, self._connections, self._instead).spec

    def outline(self, *, connection: bool = False) -> Outline:
        """Return the pipeline's outline, as ``conduit_core.outline`` reads it from its file.

        Args:
            connection: whether the runner gives another destination than the file's.
        """
        from conduit_core.spec.outline import outline_of

        return outline_of(self.loaded.spec, connection=connection)

    def secrets(self) -> frozenset[str]:
        """Return every secret of both ends, and of receivers: for a runner's log to mask.

        Raises:
            ConfigError: the name of an end's connection isn't known.
        """
        from conduit_core.spec.secrets import secrets_of

        spec = self.connected()
        return secrets_of((spec.source, spec.destination)) | self.receiver_secrets()

    def receiver(self, given: ReceiverSpec) -> ReceiverSpec:
        """Return one of ``notify:`` with its connection looked up.

        Args:
            given: as the file has it: a URL, or a connection's name.

        Raises:
            ConfigError: the connection isn't known, or is no receiver.
        """
        if given.connection is None:
            return given
        named = self._connections.resolve(given.connection)
        try:
            return given.over(named, given.connection)
        except ValueError as error:
            raise ConfigError(str(error), command="conduit check") from None

    def receiver_secrets(self) -> frozenset[str]:
        """Return every secret of who is told; a connection that can't be had has none."""
        if not self.loaded.spec.notify:
            return frozenset()
        from conduit_core.spec.notify import notify_secrets

        found = []
        for given in (given for rule in self.loaded.spec.notify for given in rule.to):
            with suppress(Exception):  # whatever a runner's store of connections raises
                found.append(self.receiver(given))
        return notify_secrets(tuple(found))

    @contextmanager
    def open(self, jobs: int = 1) -> Iterator[Ends]:
        """Make source and destination; they connect when first used and are closed at the end.

        Args:
            jobs: how many streams will be loaded side by side; their buffers share the budget.

        Raises:
            ConfigError: a connector isn't installed, or its options are wrong (file, line, key).
        """
        with_names = resolve_connections(self.loaded, self._connections, self._instead)
        _, driver_bytes = budgets(jobs)
        context = Context(self.loaded.base_dir, driver_bytes)
        try:
            own = self._own_source
            source = own() if own is not None else _source(with_names, context)
            destination = _destination(with_names, context)
            self._refuse_twins(with_names, destination)
        except ConduitError as error:
            raise error.at(pipeline=self.name) from error.__cause__
        given = with_names.spec.destination.staging
        if given is not None and destination.staging() is not None:
            raise with_names.problem(
                ("destination", "staging"),
                f"`staging` is not for {destination.system}, which stages in its own place",
            )
        url = given.get_secret_value() if given is not None else None
        ends = Ends(source, destination, url, self.loaded.base_dir)
        try:
            yield ends
        finally:
            ends.close()

    def _refuse_twins(self, loaded: LoadedSpec, destination: Destination) -> None:
        """Refuse two streams into one table that only the destination knows to be one.

        The file's own check takes names as they are written: whether case counts, and which schema
        goes without saying, is the system's.
        """
        folds = not destination.capabilities.case_sensitive_names
        taken: dict[Table, StreamSpec] = {}
        for position, stream in enumerate(self.streams):
            target = self.target(stream, destination)
            if folds:
                target = Table(target.schema.lower(), target.name.lower())
            other = taken.setdefault(target, stream)
            if other is not stream:
                raise loaded.problem(
                    ("streams", position, "into"),
                    f"two streams feed the same target, {target}: of {other.name!r} and"
                    f" {stream.name!r}, give one another `into`",
                )


def _named(source: str | None, destination: str | None) -> dict[str, str]:
    ends = {"source": source, "destination": destination}
    return {end: name for end, name in ends.items() if name is not None}


def _with_connections(
    again: Callable[[], Pipeline],
    source: str | None,
    destination: str | None,
    connections: ConnectionResolver | None,
) -> Pipeline:
    return again().with_connections(source, destination, connections)


def _options(
    loaded: LoadedSpec, end: str, spec: ConnectionSpec, model: type[BaseModel]
) -> BaseModel:
    try:
        return model.model_validate(spec.reveal())
    except ValidationError as error:
        raise loaded.explain(error, (end,), model=model) from None


def _source(loaded: LoadedSpec, context: Context) -> Source:
    spec = loaded.spec.source
    connector = _connector(loaded, "source", spec)
    if connector.source is None:
        raise loaded.problem(("source", "type"), f"{spec.type} can't be a source")
    return connector.source(_options(loaded, "source", spec, connector.options), context)


def _destination(loaded: LoadedSpec, context: Context) -> Destination:
    spec = loaded.spec.destination
    connector = _connector(loaded, "destination", spec)
    if connector.destination is None:
        raise loaded.problem(("destination", "type"), f"{spec.type} can't be a destination")
    options = _options(loaded, "destination", spec, connector.options)
    return connector.destination(
        options, context, spec.schema_name, spec.internal_schema, spec.lock_wait.total_seconds()
    )


def _connector(loaded: LoadedSpec, end: str, spec: ConnectionSpec) -> registry.Connector:
    try:
        return registry.get(spec.type)
    except ConfigError as error:
        raise loaded.problem((end, "type"), error.message) from None


def stream_ref(stream: StreamSpec) -> StreamRef:
    """Return what a source needs to know of a stream."""
    return StreamRef(
        table=stream.table,
        query=stream.query,
        path=stream.path,
        columns=stream.columns,
        cursor=stream.cursor,
        file_column="file" in stream.metadata,
    )
