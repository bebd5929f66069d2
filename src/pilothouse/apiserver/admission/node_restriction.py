"""NodeRestriction: a kubelet changes its own node, and the pods on it, and nothing else
(plugin/pkg/admission/noderestriction, https://kubernetes.io/docs/reference/access-authn-authz/node/).

It is about users named system:node:NAME in the group system:nodes; everybody else passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from pilothouse.api import errors
from pilothouse.api.field import go_quote
from pilothouse.api.resources import NODES, PODS
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission import token_audiences
from pilothouse.apiserver.admission.node_certificates import PodCertificates, check_signing_request
from pilothouse.apiserver.admission.plugin import Attributes, Environment, Operation, Plugin
from pilothouse.apiserver.admission.pod_references import references
from pilothouse.apiserver.request import RequestInfo, UserInfo

_USER_PREFIX, _GROUP = "system:node:", "system:nodes"
_LEASES = "kube-node-lease"
_MIRROR = "kubernetes.io/config.mirror"
_RESTRICTED_LABELS = "node-restriction.kubernetes.io"
_LABELS = frozenset(
    (
        "kubernetes.io/hostname", "kubernetes.io/arch", "kubernetes.io/os", "beta.kubernetes.io/arch",
        "beta.kubernetes.io/os", "beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type",
        "node.kubernetes.io/windows-build", "topology.kubernetes.io/region", "topology.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region", "failure-domain.beta.kubernetes.io/zone",
    )
)  # fmt: skip
_LABEL_DOMAINS = ("kubelet.kubernetes.io", "node.kubernetes.io")
"""Kubernetes' own labels that kubelets set themselves (kubeletapis.IsKubeletLabel)."""
_AUDIENCE_VERB = "request-serviceaccounts-token-audience"
_CLAIM_STATUS = ("allocatedResourceStatuses", "allocatedResources", "capacity", "conditions")


