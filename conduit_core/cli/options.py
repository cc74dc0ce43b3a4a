"""Options and arguments that several commands share, so that they read the same everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Annotated

import typer

DEFAULT_FILE = "pipeline.yml"

File = Annotated[str, typer.Argument(metavar="[PIPELINE_FILE]", help="The pipeline file.")]
Streams = Annotated[
    list[str] | None, typer.Option("--stream", help="Only this stream; may be repeated.")
]
OneStream = Annotated[str, typer.Option("--stream", help="The stream.")]
ReplaceAfter = Annotated[
    bool,
    typer.Option(
        "--replace-after",
        help="Delete the target's rows behind the new watermark in the same step.",
    ),
]
From = Annotated[
    str | None, typer.Option("--from", help="Load the window that starts here (inclusive).")
]
To = Annotated[
    str | None,
    typer.Option("--to", help="The window's end (exclusive); without --from a cap (inclusive)."),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="COLUMN=VALUE",
        help="Load the rows whose column has this value; may be repeated for more of its values.",
    ),
]
FullRefresh = Annotated[
    bool,
    typer.Option("--full-refresh", help="Read everything and replace the target's content."),
]
Reload = Annotated[
    bool, typer.Option("--reload", help="Load again what --request-key has loaded before.")
]
RequestKey = Annotated[
    str | None,
    typer.Option("--request-key", help="This request's own name: loaded once, also when retried."),
]
AllowEmpty = Annotated[
    bool, typer.Option("--allow-empty", help="Let an empty extract empty the target.")
]
AllowDeletes = Annotated[
    bool,
    typer.Option("--allow-deletes", help="Let a load delete any share of the target's rows."),
]


NoAfter = Annotated[
    bool, typer.Option("--no-after", help="Load only: what `after:` names isn't done.")
]


class Executor(StrEnum):
    """Who stages splits."""

    threads = "threads"
    processes = "processes"


class LogFormat(StrEnum):
    """How stderr is written."""

    text = "text"
    json = "json"


@dataclass(frozen=True, slots=True)
class Common:
    """The options of every command."""

    json: bool = False
    log_format: LogFormat = LogFormat.text
    debug: bool = False

    @classmethod
    def guess(cls, args: Sequence[str]) -> Common:
        """Read the common options from arguments that could not be parsed."""
        own = args[: args.index("--")] if "--" in args else args
        after = dict(pairwise(own)).get("--log-format")
        as_json = "--log-format=json" in own or after == "json"
        return cls("--json" in own, LogFormat.json if as_json else LogFormat.text, "--debug" in own)


Json = Annotated[
    bool, typer.Option("--json", help="One JSON document on stdout, and nothing else there.")
]
LogFormatOption = Annotated[
    LogFormat, typer.Option("--log-format", help="Lines on stderr: for people, or JSON each.")
]
Debug = Annotated[bool, typer.Option("--debug", help="More on stderr; an error's traceback too.")]
