"""The ops of a ``conduit_assets``: what all of them have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

import dagster as dg

from dagster_conduit.steps import STREAM_TAG

DONE = "done"
"""The output of a step that another one waits for: of the graph alone, no asset's."""


@dataclass(frozen=True)
class OpOptions:
    """What every op of a ``conduit_assets`` has.

    Args:
        graph: the graph's name. An op's own begins with it: a code location has one op of a name.
        tags: each op's.
        pool: each op's.
        retry_policy: each op's.
    """

    graph: str
    tags: Mapping[str, str]
    pool: str | None
    retry_policy: dg.RetryPolicy | None

    def op(
        self, name: str, fn: Callable[..., Any], *, stream: str | None = None, **more: Any
    ) -> dg.OpDefinition:
        """Return an op with these options, which loads a stream where one is given."""
        resolve_annotations(fn)
        of_stream = {} if stream is None else {STREAM_TAG: stream}
        made: dg.OpDefinition = dg.op(
            name=f"{self.graph}__{name}",
            tags={**self.tags, **of_stream},
            pool=self.pool,
            retry_policy=self.retry_policy,
            **more,
        )(fn)
        return made


def done(context: dg.OpExecutionContext) -> Iterator[dg.Output[None]]:
    """Yield the end of a step, where a step of this run waits for it."""
    if DONE in context.selected_output_names:
        yield dg.Output(None, DONE)


def resolve_annotations(fn: Callable[..., Any]) -> None:
    """Let annotations be texts, as ``from __future__ import annotations`` makes them.

    Dagster reads them as they are, and refuses a context's.
    """
    if not any(isinstance(each, str) for each in fn.__annotations__.values()):
        return
    try:
        fn.__annotations__ = get_type_hints(fn)
    except (NameError, TypeError):
        return  # a name of a function's own: Dagster says what it thinks of the text
