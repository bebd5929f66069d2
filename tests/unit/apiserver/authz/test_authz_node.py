"""The authorizer of kubelets (plugin/pkg/auth/authorizer/node,
https://kubernetes.io/docs/reference/access-authn-authz/node/)."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import pytest

from pilothouse.api.resources import PODS, SECRETS, Resource
from pilothouse.apiserver.authz.node_graph import NodeGraph, Read, Vertex
from pilothouse.apiserver.request import UserInfo
from tests.served import Api, api
from tests.unit.controllers.certificate_builders import csr

CORE = "/api/v1"
HOME = f"{CORE}/namespaces/default"
ME = UserInfo("system:node:n1", groups=("system:nodes", "system:authenticated"))
OTHER = UserInfo("system:node:n2", groups=("system:nodes", "system:authenticated"))
SOMEBODY = UserInfo("system:node:n1", groups=("dev", "system:authenticated"))
UNNAMED = UserInfo("system:node:", groups=("system:nodes", "system:authenticated"))
_names = (f"x{n}" for n in itertools.count())


@pytest.fixture(scope="module")
def server() -> Iterator[Api]:
    with api(enable_admission=("NodeRestriction",)) as made:
        for name in ("n1", "n2"):
            made.ask("POST", f"{CORE}/nodes", {"metadata": {"name": name}})
        made.ask("POST", f"{HOME}/serviceaccounts", {"metadata": {"name": "default"}})
        yield made


def pod(server: Api, node: str = "n1", **spec: Any) -> str:
    """Make a pod on a node; its name."""
    name = next(_names)
    body = {
        "metadata": {"name": name},
        "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}], **spec},
    }
    answer = server.ask("POST", f"{HOME}/pods", body)
    assert answer.status == 201, answer.body
    return name


def named(server: Api, path: str, **more: Any) -> str:
    name = next(_names)
    answer = server.ask("POST", path, {"metadata": {"name": name}, **more})
    assert answer.status == 201, answer.body
    return name


def may(server: Api, user: UserInfo, method: str, path: str, body: Any = None) -> str:
    """ "" when it is allowed, else the reason behind the 403's usual text."""
    answer = server.ask(method, path, body, user=user)
    if answer.status != 403:
        return ""
    found = re.search(
        r'cannot .* (?:at the cluster scope|in the namespace "[^"]*")(?:: (.*))?$', answer.message
    )
    assert found, answer.message
    return found[1] or "no opinion"


NO_RELATION = "no relationship found between node 'n1' and this object"
UNRELATED = NO_RELATION.replace("n1", "n2")


@pytest.mark.parametrize(
    ("kind", "volume"),
    [
        ("secrets", {"secret": {"secretName": "NAME"}}),
        ("configmaps", {"configMap": {"name": "NAME"}}),
        ("configmaps", {"projected": {"sources": [{"configMap": {"name": "NAME"}}]}}),
    ],
)
def test_what_its_pods_mount_is_a_nodes_to_read(server: Api, kind: str, volume: dict[str, Any]) -> None:
    name = named(server, f"{HOME}/{kind}")
    path = f"{HOME}/{kind}/{name}"
    assert may(server, ME, "GET", path) == NO_RELATION
    made = pod(server, volumes=[{"name": "v", **_filled(volume, name)}])
    assert may(server, ME, "GET", path) == ""
    assert may(server, OTHER, "GET", path) == UNRELATED
    assert may(server, ME, "GET", f"{HOME}/{kind}?fieldSelector=metadata.name={name}") == ""
    assert may(server, ME, "GET", f"{HOME}/{kind}") == "No Object name found"
    assert may(server, ME, "GET", f"{CORE}/{kind}") == "can only read namespaced object of this type"
    assert may(server, ME, "DELETE", path) == "can only read resources of this type"
    server.ask("DELETE", f"{HOME}/pods/{made}?gracePeriodSeconds=0")
    assert may(server, ME, "GET", path) == NO_RELATION


