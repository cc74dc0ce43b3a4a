"""What every test of a receiver begins with: an environment that says nothing of receivers."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def _quiet_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("OTEL_", "CONDUIT_OBSERVE")) or name in {"TRACEPARENT", "TRACESTATE"}:
            monkeypatch.delenv(name)
