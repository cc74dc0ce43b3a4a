"""Which loads may hand rows through undecoded: a question to both ends, asked with plain data."""

from __future__ import annotations

from datetime import datetime

from conduit_core.connectors.base import ReadsRaw, TakesRaw
from conduit_core.connectors.publish import Wire
from conduit_core.engine.columns import Staged, metadata_fields
from conduit_core.engine.flow import LOAD_ID, LOADED_AT
from conduit_core.engine.pipeline import Ends, stream_ref
from conduit_core.spec import StreamSpec


def choose_wire(
    ends: Ends, stream: StreamSpec, staged: Staged, load_id: str, loaded_at: datetime
) -> Wire | None:
    """Return the format that source and destination share for these columns, if there is one.

    Whatever looks at values (a cast, a rule, a transform) is a reason to return None; casts the
    destination sees in the types.
    """
    if stream.quality or stream.transform:
        return None
    source, destination = ends.source, ends.destination
    if not isinstance(source, ReadsRaw) or not isinstance(destination, TakesRaw):
        return None
    offered = source.raw_format(stream_ref(stream))
    values = {LOAD_ID: load_id, LOADED_AT: loaded_at.isoformat()}
    constants = {f.name: values[f.name] for f in metadata_fields(stream.metadata)}
    if (
        offered is None
        or destination.takes_raw(staged.schema, staged.columns, constants) != offered
    ):
        return None
    return Wire(format=offered, constants=constants)
