"""Lets the process that imports it find the hook `tell`: one that others are forks of.

A process of its own gets `INSTALLED` in `PYTHONPATH`. No test imports this: all later ones in the
same process would have the hook, too.
"""

from __future__ import annotations

import sys

from tests.conformance.tell import INSTALLED

if INSTALLED not in sys.path:
    sys.path.append(INSTALLED)
