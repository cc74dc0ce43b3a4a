"""``after.dbt`` of a pipeline file."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

FROM_DESTINATION = "from_destination"
Command = Literal["run", "build", "test", "seed", "freshness"]
_OURS = {
    "--select": "select", "-s": "select", "--models": "select", "-m": "select",
    "--exclude": "exclude",
    "--vars": "vars", "--target": "target", "-t": "target", "--profile": "profile",
    "--profiles-dir": "profiles_dir", "--project-dir": "project_dir", "--threads": "threads",
    "--target-path": "", "--log-path": "",
}  # fmt: skip


def _many(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _arguments(value: object) -> object:
    """Split a text as a shell does; refuse what has a key of its own, or is the bridge's."""
    items = tuple(shlex.split(value)) if isinstance(value, str) else value
    for item in items if isinstance(items, list | tuple) else ():
        flag = str(item).partition("=")[0]
        if flag in _OURS:
            key = _OURS[flag]
            raise ValueError(f"has {flag}: write `{key}:`" if key else f"has {flag}, which is ours")
    return items


class DbtOptions(BaseModel):
    """What dbt does after the loads, and where."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    project_dir: str = Field(
        min_length=1, description="The dbt project's folder, relative to the pipeline file."
    )
    profiles_dir: str | None = Field(
        default=None,
        min_length=1,
        description="The folder of profiles.yml, relative to the pipeline file. Default: "
        "DBT_PROFILES_DIR, else the project's own, else ~/.dbt.",
    )
    profile: str | None = Field(
        default=None,
        min_length=1,
        description="A profile's name; from_destination makes one. Default: the project's.",
    )
    target: str | None = Field(
        default=None, min_length=1, description="The profile's target. Default: the profile's."
    )
    threads: int | None = Field(
        default=None, ge=1, description="How many nodes dbt works on at once."
    )
    command: Command = Field(default="build", description="What dbt is to do.")
    select: Annotated[tuple[str, ...] | None, BeforeValidator(_many)] = Field(
        default=None,
        description="What dbt selects; `changed` stands for the sources that changed. Default: "
        "changed+; all seeds; of freshness, changed.",
    )
    exclude: Annotated[tuple[str, ...], BeforeValidator(_many)] = Field(
        default=(), description="What dbt leaves out."
    )
    vars: Mapping[str, object] = Field(
        default_factory=dict, description="The project's own variables."
    )
    args: Annotated[tuple[str, ...], BeforeValidator(_arguments)] = Field(
        default=(), description="More arguments of the command."
    )
    executable: str | None = Field(
        default=None,
        min_length=1,
        description="A dbt to run as a process of its own: a name on PATH, or a path. Default: "
        "dbt in this process.",
    )
    on_partial: Literal["skip", "changed"] = Field(
        default="skip",
        description="What happens after a run with failed streams: nothing, or what did change "
        "is built.",
    )
    full_refresh_on: Annotated[tuple[Literal["schema_change"], ...], BeforeValidator(_many)] = (
        Field(
            default=(),
            description="schema_change: --full-refresh where a changed table's columns changed.",
        )
    )
    drift: Literal["report", "warn", "stop"] = Field(
        default="warn",
        description="What a change of columns that the project doesn't expect does, before the "
        "load: a note, a warning, or an error.",
    )

    @property
    def task(self) -> str | None:
        """What is done, in words: another command or selection has finished with nothing yet.

        None for ``freshness``: a table grows stale while nothing comes.
        """
        if self.command == "freshness":
            return None
        parts = [self.command, *self.selected]
        parts += [f"without {item}" for item in self.exclude]
        parts += [f"in {self.project_dir}"]
        parts += [f"as {item}" for item in (self.profile, self.target) if item]
        return " ".join(parts)

    @property
    def selected(self) -> tuple[str, ...]:
        """What is selected: ``changed+``, but all seeds, and of freshness the sources alone."""
        if self.select is not None:
            return self.select
        return {"seed": (), "freshness": ("changed",)}.get(self.command, ("changed+",))
