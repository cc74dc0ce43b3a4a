"""Soon."""

from __future__ import annotations


class FaultySource:
    """Soon."""
