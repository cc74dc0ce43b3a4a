"""Unit tests of `conduit_core.engine`."""

from __future__ import annotations
