"""Tests of the file sources."""

from __future__ import annotations
