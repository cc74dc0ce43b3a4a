"""What Prefect's server has kept of events, asked until it is there."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect.client.orchestration import get_client

PATIENCE_SECONDS = 60.0


def events_about(resource: str, name: str = "") -> list[dict[str, Any]]:
    """Return the events of a resource by now, oldest first; those whose names begin so."""
    wanted: dict[str, Any] = {
        "resource": {"id": [resource]},
        "occurred": {"until": (datetime.now(UTC) + timedelta(days=1)).isoformat()},
        "order": "ASC",
    }
    if name:
        wanted["event"] = {"prefix": [name]}
    with get_client(sync_client=True) as client:
        found = client.request("POST", "/events/filter", json={"filter": wanted, "limit": 50})
    events: list[dict[str, Any]] = found.json()["events"]
    return events


def wait_for(
    resource: str, enough: Callable[[list[dict[str, Any]]], bool], name: str = ""
) -> list[dict[str, Any]]:
    """Return the events of a resource once there are enough: the server writes them by and by."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not enough(found := events_about(resource, name)):
        assert time.monotonic() < end, f"{resource}: {[each['event'] for each in found]}"
        time.sleep(0.2)
    return found


def names_of(events: list[dict[str, Any]]) -> list[str]:
    """Return the events' names."""
    return [each["event"] for each in events]


def roles_of(event: Mapping[str, Any]) -> list[str]:
    """Return the roles of what an event is related to."""
    return sorted(each["prefect.resource.role"] for each in event["related"])
