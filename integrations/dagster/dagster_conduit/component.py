"""``ConduitComponent``: a pipeline's streams as assets, from a few lines of YAML."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import dagster as dg
from dagster.components.resolved.core_models import (
    DailyPartitionsDefinitionModel,
    HourlyPartitionsDefinitionModel,
    OpSpec,
    StaticPartitionsDefinitionModel,
    TimeWindowPartitionsDefinitionModel,
    WeeklyPartitionsDefinitionModel,
    resolve_partitions_def,
)
from dagster.components.utils.translation import TranslationFn, TranslationFnResolver
from pydantic import ConfigDict

from dagster_conduit.assets import conduit_assets
from dagster_conduit.resource import ConduitResource
from dagster_conduit.scaffold import ConduitScaffolder
from dagster_conduit.steps import Told
from dagster_conduit.translator import CheckData, DagsterConduitTranslator, StreamData, plain_name


class VariableNames:
    """What ``env`` is in the YAML of connections: it gives a variable's name, never its value."""

    def __getattr__(self, name: str) -> str:
        """Return the variable as Conduit's files name it."""
        if name.startswith(("_", "jinja")):
            raise AttributeError(name)  # the template engine's own questions
        return self(name)

    def __call__(self, name: str, default: str | None = None) -> str:
        """Return the same, with what stands for a variable that isn't set."""
        return f"${{{name}}}" if default is None else f"${{{name}:-{default}}}"


def _named(context: dg.ResolutionContext, given: Mapping[str, Any]) -> Mapping[str, Any]:
    return context.with_scope(env=VariableNames()).resolve_value(given)


def _described(data: StreamData) -> Mapping[str, object]:
    return {"stream": data.stream, "pipeline": data.pipeline}


