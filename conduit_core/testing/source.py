"""The contract of a source."""

from __future__ import annotations


class SourceSuite:
    """Soon."""
