"""``python -m conduit_core.cli`` is ``conduit``."""

from __future__ import annotations

import sys

from conduit_core.cli import main

sys.exit(main())
