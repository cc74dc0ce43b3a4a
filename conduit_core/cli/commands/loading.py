"""``conduit plan`` and ``conduit run``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from conduit_core.cli import options
from conduit_core.cli.screen import Answer, Screen
from conduit_core.cli.session import Session, runner_text
from conduit_core.observe import figures

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from conduit_core.cli.planning import Planned
    from conduit_core.engine.model import LoadPlan, LoadResult, RunRequest, RunResult, SliceBy
    from conduit_core.engine.pipeline import Pipeline


def plan(
    session: Session,
    file: options.File = options.DEFAULT_FILE,
    *,
    stream: options.Streams = None,
    from_: options.From = None,
    to: options.To = None,
    only: options.Only = None,
    full_refresh: options.FullRefresh = False,
    sql: Annotated[
        bool, typer.Option("--sql", help="Print the statements that publish will carry out.")
    ] = False,
) -> Answer:
    """Show what a run would do: windows, rows, DDL, guarantee. Changes nothing."""
    from conduit_core.engine.model import RunRequest

    pipeline = session.pipeline(file)
    request = RunRequest(
        window_from=from_, window_to=to, only=_slice(only), full_refresh=full_refresh
    )
    return _planned(pipeline, stream, request, sql=sql)


def run(
    session: Session,
    file: options.File = options.DEFAULT_FILE,
    *,
    stream: options.Streams = None,
    from_: options.From = None,
    to: options.To = None,
    only: options.Only = None,
    full_refresh: options.FullRefresh = False,
    reload: options.Reload = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Plan only; change nothing.")] = False,
    jobs: Annotated[
        int, typer.Option("--jobs", min=1, max=64, help="How many streams load side by side.")
    ] = 1,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", min=1, max=64, help="How many splits are staged at once; default: cores."
        ),
    ] = None,
    executor: Annotated[
        options.Executor,
        typer.Option("--executor", help="Who stages splits; processes stage every stream."),
    ] = options.Executor.threads,
    request_key: options.RequestKey = None,
    allow_empty: options.AllowEmpty = False,
    allow_deletes: options.AllowDeletes = False,
    no_after: options.NoAfter = False,
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile", metavar="FILE", help="Write what each thread did, for speedscope.app."
        ),
    ] = None,
) -> Answer:
    """Load the pipeline's streams, each in one transaction; run again for what is new."""
    from conduit_core.cli.profiled import profiled
    from conduit_core.engine.model import RunRequest
    from conduit_core.engine.run import RunInterrupted
    from conduit_core.engine.run import run as run_pipeline

    pipeline = session.pipeline(file)
    request = RunRequest(
        window_from=from_,
        window_to=to,
        only=_slice(only),
        full_refresh=full_refresh,
        reload=reload,
        request_key=request_key,
        allow_empty=allow_empty,
        allow_deletes=allow_deletes,
        runner=runner_text(),
        after=not no_after,
    )
    if dry_run:
        return _planned(pipeline, stream, request, sql=False)
    with (
        profiled(profile, pipeline.name),
        session.watching(pipeline) as listeners,
        _processes(executor, workers) as pool,
    ):
        try:
            result = run_pipeline(
                pipeline,
                tuple(stream) if stream else None,
                request=request,
                jobs=jobs,
                executor=pool,
                workers=workers,
                listeners=listeners,
            )
        except RunInterrupted as interrupted:
            result = interrupted.result
    return _ran(pipeline, result)


def _slice(only: list[str] | None) -> SliceBy | None:
    """Return the slice that --only asks for.

    Raises:
        ConfigError: it isn't ``COLUMN=VALUE``, or names two columns.
    """
    from conduit_core.engine.model import SliceBy
    from conduit_core.errors import ConfigError

    if not only:
        return None
    pairs = [text.partition("=") for text in only]
    columns = {column for column, _, _ in pairs}
    if "" in columns or any(not sign for _, sign, _ in pairs):
        text = f"--only takes COLUMN=VALUE, as in --only region=eu, not {' '.join(only)}"
        raise ConfigError(text, command="conduit run --help")
    if len(columns) > 1:
        text = f"--only names more than one column: {', '.join(sorted(columns))}"
        raise ConfigError(text, command="conduit run --help")
    return SliceBy.of({columns.pop(): [value for _, _, value in pairs]})


