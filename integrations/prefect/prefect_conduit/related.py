"""The run that an event belongs to, as Prefect's own events name it. It asks nobody."""

from __future__ import annotations

from uuid import UUID

from prefect.context import FlowRunContext, TaskRunContext
from prefect.events.schemas.events import RelatedResource

_READY = "prefect_conduit.flows"


def related_runs() -> list[RelatedResource]:
    """Return flow run, task run, flow, deployment and tags of the code that runs."""
    flow_context, task_context = FlowRunContext.get(), TaskRunContext.get()
    found: list[RelatedResource] = []
    tags: set[str] = set()
    flow_run = flow_context.flow_run if flow_context else None
    task_run = task_context.task_run if task_context else None
    if flow_run is not None:
        found.append(_resource("flow-run", flow_run.id, flow_run.name))
        tags |= set(flow_run.tags)
    elif task_run is not None and task_run.flow_run_id is not None:
        found.append(_resource("flow-run", task_run.flow_run_id, ""))
    if task_run is not None:
        found.append(_resource("task-run", task_run.id, task_run.name))
        tags |= set(task_run.tags)
    if flow_run is not None:
        flow = flow_context.flow if flow_context else None
        found.append(_resource("flow", flow_run.flow_id, flow.name if flow else ""))
        if flow_run.deployment_id is not None:
            found.append(_resource("deployment", flow_run.deployment_id, ""))
    for tag in sorted(tags):
        labels = {"prefect.resource.id": f"prefect.tag.{tag}", "prefect.resource.role": "tag"}
        found.append(RelatedResource(labels))
    return found


def in_ready_flow() -> bool:
    """Say whether a flow of ours runs this: it shows all of its loads at once."""
    context = FlowRunContext.get()
    body = getattr(context.flow, "fn", None) if context else None
    return getattr(body, "__module__", "") == _READY


def _resource(kind: str, key: UUID, name: str) -> RelatedResource:
    labels = {"prefect.resource.id": f"prefect.{kind}.{key}", "prefect.resource.role": kind}
    if name:
        labels["prefect.resource.name"] = name
    return RelatedResource(labels)
