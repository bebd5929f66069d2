"""Certificate controllers in a whole cluster
(https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/,
https://kubernetes.io/docs/reference/access-authn-authz/kubelet-tls-bootstrapping/)."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from pilothouse.api.resources import (
    CERTIFICATE_SIGNING_REQUESTS,
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_TRUST_BUNDLES,
    POD_CERTIFICATE_REQUESTS,
    PODS,
)
from pilothouse.api.types import Obj
from pilothouse.apiserver.authn.x509 import ClientCertificates
from pilothouse.apiserver.server import Options
from pilothouse.controllers.certificatesigningrequest_approving import needed_rights
from pilothouse.controllers.certificatesigningrequest_cleaner import is_over
from tests.unit.controllers.certificate_builders import NODE, NODE_USAGES, csr, issued

CLIENT = "kube-apiserver-client"
KUBELET = "kube-apiserver-client-kubelet"
HOUR = 3600


async def approve(lab: Any, name: str, kind: str = "Approved") -> None:
    body = {"status": {"conditions": [{"type": kind, "status": "True", "reason": "Test", "message": "m"}]}}
    await lab.patch(CERTIFICATE_SIGNING_REQUESTS, name, body, subresource="approval")


def conditions(obj: Obj) -> list[tuple[str, str, str]]:
    return [(c["type"], c["reason"], c["message"]) for c in obj["status"].get("conditions") or ()]


def bind(role: str, user: str, group: str = "") -> Obj:
    kind, name = ("Group", group) if group else ("User", user)
    return {
        "metadata": {"name": f"test-{role.rpartition(':')[2]}"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}],
    }


def test_what_is_approved_is_signed_and_logs_in(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(
            CERTIFICATE_SIGNING_REQUESTS,
            csr("a", CLIENT, ["client auth"], organizations=["dev"], expiration_s=HOUR),
        )
        await lab.wait(2)
        assert (await lab.get(CERTIFICATE_SIGNING_REQUESTS, "a"))["status"] == {}
        await approve(lab, "a")
        await lab.wait(2)
        found = issued(await lab.get(CERTIFICATE_SIGNING_REQUESTS, "a"))
        authority = lab.cluster._served.authority.certificate
        user = ClientCertificates(lab.world, [authority]).authenticate(found.public_bytes(Encoding.DER))
        assert user is not None
        assert (user.name, user.groups) == ("carol", ("dev",))
        assert abs(found.not_valid_after_utc.timestamp() - lab.world.now() - HOUR) < 10

    simulate(scenario)


def test_what_is_denied_or_another_signers_stays_unsigned(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(CERTIFICATE_SIGNING_REQUESTS, csr("denied", CLIENT, ["client auth"]))
        await approve(lab, "denied", "Denied")
        await lab.create(CERTIFICATE_SIGNING_REQUESTS, csr("other", "example.com/mine", ["client auth"]))
        await approve(lab, "other")
        await lab.wait(5)
        for name in ("denied", "other"):
            status = (await lab.get(CERTIFICATE_SIGNING_REQUESTS, name))["status"]
            assert "certificate" not in status
            assert len(status["conditions"]) == 1

    simulate(scenario)


def test_what_breaks_its_signers_rules_fails_for_good(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(CERTIFICATE_SIGNING_REQUESTS, csr("a", CLIENT, ["server auth"]))
        await approve(lab, "a")
        await lab.wait(5)
        found = await lab.get(CERTIFICATE_SIGNING_REQUESTS, "a")
        why = "invalid usage for client certificate: server auth"
        assert conditions(found)[1:] == [("Failed", "SignerValidationFailure", why)]
        assert "certificate" not in found["status"]

    simulate(scenario)


def test_a_kubelet_is_approved_where_its_sender_may_ask_for_it(simulate: Any) -> None:
    """nodeclient: system:certificates.k8s.io:certificatesigningrequests:nodeclient is upstream's role. The binding
    may come after the request."""

    async def scenario(lab: Any) -> None:
        sender = lab.cluster.client("somebody", ("joining",))
        body = csr("a", KUBELET, NODE_USAGES, **NODE)
        await lab.create(CLUSTER_ROLE_BINDINGS, bind("system:node-bootstrapper", "", "joining"))
        typed = {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", **body}
        await sender.create(CERTIFICATE_SIGNING_REQUESTS, typed)
        await lab.wait(5)
        assert conditions(await lab.get(CERTIFICATE_SIGNING_REQUESTS, "a")) == []
        role = "system:certificates.k8s.io:certificatesigningrequests:nodeclient"
        await lab.create(CLUSTER_ROLE_BINDINGS, bind(role, "", "joining"))
        await lab.wait(15)
        found = await lab.get(CERTIFICATE_SIGNING_REQUESTS, "a")
        message = "Auto approving kubelet client certificate after SubjectAccessReview."
        assert conditions(found) == [("Approved", "AutoApproved", message)]
        assert issued(found).subject.rfc4514_string() == "CN=system:node:n1,O=system:nodes"

    simulate(scenario)


def test_a_kubelet_renews_its_own_credentials(simulate: Any) -> None:
    """selfnodeclient: RBAC gives it to no one by default."""

    async def scenario(lab: Any) -> None:
        node = lab.cluster.client("system:node:n1", ("system:nodes",))
        role = "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient"
        await lab.create(CLUSTER_ROLE_BINDINGS, bind(role, "", "system:nodes"))
        await lab.create(CLUSTER_ROLE_BINDINGS, bind("system:node-bootstrapper", "", "system:nodes"))
        for name, cn in (("own", "system:node:n1"), ("others", "system:node:n2")):
            body = csr(name, KUBELET, NODE_USAGES, **{**NODE, "common_name": cn})
            await node.create(
                CERTIFICATE_SIGNING_REQUESTS,
                {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", **body},
            )
        await lab.wait(10)
        message = "Auto approving self kubelet client certificate after SubjectAccessReview."
        own = await lab.get(CERTIFICATE_SIGNING_REQUESTS, "own")
        assert conditions(own) == [("Approved", "AutoApproved", message)]
        assert conditions(await lab.get(CERTIFICATE_SIGNING_REQUESTS, "others")) == []

    simulate(scenario)


def test_which_right_a_request_needs() -> None:
    def rights(username: str, body: Obj) -> list[str]:
        return needed_rights({**body, "spec": {**body["spec"], "username": username}})

    node = csr("a", KUBELET, NODE_USAGES, **NODE)
    assert rights("system:node:n1", node) == ["selfnodeclient", "nodeclient"]
    assert rights("system:bootstrap:abcdef", node) == ["nodeclient"]
    assert rights("system:node:n1", csr("a", KUBELET, ["client auth"], **NODE)) == []
    assert rights("system:node:n1", csr("a", CLIENT, NODE_USAGES, **NODE)) == []


def test_requests_that_are_over_go(simulate: Any) -> None:
    """Approved, denied and failed ones after an hour, pending ones after a day; looked at once an hour."""

    async def scenario(lab: Any) -> None:
        for name, signer, usages in (
            ("pending", CLIENT, "client auth"),
            ("denied", CLIENT, "client auth"),
            ("signed", CLIENT, "client auth"),
            ("failed", CLIENT, "server auth"),
            ("unsigned", "example.com/mine", "client auth"),
        ):
            await lab.create(CERTIFICATE_SIGNING_REQUESTS, csr(name, signer, [usages]))
        await approve(lab, "denied", "Denied")
        for name in ("signed", "failed", "unsigned"):
            await approve(lab, name)
        await lab.wait(0.9 * HOUR)
        assert len(await lab.names(CERTIFICATE_SIGNING_REQUESTS)) == 5
        await lab.wait(1.2 * HOUR)
        assert await lab.names(CERTIFICATE_SIGNING_REQUESTS) == ["pending", "unsigned"]
        await lab.wait(23 * HOUR)
        assert await lab.names(CERTIFICATE_SIGNING_REQUESTS) == ["unsigned"]

    simulate(scenario)


def test_a_request_is_over_with_its_certificate(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(CERTIFICATE_SIGNING_REQUESTS, csr("a", CLIENT, ["client auth"], expiration_s=1800))
        await approve(lab, "a")
        await lab.wait(2)
        found = await lab.get(CERTIFICATE_SIGNING_REQUESTS, "a")
        assert not is_over(found, lab.world.now() + 1700)
        assert is_over(found, lab.world.now() + 1900)

    simulate(scenario)


BETA = Options(runtime_config="certificates.k8s.io/v1beta1=true")


def test_the_api_servers_ca_is_published_as_a_trust_bundle(simulate: Any) -> None:
    """KEP-3257; the name tells the content, and what else the signer has goes."""

    async def scenario(lab: Any) -> None:
        (bundle,) = await lab.list(CLUSTER_TRUST_BUNDLES)
        name = bundle["metadata"]["name"]
        assert name.startswith("kubernetes.io:kube-apiserver-serving:") and len(name.rpartition(":")[2]) == 24
        spec = {
            "signerName": "kubernetes.io/kube-apiserver-serving",
            "trustBundle": lab.cluster._served.authority.pem,
        }
        assert bundle["spec"] == spec
        await lab.create(
            CLUSTER_TRUST_BUNDLES,
            {"metadata": {"name": "kubernetes.io:kube-apiserver-serving:old"}, "spec": spec},
        )
        await lab.delete(CLUSTER_TRUST_BUNDLES, name)
        await lab.wait(2)
        assert await lab.names(CLUSTER_TRUST_BUNDLES) == [name]

    simulate(scenario, server=BETA)


def test_pod_certificate_requests_go_after_a_quarter_of_an_hour(simulate: Any) -> None:
    """KEP-4317."""

    async def scenario(lab: Any) -> None:
        await lab.create(
            PODS, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        )
        await lab.create(POD_CERTIFICATE_REQUESTS, {"metadata": {"name": "r"}, "spec": pod_request()})
        await lab.wait(10 * 60)
        assert await lab.exists(POD_CERTIFICATE_REQUESTS, "r")
        await lab.wait(11 * 60)
        assert not await lab.exists(POD_CERTIFICATE_REQUESTS, "r")

    simulate(scenario, server=BETA)


def pod_request() -> Obj:
    return {
        "signerName": "example.com/pods",
        "podName": "p",
        "podUID": "b9a1d9c6-7d6c-4d0c-8a0c-8f0a5b6f9c11",
        "serviceAccountName": "default",
        "serviceAccountUID": "b9a1d9c6-7d6c-4d0c-8a0c-8f0a5b6f9c12",
        "nodeName": "node-0",
        "nodeUID": "b9a1d9c6-7d6c-4d0c-8a0c-8f0a5b6f9c13",
        "maxExpirationSeconds": 86400,
        "pkixPublicKey": "AAAA",
        "proofOfPossession": "AAAA",
    }
