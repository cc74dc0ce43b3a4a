"""Tests of data that Python made as a source."""

from __future__ import annotations