@dg.scaffold_with(ConduitScaffolder)
class ConduitComponent(dg.Component, dg.Model, dg.Resolvable):
    """Loads the streams of a Conduit pipeline: one asset per stream, one check per rule.

    ``dg scaffold defs dagster_conduit.ConduitComponent shop`` writes one that works.

    Examples:
        .. code-block:: yaml

            type: dagster_conduit.ConduitComponent
            attributes:
              pipeline: shop.yml
              connections:
                shop_pg: "{{ env.SHOP_URL }}"
              translation:
                group_name: shop
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    pipeline: Annotated[
        str,
        dg.Resolver.default(
            description="The pipeline's file, relative to the component's folder.",
            examples=["shop.yml", "{{ context.project_root }}/pipelines/shop.yml"],
        ),
    ]
    select: Annotated[
        str,
        dg.Resolver.default(
            description="Names of streams, or patterns, with spaces between.",
            examples=["orders fact_*"],
        ),
    ] = "*"
    exclude: Annotated[
        str, dg.Resolver.default(description="The same, to be left out.", examples=["tmp_*"])
    ] = ""
    after: Annotated[
        bool,
        dg.Resolver.default(
            description="Whether each hook of the file's `after:` is an asset behind the streams."
        ),
    ] = False
    connections: Annotated[
        dict[str, Any] | None,
        dg.Resolver(
            _named,
            model_field_type=dict[str, Any],
            description=(
                "The pipeline file's named connections: a URL or a mapping of each. `env.NAME` is"
                " read when a step runs. Without this attribute the project gives the resource"
                " `conduit`."
            ),
            examples=[{"shop_pg": "{{ env.SHOP_URL }}"}],
            inject_before_resolve=False,
        ),
    ] = None
    op: Annotated[
        OpSpec | None,
        dg.Resolver.default(
            description="Of the steps: name of their graph, tags, pool, backfill_policy.",
            examples=[{"tags": {"team": "data"}, "pool": "warehouse"}],
        ),
    ] = None
    partitions_def: Annotated[
        dg.PartitionsDefinition[str] | None,
        dg.Resolver(
            resolve_partitions_def,
            model_field_type=HourlyPartitionsDefinitionModel
            | DailyPartitionsDefinitionModel
            | WeeklyPartitionsDefinitionModel
            | TimeWindowPartitionsDefinitionModel
            | StaticPartitionsDefinitionModel,
            description="Partitions of all streams that `translation` gives no others.",
            examples=[{"type": "daily", "start_date": "2026-01-01"}],
        ),
    ] = None
    partition_expr: Annotated[
        str | None,
        dg.Resolver.default(
            description="The column that a key of static partitions is a value of.",
            examples=["region"],
        ),
    ] = None
    translation: Annotated[
        TranslationFn[StreamData] | None,
        TranslationFnResolver[StreamData](_described),
    ] = None
    """What of an asset's spec is to be another: `group_name`, `tags`, `owners`, `key` ..."""

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Return the pipeline's assets, and the resource ``conduit`` if connections are given.

        Args:
            context: Dagster's: where the component lies.

        Raises:
            ConfigError: the pipeline's file is missing or is none, or a name fits no stream.
        """
        op = self.op or OpSpec()
        decorate = conduit_assets(
            pipeline=_folder(context) / self.pipeline,
            select=self.select,
            exclude=self.exclude,
            after=self.after,
            name=op.name or _name(context),
            partitions_def=self.partitions_def,
            partition_expr=self.partition_expr,
            backfill_policy=op.backfill_policy,
            dagster_conduit_translator=_Translator(self),
            op_tags=op.tags,
            pool=op.pool,
        )
        assets = decorate(_body(self))
        if self.connections is None:
            return dg.Definitions(assets=[assets])
        resource = _resource(json.dumps(self.connections, sort_keys=True))
        return dg.Definitions(assets=[assets], resources={"conduit": resource})

    def execute(
        self, context: dg.AssetExecutionContext, conduit: ConduitResource
    ) -> Iterator[Told]:
        """Load the step's stream. Override it to do more.

        Args:
            context: the step's.
            conduit: the resource.

        Yields:
            What the asset's checks found, and its materialisation.
        """
        yield from conduit.run(context=context)

    def get_asset_spec(self, data: StreamData) -> dg.AssetSpec:
        """Return a stream's asset, after ``translation``. Override it for what YAML can't say.

        Args:
            data: what is known of the stream.
        """
        spec = DagsterConduitTranslator().get_asset_spec(data)
        return spec if self.translation is None else self.translation(spec, data)

    def get_check_spec(self, data: CheckData) -> dg.AssetCheckSpec:
        """Return a rule's check. Override it to change names, severity and more.

        Args:
            data: what is known of the rule.
        """
        return DagsterConduitTranslator().get_check_spec(data)


class _Translator(DagsterConduitTranslator):
    """The component's own methods, as the decorator wants them."""

    def __init__(self, component: ConduitComponent) -> None:
        self._component = component

    def get_asset_spec(self, data: StreamData) -> dg.AssetSpec:
        return self._component.get_asset_spec(data)

    def get_check_spec(self, data: CheckData) -> dg.AssetCheckSpec:
        return self._component.get_check_spec(data)


def _body(component: ConduitComponent) -> Callable[..., Iterator[Told]]:
    def load(context: dg.AssetExecutionContext, conduit: ConduitResource) -> Iterator[Told]:
        yield from component.execute(context=context, conduit=conduit)

    return load


def _folder(context: dg.ComponentLoadContext) -> Path:
    """Return the component's folder: of defs.yaml, or of the module that makes it."""
    return context.path if context.path.is_dir() else context.path.parent


def _name(context: dg.ComponentLoadContext) -> str:
    """Return a name that no other component of the project has: its place under ``defs``."""
    folder = _folder(context)
    is_inside = folder.is_relative_to(context.defs_module_path)
    parts = folder.relative_to(context.defs_module_path).parts if is_inside else (folder.name,)
    which = context.component_path.instance_key  # of several in one file: a number, or a function
    more = () if which in {None, 0, "load"} else (str(which),)
    return plain_name("__".join([*parts, *more]) or "conduit")


@cache
def _resource(connections: str) -> ConduitResource:
    """Return the one resource of these connections.

    Dagster merges the definitions of several components only if what they have under one key is
    one and the same object.
    """
    return ConduitResource(connections=json.loads(connections))
