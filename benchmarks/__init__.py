"""Speed and memory as ratios against a reference in the same run: ``python -m benchmarks``."""

from __future__ import annotations
