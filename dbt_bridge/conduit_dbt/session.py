"""A private folder and the same settings for a few commands on one project."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from conduit_dbt.artifacts import forget, is_empty, read_manifest, read_result
from conduit_dbt.folder import folder
from conduit_dbt.invoke import Dbt, Ended, Invocation, quiet
from conduit_dbt.project import Project
from conduit_dbt.results import DbtResult

_SECRET = "DBT_ENV_SECRET_"  # noqa: S105 - dbt's prefix of variables that it keeps out of logs


@dataclass(frozen=True)
class Session:
    """Runs commands with the same project, profile and vars; made by :func:`session`.

    So ``parse``, then a look at the manifest, then ``build`` costs one parse on either runner.
    """

    dbt: Dbt
    folder: Path
    project: Project
    common: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)

    def run(self, command: str, *arguments: str) -> DbtResult:
        """Run a command such as ``build`` or ``source freshness`` and return what it did.

        A failure of dbt is in the result, not raised.

        Raises:
            ConfigError: there is no dbt to run.
        """
        forget(self.folder, manifest=False)
        started = time.monotonic()
        ended = self.dbt.invoke(
            Invocation(
                command=tuple(command.split()),
                arguments=arguments,
                common=self.common,
                cwd=self.project.root,
                environment=self.environment,
            )
        )
        if not ended.code and is_empty(self.folder):
            ended = Ended(2, "it ended well, but wrote no log and no results: is it a dbt?")
        return read_result(
            self.folder,
            command=command,
            arguments=arguments,
            code=ended.code,
            error=ended.error,
            seconds=time.monotonic() - started,
            secrets=self._secrets(),
        )

    def _secrets(self) -> list[str]:
        everything = {**os.environ, **self.environment}
        return [value for name, value in everything.items() if name.startswith(_SECRET)]

    def manifest(self) -> Mapping[str, object]:
        """Return the manifest that a command of this session wrote; empty before the first."""
        return read_manifest(self.folder)


@contextmanager
def session(
    project: Project,
    dbt: Dbt,
    *,
    name: str,
    profiles_dir: Path,
    profile: str | None = None,
    target: str | None = None,
    threads: int | None = None,
    variables: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Session]:
    """Hold the private folder of ``name`` and run commands in it.

    Args:
        project: the dbt project.
        dbt: what runs it; of this session only.
        name: whose folder: a pipeline's name.
        profiles_dir: the folder of ``profiles.yml``.
        profile: the profile's name; None leaves it to the project.
        target: the profile's target; None leaves it to the profile.
        threads: how many models at once; None leaves it to the profile.
        variables: dbt's vars. Vars that differ from the last time make dbt parse all files again;
            ``env_var`` in a model makes it parse only that model again.
        environment: variables for dbt alone; secrets are those named ``DBT_ENV_SECRET_...``.

    Raises:
        ConfigError: the private folder can't be written.
    """
    with folder(project, name) as path:
        forget(path, manifest=True)
        given = {"--profile": profile, "--target": target, "--threads": threads}
        common = ["--project-dir", str(project.root), "--profiles-dir", str(profiles_dir)]
        for flag, value in given.items():
            common += [flag, str(value)] if value is not None else []
        if variables:
            common += ["--vars", json.dumps(dict(variables), sort_keys=True, default=str)]
        yield Session(dbt, path, project, (*common, *quiet(path)), dict(environment or {}))
