"""Two loads of one target, each planned before the other was published: nothing lost or doubled."""

from __future__ import annotations

import threading

import pytest

from conduit_core import LoadPlan, Pipeline
from conduit_core.connectors.base import Commit
from conduit_core.engine.rows import open_flow
from conduit_core.engine.runtime import Runtime
from conduit_core.errors import ConcurrentLoadError
from conduit_core.events import ignore
from tests.lab import Lab, stream


def publish(pipeline: Pipeline, plan: LoadPlan) -> Commit:
    """Publish a plan that was made earlier."""
    runtime = Runtime(ignore, None, 1 << 20, 1, threading.Event())
    with pipeline.open() as ends:
        flow = open_flow(plan, pipeline.streams[0], ends, runtime)
        try:
            return ends.destination.commit(plan.publish, flow, ignore)
        finally:
            flow.close()


def test_two_request_keys_are_two_loads(each_lab: Lab) -> None:
    """Both were planned from the same version, so their load ids are equal."""
    each_lab.orders(range(3))
    pipeline = each_lab.pipeline(stream(cursor=None))
    each_lab.run(pipeline)
    monday, tuesday = (each_lab.plan(pipeline, request_key=k) for k in ("monday", "tuesday"))
    assert not publish(pipeline, monday).replayed
    with pytest.raises(ConcurrentLoadError):
        publish(pipeline, tuesday)
    each_lab.run(pipeline, request_key="tuesday")
    assert each_lab.ids() == sorted([0, 1, 2] * 3)


def test_an_append_over_a_slice_published_meanwhile_is_refused(each_lab: Lab) -> None:
    each_lab.orders(range(10))
    pipeline = each_lab.pipeline()
    each_lab.run(pipeline, window_to="4")
    behind, over = each_lab.plan(pipeline, window_to="5"), each_lab.plan(pipeline)
    each_lab.run(pipeline, window_from="6", window_to="8")
    with pytest.raises(ConcurrentLoadError):
        publish(pipeline, over)
    assert not publish(pipeline, behind).replayed
    assert each_lab.ids() == [0, 1, 2, 3, 4, 5, 6, 7]


def test_a_full_refresh_does_not_undo_a_slice_published_meanwhile(each_lab: Lab) -> None:
    each_lab.orders(range(10))
    pipeline = each_lab.pipeline()
    each_lab.run(pipeline)
    whole = each_lab.plan(pipeline, full_refresh=True)
    each_lab.run(pipeline, window_from="6", window_to="8")
    with pytest.raises(ConcurrentLoadError):
        publish(pipeline, whole)
