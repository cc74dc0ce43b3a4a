"""Commands that hooks bring: ``conduit dbt ...``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from conduit_core.cli import options
from conduit_core.cli.screen import Answer, Screen
from conduit_core.cli.session import Session

if TYPE_CHECKING:
    from conduit_core.engine.hooks import HookAnswer

GROUPS = {"dbt": "The dbt project that reads what is loaded: its sources, its rules, its target."}
"""The hooks whose commands help lists, without looking for what is installed: that takes time."""


def hook_commands(args: Sequence[str], known: Collection[str]) -> dict[str, Callable[..., Answer]]:
    """Return the commands of the hook that a command line names, by their names.

    Args:
        args: the command line.
        known: the first words of our own commands.

    Raises:
        ConfigError: it isn't installed.
    """
    name = next((a for a in args if not a.startswith("-")), "")
    if not name or name in known:
        return {}
    from conduit_core.engine.hooks import get, installed

    if name not in GROUPS and name not in installed():
        return {}

    return {f"{name} {command}": _wrapped(f) for command, f in get(name).commands.items()}


def _wrapped(function: Callable[..., HookAnswer]) -> Callable[..., Answer]:
    """Return a hook's command as one of ours: it reads the file, and shows lines."""

    def command(session: Session, file: str, **arguments: object) -> Answer:
        answer = function(session.pipeline(file), **arguments)

        def show(screen: Screen) -> None:
            for line in answer.lines:
                screen.line(line)

        code = answer.errors[0].exit_code if answer.errors else 0
        return Answer(answer.document, show, exit_code=code, errors=answer.errors)

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    first = [
        inspect.Parameter("session", kind, annotation=Session),
        inspect.Parameter("file", kind, annotation=options.File, default=options.DEFAULT_FILE),
    ]
    command.__dict__["__signature__"] = inspect.Signature([*first, *own], return_annotation=Answer)
    command.__doc__ = function.__doc__
    return command
