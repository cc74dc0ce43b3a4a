"""Parses a command line with typer, runs what it names, turns its end into output and a code."""

from __future__ import annotations

import inspect
import io
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from conduit_core.cli import INTERRUPTED, options
from conduit_core.cli.commands import commands
from conduit_core.cli.commands.hooked import GROUPS, hook_commands
from conduit_core.cli.options import Common, LogFormat
from conduit_core.cli.screen import Answer, Screen, error_document, print_document
from conduit_core.cli.session import Session
from conduit_core.cli.watching import EVERY
from conduit_core.errors import ConduitError, ConfigError, unexpected

# typer has carried its own copy of click since 0.2x; its public names lead to either one's root.
_UsageError: type[Exception] = typer.BadParameter.__mro__[2]


@dataclass(frozen=True, slots=True)
class _Call:
    """A parsed command line: what to run once parsing is done, outside of typer's own handling."""

    function: Callable[..., Answer]
    arguments: dict[str, Any]
    common: Common


def dispatch(args: list[str]) -> int:
    """Parse and run one command; write its answer and its errors; return the exit code."""
    _write_any_character()
    session = Session(Common.guess(args))
    try:
        parsed = _app(args)(args=args or ["--help"], prog_name="conduit", standalone_mode=False)
    except _UsageError as error:
        with session.stderr():
            return _failed(session, _usage(error, args))
    except ConduitError as error:  # a command of something that isn't installed
        with session.stderr():
            return _failed(session, error)
    except typer.Abort:
        return INTERRUPTED
    if not isinstance(parsed, _Call):  # --help and the like have written their text
        return parsed if isinstance(parsed, int) else 0
    session = Session(parsed.common)
    with session.stderr():
        try:
            return _end(session, parsed.function(session, **parsed.arguments))
        except KeyboardInterrupt:
            return _end(session, _interrupted(args))
        except ConduitError as error:
            return _failed(session, error)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except Exception as error:  # noqa: BLE001 - the last resort of a command line
            return _failed(session, _bug(error, args))


def _app(args: Sequence[str]) -> typer.Typer:
    # Without rich's markup: help needs no rich then, which would double its time.
    settings: dict[str, Any] = {"rich_markup_mode": None, "add_completion": False}
    app = typer.Typer(help="Load tables and files, exactly once.", **settings)

    @app.callback(invoke_without_command=True)
    def _root(
        version: bool = typer.Option(False, "--version", help="Print the version."),  # noqa: FBT001, FBT003
    ) -> None:
        if version:
            from conduit_core import __version__

            sys.stdout.write(f"conduit {__version__}\n")
            raise typer.Exit

    groups = {"": app}
    own = commands()
    known = {name.partition(" ")[0] for name in own}
    for name, function in {**own, **hook_commands(args, known)}.items():
        group, _, last = name.rpartition(" ")
        if group not in groups:
            lists = _ListGroup if group in {"runs", "dlq", "connectors"} else None
            groups[group] = typer.Typer(cls=lists, **settings)
            app.add_typer(groups[group], name=group, help=_GROUPS.get(group))
        kind = _StatusCommand if name == "status" else None
        groups[group].command(last, cls=kind)(_command(function))
    for name, told in GROUPS.items():
        if name not in groups:
            app.add_typer(typer.Typer(**settings), name=name, help=told)
    return app


class _ListGroup(TyperGroup):
    """``conduit runs [PIPELINE_FILE]`` is ``conduit runs list [PIPELINE_FILE]``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put ``list`` where no sub-command stands."""
        if not args or (args[0] not in self.commands and args[0] != "--help"):
            args = ["list", *args]
        return super().parse_args(ctx, args)


class _StatusCommand(TyperCommand):
    """``conduit status --watch`` is ``conduit status --watch 10``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the usual seconds where none stand."""
        if "--watch" in args:
            place = args.index("--watch") + 1
            given = args[place : place + 1]
            if not given or not given[0].replace(".", "", 1).isdigit():
                args = [*args[:place], EVERY, *args[place:]]
        return super().parse_args(ctx, args)


