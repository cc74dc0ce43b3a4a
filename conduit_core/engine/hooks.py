"""What a hook of ``after:`` is, which there are, and whether they can be done.

A hook is another distribution's, found by an entry point of the group ``conduit.hooks``. When they
run, and for which tables, is in :mod:`conduit_core.engine.after`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution, entry_points
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from conduit_core.connectors.base import CheckItem, Destination
from conduit_core.connectors.hooks import KeepsHooks
from conduit_core.engine.model import ColumnChange, LoadPlan
from conduit_core.errors import ConduitError, ConfigError
from conduit_core.events import Emit, ignore
from conduit_core.state.ledger import Counts
from conduit_core.types.dialect import Table

if TYPE_CHECKING:
    from conduit_core.engine.pipeline import Pipeline

GROUP = "conduit.hooks"


# --- what a hook gets -----------------------------------------------------------------------------


class WindowFacts(BaseModel):
    """What a load covered: ``(low, high]`` of a watermark, ``[low, high)`` where it was given.

    Args:
        kind: ``full``, ``watermark`` or ``given``.
        column: the cursor's first column; None: there is no cursor.
        low, high: its bounds as text; None: there is none.
        null_cursor: whether rows without a cursor belong to it, too.
    """

    model_config = ConfigDict(frozen=True)

    kind: Literal["full", "watermark", "given"]
    column: str | None = None
    low: str | None = None
    high: str | None = None
    null_cursor: bool = False


class LoadFacts(BaseModel):
    """One published load, as the ledger has it.

    Args:
        load_id, version, mode: the load.
        window: what it covered.
        watermark: the cursor after it, for people; None without a cursor.
        loaded_at: when it was planned: its rows' ``_conduit_loaded_at``.
        counts: rows by what became of them.
        schema_changes: columns of the target that it changed.
    """

    model_config = ConfigDict(frozen=True)

    load_id: str
    version: int
    mode: str
    window: WindowFacts
    watermark: str | None
    loaded_at: str
    counts: Counts
    schema_changes: tuple[ColumnChange, ...] = ()


class ChangedTable(BaseModel):
    """A target with loads that a hook hasn't finished with.

    Args:
        stream: the stream that feeds it.
        schema_name, table: the target.
        finished: the version that the hook last finished with; None: it never did.
        version: its newest version.
        loads: what was published since, the oldest first.
        complete: whether these are all; False where the ledger has forgotten some (``clean``).
    """

    model_config = ConfigDict(frozen=True)

    stream: str
    schema_name: str
    table: str
    finished: int | None
    version: int
    loads: tuple[LoadFacts, ...]
    complete: bool = True

    @property
    def target(self) -> str:
        """The target's name: ``schema.table``."""
        return str(Table(self.schema_name, self.table))


@dataclass(frozen=True, slots=True)
class HookContext:
    """What a hook is called with.

    Args:
        pipeline: the pipeline; nothing of it is open.
        changed: the tables that changed since the hook last finished; all that were ever loaded,
            for a hook that keeps nothing in mind, or that is asked to do all anew.
        failed: streams of this run that failed, or weren't started because another one did.
        emit: takes events.
    """

    pipeline: Pipeline
    changed: tuple[ChangedTable, ...]
    failed: tuple[str, ...] = ()
    emit: Emit = ignore


@dataclass(frozen=True, slots=True)
class HookReport:
    """What a hook did.

    Args:
        text: in one line, for people; where it was skipped, why.
        details: the same as plain data.
        skipped: whether it did nothing; the tables are then there again in the next run.
    """

    text: str
    details: Mapping[str, object] = field(default_factory=dict)
    skipped: bool = False


@dataclass(frozen=True, slots=True)
class HookAnswer:
    """What a hook's command answers: plain data, and the same as lines for people.

    Args:
        document: what ``--json`` prints.
        lines: what is printed otherwise.
        errors: what went wrong; the first one's exit code ends the command.
    """

    document: Mapping[str, object]
    lines: tuple[str, ...] = ()
    errors: tuple[ConduitError, ...] = ()


@dataclass(frozen=True, slots=True)
class GateFindings:
    """What a hook says of a plan: ``notes`` and ``warnings`` become the plan's own."""

    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def _no_checks(options: BaseModel, pipeline: Pipeline) -> list[CheckItem]:
    return []


def _no_findings(options: BaseModel, pipeline: Pipeline, plan: LoadPlan) -> GateFindings:
    return GateFindings()


def _by_name(options: BaseModel) -> str | None:
    return ""


@dataclass(frozen=True, slots=True)
class Hook:
    """What an entry point of the group ``conduit.hooks`` gives.

    Args:
        name: the key under ``after:``.
        options: the pydantic model (``extra="forbid"``) of what stands there.
        run: does what follows the loads. It raises ``HookError`` where that fails.
        check: looks, before anything is loaded, whether it can be done: cheap, read-only.
        gate: looks at a stream's plan before it is carried out; a ``SchemaError`` stops it.
        task: what it does under these options, in words, to keep apart what each has finished with:
            who is told to do something else has finished with nothing. None: it is done at every
            run, for all tables, whether they changed or not.
        commands: its sub-commands, ``conduit NAME COMMAND [PIPELINE_FILE]``: functions of a
            pipeline and of typer options.
        title: one line for ``conduit --help``.
    """

    name: str
    options: type[BaseModel]
    run: Callable[[BaseModel, HookContext], HookReport]
    check: Callable[[BaseModel, Pipeline], list[CheckItem]] = _no_checks
    gate: Callable[[BaseModel, Pipeline, LoadPlan], GateFindings] = _no_findings
    task: Callable[[BaseModel], str | None] = _by_name
    commands: Mapping[str, Callable[..., HookAnswer]] = field(default_factory=dict)
    title: str = ""


