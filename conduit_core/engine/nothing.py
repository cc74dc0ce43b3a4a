"""The plan where a source has nothing, not even columns: the function gave None, or no part."""

from __future__ import annotations

from datetime import UTC, datetime

from conduit_core.connectors.publish import Publish
from conduit_core.engine.identity import load_id, request_text
from conduit_core.engine.model import LoadPlan, RunRequest
from conduit_core.engine.pipeline import Pipeline
from conduit_core.engine.seen import Seen, replayed_choice
from conduit_core.engine.windows import Choice
from conduit_core.spec import StreamSpec
from conduit_core.state.ledger import LedgerRecord, newest, watermark_record
from conduit_core.state.window import Window


def plan_of_nothing(
    pipeline: Pipeline,
    stream: StreamSpec,
    request: RunRequest,
    seen: Seen,
    spec_print: str,
    why: str,
    replayed: LedgerRecord | None,
) -> LoadPlan:
    """Return the empty plan: it reads nothing, changes nothing, and says why.

    Args:
        pipeline: the stream's pipeline.
        stream: what was to be loaded.
        request: what the runner asked for.
        seen: the target, which stays as it is, whatever the mode.
        spec_print: the stream's fingerprint.
        why: what the source said.
        replayed: the load that the request key has published before.
    """
    choice = Choice(Window("full"), stream.mode, None, None, 0, empty=True)
    if replayed is not None:
        choice = replayed_choice(replayed)
    last, base = newest(seen.chain), watermark_record(seen.chain)
    mark, text = seen.reconciled.cursor, request_text(request)
    shown = mark.display() if mark else None
    target = seen.target
    return LoadPlan(
        pipeline=pipeline.name,
        stream=stream.name,
        target_schema=target.schema,
        target_table=target.name,
        load_id=replayed.load_id
        if replayed
        else load_id(
            seen.fingerprint, base.version if base else 0, choice.effective, text, spec_print
        ),
        last_load_id=last.load_id if last else None,
        last_watermark_text=shown,
        request=text,
        request_key=request.request_key,
        mode=choice.effective,
        guarantee="exactly-once",
        window=choice.window.to_json(),
        window_text=choice.window.display(),
        cursor=None,
        watermark_text=shown,
        source_schema=[],
        staged_schema=[],
        target_fingerprint=seen.fingerprint,
        rows_estimate=0,
        null_rows=0,
        loaded_at=datetime.now(UTC),
        publish=Publish(
            target_schema=target.schema,
            target_table=target.name,
            staged_columns=(),
            requirements=(),
            actions=(),
        ),
        state_text=seen.stored,
        notes=(why,),
        empty=True,
        replayed=replayed,
    )
