"""Unit tests of `conduit_core.sync`."""

from __future__ import annotations