# --- which hooks there are ------------------------------------------------------------------------

_added: dict[str, Hook] = {}


@contextmanager
def added(hook: Hook) -> Iterator[None]:
    """Add a hook without an entry point to this process, inside the ``with`` block."""
    _added[hook.name] = hook
    try:
        yield
    finally:
        del _added[hook.name]


@cache
def _points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


@cache
def _ours(name: str) -> EntryPoint | None:
    """Return the entry point of ``conduit-NAME``: reading those of all takes 0.1 s."""
    try:
        found = distribution(f"conduit-{name}").entry_points
    except (PackageNotFoundError, ValueError):
        return None
    return next((p for p in found if p.group == GROUP and p.name == name), None)


def installed() -> list[str]:
    """Return the names of the hooks there are, sorted."""
    return sorted({*_points(), *_added})


def get(name: str) -> Hook:
    """Return a hook by its name.

    Raises:
        ConfigError: it isn't installed; with the command that installs it.
    """
    if name in _added:
        return _added[name]
    point = _ours(name) or _points().get(name)
    if point is None:
        if name == "dbt":
            raise ConfigError(
                "`after.dbt` is done by conduit-dbt, which isn't installed: install it from a"
                " checkout, its folder is dbt_bridge",
                command="pip install ./dbt_bridge",
            )
        near = difflib.get_close_matches(name, {"dbt", *installed()}, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        found = ", ".join(installed()) or "none"
        raise ConfigError(f"there is no hook {name!r}{hint} Installed: {found}")
    hook = point.load()
    if not isinstance(hook, Hook):
        raise ConfigError(f"the entry point {point.value!r} is not a Hook")
    return hook


@dataclass(frozen=True, slots=True)
class BoundHook:
    """A ``hook`` and what the pipeline file says of it: its ``options``, checked."""

    hook: Hook
    options: BaseModel

    @property
    def memory(self) -> str | None:
        """The name under which the destination knows what it finished with; None: it doesn't."""
        task = self.hook.task(self.options)
        return None if task is None else f"{self.hook.name} {task}".strip()


def bound_hooks(pipeline: Pipeline) -> tuple[BoundHook, ...]:
    """Return the hooks of a pipeline's ``after:``, their options checked.

    Raises:
        ConfigError: one isn't installed, or its options are wrong (file, line, key).
    """
    return tuple(bound_hook(pipeline, name) for name in pipeline.loaded.spec.after)


def bound_hook(
    pipeline: Pipeline, name: str, over: Mapping[str, object] = MappingProxyType({})
) -> BoundHook:
    """Return one hook with its options from the file, where it has any there.

    Args:
        pipeline: the pipeline.
        name: the hook's.
        over: options that win over those of the file.

    Raises:
        ConfigError: it isn't installed, or its options are wrong.
    """
    loaded = pipeline.loaded
    try:
        hook = get(name)
    except ConfigError as error:
        if name not in loaded.spec.after or error.command:
            raise pipeline.at(error, command="conduit check") from None
        raise loaded.problem(("after", name), error.message) from None
    try:
        given = {**loaded.spec.after.get(name, {}), **over}
        return BoundHook(hook, hook.options.model_validate(given))
    except ValidationError as error:
        raise loaded.explain(error, ("after", name), model=hook.options) from None


def check_hooks(pipeline: Pipeline, hooks: Sequence[BoundHook]) -> None:
    """Look, before anything is loaded, whether the hooks can be done.

    Raises:
        ConfigError: one can't: what was found, and what to do.
    """
    with pipeline.open() as ends:
        for bound in hooks:
            memory_of(ends.destination, bound.hook.name)
    for bound in hooks:
        try:
            items = bound.hook.check(bound.options, pipeline)
        except ConduitError as error:
            raise pipeline.at(error, command="conduit check") from error.__cause__
        for item in items:
            if not item.ok:
                raise pipeline.at(unfit(bound.hook.name, item))


def memory_of(destination: Destination, hook: str) -> KeepsHooks:
    """Return a destination as one that remembers what hooks have finished with.

    Raises:
        ConfigError: it isn't a database.
    """
    if isinstance(destination, KeepsHooks):
        return destination
    raise ConfigError(
        f"`after.{hook}` needs a database: a {destination.system} destination can't remember what"
        " was done",
        command="conduit check",
    )


def unfit(name: str, item: CheckItem) -> ConfigError:
    """Return the error for something that a hook's check found."""
    remedy = f"; {item.remedy}" if item.remedy else ""
    command = f"conduit {name} debug" if name == "dbt" else "conduit check"
    return ConfigError(f"after.{name}: {item.name}: {item.detail}{remedy}", command=command)


def gated(pipeline: Pipeline, plan: LoadPlan) -> LoadPlan:
    """Return a plan with what the hooks say of it.

    Raises:
        ConduitError: a hook refuses it.
    """
    for bound in bound_hooks(pipeline):
        found = bound.hook.gate(bound.options, pipeline, plan)
        plan = plan.model_copy(
            update={
                "notes": tuple(dict.fromkeys((*plan.notes, *found.notes))),
                "warnings": tuple(dict.fromkeys((*plan.warnings, *found.warnings))),
            }
        )
    return plan
