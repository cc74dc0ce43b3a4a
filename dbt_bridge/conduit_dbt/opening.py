"""From ``after.dbt`` to a dbt that can be run: project, profile, and whether all that fits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from conduit_core import CheckItem, DestinationFacts, Pipeline, destination_facts
from conduit_core.errors import ConfigError
from conduit_dbt.invoke import Dbt, Executable
from conduit_dbt.options import FROM_DESTINATION, DbtOptions
from conduit_dbt.places import Place, mismatch
from conduit_dbt.private_profile import from_destination
from conduit_dbt.profiles import Output, Unknown, read_output
from conduit_dbt.project import Project
from conduit_dbt.session import Session, session

_DEFAULT_THREADS = 4
_NO_SOURCE = re.compile(r"depends on a source named '(?:[^']*\.)?([^'.]+)' which was not found")


def project_of(pipeline: Pipeline, options: DbtOptions) -> Project:
    """Return the project that ``project_dir`` names, relative to the pipeline file.

    Raises:
        ConfigError: it isn't one.
    """
    return Project.read(pipeline.loaded.base_dir / options.project_dir)


@contextmanager
def opened(
    pipeline: Pipeline,
    options: DbtOptions,
    variables: Mapping[str, object],
    environment: Mapping[str, str],
) -> Iterator[Session]:
    """Hold a dbt session for a pipeline's project.

    Raises:
        ConfigError: the project or the profile can't be used.
    """
    project = project_of(pipeline, options)
    given = options.profiles_dir
    base = pipeline.loaded.base_dir
    folder = project.profiles_dir(base / given if given is not None else None)
    profile, target = options.profile, options.target
    more = dict(environment)
    with ExitStack() as stack:
        if profile == FROM_DESTINATION:
            made = stack.enter_context(
                from_destination(
                    place_of(destination_facts(pipeline)),
                    profile=project.profile or "conduit",
                    target=target or "conduit",
                    threads=options.threads or _DEFAULT_THREADS,
                )
            )
            folder, profile, target = made.folder, made.profile, made.target
            more.update(made.environment)
        yield stack.enter_context(
            session(
                project,
                runner(_executable(pipeline, options)),
                name=pipeline.name,
                profiles_dir=folder,
                profile=profile,
                target=target,
                threads=options.threads,
                variables=variables,
                environment=more,
            )
        )


def _executable(pipeline: Pipeline, options: DbtOptions) -> str | None:
    """Return the executable: a name is looked for on PATH, a path is relative to the file."""
    given = options.executable
    if given is None or not ("/" in given or "\\" in given):
        return given
    return str(pipeline.loaded.base_dir / Path(given).expanduser())


def place_of(facts: DestinationFacts) -> Place:
    """Return where a destination is, as dbt's adapters need to know it.

    Raises:
        ConfigError: dbt has no adapter for it.
    """
    options = facts.options
    if facts.system == "duckdb":
        return Place.duckdb(facts.base_dir / str(options.get("path")), facts.schema)
    if facts.system != "postgres":
        raise ConfigError(
            f"dbt can't read a {facts.system} destination: `after.dbt` is for postgres and duckdb"
        )
    url = options.get("url")
    if url is not None:
        return Place.postgres("postgresql://" + str(url).partition("://")[2], facts.schema)
    from psycopg2.extensions import make_dsn

    names = {"database": "dbname"}
    parts = {names.get(k, k): str(v) for k, v in options.items() if v is not None}
    return Place.postgres(make_dsn("", **parts), facts.schema)


def remedy(pipeline: Pipeline, error: str) -> str:
    """Return the command that helps where dbt can't read the project; the core adds the file."""
    missing = _NO_SOURCE.search(error)
    ours = {s.into_table for s in pipeline.streams}
    return f"conduit dbt {'sources' if missing and missing[1] in ours else 'debug'}"


# --- before anything is loaded --------------------------------------------------------------------


def examined(pipeline: Pipeline, options: DbtOptions) -> list[CheckItem]:
    """Look at project, dbt, profile, adapter and database. Nothing is run, dbt isn't imported."""
    try:
        project = project_of(pipeline, options)
        items = [CheckItem("project", ok=True, detail=f"{project.name}, {project.root}")]
        items.append(_dbt(pipeline, options))
        return [*items, *_profile(pipeline, options, project)]
    except ConfigError as error:
        return [CheckItem("project", ok=False, detail=error.message)]


def _dbt(pipeline: Pipeline, options: DbtOptions) -> CheckItem:
    executable = _executable(pipeline, options)
    if executable is not None:
        try:
            return CheckItem("dbt", ok=True, detail=Executable(executable).found())
        except ConfigError as error:
            return CheckItem("dbt", ok=False, detail=error.message)
    try:
        return CheckItem("dbt", ok=True, detail=f"{version('dbt-core')}, in this process")
    except PackageNotFoundError:
        remedy = "pip install 'conduit-dbt[dbt]' and your adapter, or name an `executable:`"
        return CheckItem("dbt", ok=False, detail="isn't installed", remedy=remedy)


def _profile(pipeline: Pipeline, options: DbtOptions, project: Project) -> list[CheckItem]:
    facts = destination_facts(pipeline)
    try:
        place = place_of(facts)
        if options.profile == FROM_DESTINATION:
            with from_destination(place):
                detail = f"made from the destination, {facts.identity}"
            return [
                CheckItem("profile", ok=True, detail=detail),
                *_adapter(place.system, options),
            ]
        given = options.profiles_dir
        folder = project.profiles_dir(pipeline.loaded.base_dir / given if given else None)
        name = options.profile or project.profile
        if name is None:
            detail = "only dbt can tell which: its name isn't plain text"
            return [CheckItem("profile", ok=True, detail=detail)]
        output = read_output(folder, name, options.target)
    except ConfigError as error:
        return [CheckItem("profile", ok=False, detail=error.message)]
    if isinstance(output, Unknown):
        return [CheckItem("profile", ok=True, detail=f"only dbt can tell: {output.reason}")]
    item = CheckItem("profile", ok=True, detail=f"{name}, of {folder}")
    return [item, *_adapter(output.type, options), _database(output, place, project)]


def _adapter(kind: str, options: DbtOptions) -> list[CheckItem]:
    if options.executable is not None:
        return []
    try:
        return [CheckItem("adapter", ok=True, detail=f"dbt-{kind} {version(f'dbt-{kind}')}")]
    except PackageNotFoundError:
        remedy = f"pip install dbt-{kind}"
        return [CheckItem("adapter", ok=False, detail=f"dbt-{kind} isn't installed", remedy=remedy)]


def _database(output: Output, place: Place, project: Project) -> CheckItem:
    found = mismatch(output, place, project.root)
    if found is None:
        return CheckItem("database", ok=True, detail="is the pipeline's destination")
    if isinstance(found, Unknown):
        return CheckItem("database", ok=True, detail=f"not compared: {found.reason}")
    remedy = "name the target that reads what this pipeline loads (`target:`), or let"
    remedy += " `profile: from_destination` make it"
    return CheckItem("database", ok=False, detail=found, remedy=remedy)


def runner(executable: str | None = None) -> Dbt:
    """Return dbt in this process, or the program that is named."""
    from conduit_dbt.in_process import InProcess

    return Executable(executable) if executable else InProcess()
