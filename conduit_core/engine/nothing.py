"""The plan where there is nothing to look at: no data, or none that is to be taken once more."""

from __future__ import annotations

from datetime import UTC, datetime

from conduit_core.connectors.publish import Publish
from conduit_core.connectors.splits import NOTHING
from conduit_core.engine.identity import load_id, request_text, stream_fingerprint
from conduit_core.engine.model import LoadPlan, RunRequest
from conduit_core.engine.pipeline import Ends, Pipeline
from conduit_core.engine.seen import Seen, replayed_choice
from conduit_core.engine.windows import Choice
from conduit_core.spec import StreamSpec
from conduit_core.state.ledger import LedgerRecord, newest, watermark_record
from conduit_core.state.window import Window


def plan_of_nothing(
    pipeline: Pipeline,
    stream: StreamSpec,
    ends: Ends,
    request: RunRequest,
    seen: Seen,
    replayed: LedgerRecord | None,
    why: str,
) -> LoadPlan:
    """Return the empty plan: it reads nothing, changes nothing, and says why.

    Args:
        pipeline: the stream's pipeline.
        stream: what was to be loaded.
        ends: the source, by whose identity the load is known.
        request: what the runner asked for.
        seen: the target, which stays as it is, whatever the mode.
        replayed: the load that the request key has published before.
        why: what is said of it.
    """
    choice = Choice(Window("full"), stream.mode, None, None, 0, empty=True)
    if replayed is not None:
        choice = replayed_choice(replayed)
    last, base = newest(seen.chain), watermark_record(seen.chain)
    mark, text = seen.reconciled.cursor, request_text(request)
    shown = mark.display() if mark else None
    target = seen.target
    version = base.version if base else 0
    spec_print = stream_fingerprint(stream, ends.source.identity, ends.base_dir)
    own_id = load_id(seen.fingerprint, version, choice.effective, text, spec_print)
    return LoadPlan(
        pipeline=pipeline.name,
        stream=stream.name,
        target_schema=target.schema,
        target_table=target.name,
        load_id=replayed.load_id if replayed else own_id,
        last_load_id=last.load_id if last else None,
        last_watermark_text=shown,
        request=text,
        request_key=request.request_key,
        mode=choice.effective,
        guarantee="exactly-once",
        window=choice.window.to_json(),
        window_text=choice.window.display(),
        cursor=None,
        cursor_timezone=stream.cursor_timezone,
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
        splits=NOTHING,
        replayed=replayed,
    )
