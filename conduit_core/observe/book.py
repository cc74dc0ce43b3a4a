"""What a run has measured, added up until it ends; and how many label sets a metric may have."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator

from conduit_core.events import Event
from conduit_core.observe.metrics import QUEUE, Measurement, Metric, measure

LABEL_SETS = 2000
"""How many label sets one metric may have: names come from pipeline files, which programs write."""

OTHER = "other"
"""Every label of what is counted beyond that."""

SHARE = 0.9
"""How much of the time at the end a receiver takes to send: the rest is to say what went wrong."""


class Bounded:
    """Keeps the label sets of each metric to a number.

    Args:
        limit: how many a metric may have.
    """

    def __init__(self, limit: int = LABEL_SETS) -> None:
        self._limit = limit
        self._known: dict[str, set[tuple[str, ...]]] = {}
        self._lock = threading.Lock()
        self._told = False

    def __call__(self, found: Measurement, complain: Callable[[str], None]) -> Measurement | None:
        """Return what is to be counted: under ``other`` beyond the limit, and no gauge then."""
        metric, labels = found.metric, found.labels
        known = self._known.get(metric.name)
        if known is not None and labels in known:
            return found
        with self._lock:
            known = self._known.setdefault(metric.name, set())
            if len(known) < self._limit or labels in known:
                known.add(labels)
                return found
            is_first, self._told = not self._told, True
        if is_first:
            complain(
                f"{metric.name} has more than {self._limit:,} label sets: the rest is counted under"
                f" `{OTHER}`; give fewer pipelines, streams or rules to one process"
            )
        if metric.kind == "gauge":
            return None  # the last of many would stand for all of them
        return Measurement(metric, found.value, (OTHER,) * len(labels))


class Book:
    """A listener that adds up what a run measures, for a receiver that is told at its end.

    Args:
        complain: takes one warning where a metric has too many label sets.
    """

    def __init__(self, complain: Callable[[str], None]) -> None:
        self._complain = complain
        self._bounded = Bounded()
        self._values: dict[Metric, dict[tuple[str, ...], list[float]]] = {}

    def __call__(self, event: Event) -> None:
        """Take an event in."""
        self.take(measure(event))

    def take(self, measurements: Iterable[Measurement]) -> None:
        """Take values in. A queue's fill is left out: it is empty at the end."""
        for given in measurements:
            if given.metric is QUEUE or (found := self._bounded(given, self._complain)) is None:
                continue
            of_metric = self._values.setdefault(found.metric, {})
            values = of_metric.setdefault(found.labels, [])
            if found.metric.kind == "counter" and values:
                values[0] += found.value
            elif found.metric.kind == "gauge":
                values[:] = [found.value]
            else:
                values.append(found.value)

    def __iter__(self) -> Iterator[tuple[Metric, tuple[str, ...], list[float]]]:
        """Yield metric, labels and values: one of a counter or gauge, all of a histogram."""
        for metric, of_metric in self._values.items():
            for labels, values in of_metric.items():
                yield metric, labels, values

    def __bool__(self) -> bool:
        """Whether anything was measured."""
        return bool(self._values)
