"""ResourceQuota: charging before storing (k8s.io/apiserver/pkg/admission/plugin/resourcequota)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pilothouse.api.resources import (
    CONFIG_MAPS,
    PERSISTENT_VOLUME_CLAIMS,
    RESOURCE_QUOTAS,
    SERVICES,
    Resource,
)
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission.resource_quota import ResourceQuota
from tests.admission import Bench, attributes, container, pod, refusal


def quota(
    bench: Bench, hard: dict[str, str], used: dict[str, str] | None = None, name: str = "q", **spec: Any
) -> None:
    """With everything counted, unless `used` says otherwise."""
    status = {"hard": hard, "used": dict.fromkeys(hard, "0") if used is None else used}
    meta = {"name": name, "namespace": "ns"}
    bench.store(RESOURCE_QUOTAS, {"metadata": meta, "spec": {"hard": hard, **spec}, "status": status})


def used(bench: Bench, name: str = "q") -> dict[str, str]:
    found = bench.get(RESOURCE_QUOTAS, name, "ns")
    assert found is not None
    return dict(found["status"]["used"])


def hungry(name: str = "p", cpu: str = "600m") -> Obj:
    return pod(name, containers=[container("c", {"cpu": cpu})])


async def test_what_fits_is_charged() -> None:
    bench = Bench()
    quota(bench, {"pods": "2", "requests.cpu": "1", "secrets": "3"})
    await ResourceQuota(bench.env()).validate(attributes("CREATE", hungry()))
    assert used(bench) == {"pods": "1", "requests.cpu": "600m", "secrets": "0"}


async def test_what_exceeds_a_quota_is_refused_with_all_that_it_exceeds() -> None:
    bench = Bench()
    quota(
        bench,
        {"limits.memory": "1Gi", "requests.cpu": "1"},
        {"limits.memory": "512Mi", "requests.cpu": "600m"},
    )
    big = pod("big", containers=[container("c", {"cpu": "600m"}, {"memory": "2Gi"})])
    assert await refusal(ResourceQuota(bench.env()).validate(attributes("CREATE", big))) == (
        'pods "big" is forbidden: exceeded quota: q, requested: limits.memory=2Gi,requests.cpu=600m, '
        "used: limits.memory=512Mi,requests.cpu=600m, limited: limits.memory=1Gi,requests.cpu=1"
    )
    assert used(bench)["requests.cpu"] == "600m"


async def test_what_is_not_said_or_not_counted_yet_is_refused() -> None:
    bench = Bench()
    quota(bench, {"requests.cpu": "1"})
    plugin = ResourceQuota(bench.env())
    assert await refusal(plugin.validate(attributes("CREATE", pod()))) == (
        'pods "p" is forbidden: failed quota: q: must specify requests.cpu for: c'
    )
    quota(bench, {"pods": "1", "requests.cpu": "1"}, {})
    assert await refusal(plugin.validate(attributes("CREATE", hungry()))) == (
        'pods "p" is forbidden: status unknown for quota: q, resources: pods,requests.cpu'
    )


async def test_a_dry_run_is_checked_and_charges_nothing() -> None:
    bench = Bench()
    quota(bench, {"configmaps": "1"})
    plugin = ResourceQuota(bench.env())
    one = {"metadata": {"name": "m", "namespace": "ns"}}
    await plugin.validate(attributes("CREATE", one, resource=CONFIG_MAPS, dry_run=True))
    assert used(bench) == {"configmaps": "0"}
    quota(bench, {"configmaps": "0"})
    assert "exceeded quota" in await refusal(
        plugin.validate(attributes("CREATE", one, resource=CONFIG_MAPS, dry_run=True))
    )


async def test_an_update_is_charged_for_what_it_adds() -> None:
    bench = Bench()
    quota(bench, {"services": "1", "services.nodeports": "2"}, {"services": "1", "services.nodeports": "0"})
    plugin = ResourceQuota(bench.env())

    def service(kind: str, ports: int) -> Obj:
        spec = {"type": kind, "ports": [{"port": i} for i in range(ports)]}
        return {"metadata": {"name": "s", "namespace": "ns"}, "spec": spec}

    inner = service("ClusterIP", 1)
    await plugin.validate(attributes("UPDATE", service("NodePort", 2), inner, resource=SERVICES))
    assert used(bench) == {"services": "1", "services.nodeports": "2"}
    assert "requested: services.nodeports=1, used: services.nodeports=2, limited: services.nodeports=2" in (
        await refusal(
            plugin.validate(
                attributes("UPDATE", service("NodePort", 3), service("NodePort", 2), resource=SERVICES)
            )
        )
    )
    await plugin.validate(attributes("UPDATE", inner, service("NodePort", 2), resource=SERVICES))
    assert used(bench)["services.nodeports"] == "2"  # given back by the controller


async def test_an_update_into_a_scope_is_charged_in_full() -> None:
    bench = Bench()
    quota(bench, {"pods": "1"}, {"pods": "0"}, scopes=["Terminating"])
    ends, endless = pod(activeDeadlineSeconds=5), pod()
    await ResourceQuota(bench.env()).validate(attributes("UPDATE", ends, endless))
    assert used(bench) == {"pods": "1"}


async def test_a_status_is_charged_and_never_refused() -> None:
    bench = Bench()
    quota(bench, {"requests.storage": "1Gi"}, {"requests.storage": "1Gi"})
    meta = {"name": "c", "namespace": "ns"}
    old = {"metadata": meta, "spec": {"resources": {"requests": {"storage": "1Gi"}}}, "status": {}}
    new = {**old, "status": {"allocatedResources": {"storage": "3Gi"}}}
    await ResourceQuota(bench.env()).validate(
        attributes("UPDATE", new, old, resource=PERSISTENT_VOLUME_CLAIMS, subresource="status")
    )
    assert used(bench) == {"requests.storage": "3Gi"}


async def test_custom_resources_are_counted_by_their_group() -> None:
    bench = Bench()
    widgets = Resource("example.com", "v1", "widgets", "Widget")
    quota(bench, {"count/widgets.example.com": "1"})
    plugin = ResourceQuota(bench.env())
    assert plugin.concerns(widgets, "") and not plugin.concerns(widgets, "scale")
    widget = {"metadata": {"name": "w", "namespace": "ns"}}
    await plugin.validate(attributes("CREATE", widget, resource=widgets))
    assert await refusal(plugin.validate(attributes("CREATE", widget, resource=widgets))) == (
        'widgets.example.com "w" is forbidden: exceeded quota: q, requested: count/widgets.example.com=1, '
        "used: count/widgets.example.com=1, limited: count/widgets.example.com=1"
    )


@pytest.mark.parametrize("conflicts", [0, 1, 3])
async def test_many_at_once_never_get_more_than_there_is(conflicts: int) -> None:
    bench = Bench(conflicts=conflicts)
    quota(bench, {"pods": "7"})
    quota(bench, {"count/pods": "9"}, name="other")
    plugin = ResourceQuota(bench.env())
    work = (plugin.validate(attributes("CREATE", pod(f"p{i}"))) for i in range(20))
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    assert sum(outcome is None for outcome in outcomes) == 7
    assert (used(bench), used(bench, "other")) == ({"pods": "7"}, {"count/pods": "7"})


async def test_a_quota_that_others_keep_changing_is_given_up_after_three_tries() -> None:
    bench = Bench(conflicts=4)
    quota(bench, {"pods": "7"})
    plugin = ResourceQuota(bench.env())
    assert await refusal(plugin.validate(attributes("CREATE", pod()))) == (
        'Operation cannot be fulfilled on resourcequotas "q": the object has been modified; please apply your '
        "changes to the latest version and try again"
    )
    await plugin.validate(attributes("CREATE", pod()))


async def test_whoever_gives_up_waiting_does_not_stop_the_others() -> None:
    bench = Bench()
    quota(bench, {"pods": "7"})
    plugin = ResourceQuota(bench.env())
    tasks = [asyncio.ensure_future(plugin.validate(attributes("CREATE", pod(f"p{i}")))) for i in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(outcomes[0], asyncio.CancelledError)
    assert outcomes[1:] == [None, None]
