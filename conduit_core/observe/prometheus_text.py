"""Prometheus' text form: what a receiver has, read; what a run adds to it; written again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from conduit_core.observe.metrics import METRICS, Metric

Labels = tuple[tuple[str, str], ...]
"""Names and values, sorted by name; ``le`` of a bucket among them."""

_ENDINGS = {"counter": ("",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
_BY_SAMPLE = {f"{m.name}{end}": m for m in METRICS for end in _ENDINGS[m.kind]}


@dataclass(frozen=True, slots=True)
class Sample:
    """A number's place: the metric's name, its ending included, and labels."""

    name: str
    labels: Labels

    @property
    def metric(self) -> Metric:
        """The metric of the table that it is a number of."""
        return _BY_SAMPLE[self.name]

    def label(self, name: str) -> str | None:
        """Return a label's value; None where it hasn't that label."""
        return dict(self.labels).get(name)


Samples = dict[Sample, float]


class ForeignError(ValueError):
    """A text holds what we never write."""


def read(text: str, without: tuple[str, ...] = ()) -> Samples:
    """Return the numbers of a text, those of metrics of the table.

    Args:
        text: in Prometheus' form.
        without: labels to leave out.

    Raises:
        ForeignError: it has a metric that isn't ours.
        ValueError: it isn't of that form.
    """
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        if not family.name.startswith("conduit_"):
            raise ForeignError(f"it holds {family.name}, which isn't a metric of conduit")
        for each in family.samples:
            metric = _BY_SAMPLE.get(each.name)
            labels = {k: v for k, v in each.labels.items() if k not in without}
            if metric is not None and _fits(metric, each.name, labels):
                found[Sample(each.name, tuple(sorted(labels.items())))] = each.value
    return found


def _fits(metric: Metric, name: str, labels: dict[str, str]) -> bool:
    """Whether it is a number that we'd write; another version may have had other labels."""
    names = set(labels)
    if name.endswith("_bucket"):
        bounds = {_bound(bound) for bound in (*metric.buckets, math.inf)}
        return names == {*metric.labels, "le"} and labels["le"] in bounds
    return names == set(metric.labels)


def _bound(value: float) -> str:
    return "+Inf" if math.isinf(value) else str(value)


def add(samples: Samples, metric: Metric, labels: tuple[str, ...], values: list[float]) -> None:
    """Add a run's values: to a counter or histogram; a gauge is set."""
    pairs = dict(zip(metric.labels, labels, strict=True))
    place = Sample(metric.name, tuple(sorted(pairs.items())))
    if metric.kind == "gauge":
        samples[place] = values[-1]
    elif metric.kind == "counter":
        samples[place] = samples.get(place, 0.0) + sum(values)
    else:
        for bound in (*metric.buckets, math.inf):
            at = tuple(sorted({**pairs, "le": _bound(bound)}.items()))
            bucket = Sample(f"{metric.name}_bucket", at)
            samples[bucket] = samples.get(bucket, 0.0) + sum(1 for v in values if v <= bound)
        for end, value in (("_count", float(len(values))), ("_sum", sum(values))):
            of_all = Sample(f"{metric.name}{end}", place.labels)
            samples[of_all] = samples.get(of_all, 0.0) + value


def written(samples: Samples) -> str:
    """Return numbers as text."""
    return generate_latest(registry_of(samples)).decode()


def registry_of(samples: Samples) -> CollectorRegistry:
    """Return numbers as Prometheus' client takes them."""
    registry = CollectorRegistry()
    registry.register(_Families(samples))
    return registry


class _Families(Collector):
    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def collect(self) -> Iterator[Family]:
        by_metric: dict[str, list[Sample]] = {}
        for sample in self._samples:
            by_metric.setdefault(sample.metric.name, []).append(sample)
        for metric in METRICS:
            if metric.name in by_metric:
                yield self._family(metric, by_metric[metric.name])

    def _family(self, metric: Metric, samples: Iterable[Sample]) -> Family:
        family = Family(metric.name.removesuffix("_total"), metric.help, metric.kind)
        for sample in sorted(samples, key=_order):
            family.add_sample(sample.name, dict(sample.labels), self._samples[sample])
        return family


def _order(sample: Sample) -> tuple[Labels, str, float]:
    rest = tuple(pair for pair in sample.labels if pair[0] != "le")
    bound = sample.label("le")
    return rest, sample.name, float(bound) if bound is not None else 0.0
