"""Data that a Python function made: tables, frames, readers, and generators of these.

Not a type that a pipeline file can name: ``Pipeline.from_data`` makes its source.
"""

from __future__ import annotations

from conduit_core.connectors.frames.data import Data
from conduit_core.connectors.frames.source import FrameSource

__all__ = ["Data", "FrameSource"]