_GROUPS = {
    **GROUPS,
    "state": "Look at and mend watermarks, in the destination's ledger.",
    "runs": "What was published, from the destination's ledger.",
    "dlq": "Rows that rules rejected: looked at, replayed, purged.",
    "notify": "Who is told of failures and more: tried without one.",
    "connectors": "The connector types that are installed, and the package of a new one.",
    "schema": "What a stream's columns are: told from values, written to files, compared.",
}


def _command(function: Callable[..., Answer]) -> Callable[..., _Call]:
    """Return what typer parses for: the function's own options and the common ones."""

    @wraps(function)
    def parse(
        *,
        json: bool,
        log_format: LogFormat,
        debug: bool,
        **arguments: Any,
    ) -> _Call:
        return _Call(function, arguments, Common(json, log_format, debug))

    own = inspect.signature(function, eval_str=True)
    kind = inspect.Parameter.KEYWORD_ONLY
    common = [
        inspect.Parameter("json", kind, default=False, annotation=options.Json),
        inspect.Parameter(
            "log_format", kind, default=LogFormat.text, annotation=options.LogFormatOption
        ),
        inspect.Parameter("debug", kind, default=False, annotation=options.Debug),
    ]
    parameters = [p for p in own.parameters.values() if p.name != "session"] + common
    parameters = [p.replace(kind=kind) for p in parameters]
    parse.__dict__["__signature__"] = own.replace(parameters=parameters)
    parse.__annotations__ = {p.name: p.annotation for p in parameters}
    del parse.__dict__["__wrapped__"]
    return parse


def _end(session: Session, answer: Answer) -> int:
    """Write an answer, then its errors, so that these are the last lines of a log."""
    errors = [session.placed(error) for error in answer.errors]
    if session.common.json and not answer.shown:
        document = dict(answer.document)
        if errors:
            document["error"] = error_document(errors[0], answer.exit_code)
        print_document(document, session.redact)
    elif not answer.shown:
        answer.show(Screen(session.redact))
    sys.stdout.flush()
    for error in errors:
        _tell(session, error)
    if answer.interrupted:
        session.tell(answer.interrupted, event="interrupted", facts={"exit_code": INTERRUPTED})
    return answer.exit_code


def _failed(session: Session, error: ConduitError) -> int:
    session.placed(error)
    if session.common.json:
        print_document({"error": error_document(error)}, session.redact)
    sys.stdout.flush()
    _tell(session, error)
    return error.exit_code


def _tell(session: Session, error: ConduitError) -> None:
    facts = {k: v for k, v in error_document(error).items() if k not in {"lines", "message"}}
    facts["error"] = facts.pop("class")
    lines = error.lines()
    if session.common.debug:
        import traceback

        trace = "".join(traceback.format_exception(error)).rstrip()
        session.tell((trace,), event="traceback", facts={})
    session.tell(tuple(lines), event="failed", facts=facts)


def _bug(error: Exception, args: Sequence[str]) -> ConduitError:
    command = shlex.join(["conduit", *args, *([] if "--debug" in args else ["--debug"])])
    state = "what was published before this is in the ledger: `conduit runs` lists it"
    return unexpected(error).at(state=state, command=command)


def _usage(error: Exception, args: Sequence[str]) -> ConfigError:
    say = getattr(error, "format_message", None)
    text = str(say()) if callable(say) else str(error)
    context = getattr(error, "ctx", None)
    path = str(context.command_path) if context is not None else "conduit"
    return ConfigError(f"{path}: {text}", command=f"{path} --help")


def _interrupted(args: Sequence[str]) -> Answer:
    lines = (
        "interrupted",
        "what was published before is in the ledger: `conduit runs` lists it",
        "run it again: it goes on from there",
        shlex.join(["conduit", *args]),
    )
    document = {"interrupted": True, "exit_code": INTERRUPTED}
    return Answer(document, exit_code=INTERRUPTED, interrupted=lines)


def _write_any_character() -> None:
    """Let a terminal that can't show a character show its code, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