def _filled(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return {k: _filled(v, name) for k, v in value.items()}
    if isinstance(value, list):
        return [_filled(v, name) for v in value]
    return name if value == "NAME" else value


def test_a_secret_that_two_pods_use_stays_while_one_of_them_is_there(server: Api) -> None:
    secret = named(server, f"{HOME}/secrets")
    pods = [pod(server, imagePullSecrets=[{"name": secret}]) for _ in range(2)]
    for gone, why in zip(pods, ("", NO_RELATION), strict=True):
        server.ask("DELETE", f"{HOME}/pods/{gone}?gracePeriodSeconds=0")
        assert may(server, ME, "GET", f"{HOME}/secrets/{secret}") == why


def test_a_pod_counts_once_it_has_a_node(server: Api) -> None:
    secret = named(server, f"{HOME}/secrets")
    name = pod(server, node="", volumes=[{"name": "v", "secret": {"secretName": secret}}])
    assert may(server, ME, "GET", f"{HOME}/secrets/{secret}") == NO_RELATION
    binding = {"metadata": {"name": name}, "target": {"kind": "Node", "name": "n1"}}
    assert server.ask("POST", f"{HOME}/pods/{name}/binding", binding).status == 201
    assert may(server, ME, "GET", f"{HOME}/secrets/{secret}") == ""


def test_volumes_through_their_claims(server: Api) -> None:
    """node <- pod <- claim <- volume <- secret"""
    claim, secret = next(_names), named(server, f"{HOME}/secrets")
    access = {"accessModes": ["ReadWriteOnce"]}
    server.ask(
        "POST",
        f"{HOME}/persistentvolumeclaims",
        {"metadata": {"name": claim}, "spec": {**access, "resources": {"requests": {"storage": "1Gi"}}}},
    )
    ref = {"name": secret, "namespace": "default"}
    volume = named(
        server,
        f"{CORE}/persistentvolumes",
        spec={
            **access,
            "capacity": {"storage": "1Gi"},
            "claimRef": {"namespace": "default", "name": claim},
            "csi": {"driver": "d", "volumeHandle": "h", "nodePublishSecretRef": ref},
        },
    )
    paths = (
        f"{HOME}/persistentvolumeclaims/{claim}",
        f"{CORE}/persistentvolumes/{volume}",
        f"{HOME}/secrets/{secret}",
    )
    assert [may(server, ME, "GET", path) for path in paths] == [NO_RELATION] * 3
    pod(server, volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": claim}}])
    assert [may(server, ME, "GET", path) for path in paths] == [""] * 3
    assert [may(server, OTHER, "GET", path) for path in paths] == [UNRELATED] * 3
    assert (
        may(server, ME, "GET", f"{CORE}/persistentvolumes")
        == "can only get individual resources of this type"
    )
    assert may(server, ME, "GET", f"{paths[0]}/status") == "can only get/update/patch this type"
    assert may(server, ME, "DELETE", paths[0]) == "can only get individual resources of this type"


def test_tokens_of_the_accounts_of_its_pods(server: Api) -> None:
    name = named(server, f"{HOME}/serviceaccounts")
    path = f"{HOME}/serviceaccounts/{name}/token"
    assert may(server, ME, "POST", path, {"spec": {}}) == NO_RELATION
    made = pod(server, serviceAccountName=name)
    uid = server.ask("GET", f"{HOME}/pods/{made}").body["metadata"]["uid"]
    bound = {"apiVersion": "v1", "kind": "Pod", "name": made, "uid": uid}
    assert server.ask("POST", path, {"spec": {"boundObjectRef": bound}}, user=ME).status == 201
    assert may(server, ME, "GET", f"{HOME}/serviceaccounts/{name}") == (
        "can only create tokens for individual service accounts"
    )


def test_attachments_and_slices_of_the_node(server: Api) -> None:
    storage, resource = "/apis/storage.k8s.io/v1", "/apis/resource.k8s.io/v1"
    source = {"persistentVolumeName": "v"}
    attachment = named(
        server,
        f"{storage}/volumeattachments",
        spec={"attacher": "a", "nodeName": "n1", "source": source},
    )
    pool = {"name": "n1", "generation": 1, "resourceSliceCount": 1}
    found = named(
        server, f"{resource}/resourceslices", spec={"driver": "d.example", "nodeName": "n1", "pool": pool}
    )
    for path in (f"{storage}/volumeattachments/{attachment}", f"{resource}/resourceslices/{found}"):
        assert may(server, ME, "GET", path) == ""
        assert may(server, OTHER, "GET", path) == UNRELATED
    slices = f"{resource}/resourceslices"
    assert may(server, ME, "GET", f"{slices}?fieldSelector=spec.nodeName=n1") == ""
    why = "can only list/watch/deletecollection resourceslices with nodeName field selector"
    assert may(server, ME, "GET", f"{slices}?fieldSelector=spec.nodeName=n2") == why
    assert may(server, ME, "DELETE", slices) == why


def test_pods_by_selector_or_one_by_one(server: Api) -> None:
    """KEP-4601."""
    mine, others = pod(server), pod(server, node="n2")
    assert may(server, ME, "GET", f"{CORE}/pods?fieldSelector=spec.nodeName=n1") == ""
    why = "can only list/watch pods with spec.nodeName field selector"
    for query in ("", "?fieldSelector=spec.nodeName=n2", "?fieldSelector=spec.nodeName!=n1"):
        assert may(server, ME, "GET", f"{CORE}/pods{query}") == why
    assert may(server, ME, "GET", f"{HOME}/pods/{mine}") == ""
    assert may(server, ME, "GET", f"{HOME}/pods/{others}") == NO_RELATION
    assert may(server, ME, "GET", f"{HOME}/pods?fieldSelector=metadata.name={mine}") == ""
    patch = {"status": {"phase": "Running"}}
    for name, status in ((mine, 200), (others, 403)):
        path = f"{HOME}/pods/{name}/status"
        answer = server.ask("PATCH", path, patch, user=ME, content_type="application/merge-patch+json")
        assert answer.status == status
    refused = server.ask("DELETE", f"{HOME}/pods/{others}", user=ME)
    assert "can only delete pods with spec.nodeName set to itself" in refused.message


def test_its_own_node_lease_and_csi_node(server: Api) -> None:
    assert may(server, ME, "GET", f"{CORE}/nodes/n1") == ""
    assert (
        may(server, ME, "GET", f"{CORE}/nodes/n2") == "node 'n1' cannot read 'n2', only its own Node object"
    )
    assert (
        may(server, ME, "GET", f"{CORE}/nodes") == "node 'n1' cannot read all nodes, only its own Node object"
    )
    assert may(server, ME, "GET", f"{CORE}/nodes?fieldSelector=metadata.name=n1") == ""
    assert may(server, ME, "DELETE", f"{CORE}/nodes/n1") == "no opinion"
    leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
    lease = {"metadata": {"name": "n1"}, "spec": {}}
    assert server.ask("POST", leases, lease, user=ME).status == 201
    assert may(server, ME, "GET", f"{leases}/n1") == ""
    name_only = "can only access node lease with the same name as the requesting node"
    assert may(server, ME, "GET", f"{leases}/n2") == name_only
    assert may(server, ME, "GET", leases) == "can only get, create, update, patch, or delete a node lease"
    elsewhere = leases.replace("kube-node-lease", "default")
    assert may(server, ME, "GET", f"{elsewhere}/n1") == (
        'can only access leases in the "kube-node-lease" system namespace'
    )
    csi = "/apis/storage.k8s.io/v1/csinodes"
    assert may(server, ME, "GET", f"{csi}/n1") == ""
    assert (
        may(server, ME, "GET", f"{csi}/n2")
        == "can only access CSINode with the same name as the requesting node"
    )


def test_what_all_nodes_may(server: Api) -> None:
    for path in (
        f"{CORE}/services",
        "/apis/node.k8s.io/v1/runtimeclasses",
        "/apis/storage.k8s.io/v1/csidrivers",
    ):
        assert server.ask("GET", path, user=ME).status == 200
    assert server.ask("GET", "/apis/apps/v1/deployments", user=ME).status == 403
    assert server.ask("POST", f"{HOME}/configmaps", {"metadata": {"name": "x"}}, user=ME).status == 403


def test_who_is_no_node(server: Api) -> None:
    """Name and group, both."""
    secret = named(server, f"{HOME}/secrets")
    pod(server, imagePullSecrets=[{"name": secret}])
    path = f"{HOME}/secrets/{secret}"
    assert server.ask("GET", path, user=ME).status == 200
    assert server.ask("GET", path, user=SOMEBODY).status == 403
    assert server.ask("GET", path, user=UNNAMED).message.endswith('unknown node for user "system:node:"')


def test_reviews_know_it(server: Api) -> None:
    secret = named(server, f"{HOME}/secrets")
    pod(server, imagePullSecrets=[{"name": secret}])
    asked = {"namespace": "default", "verb": "get", "resource": "secrets", "name": secret}
    for node, allowed in (("n1", True), ("n2", False)):
        spec = {"user": f"system:node:{node}", "groups": ["system:nodes"], "resourceAttributes": asked}
        answer = server.ask("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {"spec": spec})
        assert answer.body["status"]["allowed"] is allowed
    pods = {
        "verb": "list",
        "resource": "pods",
        "fieldSelector": {"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n1"]}]},
    }
    answer = server.ask(
        "POST",
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        {"spec": {"resourceAttributes": pods}},
        user=ME,
    )
    assert answer.body["status"]["allowed"] is True
    answer = server.ask(
        "POST",
        "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
        {"spec": {"namespace": "default"}},
        user=ME,
    )
    status = answer.body["status"]
    assert status["incomplete"] and status["evaluationError"] == (
        "node authorizer does not support user rule resolution"
    )


