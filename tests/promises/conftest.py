"""Fixtures of the promises: a lab per destination, as the integration tests have it."""

from __future__ import annotations

from tests.integration.conftest import each_lab, lab

__all__ = ["each_lab", "lab"]
