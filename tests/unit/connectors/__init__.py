"""Unit tests of `conduit_core.connectors`."""

from __future__ import annotations
