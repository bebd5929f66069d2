"""Plugins about who may what: certificates, owners, nodes, and how often (plugin/pkg/admission/certificates, gc,
noderestriction, eventratelimit)."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import (
    CERTIFICATE_SIGNING_REQUESTS,
    CONFIG_MAPS,
    EVENTS,
    LEASES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    REPLICA_SETS,
    SERVICE_ACCOUNTS,
    Resource,
)
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission.certificate_approval import CertificateApproval
from pilothouse.apiserver.admission.certificate_signing import CertificateSigning
from pilothouse.apiserver.admission.certificate_subject_restriction import CertificateSubjectRestriction
from pilothouse.apiserver.admission.cluster_trust_bundle_attest import ClusterTrustBundleAttest
from pilothouse.apiserver.admission.event_rate_limit import EventRateLimit
from pilothouse.apiserver.admission.node_restriction import NodeRestriction
from pilothouse.apiserver.admission.owner_references import OwnerReferencesPermissionEnforcement
from pilothouse.apiserver.admission.service_account import ServiceAccount
from pilothouse.apiserver.request import UserInfo
from pilothouse.kit.virtual_loop import run_virtual
from tests.admission import Bench, attributes, pod, refusal

BUNDLES = Resource("certificates.k8s.io", "v1beta1", "clustertrustbundles", "ClusterTrustBundle", False)


def request(signer: str = "example.com/mine", **more: Any) -> Obj:
    return {"metadata": {"name": "r"}, "spec": {"signerName": signer, **more}, "status": {}}


async def test_requests_are_approved_by_those_who_may_for_their_signer() -> None:
    bench = Bench()
    plugin = CertificateApproval(bench.env())
    asked = attributes(
        "UPDATE", request(), request(), resource=CERTIFICATE_SIGNING_REQUESTS, subresource="approval"
    )
    assert await refusal(plugin.validate(asked)) == (
        'certificatesigningrequests.certificates.k8s.io "r" is forbidden: user not permitted to approve requests with '
        'signerName "example.com/mine"'
    )
    for name in ("example.com/mine", "example.com/*"):
        bench.allowed = {("approve", "signers", name)}
        await plugin.validate(asked)


async def test_certificates_are_issued_by_those_who_may_sign() -> None:
    plugin = CertificateSigning(Bench().env())
    issued, annotated = request(), request()
    issued["status"] = {"certificate": "Y2VydA=="}
    annotated["metadata"]["annotations"] = {"a": "b"}

    def asked(new: Obj) -> Any:
        return attributes(
            "UPDATE", new, request(), resource=CERTIFICATE_SIGNING_REQUESTS, subresource="status"
        )

    await plugin.validate(asked(annotated))
    assert 'user not permitted to sign requests with signerName "example.com/mine"' in await refusal(
        plugin.validate(asked(issued))
    )


def signing_request(group: str) -> str:
    name = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, "x"), x509.NameAttribute(NameOID.ORGANIZATION_NAME, group)]
    )
    made = x509.CertificateSigningRequestBuilder().subject_name(name)
    pem = made.sign(ec.generate_private_key(ec.SECP256R1()), SHA256()).public_bytes(Encoding.PEM)
    return b64encode(pem).decode()


async def test_nobody_becomes_a_master_by_a_client_certificate() -> None:
    plugin = CertificateSubjectRestriction()

    def asked(group: str, signer: str) -> Any:
        obj = request(signer, request=signing_request(group))
        return attributes("CREATE", obj, resource=CERTIFICATE_SIGNING_REQUESTS)

    client = "kubernetes.io/kube-apiserver-client"
    await plugin.validate(asked("dev", client))
    await plugin.validate(asked("system:masters", "example.com/mine"))
    assert await refusal(plugin.validate(asked("system:masters", client))) == (
        'certificatesigningrequests.certificates.k8s.io "r" is forbidden: use of kubernetes.io/kube-apiserver-client '
        "signer with system:masters group is not allowed"
    )


async def test_trust_is_attested_by_those_who_may() -> None:
    plugin = ClusterTrustBundleAttest(Bench().env())
    bundle = {"metadata": {"name": "b"}, "spec": {"signerName": "example.com/mine", "trustBundle": "x"}}
    owned = {**bundle, "metadata": {"name": "b", "finalizers": ["f"]}}
    await plugin.validate(attributes("UPDATE", owned, bundle, resource=BUNDLES))
    await plugin.validate(attributes("CREATE", {"metadata": {"name": "b"}, "spec": {}}, resource=BUNDLES))
    assert 'user not permitted to attest for signerName "example.com/mine"' in await refusal(
        plugin.validate(attributes("CREATE", bundle, resource=BUNDLES))
    )


# OwnerReferencesPermissionEnforcement


def owned(*, blocking: bool = False, kind: str = "ReplicaSet") -> Obj:
    ref = {"apiVersion": "apps/v1", "kind": kind, "name": "rs", "uid": "u", "blockOwnerDeletion": blocking}
    return {"metadata": {"name": "m", "namespace": "ns", "ownerReferences": [ref]}}


async def test_owners_are_changed_by_those_who_may_delete_the_object() -> None:
    bench = Bench()
    plugin = OwnerReferencesPermissionEnforcement(bench.env())
    free = {"metadata": {"name": "m", "namespace": "ns"}}
    await plugin.validate(attributes("CREATE", owned(), resource=CONFIG_MAPS))
    await plugin.validate(attributes("UPDATE", owned(), owned(), resource=CONFIG_MAPS))
    update = attributes("UPDATE", owned(), free, resource=CONFIG_MAPS)
    assert await refusal(plugin.validate(update)) == (
        'configmaps "m" is forbidden: cannot set an ownerRef on a resource you can\'t delete: , <nil>'
    )
    bench.allowed = {("delete", "configmaps", "m")}
    await plugin.validate(update)


async def test_owners_are_held_up_by_those_who_may_finalize_them() -> None:
    bench = Bench(kinds={("apps", "v1", "ReplicaSet"): REPLICA_SETS})
    plugin = OwnerReferencesPermissionEnforcement(bench.env())
    create = attributes("CREATE", owned(blocking=True), resource=CONFIG_MAPS)
    assert "refers to a resource you can't set finalizers on: , <nil>" in await refusal(
        plugin.validate(create)
    )
    bench.allowed = {("update", "replicasets/finalizers", "rs")}
    await plugin.validate(create)
    unknown = attributes("CREATE", owned(blocking=True, kind="Nothing"), resource=CONFIG_MAPS)
    assert await refusal(plugin.validate(unknown)) == (
        'configmaps "m" is forbidden: cannot set blockOwnerDeletion in this case because cannot find RESTMapping for '
        'APIVersion apps/v1 Kind Nothing: no matches for kind "Nothing" in version "apps/v1"'
    )


# NodeRestriction

NODE = UserInfo("system:node:n1", groups=("system:nodes", "system:authenticated"))
MIRROR = {"kubernetes.io/config.mirror": "hash"}
OWNER = {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "uid-n1", "controller": True}


def mirror(owners: list[Obj] | None = None, **spec: Any) -> Obj:
    made = pod(nodeName="n1", **spec)
    made["metadata"].update(annotations=MIRROR, ownerReferences=[OWNER] if owners is None else owners)
    return made


def restriction() -> tuple[Bench, NodeRestriction]:
    bench = Bench()
    bench.store(NODES, {"metadata": {"name": "n1"}, "spec": {}})
    access = {"name": "a", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
    bench.store(PODS, pod("mine", nodeName="n1", volumes=[access]))
    bench.store(PODS, pod("other", nodeName="n2"))
    return bench, NodeRestriction(bench.env())


async def test_a_node_shows_its_static_pods() -> None:
    _, plugin = restriction()
    await plugin.admit(attributes("CREATE", mirror(), user=NODE))
    await plugin.admit(attributes("CREATE", pod(), user=UserInfo("alice")))


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (
            pod(nodeName="n1"),
            'pod does not have "kubernetes.io/config.mirror" annotation, node "n1" can only create mirror pods',
        ),
        (mirror([]), 'node "n1" can only create pods with an owner reference set to itself'),
        (
            mirror([OWNER, OWNER]),
            'node "n1" can only create pods with a single owner reference set to itself',
        ),
        (mirror([{**OWNER, "uid": "x"}]), "node n1 UID mismatch: expected x got uid-n1"),
        (
            mirror(serviceAccountName="a"),
            'node "n1" can not create pods that reference a service account',
        ),
        (
            mirror(volumes=[{"name": "v", "secret": {"secretName": "s"}}]),
            'node "n1" can not create pods that reference secrets',
        ),
        (
            mirror(volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]),
            'node "n1" can not create pods that reference persistentvolumeclaims',
        ),
    ],
)
async def test_pods_that_a_node_may_not_make(made: Obj, text: str) -> None:
    _, plugin = restriction()
    assert (
        await refusal(plugin.admit(attributes("CREATE", made, user=NODE))) == f'pods "p" is forbidden: {text}'
    )


async def test_a_node_touches_the_pods_on_it_alone() -> None:
    bench, plugin = restriction()
    mine, other = bench.get(PODS, "mine", "ns"), bench.get(PODS, "other", "ns")
    await plugin.admit(attributes("UPDATE", mine, mine, subresource="status", user=NODE))
    await plugin.admit(attributes("DELETE", None, mine, user=NODE))
    eviction: Obj = {"metadata": {"name": "mine", "namespace": "ns"}}
    await plugin.admit(attributes("CREATE", eviction, subresource="eviction", user=NODE))
    for asked, text in (
        (
            attributes("UPDATE", other, other, subresource="status", user=NODE),
            'node "n1" can only update pod status for pods with spec.nodeName set to itself',
        ),
        (
            attributes("DELETE", None, other, user=NODE),
            'node "n1" can only delete pods with spec.nodeName set to itself',
        ),
        (
            attributes("CREATE", eviction, subresource="eviction", name="other", user=NODE),
            "node n1 can only evict pods with spec.nodeName set to itself",
        ),
        (
            attributes("UPDATE", mine, mine, user=NODE),
            'unexpected operation "UPDATE", node "n1" can only create and delete mirror pods',
        ),
        (
            attributes("CREATE", {"metadata": {}}, subresource="binding", user=NODE),
            "unexpected pod subresource \"binding\", only 'status' and 'eviction' are allowed",
        ),
    ):
        assert text in await refusal(plugin.admit(asked))


@pytest.mark.parametrize(
    ("label", "allowed"),
    [
        ("kubernetes.io/hostname", True),
        ("example.com/x", True),
        ("custom.kubelet.kubernetes.io/x", True),
        ("node-role.kubernetes.io/control-plane", False),
        ("node-restriction.kubernetes.io/x", False),
        ("k8s.io/x", False),
    ],
)
async def test_labels_that_a_node_may_give_itself(label: str, allowed: bool) -> None:
    """https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction"""
    _, plugin = restriction()
    made: Obj = {"metadata": {"name": "n1", "labels": {label: "x"}}, "spec": {}}
    create = plugin.admit(attributes("CREATE", made, resource=NODES, user=NODE))
    if allowed:
        await create
    else:
        assert f'node "n1" is not allowed to set the following labels: {label}' in await refusal(create)


async def test_a_node_changes_itself_and_not_its_taints() -> None:
    _, plugin = restriction()
    plain: Obj = {"metadata": {"name": "n1"}, "spec": {}}
    tainted: Obj = {"metadata": {"name": "n1"}, "spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}
    await plugin.admit(attributes("UPDATE", plain, plain, resource=NODES, user=NODE))
    work = plugin.admit(attributes("UPDATE", plain, tainted, resource=NODES, user=NODE))
    assert 'node "n1" is not allowed to modify taints' in await refusal(work)
    another: Obj = {"metadata": {"name": "n2"}, "spec": {}}
    work = plugin.admit(attributes("UPDATE", another, another, resource=NODES, user=NODE))
    assert 'node "n1" is not allowed to modify node "n2"' in await refusal(work)


async def test_a_node_renews_its_own_lease_and_gets_tokens_for_its_own_pods() -> None:
    _, plugin = restriction()
    lease = {"metadata": {"name": "n2", "namespace": "kube-node-lease"}}
    work = plugin.admit(attributes("UPDATE", lease, lease, resource=LEASES, user=NODE))
    assert "can only access node lease with the same name as the requesting node" in await refusal(work)

    def token(**ref: str) -> Any:
        obj = {
            "metadata": {"namespace": "ns"},
            "spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", **ref}},
        }
        return attributes(
            "CREATE", obj, resource=SERVICE_ACCOUNTS, subresource="token", name="default", user=NODE
        )

    await plugin.admit(token(name="mine", uid="uid-mine"))
    assert "not bound to a pod" in await refusal(plugin.admit(token()))
    assert "without a uid" in await refusal(plugin.admit(token(name="mine")))
    assert "scheduled on a different node" in await refusal(
        plugin.admit(token(name="other", uid="uid-other"))
    )


async def test_a_node_reports_sizes_of_claims_and_nothing_else() -> None:
    _, plugin = restriction()
    old: Obj = {"metadata": {"name": "c", "namespace": "ns"}, "spec": {}, "status": {"phase": "Bound"}}
    sized = {**old, "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}}
    lost = {**old, "status": {"phase": "Lost"}}

    def asked(new: Obj, subresource: str = "status") -> Any:
        return attributes(
            "UPDATE", new, old, resource=PERSISTENT_VOLUME_CLAIMS, subresource=subresource, user=NODE
        )

    await plugin.admit(asked(sized))
    assert "other than status.capacity and status.conditions" in await refusal(plugin.admit(asked(lost)))
    assert "may only update PVC status" in await refusal(plugin.admit(asked(sized, "")))


# EventRateLimit


def test_a_storm_of_events_is_broken_and_passes_again_with_time() -> None:
    async def main() -> None:
        bench = Bench()
        limits = [{"type": "Namespace", "qps": 1, "burst": 2}]
        plugin = EventRateLimit(bench.env({"EventRateLimit": {"limits": limits}}))

        def event(namespace: str = "ns") -> Any:
            return attributes("CREATE", {"metadata": {"name": "e", "namespace": namespace}}, resource=EVENTS)

        for _ in range(2):
            await plugin.validate(event())
        with pytest.raises(ApiError) as caught:
            await plugin.validate(event())
        assert (caught.value.code, caught.value.message) == (
            429,
            "Too many requests: limit reached on type Namespace for key ns",
        )
        await plugin.validate(event("other"))
        await bench.world.clock.sleep(1)
        await plugin.validate(event())

    run_virtual(main())


# ServiceAccount: plugin/pkg/admission/serviceaccount


def test_the_default_account_of_a_new_namespace_is_waited_for() -> None:
    async def main() -> None:
        bench = Bench()
        plugin = ServiceAccount(bench.env())
        started_s = bench.world.clock.monotonic()
        assert await refusal(plugin.admit(attributes("CREATE", pod()))) == (
            'pods "p" is forbidden: error looking up service account ns/default: serviceaccount "default" not found'
        )
        assert 0.9 <= bench.world.clock.monotonic() - started_s <= 1.8
        work = asyncio.ensure_future(plugin.admit(attributes("CREATE", made := pod())))
        await bench.world.clock.sleep(0.05)
        bench.store(SERVICE_ACCOUNTS, {"metadata": {"name": "default", "namespace": "ns"}})
        await work
        assert made["spec"]["serviceAccountName"] == "default"

    run_virtual(main())


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"serviceAccountName": "a"}, "a mirror pod may not reference service accounts"),
        ({"imagePullSecrets": [{"name": "s"}]}, "a mirror pod may not reference secrets"),
        (
            {"volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]},
            "a mirror pod may not use ServiceAccountToken volume projections",
        ),
    ],
)
async def test_mirror_pods_get_nothing_from_the_cluster(spec: Obj, text: str) -> None:
    made = pod(**spec)
    made["metadata"]["annotations"] = MIRROR
    plugin = ServiceAccount(Bench().env())
    await plugin.admit(attributes("CREATE", made))
    assert await refusal(plugin.validate(attributes("CREATE", made))) == f'pods "p" is forbidden: {text}'


async def test_an_account_may_keep_its_pods_to_its_own_secrets() -> None:
    bench = Bench()
    meta = {
        "name": "a",
        "namespace": "ns",
        "annotations": {"kubernetes.io/enforce-mountable-secrets": "true"},
    }
    bench.store(SERVICE_ACCOUNTS, {"metadata": meta, "secrets": [{"name": "mine"}]})
    plugin = ServiceAccount(bench.env())

    def using(secret: str) -> Any:
        volume = {"name": "v", "secret": {"secretName": secret}}
        return attributes("CREATE", pod(serviceAccountName="a", volumes=[volume]))

    await plugin.validate(using("mine"))
    assert await refusal(plugin.validate(using("other"))) == (
        'pods "p" is forbidden: volume with secret.secretName="other" is not allowed because service account a does '
        "not reference that secret"
    )
