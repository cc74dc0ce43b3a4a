"""What ``pipeline=`` may be, and how a task opens it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union

from conduit_core.errors import ConfigError
from prefect_conduit.blocks import ConduitPipeline
from prefect_conduit.connections import PrefectConnections

if TYPE_CHECKING:
    from conduit_core import Pipeline

PipelineLike: TypeAlias = Union[str, Path, Mapping[str, object], ConduitPipeline, "Pipeline"]
"""A path relative to the working directory, a file's content as a mapping, or a block."""


def opened(pipeline: PipelineLike) -> Pipeline:
    """Return the pipeline that a task runs; its named connections are Prefect's blocks.

    Raises:
        ConfigError: it is wrong, or isn't where the task runs.
    """
    from conduit_core import Pipeline

    known = PrefectConnections()
    if isinstance(pipeline, Pipeline):
        return pipeline
    if isinstance(pipeline, ConduitPipeline):
        return pipeline.opened(known)
    if isinstance(pipeline, Mapping):
        return Pipeline.from_mapping(dict(pipeline), Path.cwd(), connections=known)
    if isinstance(pipeline, str | Path):
        path = Path(pipeline).expanduser()
        if not path.exists():
            raise ConfigError(
                f"there is no {path} in {Path.cwd()}, where this runs: the pipeline file has to"
                " come with the flow's code, or be an absolute path",
                command=f"ls -l {path.absolute().parent}",
            )
        return Pipeline.from_file(path, connections=known)
    raise ConfigError(
        f"pipeline= is a path, a mapping or a ConduitPipeline block, not {type(pipeline).__name__}"
    )
