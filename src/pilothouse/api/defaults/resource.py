"""Defaults of the kinds in resource.k8s.io (pkg/apis/resource/v1/defaults.go).

A taint's `timeAdded` is not here: it is the time of the request, which the strategy knows.
"""

from __future__ import annotations

from pilothouse.api.defaults.table import Defaulter
from pilothouse.api.types import Obj

GROUP = "resource.k8s.io"


def _request(request: Obj) -> None:
    if not request.get("allocationMode"):
        request["allocationMode"] = "ExactCount"
    if request["allocationMode"] == "ExactCount" and not request.get("count"):
        request["count"] = 1
    _tolerations(request)


def _tolerations(holder: Obj) -> None:
    for toleration in holder.get("tolerations") or ():
        if not toleration.get("operator"):
            toleration["operator"] = "Equal"


def _claim_spec(spec: Obj) -> None:
    for request in spec["devices"].get("requests") or ():
        if request.get("exactly") is not None:
            _request(request["exactly"])
        for alternative in request.get("firstAvailable") or ():
            _request(alternative)


def _claim_spec_v1beta1(spec: Obj) -> None:
    """v1beta1 has the exact request's fields in the request itself; without a class there is none."""
    for request in spec["devices"].get("requests") or ():
        if request.get("deviceClassName"):
            _request(request)
        for alternative in request.get("firstAvailable") or ():
            _request(alternative)


def _allocation(status: Obj) -> None:
    devices = (status.get("allocation") or {}).get("devices") or {}
    for result in devices.get("results") or ():
        _tolerations(result)


def resource_claim(obj: Obj) -> None:
    _claim_spec(obj["spec"])
    _allocation(obj["status"])


def resource_claim_template(obj: Obj) -> None:
    _claim_spec(obj["spec"]["spec"])


def resource_claim_v1beta1(obj: Obj) -> None:
    _claim_spec_v1beta1(obj["spec"])
    _allocation(obj["status"])


def resource_claim_template_v1beta1(obj: Obj) -> None:
    _claim_spec_v1beta1(obj["spec"]["spec"])


DEFAULTS: dict[tuple[str, str, str], Defaulter] = {
    (GROUP, "v1", "ResourceClaim"): resource_claim,
    (GROUP, "v1", "ResourceClaimTemplate"): resource_claim_template,
    (GROUP, "v1beta2", "ResourceClaim"): resource_claim,
    (GROUP, "v1beta2", "ResourceClaimTemplate"): resource_claim_template,
    (GROUP, "v1beta1", "ResourceClaim"): resource_claim_v1beta1,
    (GROUP, "v1beta1", "ResourceClaimTemplate"): resource_claim_template_v1beta1,
}
