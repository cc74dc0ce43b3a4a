"""Object stores and what lies on them, over a folder, S3, GCS and Azure."""

from __future__ import annotations
