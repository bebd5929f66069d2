"""The authorizer of kubelets, `Node` in --authorization-mode (plugin/pkg/auth/authorizer/node,
https://kubernetes.io/docs/reference/access-authn-authz/node/, KEP-4601 for the selectors).

It is about users named system:node:NAME in the group system:nodes. Of what is told apart by node they see only what
the graph relates to them; of everything else what the rules of the role system:node say, as they are built in. What it
does not allow it has no opinion on: RBAC comes next. What a node may *change* in what it may write is for the admission
plugin NodeRestriction.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from pilothouse.api import fields
from pilothouse.api.types import Obj
from pilothouse.apiserver.authz.node_graph import NodeGraph, Vertex
from pilothouse.apiserver.authz.rbac import Decision, allows
from pilothouse.apiserver.bootstrap.objects import bootstrap_rules
from pilothouse.apiserver.request import RequestInfo, UserInfo

PREFIX = "system:node:"
GROUP = "system:nodes"
NO_RULES = "node authorizer does not support user rule resolution"
_LEASES = "kube-node-lease"
_READ = ("get", "list", "watch")
_OWN = ("get", "create", "update", "patch", "delete")
_ALLOWED = Decision(True)
_NO_OPINION = Decision(False)

Rule = Callable[[str, RequestInfo], Decision]


class NodeAuthorizer:
    def __init__(self, graph: NodeGraph) -> None:
        self._graph = graph
        self._divided: dict[tuple[str, str], Rule] = {
            ("", "secrets"): self._read,
            ("", "configmaps"): self._read,
            ("", "persistentvolumeclaims"): self._volume_claim,
            ("", "persistentvolumes"): self._get,
            ("resource.k8s.io", "resourceclaims"): self._get,
            ("storage.k8s.io", "volumeattachments"): self._get,
            ("", "serviceaccounts"): self._token,
            ("coordination.k8s.io", "leases"): _lease,
            ("storage.k8s.io", "csinodes"): _csi_node,
            ("resource.k8s.io", "resourceslices"): self._slice,
            ("", "nodes"): _node,
            ("", "pods"): self._pod,
            ("certificates.k8s.io", "podcertificaterequests"): self._certificate_request,
        }

    @cached_property
    def _rules(self) -> list[Obj]:
        return bootstrap_rules("system:node")

    def authorize(self, user: UserInfo, info: RequestInfo) -> Decision:
        """Not allowed means no opinion."""
        if not is_node(user):
            return _NO_OPINION
        node = user.name[len(PREFIX) :]
        if not node:
            return Decision(False, f'unknown node for user "{user.name}"')
        rule = self._divided.get((info.group, info.resource)) if info.is_resource else None
        if rule is not None:
            return rule(node, info)
        return _ALLOWED if any(allows(rule, info) for rule in self._rules) else _NO_OPINION

    # -- by the graph -----------------------------------------------------------------------------------

    def _related(self, node: str, info: RequestInfo) -> Decision:
        if not info.name:
            return Decision(False, "No Object name found")
        if self._graph.relates(Vertex(info.resource, info.namespace, info.name), node):
            return _ALLOWED
        return Decision(False, f"no relationship found between node '{node}' and this object")

    def _read(self, node: str, info: RequestInfo) -> Decision:
        if info.verb not in _READ:
            return Decision(False, "can only read resources of this type")
        if info.subresource:
            return Decision(False, "cannot read subresource")
        if not info.namespace:
            return Decision(False, "can only read namespaced object of this type")
        return self._related(node, info)

    def _get(self, node: str, info: RequestInfo) -> Decision:
        if info.verb != "get":
            return Decision(False, "can only get individual resources of this type")
        if info.subresource:
            return Decision(False, "cannot get subresource")
        return self._related(node, info)

    def _volume_claim(self, node: str, info: RequestInfo) -> Decision:
        if info.subresource != "status":
            return self._get(node, info)
        if info.verb not in ("update", "patch"):
            return Decision(False, "can only get/update/patch this type")
        return self._related(node, info)

    def _token(self, node: str, info: RequestInfo) -> Decision:
        if info.verb != "create" or not info.name:
            return Decision(False, "can only create tokens for individual service accounts")
        if info.subresource != "token":
            return Decision(False, "can only create token subresource of serviceaccount")
        return self._related(node, info)

    def _slice(self, node: str, info: RequestInfo) -> Decision:
        if info.subresource:
            return Decision(False, "cannot authorize ResourceSlice subresources")
        if info.verb == "create":
            return _ALLOWED  # the new object is NodeRestriction's to look at
        if info.verb in ("get", "update", "patch", "delete"):
            return self._related(node, info)
        if info.verb in ("watch", "list", "deletecollection"):
            why = "can only list/watch/deletecollection resourceslices with nodeName field selector"
            return _ALLOWED if _selects(info, "spec.nodeName", node) else Decision(False, why)
        return Decision(
            False,
            "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, "
            "delete, deletecollection",
        )

    def _pod(self, node: str, info: RequestInfo) -> Decision:
        match info.subresource, info.verb:
            case "", "get":
                return self._get(node, info)
            case "", "list" | "watch":
                if _selects(info, "spec.nodeName", node):
                    return _ALLOWED
                if info.name:
                    return self._related(node, info)
                return Decision(False, "can only list/watch pods with spec.nodeName field selector")
            case ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create"):
                return _ALLOWED  # whose pods is NodeRestriction's to look at
        return _NO_OPINION

    def _certificate_request(self, node: str, info: RequestInfo) -> Decision:
        if info.subresource:
            return Decision(False, "nodes may not access the status subresource of PodCertificateRequests")
        match info.verb:
            case "create":
                return _ALLOWED
            case "get":
                return self._related(node, info)
            case "list" | "watch":
                if _selects(info, "spec.nodeName", node):
                    return _ALLOWED
                return Decision(
                    False, "can only list/watch PodCertificateRequests with nodeName field selector"
                )
        return Decision(False, "nodes may not modify PodCertificateRequests")


def is_node(user: UserInfo) -> bool:
    """nodeidentifier.NodeIdentity."""
    return user.name.startswith(PREFIX) and GROUP in user.groups


# -- by name --------------------------------------------------------------------------------------------------


def _node(node: str, info: RequestInfo) -> Decision:
    match info.subresource, info.verb:
        case ("", "create" | "update" | "patch") | ("status", "update" | "patch"):
            return _ALLOWED  # which node is NodeRestriction's to look at
        case "", "get" | "list" | "watch":
            if info.name == node:
                return _ALLOWED
            what = f"'{info.name}'" if info.name else "all nodes"
            return Decision(False, f"node '{node}' cannot read {what}, only its own Node object")
    return _NO_OPINION


def _lease(node: str, info: RequestInfo) -> Decision:
    if info.verb not in _OWN:
        return Decision(False, "can only get, create, update, patch, or delete a node lease")
    if info.namespace != _LEASES:
        return Decision(False, f'can only access leases in the "{_LEASES}" system namespace')
    if info.verb != "create" and info.name != node:
        return Decision(False, "can only access node lease with the same name as the requesting node")
    return _ALLOWED


def _csi_node(node: str, info: RequestInfo) -> Decision:
    if info.verb not in _OWN:
        return Decision(False, "can only get, create, update, patch, or delete a CSINode")
    if info.subresource:
        return Decision(False, "cannot authorize CSINode subresources")
    if info.verb != "create" and info.name != node:
        return Decision(False, "can only access CSINode with the same name as the requesting node")
    return _ALLOWED


def _selects(info: RequestInfo, field: str, value: str) -> bool:
    """Whether a request asks only for objects whose field has this value."""
    try:
        selector = fields.parse(info.field_selector)
    except ValueError:
        return False
    return any(term.equal and term.field == field and term.value == value for term in selector.terms)
