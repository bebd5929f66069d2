"""Services: their number, their node ports, their load balancers (pkg/quota/v1/evaluator/core/services.go)."""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.api.amounts import Amounts
from pilothouse.api.quantity import ZERO
from pilothouse.api.quota.evaluator import ONE, Evaluator, units
from pilothouse.api.types import Obj

_NAMES = frozenset(("count/services", "services", "services.nodeports", "services.loadbalancers"))
_COSTLY = ("NodePort", "LoadBalancer")


class ServiceEvaluator(Evaluator):
    def __init__(self) -> None:
        super().__init__("", "services")

    def handles(self, operation: str, subresource: str, obj: Obj, old: Obj | None) -> bool:
        """Updates too: a service may change its type."""
        return operation in ("CREATE", "UPDATE") and not subresource

    def matching(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if name in _NAMES]

    def usage(self, obj: Obj, now_s: float) -> Amounts:
        kind = _type(obj)
        return {
            "count/services": ONE,
            "services": ONE,
            "services.loadbalancers": ONE if kind == "LoadBalancer" else ZERO,
            "services.nodeports": units(_node_ports(obj)) if kind in _COSTLY else ZERO,
        }

    def replenishes(self, old: Obj, new: Obj, now_s: float) -> bool:
        before, now = _type(old), _type(new)
        return before != now and (before in _COSTLY or now in _COSTLY)


def _type(service: Obj) -> str:
    return str((service.get("spec") or {}).get("type", ""))


def _node_ports(service: Obj) -> int:
    """Ports are not allocated yet: what counts is the wish for them."""
    spec = service["spec"]
    ports = spec.get("ports") or ()
    if spec["type"] == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is False:
        return sum(1 for port in ports if port.get("nodePort"))
    return len(ports)
