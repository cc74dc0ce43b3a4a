"""A cheap hook for `after:`: it writes each version of each table that it is given into a file."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from pydantic import BaseModel, ConfigDict

from conduit_core import Hook, HookContext, HookReport

INSTALLED = str(Path(__file__).with_name("installed"))
"""On the path of a process, it lets that find this hook as it finds any that is installed."""


class TellOptions(BaseModel):
    """What stands under `after: {tell: ...}`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str


def _run(options: BaseModel, context: HookContext) -> HookReport:
    if context.failed:
        return HookReport("a stream failed", skipped=True)
    told = [f"{table.table} {load.version}" for table in context.changed for load in table.loads]
    with Path(cast("TellOptions", options).file).open("a") as file:
        file.write("".join(f"{line}\n" for line in told))
    return HookReport(f"{len(told)} told")


hook = Hook("tell", TellOptions, run=_run, title="A file with what changed.")
