"""SQLite, on real files."""

from __future__ import annotations
