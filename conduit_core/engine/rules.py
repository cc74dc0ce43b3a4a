"""A stream's quality rules, compiled against the columns that they look at."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pyarrow as pa

from conduit_core.engine.pipeline import Ends
from conduit_core.quality import (
    Capacity,
    Ruleset,
    compile_rules,
)
from conduit_core.quality.rules import RowRule
from conduit_core.spec import StreamSpec
from conduit_core.types.schema import max_length


@dataclass(frozen=True, slots=True)
class Rules:
    """A stream's rules as a plan compiles them.

    Args:
        ruleset: the rules, those of what the destination takes among them.
        takes_out: whether a rule may make dead letters.
    """

    ruleset: Ruleset
    takes_out: bool


def judged_schema(staged: pa.Schema) -> pa.Schema:
    """Return the columns that rules look at: the rows' own."""
    return pa.schema([f for f in staged if not f.name.startswith("_conduit_")])


READABLE = "readable"
"""The rule of a source that sets rows aside whose values aren't of their column's type."""


def rules_of(stream: StreamSpec, staged: pa.Schema, ends: Ends) -> Rules:
    """Compile a stream's rules, and those that its source and its destination bring.

    Not for a stream that :func:`needs_screen` says has none: nothing has to look at its rows.

    Raises:
        ConduitError: a rule is wrong; see :func:`conduit_core.quality.compile_rules`.
    """
    sifts = ends.source.capabilities.gives_unreadable
    takes_out = sifts or any(rule.action == "dlq" for rule in stream.quality)
    schema = judged_schema(staged)
    takes_nul = ends.destination.capabilities.takes_nul
    capacities = {f.name: Capacity(max_length(f), takes_nul=takes_nul) for f in schema}
    ruleset = compile_rules(
        stream.quality,
        schema,
        folder=ends.base_dir,
        capacities=capacities,
        storable_action="dlq" if takes_out else "fail",
    )
    if sifts:
        readable = RowRule(READABLE, READABLE, "dlq", lambda _: ())
        ruleset = replace(ruleset, rows=(readable, *ruleset.rows))
    return Rules(ruleset, takes_out)
