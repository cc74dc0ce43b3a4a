"""Unit tests of `conduit_core.types`."""

from __future__ import annotations