def test_without_the_mode_nodes_are_rbacs(server: Api) -> None:
    with api(authorization_modes=("RBAC",)) as other:
        assert other.ask("GET", f"{CORE}/services", user=ME).status == 403


class Past:
    """A history whose memory is as long as it is told."""

    def __init__(self) -> None:
        self.pods: dict[bytes, Any] = {}
        self.log: list[bytes] = []
        self.forgets = False
        self.reads = 0

    def put(self, name: str, node: str, secret: str) -> None:
        meta = {"name": name, "namespace": "d"}
        self.pods[name.encode()] = {
            "metadata": meta,
            "spec": {"nodeName": node, "imagePullSecrets": [{"name": secret}]},
        }
        self.log.append(name.encode())

    def drop(self, name: str) -> None:
        del self.pods[name.encode()]
        self.log.append(name.encode())

    def revision(self, resource: Resource) -> int:
        return len(self.log) if resource == PODS else 0

    def changed(self, resource: Resource, after: int) -> list[bytes] | None:
        return None if self.forgets else self.log[after:]

    def revisions(self, resource: Resource) -> dict[bytes, int]:
        return {key: self._revision(key) for key in self.pods} if resource == PODS else {}

    def read(self, resource: Resource, key: bytes) -> Read | None:
        self.reads += 1
        found = self.pods.get(key)
        return Read(self._revision(key), found) if found is not None else None

    def _revision(self, key: bytes) -> int:
        return len(self.log) - self.log[::-1].index(key)


