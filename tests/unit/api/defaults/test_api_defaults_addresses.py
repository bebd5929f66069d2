"""Fields that came first as one value and later as a list: both are there, and the single one is right
(pkg/apis/core/v1/conversion.go)."""

from __future__ import annotations

import pytest

from pilothouse.api.defaults import core, pods
from pilothouse.api.types import Obj


@pytest.mark.parametrize(
    "status",
    [
        {"podIP": "10.0.0.1"},
        {"podIPs": [{"ip": "10.0.0.1"}]},
        {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.2"}, {"ip": "fd00::2"}]},
    ],
)
def test_addresses_of_a_pod(status: Obj) -> None:
    pod: Obj = {"spec": {}, "status": status}
    pods.pod(pod)
    assert pod["status"] == {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]}


def test_a_second_address_stays() -> None:
    status: Obj = {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}
    pod: Obj = {"spec": {}, "status": dict(status)}
    pods.pod(pod)
    assert pod["status"] == status


@pytest.mark.parametrize("spec", [{"podCIDR": "10.0.0.0/24"}, {"podCIDRs": ["10.0.0.0/24"]}])
def test_networks_of_a_node(spec: Obj) -> None:
    node: Obj = {"spec": spec}
    core.node(node)
    assert node["spec"] == {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"]}
