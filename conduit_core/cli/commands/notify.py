"""``conduit notify test``: whether those who are to be told can be."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from conduit_core.cli import options
from conduit_core.cli.screen import Answer
from conduit_core.cli.session import Session


class About(StrEnum):
    """What a test says that it is about."""

    failure = "failure"
    success = "success"
    recovered = "recovered"
    rejected = "rejected"
    schema_change = "schema_change"
    stale = "stale"


def try_(
    session: Session,
    file: options.File = options.DEFAULT_FILE,
    *,
    about: Annotated[About, typer.Option("--about", help="What the test says.")] = About.failure,
) -> Answer:
    """Send a test, marked as one, to each receiver of `notify:`; exit 3 if one didn't take it."""
    from conduit_core.errors import ConfigError, ConnectionFailedError
    from conduit_core.observe.alerts import try_alerts

    pipeline = session.pipeline(file)
    if not pipeline.loaded.spec.notify:
        raise pipeline.at(
            ConfigError("it has no `notify:`: nobody is told", command="conduit check")
        )
    tried = try_alerts(pipeline, about.value)
    errors = tuple(
        pipeline.at(
            ConnectionFailedError(
                f"notify[{one.rule}]: {one.receiver} didn't take it: {one.reason}"
                + ("; correct its URL, or the token in it" if one.is_refusal else ""),
                state="no load was touched",
                retry="never" if one.is_refusal else "step",
                command="conduit notify test",
            )
        )
        for one in tried
        if one.reason
    )
    return Answer(
        {
            "pipeline": pipeline.name,
            "about": about.value,
            "receivers": [
                {
                    "rule": one.rule,
                    "receiver": one.receiver,
                    "ok": not one.reason,
                    "reason": one.reason or None,
                }
                for one in tried
            ],
        },
        lambda screen: screen.table(
            [(heading, "left") for heading in ("", "rule", "receiver", "found")],
            [
                (
                    "FAILED" if one.reason else "ok",
                    f"notify[{one.rule}]",
                    one.receiver,
                    one.reason or "sent",
                )
                for one in tried
            ],
        ),
        exit_code=3 if errors else 0,
        errors=errors,
    )
