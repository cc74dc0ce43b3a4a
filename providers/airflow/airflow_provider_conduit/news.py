"""Whether a stream's source has rows that aren't loaded yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_conduit.pipelines import PipelineLike, opened
from conduit_core.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from conduit_core import LoadPlan


@dataclass(frozen=True, slots=True)
class News:
    """What a look found.

    Args:
        stream, target: which load it is about.
        window: what a load would read now.
        high: the cursor up to which it would.
        rows: about how many; None where the source can't tell cheaply.
    """

    stream: str
    target: str
    window: str
    high: str | None
    rows: int | None

    def as_json(self) -> dict[str, str | int | None]:
        """Return it as plain data."""
        return {
            "stream": self.stream,
            "target": self.target,
            "window": self.window,
            "high": self.high,
            "rows": self.rows,
        }


def look(
    pipeline: PipelineLike,
    folder: Path,
    stream: str,
    *,
    source_conn_id: str | None = None,
    destination_conn_id: str | None = None,
) -> News | None:
    """Return what is new at a stream's source, None for nothing. Reads, and writes nothing.

    Raises:
        ConfigError: the stream has no cursor, so that nothing tells what is new.
        ConduitError: the load can't be planned.
    """
    from conduit_core import RunRequest, plan

    made = opened(
        pipeline, folder, source_conn_id=source_conn_id, destination_conn_id=destination_conn_id
    )
    (spec,) = made.select((stream,))
    if not spec.cursor:
        raise made.at(
            ConfigError(f"stream {stream} has no `cursor`, so that nothing tells what is new"),
            stream,
        )
    (found,) = plan(made, (stream,), request=RunRequest(after=False))
    return None if found.empty else _news(found)


def _news(plan: LoadPlan) -> News:
    return News(
        stream=plan.stream,
        target=str(plan.target),
        window=plan.window_text,
        high=plan.watermark_text,
        rows=plan.rows_estimate,
    )