class NodeRestriction(Plugin):
    name: ClassVar[str] = "NodeRestriction"
    operations: ClassVar[frozenset[Operation]] = frozenset(("CREATE", "UPDATE", "DELETE"))

    def __init__(self, env: Environment) -> None:
        self._lister = env.lister
        self._authorize = env.authorize
        self._rules: dict[tuple[str, str], Callable[[str, Attributes], None]] = {
            ("", "pods"): self._pod,
            ("", "nodes"): _node,
            ("", "persistentvolumeclaims"): _claim,
            ("", "serviceaccounts"): self._account,
            ("coordination.k8s.io", "leases"): _lease,
            ("storage.k8s.io", "csinodes"): _csi_node,
            ("resource.k8s.io", "resourceslices"): _slice,
            ("certificates.k8s.io", "certificatesigningrequests"): check_signing_request,
            ("certificates.k8s.io", "podcertificaterequests"): PodCertificates(env.lister).check,
        }

    async def admit(self, a: Attributes) -> None:
        name = node_of(a.user)
        if name is None:
            return
        if not name:
            raise a.forbidden(f"could not determine node from user {go_quote(a.user.name)}")
        rule = self._rules.get((a.resource.group, a.resource.plural))
        if rule is not None:
            rule(name, a)

    # -- pods -------------------------------------------------------------------------------------------

    def _pod(self, node: str, a: Attributes) -> None:
        by_subresource = {"": self._whole_pod, "status": self._pod_status, "eviction": self._eviction}
        rule = by_subresource.get(a.subresource)
        if rule is None:
            raise a.forbidden(
                f"unexpected pod subresource {go_quote(a.subresource)}, only 'status' and 'eviction' are allowed"
            )
        rule(node, a)

    def _whole_pod(self, node: str, a: Attributes) -> None:
        if a.operation == "CREATE":
            self._new_pod(node, a)
        elif a.operation == "DELETE":
            if _node_name(a.old) != node:
                raise a.forbidden(
                    f"node {go_quote(node)} can only delete pods with spec.nodeName set to itself"
                )
        else:
            raise a.forbidden(
                f"unexpected operation {go_quote(a.operation)}, node {go_quote(node)} can only create and delete "
                "mirror pods"
            )

    def _new_pod(self, node: str, a: Attributes) -> None:
        """Kubelets show the static pods that they run, and those refer to nothing."""
        pod, me = a.obj or {}, f"node {go_quote(node)}"
        if _MIRROR not in (pod["metadata"].get("annotations") or {}):
            raise a.forbidden(
                f"pod does not have {go_quote(_MIRROR)} annotation, {me} can only create mirror pods"
            )
        if _node_name(pod) != node:
            raise a.forbidden(f"{me} can only create pods with spec.nodeName set to itself")
        self._check_owner(node, a)
        if pod["spec"].get("serviceAccountName"):
            raise a.forbidden(f"{me} can not create pods that reference a service account")
        for what in references(pod["spec"]):
            raise a.forbidden(f"{me} can not create pods that reference {what}")

    def _check_owner(self, node: str, a: Attributes) -> None:
        owners = (a.obj or {})["metadata"].get("ownerReferences") or []
        me = f"node {go_quote(node)}"
        if len(owners) > 1:
            raise a.forbidden(f"{me} can only create pods with a single owner reference set to itself")
        owner = owners[0] if owners else {}
        if (owner.get("apiVersion"), owner.get("kind"), owner.get("name")) != ("v1", "Node", node):
            raise a.forbidden(f"{me} can only create pods with an owner reference set to itself")
        if not owner.get("controller"):
            raise a.forbidden(f"{me} can only create pods with a controller owner reference set to itself")
        if owner.get("blockOwnerDeletion"):
            raise a.forbidden(f"{me} must not set blockOwnerDeletion on an owner reference")
        stored = self._lister.get(NODES, node)
        if stored is None:
            raise errors.not_found("", "nodes", node)
        if owner.get("uid") != stored["metadata"]["uid"]:
            expected = owner.get("uid", "")
            raise a.forbidden(
                f"node {node} UID mismatch: expected {expected} got {stored['metadata']['uid']}"
            )

    def _pod_status(self, node: str, a: Attributes) -> None:
        if a.operation != "UPDATE":
            raise a.forbidden(f"unexpected operation {go_quote(a.operation)}")
        me = f"node {go_quote(node)}"
        if _node_name(a.old) != node:
            raise a.forbidden(f"{me} can only update pod status for pods with spec.nodeName set to itself")
        if _labels(a.obj) != _labels(a.old):
            raise a.forbidden(f"{me} cannot update labels through pod status")
        if _claim_statuses(a.obj) != _claim_statuses(a.old):
            raise a.forbidden(f"{me} cannot update resource claim statues")

    def _eviction(self, node: str, a: Attributes) -> None:
        if a.operation != "CREATE":
            raise a.forbidden(f"unexpected operation {a.operation}")
        if _node_name(self._stored_pod(a, a.name)) != node:
            raise a.forbidden(f"node {node} can only evict pods with spec.nodeName set to itself")

    def _stored_pod(self, a: Attributes, name: str) -> Obj:
        pod = self._lister.get(PODS, name, a.namespace)
        if pod is None:
            raise errors.not_found("", "pods", name)
        return pod

    # -- accounts ---------------------------------------------------------------------------------------

    def _account(self, node: str, a: Attributes) -> None:
        """A node gets tokens for the pods that run on it."""
        if a.operation != "CREATE" or a.subresource != "token":
            return
        ref = ((a.obj or {}).get("spec") or {}).get("boundObjectRef") or {}
        if (ref.get("apiVersion"), ref.get("kind")) != ("v1", "Pod") or not ref.get("name"):
            raise a.forbidden("node requested token not bound to a pod")
        if not ref.get("uid"):
            raise a.forbidden("node requested token with a pod binding without a uid")
        pod = self._stored_pod(a, ref["name"])
        if ref["uid"] != pod["metadata"]["uid"]:
            raise a.forbidden(
                f"the UID in the bound object reference ({ref['uid']}) does not match the UID in record. The object "
                "might have been deleted and then recreated"
            )
        if _node_name(pod) != node:
            raise a.forbidden("node requested token bound to a pod scheduled on a different node")
        self._check_audience(a, pod)

    def _check_audience(self, a: Attributes, pod: Obj) -> None:
        """For what the pod itself asks tokens for, or RBAC lets the node."""
        audiences = ((a.obj or {}).get("spec") or {}).get("audiences") or []
        if len(audiences) > 1:
            raise a.forbidden("node may only request 0 or 1 audiences")
        audience = audiences[0] if audiences else ""
        if audience in token_audiences.of_pod(self._lister, pod):
            return
        asked = RequestInfo(
            True, "", _AUDIENCE_VERB, namespace=a.namespace, version="v1", resource=audience, name=a.name
        )
        if not self._authorize(a.user, asked).allowed:
            raise a.forbidden(
                f"audience {go_quote(audience)} not found in pod spec volume, {a.user.name} is not authorized to "
                "request tokens for this audience"
            )


