"""The fault points themselves: counted, by stream, and wrong ones named."""

from __future__ import annotations

import signal
import threading

import pytest

from conduit_core.errors import ConfigError
from conduit_core.events import AuditStarted, BatchWritten, Event, ignore
from conduit_core.testing import faults

pytestmark = pytest.mark.crash


def batch(stream: str) -> BatchWritten:
    return BatchWritten(stream=stream, load_id="x", rows=1, bytes=1, write_seconds=0.0)


def sent(monkeypatch: pytest.MonkeyPatch, fault: faults.Fault, *events: Event) -> list[int]:
    """Return at which of the events the signal was sent."""
    signals: list[tuple[int, int]] = []
    monkeypatch.setattr(signal, "pthread_kill", lambda *signalled: signals.append(signalled))
    found: list[int] = []
    for position, event in enumerate(events):
        fault(event)
        found += [position] * len(signals)
        assert set(signals) <= {(threading.get_ident(), signal.SIGKILL)}
        signals.clear()
    return found


def test_a_fault_counts_the_events_of_its_point_and_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    fault = faults.Fault.from_text("mid_stage:2:a")
    others = (AuditStarted(stream="a", load_id="x", rows_read=1), batch("b"))
    assert sent(monkeypatch, fault, *others, batch("a"), batch("b"), batch("a"), batch("a")) == [4]


def test_a_fault_without_stream_counts_every_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    fault = faults.Fault.from_text("mid_stage:2")
    assert sent(monkeypatch, fault, batch("a"), batch("b"), batch("a")) == [1]


@pytest.mark.parametrize(
    ("text", "said"),
    [("midstage", "midstage"), ("mid_stage:0", "starts at 1"), ("mid_stage:x", "mid_stage:x")],
)
def test_a_fault_that_does_not_exist_is_named(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        faults.Fault.from_text(text)


def test_the_environment_names_the_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONDUIT_FAULT", raising=False)
    assert faults.from_environment() is ignore
    monkeypatch.setenv("CONDUIT_FAULT", "audit")
    assert isinstance(faults.from_environment(), faults.Fault)
    monkeypatch.setenv("CONDUIT_FAULT_SIGNAL", "TERM")
    with pytest.raises(ConfigError, match="TERM"):
        faults.from_environment()
