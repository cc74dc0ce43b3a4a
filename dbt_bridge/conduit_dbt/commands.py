"""``conduit dbt build | debug | sources | import-rules``."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from conduit_core import (
    BoundHook,
    HookAnswer,
    Pipeline,
    bound_hook,
    destination_facts,
    observing,
    run_hook,
    table_facts,
)
from conduit_core.errors import ConfigError, HookError
from conduit_core.events import Emitter, Event, Notice
from conduit_dbt.importing import Imported, add_rules, rules_from_manifest
from conduit_dbt.opening import examined, opened, project_of, remedy
from conduit_dbt.options import DbtOptions
from conduit_dbt.sourcefiles import find_source_files, write_sources
from conduit_dbt.tables import SourceColumn, SourceTable, Written

_NEWEST = (1, 11, 0)

ProjectDir = Annotated[
    str | None,
    typer.Option("--project-dir", help="The dbt project; default: the file's after.dbt."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change; write nothing.")]


def debug(pipeline: Pipeline, *, project_dir: ProjectDir = None) -> HookAnswer:
    """Look at project, dbt, profile and adapter, and whether its database is the destination."""
    options = options_of(pipeline, project_dir)
    items = [(i.name, i.ok, i.detail, i.remedy) for i in examined(pipeline, options)]
    if all(ok for _, ok, _, _ in items):
        items += _tried(pipeline, options)
    lines = tuple(f"{'ok' if ok else 'FAILED':<8}{n:<12}{detail}" for n, ok, detail, _ in items)
    document = {
        "pipeline": pipeline.name,
        "checks": [
            {"name": name, "ok": ok, "detail": detail, "remedy": mends or None}
            for name, ok, detail, mends in items
        ],
    }
    errors = tuple(
        ConfigError(
            f"{name}: {detail}{f'; {mends}' if mends else ''}", command=remedy(pipeline, detail)
        )
        for name, ok, detail, mends in items
        if not ok
    )
    return HookAnswer(document, lines, errors)


def _tried(pipeline: Pipeline, options: DbtOptions) -> Iterator[tuple[str, bool, str, str]]:
    """Let dbt read the project, then ask the database."""
    with opened(pipeline, options, options.vars, {}) as session:
        result = session.run("parse")
        yield "compiles", not result.code, result.error or "dbt reads the project", ""
        if not result.code:
            asked = session.run("show", "--inline", "select 1 as one")
            yield "connection", not asked.code, asked.error or "dbt reaches the database", ""


def build(
    pipeline: Pipeline,
    *,
    select: Annotated[
        list[str] | None,
        typer.Option("--select", help="What dbt selects, instead of the file's; may be repeated."),
    ] = None,
    full_refresh: Annotated[
        bool, typer.Option("--full-refresh", help="Build incremental models as a whole.")
    ] = False,
    project_dir: ProjectDir = None,
) -> HookAnswer:
    """Run dbt now, for all tables, changed or not: after a model was edited, for a new target."""
    from conduit_dbt.hook import hook

    options = options_of(pipeline, project_dir)
    more = ("--full-refresh",) if full_refresh else ()
    asked = {"select": tuple(select) if select else options.select, "args": (*options.args, *more)}
    bound = BoundHook(hook, options.model_copy(update=asked))
    with observing(pipeline, (_warn,)) as observation:
        result = run_hook(pipeline, bound, emit=Emitter(observation.listeners), anew=True)
    document = {"pipeline": pipeline.name, **result.model_dump(mode="json")}
    if result.failure is not None:
        return HookAnswer(document, errors=(result.failure.to_error(),))
    return HookAnswer(document, (f"{result.outcome}: {result.text}",))


def _warn(event: Event) -> None:
    if isinstance(event, Notice) and event.level == "warning":
        sys.stderr.write(f"{event.pipeline}: warning: {event.message}\n")


def sources(
    pipeline: Pipeline, *, project_dir: ProjectDir = None, dry_run: DryRun = False
) -> HookAnswer:
    """Write the pipeline's tables into the dbt project's sources.yml; what people added stays."""
    options = options_of(pipeline, project_dir)
    project = project_of(pipeline, options)
    tables = source_tables(pipeline)
    written: dict[str, Written] = {}
    for file, mine in find_source_files(project.root, project.model_paths, tables).items():
        old = _read(file) if file.is_file() else ""
        shown = str(file.relative_to(project.root))
        done = write_sources(
            old,
            mine,
            dbt_version=_dbt_version(options),
            packages=frozenset(project.packages),
            file=shown,
        )
        written[shown] = done
        if done.changes and not dry_run:
            _replace(file, done.text)
    return _told(pipeline, written, dry_run=dry_run)


def import_rules(
    pipeline: Pipeline,
    *,
    project_dir: ProjectDir = None,
    write: Annotated[
        bool, typer.Option("--write", help="Add the rules to the pipeline file.")
    ] = False,
) -> HookAnswer:
    """Show the tests of the dbt project's sources as quality rules of the streams."""
    options = options_of(pipeline, project_dir)
    with opened(pipeline, options, options.vars, {}) as session:
        result = session.run("parse")
        if result.code:
            command = remedy(pipeline, result.error)
            raise HookError(f"dbt can't read the project: {result.error}", command=command)
        imported = rules_from_manifest(session.manifest(), source_tables(pipeline))
    file = pipeline.loaded.path
    text = _read(file) if file is not None else ""
    changes: list[str] = []
    notes = list(imported.notes)
    kind: Literal["table", "path"] = "path" if pipeline.streams[0].path else "table"
    lines: tuple[str, ...] = ()
    if file is not None and file.suffix.lower() != ".toml":
        old = text
        for position, stream in enumerate(pipeline.streams):
            rules = imported.rules.get(stream.name, ())
            done = add_rules(text, position, rules, key=kind, file=file.name)
            text = done.text
            changes += done.changes
            notes += done.notes
        if write and changes:
            _replace(file, text)
        lines = tuple(difflib.unified_diff(
            old.splitlines(), text.splitlines(), file.name, file.name, lineterm=""
        ))  # fmt: skip
    elif write:
        raise ConfigError(
            "rules can be added to a YAML file only", command="conduit dbt import-rules --json"
        )
    document = _imported(pipeline, imported, changes, notes, written=write and bool(changes))
    end = f"wrote {len(changes)} rules" if write else "nothing is written: --write does it"
    told = lines or ("no rule is missing",)
    ends = (end,) if changes else ()
    return HookAnswer(document, (*told, *(f"note: {n}" for n in notes), *ends))


