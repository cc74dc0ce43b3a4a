"""What people see: pages and figures."""

from __future__ import annotations
