"""dbt after the loads: what ``after.dbt`` does, checks before them, and says of a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from conduit_core import (
    ChangedTable,
    CheckItem,
    GateFindings,
    Hook,
    HookContext,
    HookReport,
    LoadPlan,
    Pipeline,
    table_facts,
)
from conduit_core.errors import ConfigError, HookError, SchemaError
from conduit_core.events import Notice
from conduit_dbt import commands
from conduit_dbt.artifacts import disabled_sources_of, sources_of
from conduit_dbt.context import VARIABLE, environment, variables
from conduit_dbt.drift import Drift, drift, drifts_of, remakes
from conduit_dbt.opening import examined, opened, project_of, remedy
from conduit_dbt.options import DbtOptions
from conduit_dbt.results import DbtResult, DbtSource
from conduit_dbt.selection import expand, names_changed, sources_for
from conduit_dbt.session import Session

if TYPE_CHECKING:
    from pydantic import BaseModel

_SHOWN = 10
_MESSAGE = 300
_END = 120
_LOCKED = "Could not set lock on file"


def run(options: BaseModel, context: HookContext) -> HookReport:
    """Build what is downstream of the tables that changed.

    Raises:
        ConfigError: there is no such project, profile or dbt.
        HookError: the project doesn't compile, no source names a changed table, or nodes failed.
    """
    asked = cast("DbtOptions", options)
    if context.failed and asked.on_partial == "skip":
        return HookReport(f"{', '.join(context.failed)} failed (on_partial: skip)", skipped=True)
    name, changed = context.pipeline.name, context.changed
    told = dict(asked.vars)
    if project_of(context.pipeline, asked).mentions(VARIABLE):
        told[VARIABLE] = variables(name, changed)  # vars that differ make dbt parse all files again
    with opened(context.pipeline, asked, told, environment(name, changed)) as session:
        select, exclude = asked.selected, asked.exclude
        if names_changed((*select, *exclude)):
            manifest = _parsed(session, context.pipeline)
            sources = _sources(changed, manifest)
            select, exclude = expand(select, sources), expand(exclude, sources)
        command = "source freshness" if asked.command == "freshness" else asked.command
        result = session.run(command, *_arguments(asked, select, exclude, changed))
    details = {**result.model_dump(mode="json"), "select": list(select)}
    if result.code or result.failed:
        raise _failure(result, details)
    if not result.counts:
        told_of = f"dbt {command} had nothing to do: nothing in the project matches"
        message = f"{told_of} {' '.join(select) or 'it'}"
        context.emit(Notice(pipeline=name, level="warning", message=message))
        # `chagned+` matches nothing, too: what it would have built must not be forgotten
        own = bool(asked.selected) and not names_changed(asked.selected)
        return HookReport(message, details, skipped=own)
    return HookReport(f"dbt {command}: {_counted(result)}", details)


def _arguments(
    options: DbtOptions,
    select: Sequence[str],
    exclude: Sequence[str],
    changed: Sequence[ChangedTable],
) -> list[str]:
    found: list[str] = []
    if select:
        found += ["--select", *select]
    if exclude:
        found += ["--exclude", *exclude]
    altered = any(load.schema_changes for table in changed for load in table.loads)
    refreshes = options.command in {"run", "build", "seed"} and options.full_refresh_on
    if altered and refreshes and "--full-refresh" not in options.args:
        found.append("--full-refresh")
    return [*found, *options.args]


def _parsed(session: Session, pipeline: Pipeline) -> Mapping[str, object]:
    result = session.run("parse")
    if result.code:
        raise HookError(
            f"dbt can't read the project {session.project.root}: {_short(result.error)}",
            details=result.model_dump(mode="json"),
            command=remedy(pipeline, result.error),
        )
    return session.manifest()


def _sources(
    changed: Sequence[ChangedTable], manifest: Mapping[str, object]
) -> tuple[DbtSource, ...]:
    """Return the sources of the tables that changed.

    Raises:
        HookError: no source names one: dbt would build nothing, and say that all is well.
    """
    sources, disabled = sources_of(manifest), disabled_sources_of(manifest)
    found: list[DbtSource] = []
    unnamed: list[str] = []
    for table in changed:
        named = sources_for(table.schema_name, table.table, sources)
        found += named
        if not named:
            off = sources_for(table.schema_name, table.table, disabled)
            unnamed.append(f"{table.target}{' (its source is disabled)' if off else ''}")
    if unnamed:
        raise HookError(
            f"no dbt source names {', '.join(unnamed)}: nothing would be built of it",
            command="conduit dbt sources",
        )
    return tuple(found)


def _failure(result: DbtResult, details: Mapping[str, object]) -> HookError:
    if not result.failed:
        text = f"dbt {result.command} did nothing: {_short(result.error)}"
    else:
        texts = [f"{node.name} ({node.status}: {_short(node.message)})" for node in result.failed]
        more = f", and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
        text = (
            f"dbt {result.command}: {_counted(result)}: {', '.join(texts[:_SHOWN])}{more};"
            f" what dbt compiled and its log are in {result.target_path}"
        )
    locked = _LOCKED in text
    return HookError(text, details=details, retry="step" if locked else None)


def _counted(result: DbtResult) -> str:
    return ", ".join(f"{n} {status}" for status, n in sorted(result.counts.items())) or "nothing"


def _short(text: str) -> str:
    """Return a message on one line; of a long one both ends: dbt puts the reason last."""
    plain = " ".join(text.split())
    return plain if len(plain) <= _MESSAGE else f"{plain[: _MESSAGE - _END]} ... {plain[-_END:]}"


def check(options: BaseModel, pipeline: Pipeline) -> list[CheckItem]:
    """Look at project, dbt, profile and database, without dbt itself: cheap, and read-only."""
    return examined(pipeline, cast("DbtOptions", options))


def gate(options: BaseModel, pipeline: Pipeline, plan: LoadPlan) -> GateFindings:
    """Compare the columns that a load will change with what the project says of them.

    Raises:
        SchemaError: the project doesn't expect them, and ``drift: stop`` is what the file says.
    """
    asked = cast("DbtOptions", options)
    before = table_facts(pipeline, (plan.stream,))[0] if remakes(plan) else None
    drifts = drifts_of(plan, before)
    if not drifts:
        return GateFindings()
    table = str(plan.target)
    try:
        with opened(pipeline, asked, asked.vars, {}) as session:
            manifest = _parsed(session, pipeline)
    except (ConfigError, HookError) as error:
        why = f"changed columns of {table} aren't compared with the dbt project: {error.message}"
        found = Drift(problems=(why,))
    else:
        sources = sources_for(plan.target_schema, plan.target_table, sources_of(manifest))
        found = drift(table, [s.unique_id for s in sources], drifts, manifest)
    if asked.drift == "report":
        return GateFindings(notes=(*found.notes, *found.problems))
    if asked.drift == "warn" or not found.problems:
        return GateFindings(notes=found.notes, warnings=found.problems)
    raise SchemaError(
        f"the dbt project doesn't expect what this load changes (drift: stop):"
        f" {'; '.join(found.problems)}",
        command="conduit dbt sources",
    )


def task(options: BaseModel) -> str | None:
    """Return what dbt does, in words: what another command or selection finished counts apart."""
    return cast("DbtOptions", options).task


hook = Hook(
    "dbt",
    DbtOptions,
    run=run,
    check=check,
    gate=gate,
    task=task,
    commands={
        "build": commands.build,
        "debug": commands.debug,
        "sources": commands.sources,
        "import-rules": commands.import_rules,
    },
    title="The dbt project that reads what is loaded.",
)
