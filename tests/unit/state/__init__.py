"""Unit tests of `conduit_core.state`."""

from __future__ import annotations
