"""Conduit Core in Dagster: the distribution's version; its load step comes with a later release."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
