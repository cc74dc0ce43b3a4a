"""What a destination's parts share: its store, its chains, its format, how files are cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from conduit_core.connectors.base import TargetColumn
from conduit_core.connectors.lake.layout import TargetPaths, is_data
from conduit_core.connectors.lake.manifest import DataFile
from conduit_core.connectors.lake.writer import WriteOptions
from conduit_core.connectors.publish import Column
from conduit_core.errors import ConfigError, StateError

if TYPE_CHECKING:
    from conduit_core.connectors.lake.formats import FileFormat
    from conduit_core.connectors.lake.log import Logs
    from conduit_core.connectors.objects import ObjectStore


@dataclass(frozen=True, slots=True)
class Place:
    """A destination's store, chains, format and write options."""

    system: str
    store: ObjectStore
    logs: Logs
    form: FileFormat
    options: WriteOptions

    def read(
        self, file: DataFile, schema: pa.Schema, columns: Sequence[str]
    ) -> Iterator[pa.RecordBatch]:
        """Read columns of a data file.

        Raises:
            StateError: it is gone, or isn't what was written.
        """
        try:
            with self.store.reader(file.path) as source:
                yield from self.form.batches(source, file, schema, columns)
        except FileNotFoundError:
            raise StateError(
                f"{file.path} is gone, which a manifest names: it was removed by hand, or by"
                " `conduit clean` after a newer version came",
                retry="plan",
                command="conduit files",
            ) from None
        except (pa.ArrowException, OSError, ValueError, EOFError) as error:
            raise StateError(
                f"{file.path} can't be read: {error}", command="conduit files"
            ) from error

    def refuse_foreign(self, paths: TargetPaths) -> None:
        """Refuse a folder whose files no manifest names and no load of ours wrote.

        Raises:
            ConfigError: naming one of them.
        """
        for entry in self.store.entries(paths.data):
            inside = entry.path[len(paths.data) + 1 :].split("/")
            if any("=" not in part for part in inside[:-1]):
                continue  # the folder of another target
            if not is_data(entry.path):
                raise ConfigError(
                    f"the folder {paths.data!r} of {self.store.identity} has files that no load"
                    f" wrote ({inside[-1]!r}): give the stream another `into`, or move them"
                )


def table_columns(schema: pa.Schema) -> tuple[Column, ...]:
    """Return a table's columns as publishes name them."""
    return tuple(Column(name=f.name, ddl=str(f.type), nullable=f.nullable) for f in schema)


def target_columns(schema: pa.Schema) -> tuple[TargetColumn, ...]:
    """Return a table's columns as plans see them."""
    return tuple(TargetColumn(f.name, str(f.type), f.type, f.nullable) for f in schema)
