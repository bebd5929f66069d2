"""Ranges of service addresses (KEP-1880)."""

from __future__ import annotations

from typing import Any

from pilothouse.api.resources import SERVICE_CIDRS, SERVICES
from pilothouse.api.types import Obj
from pilothouse.controllers.pods import condition
from pilothouse.controllers.service_cidr import FINALIZER, has_orphans


def cidr(name: str, *cidrs: str) -> Obj:
    return {"metadata": {"name": name}, "spec": {"cidrs": list(cidrs)}}


def service(name: str, address: str) -> Obj:
    return {"metadata": {"name": name}, "spec": {"clusterIP": address, "ports": [{"port": 80}]}}


async def ready(lab: Any, name: str) -> tuple[str, str, str]:
    found = condition(await lab.get(SERVICE_CIDRS, name), "Ready")
    assert found is not None
    return found["status"], found["reason"], found["message"]


def test_addresses_that_another_range_has_are_no_orphans() -> None:
    mine = cidr("mine", "10.1.0.0/24", "fd00::/112")
    assert not has_orphans(mine, [], ["10.2.0.1"])
    assert has_orphans(mine, [], ["fd00::1"])
    assert has_orphans(mine, [cidr("o", "10.1.0.0/25")], ["10.1.0.200"])
    assert not has_orphans(mine, [cidr("o", "10.1.0.0/16")], ["10.1.0.200"])


def test_a_range_goes_when_its_addresses_have_gone(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(SERVICE_CIDRS, cidr("more", "10.199.0.0/28"))
        await lab.wait(2)
        assert await ready(lab, "more") == ("True", "", "Kubernetes Service CIDR is ready")
        assert await ready(lab, "kubernetes") == ("True", "", "Kubernetes Service CIDR is ready")
        assert (await lab.get(SERVICE_CIDRS, "more"))["metadata"]["finalizers"] == [FINALIZER]
        await lab.create(SERVICES, service("s", "10.199.0.5"))
        await lab.delete(SERVICE_CIDRS, "more")
        await lab.wait(30)
        status, reason, message = await ready(lab, "more")
        assert (status, reason) == ("False", "Terminating")
        assert message.startswith("There are still IPAddresses referencing the ServiceCIDR")
        await lab.delete(SERVICES, "s")
        await lab.wait(15)
        assert not await lab.exists(SERVICE_CIDRS, "more")

    simulate(scenario)


def test_a_larger_range_takes_the_addresses_over(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(SERVICE_CIDRS, cidr("small", "10.199.0.0/28"))
        await lab.wait(2)
        await lab.create(SERVICES, service("s", "10.199.0.5"))
        await lab.delete(SERVICE_CIDRS, "small")
        await lab.wait(5)
        assert (await ready(lab, "small"))[1] == "Terminating"
        await lab.create(SERVICE_CIDRS, cidr("large", "10.199.0.0/24"))
        await lab.wait(15)
        assert not await lab.exists(SERVICE_CIDRS, "small")
        assert (await lab.get(SERVICES, "s"))["spec"]["clusterIP"] == "10.199.0.5"

    simulate(scenario)
