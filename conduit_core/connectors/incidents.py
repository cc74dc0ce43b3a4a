"""What was told to people, and of what: kept in the destination, so that it is told once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol, runtime_checkable

About = Literal["failure", "rejected", "stale", "success", "schema_change"]

LASTING = frozenset({"failure", "rejected", "stale"})
"""What begins and is over; the rest happens once, in one load."""


@dataclass(frozen=True, slots=True)
class Telling:
    """How far one receiver has been told of an incident.

    Args:
        at: when it was told last, or a process took it on itself to do so.
        count: how many times it was told, this one included.
        sent: whether it took it; False: a process is about to tell it, or died before it could say.
        over: whether this is of the incident's end.
    """

    at: datetime
    count: int
    sent: bool
    over: bool = False


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that people are told of, from when it begins until it is over.

    Args:
        id: a digest, the same in every process that sees it begin.
        pipeline: the pipeline.
        stream: its stream, or ``after.NAME`` of a hook.
        about: what happened. A success or a change of columns is closed once all were told.
        opened_at: when it was first seen.
        seen_at: when it was last seen.
        times: in how many runs it was seen.
        told_at: when somebody was last told; None: nobody was.
        closed_at: when it was over; None: it goes on.
        error: the class of the error, "" without one.
        exit_code: the error's, 0 without one.
        load_id: the last load that it is about, "" where there was none.
        runner: who ran it: cli, airflow, prefect or dagster.
        facts: what the alert says, as plain JSON: no row's value, no secret.
        told: by a receiver's digest, how far it was told.
        revision: how often it was written; 0: it never was.
    """

    id: str
    pipeline: str
    stream: str
    about: About
    opened_at: datetime
    seen_at: datetime
    times: int = 1
    told_at: datetime | None = None
    closed_at: datetime | None = None
    error: str = ""
    exit_code: int = 0
    load_id: str = ""
    runner: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)
    told: Mapping[str, Telling] = field(default_factory=dict)
    revision: int = 0


@runtime_checkable
class KeepsIncidents(Protocol):
    """Trait: a destination that remembers what people were told of."""

    def incidents(
        self, pipeline: str, since: datetime | None = None, ids: Collection[str] = ()
    ) -> list[Incident]:
        """Return a pipeline's incidents, the oldest first. Read-only.

        Args:
            pipeline: the pipeline's name.
            since: leave out those that were over before; those that go on always come.
            ids: these come, too, however old they are.
        """
        ...

    def keep_incidents(self, changed: Sequence[Incident]) -> bool:
        """Write these incidents, all or none, each over the revision that was read.

        Returns:
            False, and nothing is written, where another process has written one of them since, or
            has opened the same incident: read them again.

        Raises:
            ConduitError: the destination can't be reached, or refuses it.
        """
        ...
