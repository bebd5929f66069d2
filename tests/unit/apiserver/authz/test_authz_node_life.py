"""The life of two nodes under the authorizer Node and the plugin NodeRestriction, in the order of upstream's own
integration test (test/integration/auth/node_test.go, TestNodeAuthorizer)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pilothouse.apiserver.request import UserInfo
from tests.served import ADMIN, Api, api

CORE, NS = "/api/v1", "/api/v1/namespaces/ns"
RESOURCE, STORAGE = "/apis/resource.k8s.io/v1", "/apis/storage.k8s.io/v1"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
NODES = ("system:nodes", "system:authenticated")
USERS = {
    "admin": ADMIN,
    "nobody": UserInfo("unknown/system:nodes", groups=NODES),
    "node1": UserInfo("system:node:node1", groups=NODES),
    "node2": UserInfo("system:node:node2", groups=NODES),
}
MERGE, STRATEGIC = "application/merge-patch+json", "application/strategic-merge-patch+json"
FORBIDDEN, NOT_FOUND, ALLOWED = "forbidden", "not found", "allowed"


def named(name: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, **more}


class Life:
    def __init__(self, server: Api) -> None:
        self._server = server
        self._capacity = 50

    def ask(self, who: str, method: str, path: str, body: Any = None, **more: Any) -> str:
        answer = self._server.ask(method, path, body, user=USERS[who], **more)
        if answer.status == 403:
            return FORBIDDEN
        if answer.status == 404:
            return NOT_FOUND
        assert answer.status < 300, (who, method, path, answer.body)
        return ALLOWED

    def reads(self, who: str) -> dict[str, str]:
        """What each of the objects that matter answers."""
        return {what: self.ask(who, "GET", path) for what, path in READ.items()}

    def normal_pod(self, who: str) -> str:
        spec = {
            "nodeName": "node2",
            "containers": [{"name": "image", "image": "busybox"}],
            "volumes": [
                {"name": "secret", "secret": {"secretName": "mysecret"}},
                {"name": "cm", "configMap": {"name": "myconfigmap"}},
                {"name": "pvc", "persistentVolumeClaim": {"claimName": "mypvc"}},
            ],
            "resourceClaims": [
                {"name": "namedclaim", "resourceClaimName": "mynamedclaim"},
                {"name": "templateclaim", "resourceClaimTemplateName": "mytemplate"},
            ],
        }
        return self.ask(who, "POST", f"{NS}/pods", named("normal", spec=spec))

    def mirror_pod(self, who: str) -> str:
        node = self._server.ask("GET", f"{CORE}/nodes/node2").body
        owner = {
            "apiVersion": "v1",
            "kind": "Node",
            "name": "node2",
            "uid": node["metadata"].get("uid", "none"),
            "controller": True,
        }
        metadata = {
            "name": "mirror",
            "annotations": {"kubernetes.io/config.mirror": "true"},
            "ownerReferences": [owner],
        }
        spec = {"nodeName": "node2", "containers": [{"name": "image", "image": "busybox"}]}
        return self.ask(who, "POST", f"{NS}/pods", {"metadata": metadata, "spec": spec})

    def delete_pod(self, who: str, name: str) -> str:
        return self.ask(who, "DELETE", f"{NS}/pods/{name}?gracePeriodSeconds=0")

    def evict(self, who: str, name: str) -> str:
        options = {"gracePeriodSeconds": 0}
        body = {"apiVersion": "policy/v1", "kind": "Eviction", **named(name, deleteOptions=options)}
        return self.ask(who, "POST", f"{NS}/pods/{name}/eviction", body)

    def pod_status(self, who: str) -> str:
        body = named("normal", status={"startTime": "2026-01-01T00:00:00Z"})
        return self.ask(who, "PUT", f"{NS}/pods/normal/status", body)

    def claims(self, who: str, *statuses: dict[str, str]) -> str:
        body = {"status": {"resourceClaimStatuses": list(statuses) or None}}
        return self.ask(who, "PATCH", f"{NS}/pods/normal/status", body, content_type=MERGE)

    def make_node(self, who: str) -> str:
        return self.ask(who, "POST", f"{CORE}/nodes", named("node2"))

    def node_status(self, who: str) -> str:
        return self.ask(who, "PUT", f"{CORE}/nodes/node2/status", named("node2", status={}))

    def delete_node(self, who: str) -> str:
        return self.ask(who, "DELETE", f"{CORE}/nodes/node2")

    def grow(self, who: str) -> str:
        self._capacity += 1
        body = {"status": {"capacity": {"storage": f"{self._capacity}G"}}}
        path = f"{NS}/persistentvolumeclaims/mypvc/status"
        return self.ask(who, "PATCH", path, body, content_type=STRATEGIC)


READ = {
    "secret": f"{NS}/secrets/mysecret",
    "volume's secret": f"{NS}/secrets/mypvsecret",
    "config map": f"{NS}/configmaps/myconfigmap",
    "claim": f"{NS}/persistentvolumeclaims/mypvc",
    "volume": f"{CORE}/persistentvolumes/mypv",
    "named claim": f"{RESOURCE}/namespaces/ns/resourceclaims/mynamedclaim",
    "template's claim": f"{RESOURCE}/namespaces/ns/resourceclaims/mytemplateclaim",
}

NONE = dict.fromkeys(READ, FORBIDDEN)
ALL = dict.fromkeys(READ, ALLOWED)
DIRECT = {**ALL, "template's claim": FORBIDDEN}


@pytest.fixture
def life() -> Iterator[Life]:
    with api(
        enable_admission=("NodeRestriction",),
        disable_admission=("ServiceAccount", "TaintNodesByCondition"),
    ) as server:
        made = Life(server)
        access = {"accessModes": ["ReadOnlyMany"]}
        azure = {"shareName": "default", "secretName": "mypvsecret"}
        volume = {
            **access,
            "capacity": {"storage": "1"},
            "claimRef": {"namespace": "ns", "name": "mypvc"},
            "azureFile": azure,
        }
        attachment = {"attacher": "foo", "nodeName": "node2", "source": {"persistentVolumeName": "mypv"}}
        claim = {**access, "resources": {"requests": {"storage": "1"}}}
        for path, body in (
            (f"{CORE}/namespaces", named("ns")),
            (f"{NS}/secrets", named("mysecret")),
            (f"{NS}/secrets", named("mypvsecret")),
            (f"{NS}/configmaps", named("myconfigmap")),
            (f"{RESOURCE}/namespaces/ns/resourceclaims", named("mynamedclaim", spec={})),
            (f"{RESOURCE}/namespaces/ns/resourceclaims", named("mytemplateclaim", spec={})),
            (f"{RESOURCE}/resourceslices", _slice("node1")),
            (f"{RESOURCE}/resourceslices", _slice("node2")),
            (f"{STORAGE}/volumeattachments", named("myattachment", spec=attachment)),
            (f"{NS}/persistentvolumeclaims", named("mypvc", spec=claim)),
            (f"{CORE}/persistentvolumes", named("mypv", spec=volume)),
        ):
            assert made.ask("admin", "POST", path, body) == ALLOWED
        yield made


def _slice(node: str) -> dict[str, Any]:
    pool = {"name": f"{node}-slice", "generation": 0, "resourceSliceCount": 1}
    return named(f"slice-{node}", spec={"nodeName": node, "driver": "dra.example.com", "pool": pool})


def test_pods_open_objects_to_their_node(life: Life) -> None:
    for who in ("nobody", "node1", "node2"):
        assert life.reads(who) == NONE
    assert life.normal_pod("nobody") == FORBIDDEN
    assert life.make_node("nobody") == life.node_status("nobody") == life.delete_node("nobody") == FORBIDDEN
    assert life.evict("node1", "mirror") == NOT_FOUND
    assert (life.make_node("node1"), life.node_status("node1")) == (FORBIDDEN, NOT_FOUND)
    assert life.delete_node("node1") == FORBIDDEN
    # A node's own life, and that of its mirror pods.
    assert life.make_node("node2") == life.node_status("node2") == ALLOWED
    assert life.mirror_pod("nobody") == life.mirror_pod("node1") == FORBIDDEN
    assert (life.delete_pod("nobody", "mirror"), life.delete_pod("node1", "mirror")) == (FORBIDDEN, NOT_FOUND)
    assert life.normal_pod("admin") == ALLOWED
    assert life.mirror_pod("node2") == life.delete_pod("node2", "mirror") == ALLOWED
    assert life.mirror_pod("node2") == life.evict("node2", "mirror") == ALLOWED
    assert life.delete_node("node2") == life.node_status("node1") == FORBIDDEN
    for who in ("nobody", "node1"):
        assert life.reads(who) == NONE
        assert life.normal_pod(who) == life.pod_status(who) == FORBIDDEN
        assert life.delete_pod(who, "normal") == life.evict(who, "normal") == FORBIDDEN
        assert life.mirror_pod(who) == FORBIDDEN
    assert life.reads("node2") == DIRECT


def test_claims_of_templates_are_named_by_the_pod_s_status(life: Life) -> None:
    assert life.make_node("node2") == life.normal_pod("admin") == ALLOWED
    status = {"name": "templateclaim", "resourceClaimName": "mytemplateclaim"}
    assert life.claims("node2", status) == FORBIDDEN
    assert life.claims("admin", status) == ALLOWED
    assert life.reads("node2") == ALL
    assert life.claims("node2") == FORBIDDEN
    assert life.claims("admin") == ALLOWED
    assert life.reads("node2") == DIRECT


def test_a_node_ends_its_pods(life: Life) -> None:
    assert life.make_node("node2") == life.normal_pod("admin") == ALLOWED
    assert life.normal_pod("node2") == FORBIDDEN
    assert life.pod_status("node2") == life.delete_pod("node2", "normal") == ALLOWED
    assert life.reads("node2") == NONE
    assert life.normal_pod("admin") == life.mirror_pod("admin") == ALLOWED
    assert life.evict("node2", "normal") == life.evict("node2", "mirror") == ALLOWED


def test_sizes_of_claims_and_attachments(life: Life) -> None:
    assert life.normal_pod("admin") == ALLOWED
    assert (life.grow("node1"), life.grow("node2")) == (FORBIDDEN, ALLOWED)
    path, phase = f"{NS}/persistentvolumeclaims/mypvc/status", {"status": {"phase": "Bound"}}
    assert life.ask("node2", "PATCH", path, phase, content_type=STRATEGIC) == FORBIDDEN
    for who, answer in (("node1", FORBIDDEN), ("node2", ALLOWED)):
        assert life.ask(who, "GET", f"{STORAGE}/volumeattachments/myattachment") == answer


@pytest.mark.parametrize(
    ("path", "made", "change"),
    [
        (LEASES, named("node1", spec={"holderIdentity": "node1"}), {"spec": {"leaseDurationSeconds": 41}}),
        (f"{STORAGE}/csinodes", named("node1", spec={"drivers": []}), {"metadata": {"labels": {"a": "b"}}}),
    ],
)
def test_what_has_the_node_s_name(life: Life, path: str, made: dict[str, Any], change: Any) -> None:
    assert life.ask("node2", "POST", path, made) == FORBIDDEN
    assert life.ask("node1", "POST", path, made) == ALLOWED
    for who, answer in (("node2", FORBIDDEN), ("node1", ALLOWED)):
        assert life.ask(who, "GET", f"{path}/node1") == answer
        assert life.ask(who, "PATCH", f"{path}/node1", change, content_type=MERGE) == answer
        assert life.ask(who, "DELETE", f"{path}/node1") == answer


def test_a_node_clears_away_its_own_slices(life: Life) -> None:
    path = f"{RESOURCE}/resourceslices"
    assert life.ask("node1", "DELETE", f"{path}?fieldSelector=spec.nodeName=node1") == ALLOWED
    assert life.ask("admin", "GET", f"{path}/slice-node1") == NOT_FOUND
    assert life.ask("admin", "GET", f"{path}/slice-node2") == ALLOWED
    assert life.ask("node1", "DELETE", f"{path}/slice-node2") == FORBIDDEN


def test_certificates_of_the_pods_on_the_node() -> None:
    """KEP-4317; NodeRestriction's admitPodCertificateRequest."""
    with api(
        enable_admission=("NodeRestriction",),
        disable_admission=("ServiceAccount",),
        runtime_config="certificates.k8s.io/v1beta1=true",
    ) as server:
        life = Life(server)
        spec = {
            "nodeName": "node1",
            "serviceAccountName": "robot",
            "containers": [{"name": "c", "image": "i"}],
        }
        objects = {
            "node": (f"{CORE}/nodes", named("node1")),
            "namespace": (f"{CORE}/namespaces", named("ns")),
            "account": (f"{NS}/serviceaccounts", named("robot")),
            "pod": (f"{NS}/pods", named("p", spec=spec)),
        }
        uid = {k: server.ask("POST", *v).body["metadata"]["uid"] for k, v in objects.items()}
        path = "/apis/certificates.k8s.io/v1beta1/namespaces/ns/podcertificaterequests"
        good = {
            "signerName": "example.com/pods",
            "podName": "p",
            "podUID": uid["pod"],
            "serviceAccountName": "robot",
            "serviceAccountUID": uid["account"],
            "nodeName": "node1",
            "nodeUID": uid["node"],
            "maxExpirationSeconds": 86400,
            "pkixPublicKey": "AAAA",
            "proofOfPossession": "AAAA",
        }

        def answer(who: str, **change: str) -> tuple[int, str]:
            made = server.ask("POST", path, named(f"r{who}", spec={**good, **change}), user=USERS[who])
            return made.status, made.message.partition("is forbidden: ")[2] or made.message

        pod = 'PodCertificateRequest for pod "ns/p"'
        assert answer("node2") == (
            403,
            'PodCertificateRequest.Spec.NodeName="node1", which is not the requesting node "node2"',
        )
        assert answer("node1", serviceAccountName="x") == (
            403,
            f'{pod} contains serviceAccountName ("x") that differs from running pod ("robot")',
        )
        assert answer("node1", nodeUID="x") == (
            500,
            f'{pod} names node UID "x", inconsistent with the running node ("{uid["node"]}")',
        )
        assert answer("node1", podUID="x") == (
            500,
            f'{pod} contains pod UID ("x") which differs from running pod "{uid["pod"]}"',
        )
        assert answer("node1", serviceAccountUID="x") == (
            500,
            f'{pod} names service account UID "x", which differs from the running service account ("{uid["account"]}")',
        )
        assert answer("node1", podName="q") == (
            500,
            'while retrieving pod "ns/q" named in the PodCertificateRequest: pod "q" not found',
        )
        assert life.ask("node1", "POST", path, named("good", spec=good)) == ALLOWED
        assert life.ask("node1", "GET", f"{path}/good") == ALLOWED
        assert life.ask("node2", "GET", f"{path}/good") == FORBIDDEN
        assert life.ask("node1", "DELETE", f"{path}/good") == FORBIDDEN
