"""What OpenLineage has of a load: its datasets and its run, as objects of OpenLineage's client.

Names, types and counts go out, never a value of a row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import attr
from openlineage.client.event_v2 import InputDataset, OutputDataset
from openlineage.client.facet_v2 import (
    DatasetFacet,
    InputDatasetFacet,
    OutputDatasetFacet,
    RunFacet,
    column_lineage_dataset,
    data_quality_assertions_dataset,
    data_quality_metrics_input_dataset,
    error_message_run,
    input_statistics_input_dataset,
    output_statistics_output_dataset,
    processing_engine_run,
    schema_dataset,
)

from conduit_core import __version__
from conduit_core.engine.facts import ColumnFacts, existing_columns
from conduit_core.engine.lineage import StreamDatasets, column_lineage, datasets
from conduit_core.errors import ConduitError
from conduit_core.observe.words import WITHOUT_VALUES
from conduit_core.spec.outline import RuleOutline
from conduit_core.spec.secrets import masking, secrets_of

if TYPE_CHECKING:
    from conduit_core.engine.pipeline import Pipeline
    from conduit_core.events import RuleChecked, StreamFailed, StreamFinished
    from conduit_core.observe.lineage import LoadHeard

PRODUCER = f"urn:conduit-load:{__version__}"
LOAD_SCHEMA = "urn:conduit-load:load-run-facet:1#/$defs/ConduitLoadRunFacet"
"""The form of our own facet: ``load-run-facet.schema.json`` beside this file."""


@attr.define
class ConduitLoadRunFacet(RunFacet):
    """A load, as the destination's ledger names it.

    Args:
        loadId: its id; none where nothing was ever published.
        outcome: published, replayed or empty.
        rows: rows by what became of them.
    """

    loadId: str | None = attr.field(default=None)  # noqa: N815
    outcome: str = attr.field(default="")
    rows: dict[str, int] = attr.field(factory=dict)

    @staticmethod
    def _get_schema() -> str:
        return LOAD_SCHEMA


# --- datasets -------------------------------------------------------------------------------------


def inputs_and_outputs(
    pipeline: Pipeline,
    loads: Sequence[tuple[str, LoadHeard]],
    complain: Callable[[str], None],
) -> list[tuple[list[InputDataset], list[OutputDataset]]]:
    """Return what each load has read and written; see :func:`observe.lineage.lineage_datasets`."""
    names = tuple(dict.fromkeys(stream for stream, _ in loads))
    named = {each.stream: each for each in datasets(pipeline, names)}
    rules = {s.name: {r.name: r for r in s.rules} for s in pipeline.outline().streams}
    ended = ((stream, heard.finished) for stream, heard in loads if heard.finished)
    loaded = tuple(dict.fromkeys(s for s, done in ended if done.outcome != "empty"))
    columns: Mapping[str, tuple[ColumnFacts, ...]] = {}
    try:
        columns = existing_columns(pipeline, loaded) if loaded else {}
    except ConduitError as error:
        complain(f"lineage has no columns: {_masked(pipeline, error.message)}")
    return [
        (
            _inputs(named[stream], heard, rules[stream]),
            _outputs(pipeline, named[stream], heard, columns.get(stream, ())),
        )
        for stream, heard in loads
    ]


def _inputs(
    named: StreamDatasets, heard: LoadHeard, rules: Mapping[str, RuleOutline]
) -> list[InputDataset]:
    facets: dict[str, InputDatasetFacet] = {}
    if (done := heard.finished) is not None and done.outcome != "replayed":
        rows, size = done.rows_read, done.bytes_read
        statistics = input_statistics_input_dataset.InputStatisticsInputDatasetFacet(
            rowCount=rows, size=size, producer=PRODUCER
        )
        metrics = data_quality_metrics_input_dataset.DataQualityMetricsInputDatasetFacet(
            columnMetrics={}, rowCount=rows, bytes=size, producer=PRODUCER
        )
        facets = {"inputStatistics": statistics, "dataQualityMetrics": metrics}
    judged = [rule for rule in heard.rules.values() if rule.result != "not_judged"]
    if judged:
        facets["dataQualityAssertions"] = (
            data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet(
                [_assertion(rule, rules.get(rule.rule)) for rule in judged], producer=PRODUCER
            )
        )
    return [InputDataset(d.namespace, d.name, inputFacets=facets) for d in named.sources]


def _assertion(
    rule: RuleChecked, known: RuleOutline | None
) -> data_quality_assertions_dataset.Assertion:
    columns = () if known is None else known.columns
    return data_quality_assertions_dataset.Assertion(
        assertion=rule.rule,
        success=rule.result == "passed",
        column=columns[0] if len(columns) == 1 else None,
        severity="error" if rule.action == "fail" else "warn",
        actual=f"{rule.failed} of {rule.checked} rows failed" if rule.checked else None,
    )


def _outputs(
    pipeline: Pipeline, named: StreamDatasets, heard: LoadHeard, columns: Sequence[ColumnFacts]
) -> list[OutputDataset]:
    if named.target is None:
        return []
    written: dict[str, OutputDatasetFacet] = {}
    if (done := heard.finished) is not None and done.outcome != "replayed":
        rows = done.counts.get("inserted", 0) + done.counts.get("updated", 0)
        written["outputStatistics"] = (
            output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
                rowCount=rows, producer=PRODUCER
            )
        )
    shape = _shape(pipeline, named, columns)
    target = named.target
    return [OutputDataset(target.namespace, target.name, facets=shape, outputFacets=written)]


def _shape(
    pipeline: Pipeline, named: StreamDatasets, columns: Sequence[ColumnFacts]
) -> dict[str, DatasetFacet]:
    if not columns:
        return {}
    fields = [schema_dataset.SchemaDatasetFacetFields(name=c.name, type=c.type) for c in columns]
    facets: dict[str, DatasetFacet] = {
        "schema": schema_dataset.SchemaDatasetFacet(fields=fields, producer=PRODUCER)
    }
    origins = column_lineage(pipeline, named.stream, [c.name for c in columns])
    if origins and len(named.sources) == 1:
        (source,) = named.sources
        found = {
            column: column_lineage_dataset.Fields(
                inputFields=[
                    column_lineage_dataset.InputField(source.namespace, source.name, origin)
                    for origin in of
                ]
            )
            for column, of in origins.items()
        }
        facets["columnLineage"] = column_lineage_dataset.ColumnLineageDatasetFacet(
            fields=found, producer=PRODUCER
        )
    return facets


# --- runs -----------------------------------------------------------------------------------------


def engine_facet() -> RunFacet:
    """Return who processes: Conduit, and its version."""
    return processing_engine_run.ProcessingEngineRunFacet(
        version=__version__,
        name="conduit",
        openlineageAdapterVersion=__version__,
        producer=PRODUCER,
    )


def load_facet(done: StreamFinished) -> RunFacet:
    """Return what the ledger knows a load by."""
    return ConduitLoadRunFacet(
        loadId=done.load_id or None,
        outcome=done.outcome,
        rows=dict(done.counts),
        producer=PRODUCER,
    )


def error_facet(pipeline: Pipeline, failed: StreamFailed) -> RunFacet:
    """Return why a load failed: the error's class, and its first line where that shows no value."""
    reason = f"{failed.error}, exit code {failed.exit_code}"
    if failed.error in WITHOUT_VALUES and failed.lines:
        reason = f"{failed.error}: {_masked(pipeline, failed.lines[0])}"
    return error_message_run.ErrorMessageRunFacet(
        message=reason, programmingLanguage="python", producer=PRODUCER
    )


def _masked(pipeline: Pipeline, text: str) -> str:
    """Return a text without the pipeline's secrets: an error's may be a driver's own."""
    try:
        spec = pipeline.connected()
    except ConduitError:
        spec = pipeline.loaded.spec
    return masking(secrets_of((spec.source, spec.destination)))(text)