@contextmanager
def _processes(executor: options.Executor, workers: int | None) -> Iterator[Executor | None]:
    """Start processes, if that is who stages; threads are the run's own."""
    if executor is options.Executor.threads:
        yield None
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    from conduit_core.engine.runtime import cores

    context = multiprocessing.get_context("spawn")  # a fork would take locks and drivers along
    with ProcessPoolExecutor(
        workers or cores(), mp_context=context, initializer=_end_with_the_run
    ) as pool:
        yield pool


def _end_with_the_run() -> None:
    """End this worker when the run is killed: nobody else would, and it would go on staging."""
    import multiprocessing
    import os
    import threading

    run = multiprocessing.parent_process()
    if run is None:
        return

    def watch() -> None:
        run.join()
        os._exit(1)

    threading.Thread(target=watch, name="conduit-run-ended", daemon=True).start()


# --- plan -----------------------------------------------------------------------------------------


def _planned(
    pipeline: Pipeline, streams: list[str] | None, request: RunRequest, *, sql: bool
) -> Answer:
    from conduit_core.cli.planning import plan_each

    planned = plan_each(pipeline, tuple(streams) if streams else None, request, sql=sql)

    def show(screen: Screen) -> None:
        for plan, statements in planned.plans:
            _show_sql(screen, plan, statements) if sql else _show_plan(screen, plan)

    return Answer(
        _plan_document(pipeline, planned, sql=sql),
        show,
        exit_code=planned.errors[0].exit_code if planned.errors else 0,
        errors=planned.errors,
    )


def _plan_document(pipeline: Pipeline, planned: Planned, *, sql: bool) -> dict[str, object]:
    plans = []
    for plan, statements in planned.plans:
        item = plan.model_dump(mode="json")
        if sql:
            item["sql"] = statements
        plans.append(item)
    return {"pipeline": pipeline.name, "plans": plans}


def _show_sql(screen: Screen, plan: LoadPlan, statements: list[str]) -> None:
    screen.line(f"-- {plan.stream} -> {plan.target}")
    if plan.empty:
        screen.line("-- nothing to read, nothing to publish")
    else:
        for statement in statements:
            screen.line(statement.rstrip().removesuffix(";") + ";")
    screen.line()


def _show_plan(screen: Screen, plan: LoadPlan) -> None:
    screen.line(f"{plan.stream} -> {plan.target}")
    facts = [("mode", f"{plan.mode}, {plan.guarantee}")]
    if plan.replayed is not None:
        facts.append(("loaded", f"before, as version {plan.replayed.version}: nothing to do"))
    elif plan.empty:
        facts.append(("window", "nothing to read"))
    else:
        facts.append(("window", plan.window_text))
        if plan.rows_estimate is not None:
            facts.append(("rows", f"about {figures.count(plan.rows_estimate)}"))
    facts += _deletes(plan)
    if plan.staged:
        facts.append(("splits", _splits(plan)))
    if plan.watermark_text:
        facts.append(("watermark", plan.watermark_text + ("" if plan.empty else " afterwards")))
    if not plan.empty:
        facts += _ddl(plan)
    facts += [("warning", note) for note in plan.warnings]
    facts += [("note", note) for note in plan.notes]
    for name, text in facts:
        screen.line(f"  {name:<10} {text}")
    screen.line()


def _deletes(plan: LoadPlan) -> list[tuple[str, str]]:
    """Return how rows that are gone at the source are found, and what becomes of them."""
    found = [d for a in plan.publish.actions if (d := getattr(a, "deletes", None)) is not None]
    if not found or plan.empty:
        return []
    by = {
        "flag": "by a flag of the row",
        "missing": "by the source's keys",
        "listed": "by a tracking table",
    }
    how = "marked in _conduit_deleted_at" if found[0].soft else "deleted"
    return [("deletes", f"{by[found[0].detect]}; {how}")]


def _splits(plan: LoadPlan) -> str:
    """Return how the window is cut."""
    by = plan.splits
    how = {
        "whole": "staged as one",
        "file": f"{by.count}, by file",
        "range": f"{by.count}, by ranges of {by.column}",
        "hash": f"{by.count}, by a hash of {by.column}",
        "values": f"{by.count}, by values of {by.column}",
    }
    return how[by.kind]


