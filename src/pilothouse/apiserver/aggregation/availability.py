"""Whether an API service can be used: the condition Available
(k8s.io/kube-aggregator/pkg/controllers/status/remote and local)."""

from __future__ import annotations

from typing import NamedTuple

from pilothouse.api.field import go_quote
from pilothouse.api.resources import SERVICES
from pilothouse.api.types import Obj
from pilothouse.apiserver.aggregation.services import Reference, slices
from pilothouse.apiserver.registry.lister import Lister


class Available(NamedTuple):
    """Without its time."""

    status: str
    reason: str
    message: str


LOCAL = Available("True", "Local", "Local APIServices are always available")
PASSED = Available("True", "Passed", "all checks passed")


def failed_discovery(problem: str) -> Available:
    return Available("False", "FailedDiscoveryCheck", problem)


def before_asking(lister: Lister, where: Reference) -> Available | None:
    """What speaks against a service before anybody is asked; None for nothing."""
    named, namespace = f"service/{where.name}", go_quote(where.namespace)
    service = lister.get(SERVICES, where.name, where.namespace)
    if service is None:
        return Available("False", "ServiceNotFound", f"{named} in {namespace} is not present")
    spec = service["spec"]
    if spec.get("type", "ClusterIP") != "ClusterIP":
        return None
    port = next((p for p in spec.get("ports") or () if p["port"] == where.port), None)
    if port is None:
        text = f"{named} in {namespace} is not listening on port {where.port}"
        return Available("False", "ServicePortError", text)
    found = slices(lister, where.namespace, where.name)
    if not found:
        text = f"cannot find endpointslices for {named} in {namespace}"
        return Available("False", "EndpointsNotFound", text)
    port_name = port.get("name") or ""
    if not any(_serves(piece, port_name) for piece in found):
        name = go_quote(port_name)
        text = f"endpointslices for {named} in {namespace} have no addresses with port name {name}"
        return Available("False", "MissingEndpoints", text)
    return None


def _serves(piece: Obj, port_name: str) -> bool:
    ready = any((e.get("conditions") or {}).get("ready") is not False for e in piece.get("endpoints") or ())
    return ready and any((p.get("name") or "") == port_name for p in piece.get("ports") or ())


def of(api_service: Obj) -> Obj | None:
    """The condition that an APIService has."""
    conditions = (api_service.get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c.get("type") == "Available"), None)


def is_available(api_service: Obj) -> bool:
    condition = of(api_service)
    return condition is not None and condition.get("status") == "True"


def with_condition(api_service: Obj, found: Available, now: str) -> Obj | None:
    """The object with its condition; None when it says so already. The time changes with the status alone."""
    old = of(api_service)
    if old is not None and (old.get("status"), old.get("reason"), old.get("message")) == found:
        return None
    same = old is not None and old.get("status") == found.status
    since = old["lastTransitionTime"] if old is not None and same else now
    new = {
        "type": "Available",
        "status": found.status,
        "lastTransitionTime": since,
        "reason": found.reason,
        "message": found.message,
    }
    status = api_service.get("status") or {}
    conditions = [c for c in status.get("conditions") or () if c.get("type") != "Available"]
    return {**api_service, "status": {**status, "conditions": [*conditions, new]}}
