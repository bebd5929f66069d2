"""Where a connection to a service goes (https://kubernetes.io/docs/reference/networking/virtual-ips/)."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest

from pilothouse.api.types import Obj
from pilothouse.cloud.provider import CloudError, NoRoom
from pilothouse.cloud.providers.local.addresses import address_for
from pilothouse.cloud.providers.local.config import Config, read
from pilothouse.cloud.providers.local.endpoints import Choice, Endpoint, behind

PORT = {"name": "http", "port": 80}


def _slice(*endpoints: Obj, name: str = "http", port: int = 8080) -> Obj:
    return {"endpoints": list(endpoints), "ports": [{"name": name, "protocol": "TCP", "port": port}]}


def _endpoint(address: str, **conditions: bool) -> Obj:
    return {"addresses": [address], "conditions": conditions, "nodeName": "n1"}


def _addresses(*slices: Obj) -> list[str]:
    return [endpoint.address for endpoint in behind(slices, PORT)]


def test_ready_endpoints_come_before_those_that_end() -> None:
    ready, ending = (
        _endpoint("10.0.0.1", ready=True),
        _endpoint("10.0.0.2", ready=False, serving=True, terminating=True),
    )
    assert _addresses(_slice(ready, ending)) == ["10.0.0.1"]
    assert _addresses(_slice(ending, _endpoint("10.0.0.3", ready=False))) == ["10.0.0.2"]
    assert _addresses(_slice(_endpoint("10.0.0.4"))) == ["10.0.0.4"], "unknown counts as ready"


def test_the_port_is_found_by_name_and_protocol() -> None:
    metrics = _slice(_endpoint("10.0.0.9"), name="metrics", port=9090)
    assert behind([metrics, _slice(_endpoint("10.0.0.1"))], PORT) == [Endpoint("10.0.0.1", 8080, "n1")]
    assert behind([_slice(_endpoint("10.0.0.1"))], {**PORT, "protocol": "UDP"}) == []


def test_a_client_with_affinity_keeps_its_endpoint_until_it_is_gone_or_the_time_is_over() -> None:
    endpoints = [Endpoint(f"10.0.0.{n}", 80) for n in range(50)]
    choice = Choice(Random(1), affinity_s=100.0)
    first = choice.of("c", endpoints, 0.0)
    assert all(choice.of("c", endpoints, 90.0 * n) == first for n in range(1, 20))
    assert choice.of("c", endpoints, 90.0 * 19 + 101) != first
    again = choice.of("c", endpoints, 2000.0)
    assert choice.of("c", [e for e in endpoints if e != again], 2001.0) != again


def test_without_affinity_all_get_their_share_and_local_shares_by_node() -> None:
    endpoints = [Endpoint("10.0.0.1", 80, "n1"), *(Endpoint(f"10.0.1.{n}", 80, "n2") for n in range(3))]
    plain = Choice(Random(1))
    shares = Counter(plain.of("c", endpoints, 0.0) for _ in range(4000))
    assert all(900 < count < 1100 for count in shares.values())
    local = Choice(Random(1), by_node=True)
    assert 1850 < Counter(local.of("c", endpoints, 0.0) for _ in range(4000))[endpoints[0]] < 2150


def _service(uid: str = "u", ip: str = "", wanted: str = "") -> Obj:
    ingress = [{"ip": ip}] if ip else []
    spec: Obj = {"loadBalancerIP": wanted} if wanted else {}
    return {"metadata": {"uid": uid}, "spec": spec, "status": {"loadBalancer": {"ingress": ingress}}}


def test_a_service_keeps_its_address_and_a_new_one_gets_a_free_one() -> None:
    network = Config().addresses
    assert address_for(_service(ip="127.42.0.7"), network, set()) == "127.42.0.7"
    assert address_for(_service(), network, {"127.42.0.1"}) == "127.42.0.2"
    assert address_for(_service(wanted="127.42.9.9"), network, set()) == "127.42.9.9"
    for wanted in ("10.0.0.1", "127.42.0.3"):
        with pytest.raises(CloudError, match=wanted):
            address_for(_service(wanted=wanted), network, {"127.42.0.3"})


def test_a_range_that_is_used_up_says_so(tmp_path: Any) -> None:
    file = tmp_path / "cloud.yaml"
    file.write_text("loadBalancers: {addresses: 127.9.0.0/30}")
    network = read(file).addresses
    with pytest.raises(NoRoom, match="give the provider more"):
        address_for(_service(), network, {"127.9.0.1", "127.9.0.2"})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[]", "a mapping is needed"),
        ("loadBalancer: {}", "loadBalancer: unknown"),
        (
            "loadBalancers: {adresses: 1}",
            r"loadBalancers.adresses: unknown; there are addresses, sharedAddress",
        ),
        ("loadBalancers: {addresses: 127.1.2.3/8}", "has host bits set"),
        ("volumes: {capacity: much}", "volumes.capacity: "),
        ("a: [", "cloud.yaml: "),
    ],
)
def test_a_wrong_configuration_says_where(tmp_path: Any, text: str, why: str) -> None:
    file = tmp_path / "cloud.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=why):
        read(file)
