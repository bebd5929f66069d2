"""What a claim's status loses and who may look at others' devices (pkg/registry/resource/resourceclaim/strategy.go)."""

from __future__ import annotations

from typing import Any, cast

from pilothouse.api.types import Obj
from pilothouse.apiserver.registry.lister import Lister
from pilothouse.apiserver.registry.strategies.resource import NO_ADMIN_ACCESS, ResourceClaimStrategy
from pilothouse.apiserver.registry.strategy import Context
from pilothouse.apiserver.request import UserInfo
from pilothouse.kit.world import simulated_world


class _Namespaces:
    def __init__(self, **labels: str) -> None:
        self._labels = labels

    def get(self, *path: Any) -> Obj:
        return {"metadata": {"name": "ns", "labels": self._labels}}


def _context(**labels: str) -> Context:
    return Context(simulated_world(1), cast(Lister, _Namespaces(**labels)), UserInfo("u", "", ()), "ns")


def _context_of_admins() -> Context:
    return _context(**{"resource.kubernetes.io/admin-access": "true"})


def _device(name: str, **more: Any) -> Obj:
    return {"driver": "d.example.com", "pool": "p", "device": name, **more}


def _claim(*results: Obj, devices: list[Obj] | None = None) -> Obj:
    requests = [
        {"name": "r", "exactly": {"deviceClassName": "c", "allocationMode": "ExactCount", "count": 1}}
    ]
    status: Obj = {}
    if results:
        status["allocation"] = {"devices": {"results": [{"request": "r", **each} for each in results]}}
    if devices:
        status["devices"] = devices
    return {
        "metadata": {"name": "c", "namespace": "ns"},
        "spec": {"devices": {"requests": requests}},
        "status": status,
    }


def test_what_drivers_said_goes_with_the_devices() -> None:
    said = [_device("a", data={"ip": "1"}), _device("b")]
    old = _claim(_device("a"), _device("b"), devices=said)
    new = _claim(_device("b"), devices=said)
    ResourceClaimStrategy().prepare_for_status_update(_context(), new, old)
    assert new["status"]["devices"] == [_device("b")]
    gone = _claim(devices=said)
    ResourceClaimStrategy().prepare_for_status_update(_context(), gone, old)
    assert "devices" not in gone["status"]


def test_shares_of_a_device_are_told_apart() -> None:
    old = _claim(_device("a", shareID="1"), _device("a", shareID="2"))
    new = _claim(_device("a", shareID="2"), devices=[_device("a", shareID="1"), _device("a", shareID="2")])
    ResourceClaimStrategy().prepare_for_status_update(_context(), new, old)
    assert new["status"]["devices"] == [_device("a", shareID="2")]


def test_an_administrators_allocation_needs_an_administrators_namespace() -> None:
    new, old = _claim(_device("a"), _device("b", adminAccess=True)), _claim()
    found = ResourceClaimStrategy().validate_status_update(_context(), new, old)
    assert [(error.field, error.detail) for error in found if error.detail == NO_ADMIN_ACCESS] == [
        ("status.allocation.devices.results[1].adminAccess", NO_ADMIN_ACCESS)
    ]
    for ctx, before in ((_context_of_admins(), old), (_context(), new)):
        again = ResourceClaimStrategy().validate_status_update(ctx, new, before)
        assert not [error for error in again if error.detail == NO_ADMIN_ACCESS]


def test_a_request_for_administrators_is_named() -> None:
    claim = _claim()
    claim["spec"]["devices"]["requests"][0]["exactly"]["adminAccess"] = True
    found = ResourceClaimStrategy().validate(_context(), claim)
    assert [error.field for error in found if error.detail == NO_ADMIN_ACCESS] == [
        "spec.devices.requests[0].adminAccess"
    ]
