"""Plugins of volumes, networking and namespaces (plugin/pkg/admission/storage, network, namespace)."""

from __future__ import annotations

import pytest

from pilothouse.api.resources import (
    CONFIG_MAPS,
    INGRESS_CLASSES,
    NAMESPACES,
    PERSISTENT_VOLUME_CLAIMS,
    SERVICES,
    STORAGE_CLASSES,
    Resource,
)
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission.default_ingress_class import DefaultIngressClass
from pilothouse.apiserver.admission.default_storage_class import DefaultStorageClass
from pilothouse.apiserver.admission.deny_external_ips import DenyServiceExternalIPs
from pilothouse.apiserver.admission.namespace_autoprovision import NamespaceAutoProvision
from pilothouse.apiserver.admission.namespace_exists import NamespaceExists
from pilothouse.apiserver.admission.namespace_lifecycle import NamespaceLifecycle
from pilothouse.apiserver.admission.volume_claim_resize import PersistentVolumeClaimResize
from tests.admission import Bench, attributes, refusal

INGRESSES = Resource("networking.k8s.io", "v1", "ingresses", "Ingress")


def a_class(name: str, key: str, created: str) -> Obj:
    return {"metadata": {"name": name, "annotations": {key: "true"}, "creationTimestamp": created}}


def claim(storage: str = "1Gi", **spec: object) -> Obj:
    return {
        "metadata": {"name": "c", "namespace": "ns"},
        "spec": {"resources": {"requests": {"storage": storage}}, **spec},
        "status": {"phase": "Bound"},
    }


async def test_a_claim_without_a_class_gets_the_newest_default() -> None:
    bench, key = Bench(), "storageclass.kubernetes.io/is-default-class"
    for name, created in (("b", "2026-01-02"), ("a", "2026-01-02"), ("old", "2026-01-01")):
        bench.store(STORAGE_CLASSES, a_class(name, key, f"{created}T00:00:00Z"))
    plugin = DefaultStorageClass(bench.env())
    made, none = claim(), claim(storageClassName="")
    for one in (made, none):
        await plugin.admit(attributes("CREATE", one, resource=PERSISTENT_VOLUME_CLAIMS))
    assert (made["spec"]["storageClassName"], none["spec"]["storageClassName"]) == ("a", "")


async def test_an_ingress_without_a_class_gets_the_default() -> None:
    bench = Bench()
    key = "ingressclass.kubernetes.io/is-default-class"
    bench.store(INGRESS_CLASSES, a_class("nginx", key, "2026-01-01T00:00:00Z"))
    plugin = DefaultIngressClass(bench.env())
    made: Obj = {"metadata": {"name": "i", "namespace": "ns"}, "spec": {}}
    annotated: Obj = {
        "metadata": {"name": "i", "annotations": {"kubernetes.io/ingress.class": "x"}},
        "spec": {},
    }
    for one in (made, annotated):
        await plugin.admit(attributes("CREATE", one, resource=INGRESSES))
    assert (made["spec"], annotated["spec"]) == ({"ingressClassName": "nginx"}, {})


async def test_a_claim_grows_when_it_is_bound_and_its_class_allows_it() -> None:
    bench = Bench()
    bench.store(STORAGE_CLASSES, {"metadata": {"name": "grows"}, "allowVolumeExpansion": True})
    bench.store(STORAGE_CLASSES, {"metadata": {"name": "stays"}})
    plugin = PersistentVolumeClaimResize(bench.env())

    async def refused(new: Obj, old: Obj) -> str:
        return await refusal(
            plugin.validate(attributes("UPDATE", new, old, resource=PERSISTENT_VOLUME_CLAIMS))
        )

    grown, old = claim("2Gi", storageClassName="grows"), claim(storageClassName="grows")
    await plugin.validate(attributes("UPDATE", grown, old, resource=PERSISTENT_VOLUME_CLAIMS))
    assert "Only bound persistent volume claims can be expanded" in await refused(
        grown, {**old, "status": {"phase": "Pending"}}
    )
    assert await refused(claim("2Gi", storageClassName="stays"), claim(storageClassName="stays")) == (
        'persistentvolumeclaims "c" is forbidden: only dynamically provisioned pvc can be resized and the '
        "storageclass that provisions the pvc must support resize"
    )


async def test_external_addresses_may_stay_but_not_come() -> None:
    def service(*addresses: str) -> Obj:
        return {"metadata": {"name": "s", "namespace": "ns"}, "spec": {"externalIPs": list(addresses)}}

    plugin = DenyServiceExternalIPs()
    await plugin.validate(
        attributes("UPDATE", service("1.2.3.4"), service("1.2.3.4", "5.6.7.8"), resource=SERVICES)
    )
    work = plugin.validate(attributes("CREATE", service("1.2.3.4"), resource=SERVICES))
    assert (
        await refusal(work) == 'services "s" is forbidden: Use of external IPs is denied by admission control'
    )


def config_map() -> Obj:
    return {"metadata": {"name": "m", "namespace": "ns"}}


async def test_nothing_is_made_in_a_namespace_that_is_missing_or_going() -> None:
    """k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle."""
    bench = Bench()
    plugin = NamespaceLifecycle(bench.env())
    create = attributes("CREATE", config_map(), resource=CONFIG_MAPS)
    update = attributes("UPDATE", config_map(), config_map(), resource=CONFIG_MAPS)
    for asked in (create, update):
        assert await refusal(plugin.admit(asked)) == 'namespaces "ns" not found'
    bench.namespace()["status"] = {"phase": "Terminating"}
    await plugin.admit(update)
    assert await refusal(plugin.admit(create)) == (
        'configmaps "m" is forbidden: unable to create new content in namespace ns because it is being terminated'
    )


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public"])
async def test_some_namespaces_never_go(name: str) -> None:
    old = {"metadata": {"name": name}}
    work = NamespaceLifecycle(Bench().env()).admit(attributes("DELETE", None, old, resource=NAMESPACES))
    assert await refusal(work) == f'namespaces "{name}" is forbidden: this namespace may not be deleted'


async def test_a_namespace_is_made_when_it_is_needed() -> None:
    bench = Bench()
    plugin = NamespaceAutoProvision(bench.env())
    await plugin.admit(attributes("CREATE", config_map(), resource=CONFIG_MAPS, dry_run=True))
    assert bench.made == []
    await plugin.admit(attributes("CREATE", config_map(), resource=CONFIG_MAPS))
    assert [made["metadata"]["name"] for made in bench.made] == ["ns"]
    work = NamespaceExists(bench.env()).validate(
        attributes("DELETE", None, config_map(), resource=CONFIG_MAPS)
    )
    assert await refusal(work) == 'namespaces "ns" not found'
