"""``after.dbt`` of a pipeline file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

FROM_DESTINATION = "from_destination"
Command = Literal["run", "build", "test", "seed", "freshness"]
_OURS = {
    "--select": "select", "-s": "select", "--models": "select", "-m": "select",
    "--vars": "vars", "--target": "target", "-t": "target", "--profile": "profile",
    "--profiles-dir": "profiles_dir", "--project-dir": "project_dir", "--threads": "threads",
    "--target-path": "", "--log-path": "",
}  # fmt: skip


def _many(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _arguments(value: object) -> object:
    """Refuse what has a key of its own, or is the bridge's business."""
    items = (value,) if isinstance(value, str) else value
    for item in items if isinstance(items, list | tuple) else ():
        flag = str(item).partition("=")[0]
        if flag in _OURS:
            key = _OURS[flag]
            raise ValueError(f"has {flag}: write `{key}:`" if key else f"has {flag}, which is ours")
    return items


class DbtOptions(BaseModel):
    """What dbt does after the loads, and where.

    Args:
        project_dir: the dbt project's folder, relative to the pipeline file.
        profiles_dir: the folder of profiles.yml. Default: ``DBT_PROFILES_DIR``, else the project's
            own, else ``~/.dbt``.
        profile: a profile's name, or ``from_destination``: one is made from the destination.
        target: the profile's target.
        threads: dbt's threads.
        command: ``build``, ``run``, ``test``, ``seed``, or ``freshness`` (of the sources).
        select: what dbt selects; ``changed`` stands for the sources that changed, and takes dbt's
            operators: ``changed+``.
        exclude: what dbt leaves out.
        vars: the project's own variables.
        args: more arguments of the command.
        executable: a dbt to run as a process of its own. Default: in this process.
        on_partial: what happens after a run with failed streams: ``skip``, or ``changed``: build
            what did change.
        full_refresh_on: ``schema_change``: add ``--full-refresh`` when a table's columns changed.
        drift: what a change of columns that the dbt project doesn't expect does, before the load:
            ``report`` (a note), ``warn``, ``stop``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    project_dir: str = Field(min_length=1)
    profiles_dir: str | None = Field(default=None, min_length=1)
    profile: str | None = Field(default=None, min_length=1)
    target: str | None = Field(default=None, min_length=1)
    threads: int | None = Field(default=None, ge=1)
    command: Command = "build"
    select: Annotated[tuple[str, ...] | None, BeforeValidator(_many)] = None
    exclude: Annotated[tuple[str, ...], BeforeValidator(_many)] = ()
    vars: Mapping[str, object] = Field(default_factory=dict)
    args: Annotated[tuple[str, ...], BeforeValidator(_arguments)] = ()
    executable: str | None = Field(default=None, min_length=1)
    on_partial: Literal["skip", "changed"] = "skip"
    full_refresh_on: Annotated[tuple[Literal["schema_change"], ...], BeforeValidator(_many)] = ()
    drift: Literal["report", "warn", "stop"] = "warn"

    @property
    def selected(self) -> tuple[str, ...]:
        """What is selected: ``changed+``, but all seeds, and of freshness the sources alone."""
        if self.select is not None:
            return self.select
        return {"seed": (), "freshness": ("changed",)}.get(self.command, ("changed+",))
