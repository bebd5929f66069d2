"""Resource claims: their number, and the devices they ask for by device class
(pkg/quota/v1/evaluator/core/resource_claims.go)."""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.api import amounts
from pilothouse.api.amounts import Amounts
from pilothouse.api.quota.evaluator import ONE, Evaluator, units
from pilothouse.api.types import Obj

_BY_CLASS = ".deviceclass.resource.k8s.io/devices"
_DEVICES_MAX = 32
"""How many devices a claim can be given at most: what "all" costs (resource.k8s.io AllocationResultsMaxSize)."""


class DeviceClaimEvaluator(Evaluator):
    def __init__(self) -> None:
        super().__init__("resource.k8s.io", "resourceclaims")

    def handles(self, operation: str, subresource: str, obj: Obj, old: Obj | None) -> bool:
        return operation in ("CREATE", "UPDATE") and not subresource

    def matching(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if name == self.count_name or name.endswith(_BY_CLASS)]

    def usage(self, obj: Obj, now_s: float) -> Amounts:
        total: Amounts = {self.count_name: ONE}
        for request in ((obj.get("spec") or {}).get("devices") or {}).get("requests") or ():
            if request.get("firstAvailable"):
                worst: Amounts = {}
                for alternative in request["firstAvailable"]:
                    amounts.raise_to(worst, _devices(alternative))
                amounts.add_to(total, worst)
            elif request.get("exactly"):
                amounts.add_to(total, _devices(request["exactly"]))
        return total


def _devices(request: Obj) -> Amounts:
    count = _DEVICES_MAX if request.get("allocationMode") == "All" else request.get("count", 0)
    return {f"{request['deviceClassName']}{_BY_CLASS}": units(count)}
