"""Quality: what is done to rows before they are loaded, and the rules they are held to. Pure.

A stream's ``transform:`` becomes a :class:`Transform`, its ``quality:`` a :class:`Ruleset`; both
are compiled against a schema at plan, which is where bad input is named. Each flow holds its
batches to the rules with a :class:`Judge` of its own, whose :class:`Tally` goes into the receipt;
tallies of splits add up, and ``judge_counts`` and ``judge_load`` say at audit whether the load may
be published.
"""

from __future__ import annotations

from conduit_core.quality.audit import (
    LoadFacts,
    Outcome,
    facts_of,
    judge_counts,
    judge_load,
    raise_for,
)
from conduit_core.quality.identity import decisive
from conduit_core.quality.rules import Ruleset, compile_rules
from conduit_core.quality.storable import Capacity
from conduit_core.quality.transforms import Transform
from conduit_core.quality.verdict import REASONS, Judge, RuleCount, Tally, Verdict, add_up

__all__ = [
    "REASONS",
    "Capacity",
    "Judge",
    "LoadFacts",
    "Outcome",
    "RuleCount",
    "Ruleset",
    "Tally",
    "Transform",
    "Verdict",
    "add_up",
    "compile_rules",
    "decisive",
    "facts_of",
    "judge_counts",
    "judge_load",
    "raise_for",
]
