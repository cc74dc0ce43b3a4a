"""The shop of tests/dbt beside dagster-dbt: its project parsed once, its models as assets."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DbtCliResource, dbt_assets

from conduit_dbt.in_process import InProcess
from conduit_dbt.invoke import Invocation
from dagster_conduit import ConduitResource, conduit_assets
from tests.dagster.shop import Told
from tests.dbt.lab import DbtLab, stream

PROFILE = "shop: {{target: dev, outputs: {{dev: {{type: duckdb, path: '{}', schema: raw}}}}}}\n"
RULED = [{"rule": "not_null", "column": "amount"}]
STREAMS = [stream("orders", quality=RULED), stream("items", quality=RULED)]
TESTS = """
sources:
  - name: raw
    tables:
      - {name: orders, columns: [{name: amount, data_tests: [not_null]}]}
      - {name: items, columns: [{name: amount, data_tests: [not_null]}]}
      - {name: elsewhere, columns: [{name: id, data_tests: [not_null]}]}
"""


class Models:
    """A pipeline of two streams, and a dbt project with a model behind each, and one behind it.

    Args:
        folder: where all lies.
    """

    def __init__(self, folder: Path) -> None:
        self.lab = DbtLab(folder)
        self.lab.write("models/sources.yml", TESTS)
        self.lab.write("profiles.yml", PROFILE.format(folder / "warehouse.duckdb"))
        self.file = self.lab.file(*STREAMS)
        project = str(self.lab.project)
        common = ("--project-dir", project, "--profiles-dir", project)
        ended = InProcess().invoke(Invocation(("parse",), (), common, self.lab.project))
        assert ended.code == 0, ended.error
        self.nodes: list[tuple[str, str]] = []

    @property
    def manifest(self) -> Path:
        """What dbt parsed."""
        return self.lab.project / "target" / "manifest.json"

    def streams(self, **arguments: Any) -> dg.AssetsDefinition:
        """Return the pipeline's assets."""

        @conduit_assets(pipeline=self.file, name="shop", **arguments)
        def made(context: dg.AssetExecutionContext, conduit: ConduitResource) -> Iterator[object]:
            yield from conduit.run(context=context)

        return made

    def models(
        self, translator: DagsterDbtTranslator | None = None, **arguments: Any
    ) -> dg.AssetsDefinition:
        """Return the project's assets; ``nodes`` get what dbt did."""

        def build(context, dbt: DbtCliResource):  # type: ignore[no-untyped-def]
            done = dbt.cli(["build"], context=context)
            yield from done.stream()
            for each in done.get_artifact("run_results.json")["results"]:
                kind, _, name, *_ = each["unique_id"].split(".")
                self.nodes.append((kind, name))

        build.__annotations__["dbt"] = DbtCliResource
        decorate = dbt_assets(
            manifest=self.manifest, name="models", dagster_dbt_translator=translator, **arguments
        )
        return decorate(build)

    def resources(self) -> dict[str, object]:
        """Return what the assets need."""
        project = str(self.lab.project)
        dbt = str(Path(sys.executable).with_name("dbt"))
        cli = DbtCliResource(project_dir=project, profiles_dir=project, dbt_executable=dbt)
        return {"conduit": ConduitResource(), "dbt": cli}

    def materialize(
        self, instance: dg.DagsterInstance, *assets: dg.AssetsDefinition, **arguments: Any
    ) -> Told:
        """Materialise assets."""
        result = dg.materialize(
            assets,
            instance=instance,
            resources=self.resources(),
            raise_on_error=False,
            **arguments,
        )
        return Told(result)