def node_of(user: UserInfo) -> str | None:
    """The node that a user is; None for those that are none (nodeidentifier.NodeIdentity)."""
    if not user.name.startswith(_USER_PREFIX) or _GROUP not in user.groups:
        return None
    return user.name[len(_USER_PREFIX) :]


def _node_name(pod: Obj | None) -> str:
    return str(((pod or {}).get("spec") or {}).get("nodeName", ""))


def _labels(obj: Obj | None) -> dict[str, str]:
    return dict(((obj or {}).get("metadata") or {}).get("labels") or {})


def _claim_statuses(pod: Obj | None) -> list[tuple[Any, Any]]:
    found = ((pod or {}).get("status") or {}).get("resourceClaimStatuses") or ()
    return [(s.get("name"), s.get("resourceClaimName")) for s in found]


def _node(node: str, a: Attributes) -> None:
    me = f"node {go_quote(node)}"
    if a.name != node:
        raise a.forbidden(f"{me} is not allowed to modify node {go_quote(a.name)}")
    spec, before = ((o or {}).get("spec") or {} for o in (a.obj, a.old))
    wrong = ", ".join(sorted(_forbidden_labels(_labels(a.obj), _labels(a.old))))
    if a.operation == "CREATE":
        if spec.get("configSource") is not None:
            raise a.forbidden(f"{me} is not allowed to create pods with a non-nil configSource")
        if wrong:
            raise a.forbidden(f"{me} is not allowed to set the following labels: {wrong}")
    if a.operation == "UPDATE":
        source = spec.get("configSource")
        if source is not None and source != before.get("configSource"):
            raise a.forbidden(f"{me} is not allowed to update configSource to a new non-nil configSource")
        if (spec.get("taints") or []) != (before.get("taints") or []):
            raise a.forbidden(f"{me} is not allowed to modify taints")
        if wrong:
            raise a.forbidden(f"is not allowed to modify labels: {wrong}")


def _forbidden_labels(now: dict[str, str], before: dict[str, str]) -> Iterator[str]:
    """Those that would draw pods to a node: restricted ones, and Kubernetes' own that are no kubelet's business."""
    for key in now.keys() | before.keys():
        if now.get(key) == before.get(key):
            continue
        domain = key.partition("/")[0] if "/" in key else ""
        own = _within(domain, "kubernetes.io") or _within(domain, "k8s.io")
        if _within(domain, _RESTRICTED_LABELS) or (own and not _is_kubelets(key, domain)):
            yield key


def _is_kubelets(key: str, domain: str) -> bool:
    return key in _LABELS or any(_within(domain, own) for own in _LABEL_DOMAINS)


def _within(domain: str, parent: str) -> bool:
    return domain == parent or domain.endswith("." + parent)


def _claim(node: str, a: Attributes) -> None:
    if a.subresource != "status":
        raise a.forbidden("may only update PVC status")
    if a.operation != "UPDATE":
        raise a.forbidden(f"unexpected operation {go_quote(a.operation)}")
    if _but_sizes(a.obj or {}) != _but_sizes(a.old or {}):
        raise a.forbidden(
            f"node {go_quote(node)} is not allowed to update fields other than status.capacity and status.conditions"
        )


def _but_sizes(claim: Obj) -> Obj:
    meta = {k: v for k, v in claim["metadata"].items() if k not in ("managedFields", "resourceVersion")}
    status = {k: v for k, v in (claim.get("status") or {}).items() if k not in _CLAIM_STATUS}
    return {**claim, "metadata": meta, "status": status}


def _lease(node: str, a: Attributes) -> None:
    if a.namespace != _LEASES:
        raise a.forbidden(f"can only access leases in the {go_quote(_LEASES)} system namespace")
    if a.name != node:
        raise a.forbidden("can only access node lease with the same name as the requesting node")


def _csi_node(node: str, a: Attributes) -> None:
    if a.name != node:
        raise a.forbidden("can only access CSINode with the same name as the requesting node")


def _slice(node: str, a: Attributes) -> None:
    verb = {"CREATE": "create", "DELETE": "delete"}.get(a.operation)
    part = a.obj if a.operation == "CREATE" else a.old
    if verb is not None and _node_name(part) != node:
        raise a.forbidden(f"can only {verb} ResourceSlice with the same NodeName as the requesting node")