def test_the_graph_follows_what_happens_and_begins_anew_where_it_must() -> None:
    past = Past()
    graph = NodeGraph(past)

    def sees(node: str, secret: str) -> bool:
        return graph.relates(Vertex(SECRETS.plural, "d", secret), node)

    past.put("a", "n1", "s")
    assert sees("n1", "s")
    past.put("a", "n1", "t")
    past.put("b", "n2", "s")
    assert (sees("n1", "s"), sees("n1", "t"), sees("n2", "s")) == (False, True, True)
    assert past.reads == 3
    past.forgets = True
    past.drop("a")
    past.put("c", "n1", "s")
    assert (sees("n1", "s"), sees("n1", "t"), sees("n2", "s")) == (True, False, True)
    assert past.reads == 5, "what is as it was is not read again"


def test_a_mirror_pod_opens_nothing() -> None:
    past = Past()
    past.put("a", "n1", "s")
    past.pods[b"a"]["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
    assert not NodeGraph(past).relates(Vertex(SECRETS.plural, "d", "s"), "n1")
    assert NodeGraph(past).relates(Vertex(PODS.plural, "d", "a"), "n1")


def token_for(server: Api, account: str, pod: str, *audiences: str) -> str:
    """ "" when the node gets a token, else why not."""
    uid = server.ask("GET", f"{HOME}/pods/{pod}").body["metadata"]["uid"]
    bound = {"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid}
    spec = {"boundObjectRef": bound, "audiences": list(audiences)}
    answer = server.ask("POST", f"{HOME}/serviceaccounts/{account}/token", {"spec": spec}, user=ME)
    return "" if answer.status == 201 else answer.message.partition("is forbidden: ")[2]


def test_tokens_for_the_audiences_of_the_pod(server: Api) -> None:
    """KEP-4412, gate ServiceAccountNodeAudienceRestriction."""
    account, rbac = named(server, f"{HOME}/serviceaccounts"), "/apis/rbac.authorization.k8s.io/v1"
    server.ask(
        "POST",
        "/apis/storage.k8s.io/v1/csidrivers",
        {"metadata": {"name": "d.example"}, "spec": {"tokenRequests": [{"audience": "disk"}]}},
    )
    vault = {"projected": {"sources": [{"serviceAccountToken": {"audience": "vault", "path": "t"}}]}}
    made = pod(
        server,
        serviceAccountName=account,
        volumes=[{"name": "a", **vault}, {"name": "b", "csi": {"driver": "d.example"}}],
    )
    assert [token_for(server, account, made, *a) for a in ((), ("vault",), ("disk",))] == [""] * 3
    assert token_for(server, account, made, "vault", "disk") == "node may only request 0 or 1 audiences"
    why = (
        'audience "registry" not found in pod spec volume, system:node:n1 is not authorized to request tokens for '
        "this audience"
    )
    assert token_for(server, account, made, "registry") == why
    rule = {"apiGroups": [""], "resources": ["registry"], "verbs": ["request-serviceaccounts-token-audience"]}
    role = named(server, f"{rbac}/clusterroles", rules=[rule])
    named(
        server,
        f"{rbac}/clusterrolebindings",
        roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        subjects=[{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": ME.name}],
    )
    assert token_for(server, account, made, "registry") == ""


def test_a_node_asks_for_certificates_of_its_own_name(server: Api) -> None:
    path = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    for name, signer, status in (
        ("system:node:n1", "kubelet-serving", 201),
        ("system:node:n2", "kubelet-serving", 403),
        ("system:node:n2", "kube-apiserver-client-kubelet", 403),
        ("anybody", "kube-apiserver-client", 201),
    ):
        body = csr(next(_names), signer, ["digital signature", "client auth"], common_name=name)
        answer = server.ask("POST", path, body, user=ME)
        assert answer.status == status
        if status == 403:
            assert answer.message.endswith("can only create a node CSR with CN=system:node:n1")
