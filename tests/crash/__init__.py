"""Crash tests: the real command, killed, frozen and cut off, then run again."""

from __future__ import annotations
