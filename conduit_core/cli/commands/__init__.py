"""The commands, each a function from a session and its options to an answer."""

from __future__ import annotations

from collections.abc import Callable

from conduit_core.cli.commands import (
    dlq,
    files,
    history,
    loading,
    looking,
    making,
    notify,
    reporting,
    schema,
    state,
)
from conduit_core.cli.screen import Answer


def commands() -> dict[str, Callable[..., Answer]]:
    """Return every command by its name, in the order that help lists them."""
    return {
        "init": making.init,
        "check": looking.check,
        "discover": making.discover,
        "plan": loading.plan,
        "run": loading.run,
        "status": looking.status,
        "report": reporting.report,
        "state show": state.show,
        "state set": state.set_,
        "state reset": state.reset,
        "state adopt": state.adopt,
        "runs list": history.list_,
        "runs show": history.show,
        "dlq list": dlq.list_,
        "dlq show": dlq.show,
        "dlq replay": dlq.replay,
        "dlq purge": dlq.purge,
        "files": files.files,
        "schema infer": schema.infer,
        "schema export": schema.export,
        "schema diff": schema.diff,
        "notify test": notify.try_,
        "clean": history.clean,
        "connectors list": looking.connectors,
        "connectors new": making.new_connector,
        "json-schema": looking.json_schema,
    }
