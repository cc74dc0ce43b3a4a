"""What ``pipeline=`` may be, and how a task opens it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union

from conduit_core import calling_file, outline

if TYPE_CHECKING:
    from airflow_provider_conduit.compat import DAG, BaseOperator
    from conduit_core import Outline, Pipeline
    from conduit_core.errors import ConfigError

PipelineLike: TypeAlias = Union[str, Path, Mapping[str, object], "Pipeline"]
"""A path relative to the DAG file, the file's content as a mapping, or a Pipeline."""
OURS = ("airflow", "airflow_provider_conduit")
"""The packages that lie between a DAG file and this one."""


class Kept(Mapping[str, object]):
    """A mapping, written out as its name only: it may hold a password.

    Airflow keeps the arguments of a mapped task with the DAG, in plain text; those it has no form
    for, as their ``str``.
    """

    def __init__(self, held: Mapping[str, object]) -> None:
        self._held = dict(held)

    def __getitem__(self, key: str) -> object:
        """Return a key's value."""
        return self._held[key]

    def __iter__(self) -> Iterator[str]:
        """Return the keys."""
        return iter(self._held)

    def __len__(self) -> int:
        """Return how many keys there are."""
        return len(self._held)

    def __repr__(self) -> str:
        """Return its name, and nothing else of it."""
        return f"mapping {self._held.get('name', '')!s}".strip()


def dag_folder(of: BaseOperator | DAG | None = None) -> Path:
    """Return the folder that relative paths are relative to: the DAG file's.

    Without a DAG it is the folder of the file that calls.

    Args:
        of: an operator, which may have no DAG; or a DAG.
    """
    dag = getattr(of, "_dag", of)  # an operator's `dag` raises without one
    if isinstance(file := getattr(dag, "fileloc", None), str) and file:
        return Path(file).parent
    return calling_file(OURS).parent


def placed(pipeline: PipelineLike, folder: Path) -> PipelineLike:
    """Return the pipeline with its path made absolute; a mapping so that nothing shows it."""
    if isinstance(pipeline, str | Path):
        return folder / Path(pipeline).expanduser()
    return Kept(pipeline) if isinstance(pipeline, Mapping) else pipeline


def outline_of(pipeline: PipelineLike, destination_conn_id: str | None = None) -> Outline:
    """Return a pipeline's outline, for a DAG that is parsed: no I/O but the file, no driver.

    Raises:
        ConfigError: the file is missing, or is no pipeline.
    """
    given = destination_conn_id is not None
    if isinstance(pipeline, Mapping):
        return outline(pipeline, connection=given)
    if not isinstance(pipeline, str | Path):
        return pipeline.outline(connection=given)
    try:
        found = Path(pipeline).stat()
    except OSError:
        return outline(pipeline, connection=given)  # whose error says what is wrong
    return _outline_of_file(str(pipeline), given, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=64)
def _outline_of_file(path: str, connection: bool, _changed_ns: int, _size: int) -> Outline:  # noqa: FBT001 - a cache's key
    """Read a file once for all the tasks of a group, and again when it has changed."""
    return outline(path, connection=connection)


def opened(
    pipeline: PipelineLike,
    folder: Path,
    *,
    source_conn_id: str | None = None,
    destination_conn_id: str | None = None,
) -> Pipeline:
    """Return the pipeline that a task runs: its named connections are Airflow's.

    Every secret of it is masked in the task's log from here on.

    Raises:
        ConfigError: the file isn't on this worker or is wrong, or a connection isn't known.
    """
    from airflow_provider_conduit.connections import AirflowConnections, mask
    from conduit_core import Pipeline

    known, source, destination = AirflowConnections(), source_conn_id, destination_conn_id
    for name, value in (("source_conn_id", source), ("destination_conn_id", destination)):
        if value is not None and value.strip() in {"", "None"}:
            raise _empty(name, value)
    if isinstance(pipeline, Pipeline):
        made = pipeline
        if source is not None or destination is not None:
            made = pipeline.with_connections(source, destination, known)
    elif isinstance(pipeline, Mapping):
        made = Pipeline.from_mapping(
            dict(pipeline), folder, connections=known, source=source, destination=destination
        )
    elif Path(pipeline).exists():
        made = Pipeline.from_file(
            pipeline, connections=known, source=source, destination=destination
        )
    else:
        raise _not_here(Path(pipeline))
    mask(made.secrets())
    return made


def _empty(name: str, value: str) -> ConfigError:
    from conduit_core.errors import ConfigError

    return ConfigError(
        f"{name}={value!r}: its template gave nothing; the pipeline's own connection isn't taken"
        " in its place"
    )


def _not_here(path: Path) -> ConfigError:
    from conduit_core.errors import ConfigError

    return ConfigError(
        f"there is no {path} on this worker: the pipeline file has to come with the DAGs, in the"
        " same bundle, image or volume",
        command=f"ls -l {path.parent}",
    )
