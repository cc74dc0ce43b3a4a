"""The published files of a target, for other tools to read."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

from conduit_core.types.dialect import Table


class PublishedFile(BaseModel):
    """A data file: its absolute path or URL, its rows, its bytes."""

    model_config = ConfigDict(frozen=True)

    path: str
    rows: int
    bytes: int


class FileSet(BaseModel):
    """The data files that are a target's content at one version.

    Args:
        target: the target.
        format: ``parquet``, ``csv`` or ``jsonl``.
        version, load_id: of the newest load.
        rows, bytes: of all files together.
        files: each of them, in the order that the rows have.
    """

    model_config = ConfigDict(frozen=True)

    target: str
    format: str
    version: int
    load_id: str
    rows: int
    bytes: int
    files: tuple[PublishedFile, ...]

    @property
    def paths(self) -> tuple[str, ...]:
        """The files' absolute paths or URLs."""
        return tuple(file.path for file in self.files)


@runtime_checkable
class HasFileSets(Protocol):
    """Trait: a destination whose targets are files."""

    def files(self, target: Table) -> FileSet:
        """Return the published data files of a target.

        Raises:
            SchemaError: the target doesn't exist.
        """
        ...
