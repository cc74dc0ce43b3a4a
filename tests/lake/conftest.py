"""Stand-ins of buckets, as the object stores' own tests start them."""

from __future__ import annotations

from tests.objects.conftest import gcs_server, s3_server

__all__ = ["gcs_server", "s3_server"]
