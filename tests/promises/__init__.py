"""The promises to users, each test named with its id."""

from __future__ import annotations
