"""resource.k8s.io/v1beta1 and v1: a request held the exact request's fields itself, and a device's description
stood under `basic` (pkg/apis/resource/v1beta1/conversion.go). v1beta2 has v1's shapes."""

from __future__ import annotations

from collections.abc import Callable

from pilothouse.api.types import Obj

_EXACT = ("deviceClassName", "selectors", "allocationMode", "count", "adminAccess", "tolerations", "capacity")
_VERSIONS = ("resource.k8s.io/v1beta1", "resource.k8s.io/v1")
_Change = Callable[[Obj], Obj]


def _request_to_v1(request: Obj) -> Obj:
    exact = {key: request[key] for key in _EXACT if key in request}
    if not exact:
        return request
    return {**{key: value for key, value in request.items() if key not in exact}, "exactly": exact}


def _request_to_v1beta1(request: Obj) -> Obj:
    exact = request.get("exactly")
    if exact is None:
        return request
    return {**{key: value for key, value in request.items() if key != "exactly"}, **exact}


def _device_to_v1(device: Obj) -> Obj:
    return {**{key: value for key, value in device.items() if key != "basic"}, **(device.get("basic") or {})}


def _device_to_v1beta1(device: Obj) -> Obj:
    basic = {key: value for key, value in device.items() if key != "name"}
    return {"name": device.get("name", ""), "basic": basic}


def _claim_spec(spec: Obj, change: _Change) -> Obj:
    devices = spec.get("devices") or {}
    if not devices.get("requests"):
        return spec
    return {**spec, "devices": {**devices, "requests": [change(request) for request in devices["requests"]]}}


def _claim(change: _Change, version: str) -> _Change:
    def convert(obj: Obj) -> Obj:
        return {**obj, "apiVersion": version, "spec": _claim_spec(obj["spec"], change)}

    return convert


def _template(change: _Change, version: str) -> _Change:
    def convert(obj: Obj) -> Obj:
        inner = _claim_spec(obj["spec"].get("spec") or {}, change)
        return {**obj, "apiVersion": version, "spec": {**obj["spec"], "spec": inner}}

    return convert


def _slice(change: _Change, version: str) -> _Change:
    def convert(obj: Obj) -> Obj:
        spec = obj["spec"]
        if spec.get("devices"):
            spec = {**spec, "devices": [change(device) for device in spec["devices"]]}
        return {**obj, "apiVersion": version, "spec": spec}

    return convert


_BETA, _GA = _VERSIONS
TABLE: dict[tuple[str, str, str, str], _Change] = {
    (_BETA, "ResourceClaim", _GA, "ResourceClaim"): _claim(_request_to_v1, _GA),
    (_GA, "ResourceClaim", _BETA, "ResourceClaim"): _claim(_request_to_v1beta1, _BETA),
    (_BETA, "ResourceClaimTemplate", _GA, "ResourceClaimTemplate"): _template(_request_to_v1, _GA),
    (_GA, "ResourceClaimTemplate", _BETA, "ResourceClaimTemplate"): _template(_request_to_v1beta1, _BETA),
    (_BETA, "ResourceSlice", _GA, "ResourceSlice"): _slice(_device_to_v1, _GA),
    (_GA, "ResourceSlice", _BETA, "ResourceSlice"): _slice(_device_to_v1beta1, _BETA),
}
"""By source and target version and kind."""
