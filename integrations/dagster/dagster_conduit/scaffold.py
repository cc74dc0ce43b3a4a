"""What ``dg scaffold defs dagster_conduit.ConduitComponent NAME`` writes."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg
from dagster.components.component_scaffolding import scaffold_component
from pydantic import BaseModel, Field

from conduit_core.errors import ConfigError
from dagster_conduit.translator import plain_name

PIPELINE = """\
name: {name}
source: {{type: csv, path: .}}                  # or a database: {{connection: shop_pg}}
destination: {{type: duckdb, path: "${{WAREHOUSE:-warehouse.duckdb}}", schema: {schema}}}
streams:
  - path: orders.csv
    mode: upsert
    unique_key: id
    quality:
      - {{rule: not_null, columns: [id, amount]}}
"""
ORDERS = """\
id,customer,amount,ordered_on
1,Ada,12.50,2026-01-05
2,Grace,250.00,2026-01-06
3,Ada,8.99,2026-01-06
"""
MODULE = """\
import dagster as dg
from dagster_conduit import ConduitComponent


@dg.component_instance
def load(context: dg.ComponentLoadContext) -> ConduitComponent:
    return ConduitComponent({arguments})
"""


class ScaffoldParams(BaseModel):
    """The options of the command."""

    pipeline: str | None = Field(
        default=None, description="An existing pipeline file; without it a small one is written."
    )


class ConduitScaffolder(dg.Scaffolder[ScaffoldParams]):
    """Writes a component, and a pipeline file with some data where none is named."""

    @classmethod
    def get_scaffold_params(cls) -> type[ScaffoldParams]:
        """Return the options that the command has."""
        return ScaffoldParams

    def scaffold(self, request: dg.ScaffoldRequest[ScaffoldParams]) -> None:
        """Write the files. What is there already stays as it is.

        Raises:
            ConfigError: there is no such pipeline file.
        """
        folder = request.target_path.parent if request.append else request.target_path
        given = request.params.pipeline
        pipeline = _example(folder) if given is None else _told(Path(given), folder, request)
        if request.scaffold_format == "python":
            arguments = f"pipeline={pipeline!r}, connections={{}}"
            (folder / "component.py").write_text(MODULE.format(arguments=arguments))
            return
        scaffold_component(request, {"pipeline": pipeline, "connections": {}})


def _example(folder: Path) -> str:
    pipeline = PIPELINE.format(name=folder.name, schema=plain_name(folder.name))
    for name, text in (("pipeline.yml", pipeline), ("orders.csv", ORDERS)):
        if not (folder / name).exists():
            (folder / name).write_text(text)
    return "pipeline.yml"


def _told(pipeline: Path, folder: Path, request: dg.ScaffoldRequest[ScaffoldParams]) -> str:
    """Return the path as the component's YAML names it, so that it holds on other machines too."""
    path = pipeline.absolute()
    if not path.is_file():
        raise ConfigError(f"there is no pipeline file {pipeline}", command=f"ls -l {path.parent}")
    if path.is_relative_to(folder):
        return path.relative_to(folder).as_posix()
    if request.project_root is None or request.scaffold_format == "python":
        return Path(os.path.relpath(path, folder)).as_posix()
    return (
        "{{ context.project_root }}/" + Path(os.path.relpath(path, request.project_root)).as_posix()
    )