def _ddl(plan: LoadPlan) -> list[tuple[str, str]]:
    """Return what publish makes, from its actions."""
    from conduit_core.connectors.publish import CreateTable, ReplaceWithStaged

    facts = []
    for action in plan.publish.actions:
        if isinstance(action, CreateTable):
            what = "creates"
        elif isinstance(action, ReplaceWithStaged):
            what = "swaps" if action.how == "swap" else "rewrites"
        else:
            continue
        columns = ", ".join(
            f"{c.name} {c.ddl}{'' if c.nullable else ' NOT NULL'}" for c in action.columns
        )
        facts.append((what, f"({columns})"))
    return facts


# --- run ------------------------------------------------------------------------------------------


def _ran(pipeline: Pipeline, result: RunResult) -> Answer:
    document = result.model_dump(mode="json")
    document["exit_code"] = result.exit_code
    for item, load in zip(document["results"], result.results, strict=True):
        item["rows_per_second"] = round(load.rows_per_second, 1)
        item["bottleneck"] = load.bottleneck.model_dump() if load.bottleneck else None
    return Answer(
        document,
        lambda screen: _show_results(screen, result),
        exit_code=result.exit_code,
        errors=() if result.interrupted else tuple(f.to_error() for f in result.failed),
        interrupted=_interrupted(pipeline, result) if result.interrupted else (),
    )


_HEADINGS = (
    ("stream", "left"),
    ("outcome", "left"),
    ("rows", "right"),
    ("became", "left"),
    ("bytes", "right"),
    ("rows/s", "right"),
    ("watermark", "left"),
    ("load id", "left"),
    ("guarantee", "left"),
)


def _show_results(screen: Screen, result: RunResult) -> None:
    rows = [_row(load) for load in result.results]
    rows += [
        (f.stream, "interrupted" if f.exit_code == 130 else f"failed: {f.error}", *[""] * 7)
        for f in result.failures
    ]
    rows += [(name, "not started", *[""] * 7) for name in result.not_started]
    screen.table(_HEADINGS, rows)
    for load in result.results:
        if load.held_up:
            took = figures.duration(load.seconds)
            screen.line(f"{load.stream}: took {took}, held up by {load.held_up}")
    if result.hooks:
        screen.line()
    for hook in result.hooks:
        took = f" ({figures.duration(hook.seconds)})" if hook.outcome != "skipped" else ""
        told = f": {hook.text}" if hook.outcome != "failed" else ""  # an error tells it below
        screen.line(f"after.{hook.hook}: {hook.outcome}{took}{told}")


def _row(load: LoadResult) -> tuple[str, ...]:
    fresh = load.outcome == "published"
    return (
        load.stream,
        {"empty": "nothing new", "replayed": "loaded before"}.get(load.outcome, load.outcome),
        figures.count(load.counts.read),
        figures.kinds(load.counts.model_dump()) if fresh else "",
        figures.size(load.bytes_read) if fresh else "",
        f"{load.rows_per_second:,.0f}" if fresh else "",
        load.watermark or "",
        load.load_id or "",
        load.guarantee,
    )


def _interrupted(pipeline: Pipeline, result: RunResult) -> tuple[str, ...]:
    """Return what Ctrl-C left behind: published, rolled back, never begun; how to go on."""
    from conduit_core.engine.pasting import complete

    def listed(names: list[str]) -> str:
        return ", ".join(names) or "nothing"

    published = [r.stream for r in result.results if r.outcome == "published"]
    unchanged = [r.stream for r in result.results if r.outcome != "published"]
    rolled_back = [f.stream for f in result.failures]
    parts = [f"published: {listed(published)}"]
    if unchanged:
        parts.append(f"nothing new: {listed(unchanged)}")
    if rolled_back or result.not_started:
        parts.append(f"not published: {listed([*rolled_back, *result.not_started])}")
    return (
        f"{pipeline.name}: interrupted",
        "; ".join(parts),
        "run it again: it goes on from here",
        complete("conduit run", pipeline.file, None),
    )
