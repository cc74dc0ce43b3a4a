"""What a load tells OpenLineage: datasets, columns, what its rules found, how many rows it wrote.

Everything is collected while the task runs, since Airflow asks for it in a fork, where no driver
should be opened. Without the OpenLineage provider, or with it disabled, nothing is collected.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from conduit_core.events import Event, RuleChecked

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.event_v2 import Dataset
    from openlineage.client.facet_v2 import (
        DatasetFacet,
        InputDatasetFacet,
        JobFacet,
        OutputDatasetFacet,
        RunFacet,
    )

    from conduit_core import ColumnFacts, LoadResult, Pipeline


def is_on() -> bool:
    """Tell whether Airflow sends lineage anywhere."""
    try:
        from airflow.providers.openlineage import conf
    except ImportError:
        return False
    return not conf.is_disabled()


@dataclass(slots=True)
class Heard:
    """A listener that keeps what rules found; for a load that its rules stop, too."""

    rules: list[RuleChecked] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        """Take an event in."""
        if isinstance(event, RuleChecked):
            self.rules.append(event)


@dataclass(frozen=True, slots=True)
class Lineage:
    """What is known of one load.

    Args:
        sources, target: datasets as ``(namespace, name)``.
        columns: the target's, with their types.
        origins: from which of the source's columns each of them comes.
        rules: what rules found.
        rows_read, bytes_read, rows_written: of the load; None where it failed.
    """

    sources: tuple[tuple[str, str], ...]
    target: tuple[str, str] | None
    columns: tuple[ColumnFacts, ...] = ()
    origins: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rules: tuple[RuleChecked, ...] = ()
    rows_read: int | None = None
    bytes_read: int | None = None
    rows_written: int | None = None

    def to_openlineage(self) -> OperatorLineage[Dataset, RunFacet | JobFacet]:
        """Return it as OpenLineage's own objects."""
        from airflow.providers.openlineage.extractors import OperatorLineage
        from openlineage.client.event_v2 import InputDataset, OutputDataset

        outputs: list[Dataset] = []
        if self.target is not None:
            namespace, name = self.target
            written = self._written()
            outputs = [OutputDataset(namespace, name, facets=self._shape(), outputFacets=written)]
        judged = self._judged()
        inputs: list[Dataset] = [
            InputDataset(*source, inputFacets=judged) for source in self.sources
        ]
        return OperatorLineage(inputs=inputs, outputs=outputs)

    def _shape(self) -> dict[str, DatasetFacet]:
        from openlineage.client.facet_v2 import column_lineage_dataset, schema_dataset

        facets: dict[str, DatasetFacet] = {}
        if self.columns:
            fields = [
                schema_dataset.SchemaDatasetFacetFields(name=c.name, type=c.type)
                for c in self.columns
            ]
            facets["schema"] = schema_dataset.SchemaDatasetFacet(fields=fields)
        if self.origins and len(self.sources) == 1:
            namespace, name = self.sources[0]
            found = {
                column: column_lineage_dataset.Fields(
                    inputFields=[
                        column_lineage_dataset.InputField(namespace, name, origin)
                        for origin in origins
                    ]
                )
                for column, origins in self.origins.items()
            }
            facets["columnLineage"] = column_lineage_dataset.ColumnLineageDatasetFacet(fields=found)
        return facets

    def _written(self) -> dict[str, OutputDatasetFacet]:
        from openlineage.client.facet_v2 import output_statistics_output_dataset as statistics

        if self.rows_written is None:
            return {}
        facet = statistics.OutputStatisticsOutputDatasetFacet(rowCount=self.rows_written)
        return {"outputStatistics": facet}

    def _judged(self) -> dict[str, InputDatasetFacet]:
        from openlineage.client.facet_v2 import (
            data_quality_assertions_dataset,
            data_quality_metrics_input_dataset,
        )

        facets: dict[str, InputDatasetFacet] = {}
        if self.rows_read is not None:
            metrics = data_quality_metrics_input_dataset.DataQualityMetricsInputDatasetFacet(
                columnMetrics={}, rowCount=self.rows_read, bytes=self.bytes_read
            )
            facets["dataQualityMetrics"] = metrics
        judged = [rule for rule in self.rules if rule.result != "not_judged"]
        if judged:
            assertions = [
                data_quality_assertions_dataset.Assertion(
                    assertion=rule.rule,
                    success=rule.result == "passed",
                    severity="error" if rule.action == "fail" else "warn",
                    actual=f"{rule.failed} of {rule.checked} rows failed" if rule.checked else None,
                )
                for rule in judged
            ]
            facet = data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet(assertions)
            facets["dataQualityAssertions"] = facet
        return facets


def lineage_of(pipeline: Pipeline, stream: str, result: LoadResult | None, heard: Heard) -> Lineage:
    """Return what is known of a load; ``result`` is None where it failed.

    Raises:
        ConduitError: the target can't be asked for its columns.
    """
    from conduit_core import column_lineage, datasets, table_facts

    (named,) = datasets(pipeline, (stream,))
    sources = tuple((d.namespace, d.name) for d in named.sources)
    target = None if named.target is None else (named.target.namespace, named.target.name)
    if result is None:
        return Lineage(sources, target, rules=tuple(heard.rules))
    (table,) = table_facts(pipeline, (stream,))
    counts = result.counts
    return Lineage(
        sources,
        target,
        columns=table.columns,
        origins=column_lineage(pipeline, stream, [c.name for c in table.columns]),
        rules=tuple(heard.rules),
        rows_read=counts.read,
        bytes_read=result.bytes_read,
        rows_written=counts.inserted + counts.updated,
    )