def _imported(
    pipeline: Pipeline, imported: Imported, changes: list[str], notes: list[str], *, written: bool
) -> dict[str, object]:
    return {
        "pipeline": pipeline.name,
        "rules": {name: [dict(r) for r in rules] for name, rules in imported.rules.items()},
        "missing": changes,
        "notes": notes,
        "written": written,
    }


# --- what the pipeline says -----------------------------------------------------------------------


def options_of(pipeline: Pipeline, project_dir: str | None) -> DbtOptions:
    """Return ``after.dbt``, with another project where one is named (relative to here).

    Raises:
        ConfigError: the file names no project, and no ``--project-dir`` is given.
    """
    if project_dir is None and "dbt" not in pipeline.loaded.spec.after:
        raise ConfigError(
            "the file has no `after: {dbt: {project_dir: ...}}`: name the project with"
            " --project-dir",
            command="conduit dbt --help",
        )
    over = {} if project_dir is None else {"project_dir": str(Path(project_dir).absolute())}
    return cast("DbtOptions", bound_hook(pipeline, "dbt", over).options)


def source_tables(pipeline: Pipeline) -> list[SourceTable]:
    """Return the pipeline's targets as dbt's sources."""
    facts = destination_facts(pipeline)
    by_stream = {t.stream: t for t in table_facts(pipeline)}
    found: list[SourceTable] = []
    for stream in pipeline.streams:
        table = by_stream[stream.name]
        rules = tuple(_plain(r.model_dump(mode="json")) for r in stream.quality)
        found.append(
            SourceTable(
                stream=stream.name,
                schema=table.schema,
                name=table.table,
                system=facts.system,
                mode=stream.mode,
                columns=tuple(
                    SourceColumn(name=c.name, data_type=c.type, nullable=c.nullable)
                    for c in table.columns
                ),
                rules=rules,
                unique_key=stream.unique_key,
                cursor=stream.cursor,
                cursor_timezone=stream.cursor_timezone,
                freshness=stream.freshness,
                metadata=stream.metadata,
                ledger_schema=facts.internal_schema,
            )
        )
    return found


def _plain(rule: Mapping[str, object]) -> dict[str, object]:
    """Return a rule as the file would say it, without what it leaves to defaults."""
    return {k: v for k, v in rule.items() if v not in (None, "", [], ())}


def _dbt_version(options: DbtOptions) -> tuple[int, ...]:
    """Return which dbt reads the file; of an executable elsewhere, the newest that we know."""
    from importlib.metadata import PackageNotFoundError, version

    if options.executable is not None:
        return _NEWEST
    try:
        found = version("dbt-core")
    except PackageNotFoundError:
        return _NEWEST
    return tuple(int(part) for part in re.findall(r"\d+", found)[:3])


# --- writing --------------------------------------------------------------------------------------


def _read(file: Path) -> str:
    """Return a file's text with the line ends that it has.

    Raises:
        ConfigError: it isn't there, or isn't UTF-8.
    """
    try:
        return file.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it isn't UTF-8"
        raise ConfigError(f"{file}: can't be read: {why}") from None


def _replace(file: Path, text: str) -> None:
    """Write a file whole: whoever reads it meanwhile sees the old one or the new one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    made = file.with_name(f".{file.name}.new")
    try:
        made.write_bytes(text.encode())
        if file.exists():
            made.chmod(file.stat().st_mode)
        made.replace(file.resolve())
    except OSError as error:
        raise ConfigError(f"{file}: can't be written: {error.strerror}") from None


def _told(pipeline: Pipeline, written: Mapping[str, Written], *, dry_run: bool) -> HookAnswer:
    lines: list[str] = []
    for name, done in written.items():
        verb = "would write" if dry_run else "wrote"
        lines.append(f"{verb} {name}:" if done.changes else f"{name}: nothing to add")
        lines += [f"  {change}" for change in done.changes]
        lines += [f"  note: {note}" for note in done.notes]
    files = [
        {"file": name, "changes": list(done.changes), "notes": list(done.notes)}
        for name, done in written.items()
    ]
    return HookAnswer({"pipeline": pipeline.name, "files": files, "dry_run": dry_run}, tuple(lines))
