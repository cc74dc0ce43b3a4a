"""Conduit Core and dbt: the distribution's version; its hook comes with a later release."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
