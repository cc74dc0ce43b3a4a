"""What ``pipeline=`` may be, and what is known of it while definitions are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union

from conduit_core import calling_file, outline
from conduit_core.errors import ConfigError

if TYPE_CHECKING:
    from conduit_core import ConnectionResolver, Outline, Pipeline, StreamOutline

PipelineLike: TypeAlias = Union[str, Path, Mapping[str, object], "Pipeline"]
"""A path relative to the file that names it, the file's content as a mapping, or a Pipeline."""
_OURS = ("dagster", "dagster_conduit", "dagster_shared")


@dataclass(frozen=True)
class Held:
    """A pipeline as it was given, and its outline. Its repr says its name alone.

    Args:
        given: the pipeline, a path made absolute.
        folder: what a mapping's relative paths are relative to.
        outline: what its file says.
    """

    given: PipelineLike = field(repr=False)
    folder: Path = field(repr=False)
    outline: Outline = field(repr=False)

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self.outline.name

    def opened(self, connections: ConnectionResolver | None) -> Pipeline:
        """Return the pipeline that a step runs.

        Raises:
            ConfigError: the file is wrong, or isn't where the step runs.
        """
        from conduit_core import Pipeline

        if isinstance(self.given, Pipeline):
            known = connections
            return self.given if known is None else self.given.with_connections(connections=known)
        if isinstance(self.given, Mapping):
            return Pipeline.from_mapping(dict(self.given), self.folder, connections=connections)
        if not Path(self.given).exists():
            raise ConfigError(
                f"there is no {self.given} where this step runs: the pipeline file has to come with"
                " the code location, in the same image or volume",
                command=f"ls -l {Path(self.given).parent}",
            )
        return Pipeline.from_file(self.given, connections=connections)


def held(pipeline: PipelineLike, folder: Path | None = None) -> Held:
    """Return a pipeline with its outline: reads its file, opens nothing.

    Args:
        pipeline: what was given.
        folder: what relative paths are relative to; None: the folder of the file that calls.

    Raises:
        ConfigError: the file is missing, or is no pipeline.
    """
    folder = calling_file(_OURS).parent if folder is None else folder
    if isinstance(pipeline, str | Path):
        path = folder / Path(pipeline).expanduser()
        return Held(path, folder, outline(path))
    if isinstance(pipeline, Mapping):
        return Held(pipeline, folder, outline(pipeline))
    return Held(pipeline, folder, pipeline.outline())


def chosen(outline: Outline, select: str, exclude: str) -> tuple[StreamOutline, ...]:
    """Return the streams that a selection names, in the file's order.

    Args:
        outline: the pipeline's.
        select: names of streams, or patterns such as ``fact_*``, with spaces or commas between.
        exclude: the same; these are left out.

    Raises:
        ConfigError: a word fits no stream, or none is left.
    """
    names = [stream.name for stream in outline.streams]
    wanted, unwanted = _fitting(outline, select), _fitting(outline, exclude)
    found = tuple(s for s in outline.streams if s.name in wanted and s.name not in unwanted)
    if not found:
        raise ConfigError(
            f"select={select!r}, exclude={exclude!r} leave no stream; there are {', '.join(names)}",
            pipeline=outline.name,
        )
    return found


def _fitting(outline: Outline, words: str) -> set[str]:
    found: set[str] = set()
    for word in words.replace(",", " ").split():
        fits = {s.name for s in outline.streams if fnmatchcase(s.name, word)}
        if not fits and word != "*":
            fits = {outline.stream(word).name}  # whose error names the nearest
        found |= fits
    return found
