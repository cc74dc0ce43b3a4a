"""Which connectors there are: entry points of the group ``conduit.connectors``, ours included."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution, entry_points
from typing import TYPE_CHECKING

from conduit_core.connectors.base import Context, Destination, Source
from conduit_core.errors import ConfigError
from conduit_core.spec.data import OF_PYTHON

if TYPE_CHECKING:
    from pydantic import BaseModel

    from conduit_core.connectors.airflow import AirflowConnection

GROUP = "conduit.connectors"
DISTRIBUTION = "conduit-load"


@dataclass(frozen=True, slots=True)
class Connector:
    """What an entry point gives: option model and factories. Building one opens no connection.

    Args:
        name: the ``type:`` in pipeline files.
        options: the pydantic model (``extra="forbid"``) of the connection's options.
        source: makes a source from its options, or None if it isn't one.
        destination: makes a destination from options, schema and internal schema, or None.
        title: one line for ``conduit connectors``.
        extra: the extra of ``conduit-load`` that brings its driver, or "".
        airflow_types: the types of Airflow connections that it takes; the first connector that
            takes one gets it, ours before others.
        from_airflow: returns what such a connection says as a pipeline file would, ``type`` too;
            without a type, the pipeline file says it. Raises ``conn.refuse(text)``.
    """

    name: str
    options: type[BaseModel]
    source: Callable[[BaseModel, Context], Source] | None = None
    destination: (
        Callable[[BaseModel, Context, str | None, str | None, float], Destination] | None
    ) = None
    title: str = ""
    extra: str = ""
    airflow_types: tuple[str, ...] = ()
    from_airflow: Callable[[AirflowConnection], Mapping[str, object]] | None = None


@cache
def _points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


@cache
def _own_points() -> dict[str, EntryPoint]:
    """Return the entry points of our own distribution: reading those of all takes 0.1 s."""
    try:
        found = distribution(DISTRIBUTION).entry_points
    except PackageNotFoundError:
        return {}
    return {point.name: point for point in found if point.group == GROUP}


_added: dict[str, Connector] = {}


@contextmanager
def added(connector: Connector) -> Iterator[None]:
    """Add a connector without an entry point to this process, inside the ``with`` block."""
    _added[connector.name] = connector
    try:
        yield
    finally:
        del _added[connector.name]


def names() -> list[str]:
    """Return the types that are installed, sorted."""
    return sorted({*_points(), *_added})


def names_ours_first() -> list[str]:
    """Return the types that are installed: of this process, ours, then all others."""
    return list(dict.fromkeys([*_added, *_own_points(), *sorted(_points())]))


def get(name: str) -> Connector:
    """Return a connector by its type.

    Raises:
        ConfigError: no such type is installed; the message names the nearest.
    """
    if name in _added:
        return _added[name]
    if name == OF_PYTHON:
        raise ConfigError(
            f"`type: {name}` can't stand in a file: it is the data of a Python function, which"
            " `Pipeline.from_data` takes",
            command="conduit connectors",
        )
    point = _own_points().get(name) or _points().get(name)
    if point is None:
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(
            f"no connector of type {name!r}{hint} Installed: {', '.join(names())}",
            command="conduit connectors",
        )
    connector = point.load()
    if not isinstance(connector, Connector):
        raise ConfigError(f"the entry point {point.value!r} is not a Connector")
    return connector


def missing_driver(connector: str, extra: str, error: ImportError) -> ConfigError:
    """Return the error for a driver that isn't installed, with the line that installs it."""
    return ConfigError(
        f"the {connector} connector needs {error.name or 'its driver'}, which isn't installed",
        command=f"pip install 'conduit-load[{extra}]'",
    )
