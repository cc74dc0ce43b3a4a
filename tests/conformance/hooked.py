"""Lets this process find the hook `tell` as it finds any: installed beside the others.

A process that others are forks of imports it; one of its own gets `INSTALLED` in `PYTHONPATH`.
"""

from __future__ import annotations

import sys
from pathlib import Path

INSTALLED = str(Path(__file__).with_name("installed"))

if INSTALLED not in sys.path:
    sys.path.append(INSTALLED)
