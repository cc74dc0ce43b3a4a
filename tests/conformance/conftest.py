"""Collects what the tests recorded, and writes the page when a session had all of it."""

from __future__ import annotations

import os
from collections import defaultdict
from typing import Any

import pytest

from tests.conformance import page

_told: dict[str, list[Any]] = defaultdict(list)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" and report.passed:
        for name, value in report.user_properties:
            _told[name].append(value)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the page, where everything is together: in the controller, in a deep session."""
    whole = os.environ.get("CONDUIT_DEEP") == "1" and os.environ.get("CONDUIT_UPDATE_DOCS") == "1"
    if whole and not hasattr(session.config, "workerinput"):
        page.renew(_told, ())
