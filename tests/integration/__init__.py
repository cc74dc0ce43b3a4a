"""Whole loads with real connectors, through the public API."""

from __future__ import annotations
