"""The table of metrics as OpenTelemetry's instruments.

Names are the table's own, ``_total`` and unit included: what stands before a Prometheus adds those
where they are missing, and leaves a name that has them as it is. So every receiver has one name.
"""

from __future__ import annotations

import os

from opentelemetry.metrics import Counter, Histogram, Meter
from opentelemetry.metrics import _Gauge as Gauge
from opentelemetry.sdk import metrics as sdk
from opentelemetry.sdk.metrics.export import AggregationTemporality
from opentelemetry.sdk.metrics.view import Aggregation, ExponentialBucketHistogramAggregation

from conduit_core.errors import ConfigError
from conduit_core.observe.metrics import METRICS, Measurement, Metric

TEMPORALITY = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
_HISTOGRAMS = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"
_EXPONENTIAL = "base2_exponential_bucket_histogram"
_UNITS = {"seconds": "s", "bytes": "By"}


class Meters:
    """Every metric of the table, as an instrument of a meter."""

    def __init__(self, meter: Meter) -> None:
        self._made = {m.name: _instrument(meter, m) for m in METRICS}

    def take(self, found: Measurement) -> None:
        """Take a value in."""
        made = self._made[found.metric.name]
        labels = dict(zip(found.metric.labels, found.labels, strict=True))
        if isinstance(made, Counter):
            made.add(found.value, labels)
        elif isinstance(made, Histogram):
            made.record(found.value, labels)
        else:
            made.set(found.value, labels)


def _instrument(meter: Meter, metric: Metric) -> Counter | Histogram | Gauge:
    unit = unit_of(metric)
    match metric.kind:
        case "counter":
            return meter.create_counter(metric.name, unit, metric.help)
        case "histogram":
            buckets = metric.buckets
            return meter.create_histogram(
                metric.name, unit, metric.help, explicit_bucket_boundaries_advisory=buckets
            )
        case _:
            return meter.create_gauge(metric.name, unit, metric.help)


def unit_of(metric: Metric) -> str:
    """Return a metric's unit as UCUM has it; what is counted is an annotation: ``{rows}``."""
    if not metric.unit:
        return "1" if metric.name.endswith("_ratio") else ""  # a 1 becomes `_ratio` elsewhere
    return _UNITS.get(metric.unit, f"{{{metric.unit}}}")


def is_delta() -> bool:
    """Say whether values are sent once, and not as sums since the process began."""
    return os.environ.get(TEMPORALITY, "").strip().lower() != "cumulative"


def temporality() -> dict[type, AggregationTemporality]:
    """Return what the environment prefers; a load's process is short: delta, unless it says so.

    Raises:
        ConfigError: it prefers what isn't known.
    """
    _check(TEMPORALITY, "cumulative", "delta", "lowmemory")
    if not is_delta():
        return {}
    return dict.fromkeys((sdk.Counter, sdk.Histogram), AggregationTemporality.DELTA)


def aggregation() -> dict[type, Aggregation]:
    """Return how the environment wants histograms.

    Raises:
        ConfigError: it names a way that isn't known.
    """
    _check(_HISTOGRAMS, "explicit_bucket_histogram", _EXPONENTIAL)
    if os.environ.get(_HISTOGRAMS, "").strip().lower() == _EXPONENTIAL:
        return {sdk.Histogram: ExponentialBucketHistogramAggregation()}
    return {}


def _check(name: str, *known: str) -> None:
    text = os.environ.get(name, "").strip()
    if text and text.lower() not in known:
        raise ConfigError(
            f"{name}: {text!r} isn't known; write {' or '.join(known)}",
            command="conduit run --help",
        )
