"""Has a deployment run after each load that published orders: python automation.py."""

from __future__ import annotations

from prefect.automations import Automation, EventTrigger, Posture, RunDeployment
from prefect.client.orchestration import get_client

ORDERS = {"prefect.resource.id": "conduit.stream.shop.orders"}


def after_orders(deployment: str) -> Automation:
    with get_client(sync_client=True) as client:
        found = client.read_deployment_by_name(deployment)
    published = EventTrigger(
        expect={"conduit.load.published"}, match=ORDERS, posture=Posture.Reactive, threshold=1
    )
    runs = RunDeployment(deployment_id=found.id)
    return Automation(name=f"{deployment} after orders", trigger=published, actions=[runs])


if __name__ == "__main__":
    after_orders("report/shop").create()
