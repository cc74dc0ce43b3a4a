"""What held a load up, from its seconds by stage, and which setting to try. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict

Place = Literal["source", "network", "rules", "destination", "commit", "plan", "balanced"]

WORTH_SECONDS = 5.0
"""Loads that took less aren't worth a word to people."""
_CLEAR = 0.3
"""What holds up less of a load than this isn't its bottleneck."""

_WHAT: dict[Place, str] = {
    "source": "reading at the source",
    "network": "waiting for the source's server, its disk or the network",
    "rules": "transforms, casts and rules",
    "destination": "writing to the destination",
    "commit": "publishing what was written: merging by key, indexes, the commit",
    "plan": "planning: what the source is asked before the first row is read",
    "balanced": "nothing by itself: reading and writing took alike",
}
_SETTING: dict[Place, str] = {
    "source": "`splits:` with `--workers`: parts of the table are read side by side",
    "network": "`splits:` with `--workers` for one large table, `--jobs` for many: more connections"
    " at once; or run nearer to the source",
    "rules": "built-in rules or `expression` instead of `custom` and `pandera`; `splits:` with"
    " `--executor processes` where the code is your own",
    "destination": "fewer indexes and triggers on the target; `splits:` with `--workers`, where the"
    " destination stages side by side",
    "commit": "`mode: append` or `insert_only` where rows never change, a smaller window or"
    " `lookback` where they do; fewer indexes on the target",
    "plan": "an index on the cursor's columns at the source; rows that a Python function makes are"
    " made while the load is planned",
    "balanced": "`--jobs` for several streams side by side; `splits:` for one large one",
}


class Bottleneck(BaseModel):
    """What held a load up.

    Args:
        name: the stage: ``source``, ``network``, ``rules``, ``destination``, ``commit``, ``plan``;
            ``balanced`` where none stands out.
        share: how much shorter the load were if that stage took no time, 0 to 1; for ``balanced``,
            of the stage with the most.
        text: the same for people.
        setting: what to try.
    """

    model_config = ConfigDict(frozen=True)

    name: Place
    share: float
    text: str
    setting: str


def bottleneck(stages: Mapping[str, float]) -> Bottleneck:
    """Return what held a load up.

    Reading and writing overlap, so a stage counts by what the load would gain without it: the
    reader's by how long the destination waited for rows, the destination's by how much longer
    than the reader it was busy.

    Args:
        stages: seconds by stage, as a load's result or its ledger record has them; stages that are
            missing, or no sensible numbers, count as none.
    """
    gains, total = _gains(stages)
    best: Place = max(gains, key=lambda name: gains[name])
    share = min(gains[best][0] / total, 1.0) if total > 0 else 0.0
    if share < _CLEAR:
        best = "balanced"
    return Bottleneck(
        name=best,
        share=round(share, 4),
        text=f"{_WHAT[best]} ({share:.0%} of the time)" if best != "balanced" else _WHAT[best],
        setting=_SETTING[best],
    )


def _gains(stages: Mapping[str, float]) -> tuple[dict[Place, tuple[float, float]], float]:
    """Return what the load would gain without each stage, the stage's own seconds, and the whole.

    Staged by several workers, seconds are sums; they shrink to the time that it took all of them.
    """

    def seconds(name: str) -> float:
        found = stages.get(name, 0.0)
        return found if math.isfinite(found) and found > 0 else 0.0

    flow = seconds("write") + seconds("queue_empty")
    staged = seconds("stage")
    scale = min(staged / flow, 1.0) if staged and flow else 1.0
    lasted = staged or flow
    read, cast, waited = (scale * seconds(name) for name in ("read", "cast", "queue_empty"))
    network = min(scale * seconds("network"), read)
    commit, plan = seconds("commit"), seconds("plan")
    written = scale * seconds("write")
    slower = min(max(written + waited - read - cast, 0.0), written)
    gains: dict[Place, tuple[float, float]] = {
        "source": (min(read - network, waited), read - network),
        "network": (min(network, waited), network),
        "rules": (min(cast, waited), cast),
        "destination": (slower, written),
        "commit": (commit, commit),
        "plan": (plan, plan),
    }
    return gains, plan + lasted + commit
