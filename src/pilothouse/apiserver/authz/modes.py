"""Authorizers in a row, as --authorization-mode names them: the first that has an opinion decides
(k8s.io/apiserver/pkg/authorization/union).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pilothouse.api.types import Obj
from pilothouse.apiserver.authz.node import NO_RULES, PREFIX, NodeAuthorizer, is_node
from pilothouse.apiserver.authz.rbac import MASTERS, Decision, Rbac
from pilothouse.apiserver.request import RequestInfo, UserInfo

Authorize = Callable[[UserInfo, RequestInfo], Decision]
_EVERYTHING: list[Obj] = [
    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
    {"verbs": ["*"], "nonResourceURLs": ["*"]},
]


class Modes:
    """`modes` of AlwaysAllow, AlwaysDeny, Node, RBAC. Members of system:masters may do anything in any of them."""

    def __init__(self, rbac: Rbac, modes: Sequence[str], nodes: NodeAuthorizer | None = None) -> None:
        """Without `nodes` the mode Node has no opinion."""
        self._rbac = rbac
        self._nodes = nodes
        self._modes = [mode for mode in modes if mode != "Node" or nodes is not None]
        self.authorize = self._quickest()

    def _quickest(self) -> Authorize:
        """The usual modes are not worth a loop on every request."""
        if self._modes == ["RBAC"]:
            return self._rbac.authorize
        return self._node_or_rbac if self._modes == ["Node", "RBAC"] else self._in_turn

    def _node_or_rbac(self, user: UserInfo, info: RequestInfo) -> Decision:
        if user.name.startswith(PREFIX):
            return self._in_turn(user, info)
        return self._rbac.authorize(user, info)

    def _in_turn(self, user: UserInfo, info: RequestInfo) -> Decision:
        if MASTERS in user.groups:
            return Decision(True)
        reasons = []
        for mode in self._modes:
            if mode == "AlwaysAllow":
                return Decision(True)
            if mode == "AlwaysDeny":
                reasons.append("Everything is forbidden.")
                continue
            decision = self._of(mode).authorize(user, info)
            if decision.allowed:
                return decision
            reasons.append(decision.reason)
        return Decision(False, "\n".join(filter(None, reasons)))

    def _of(self, mode: str) -> Rbac | NodeAuthorizer:
        if mode == "Node":
            assert self._nodes is not None
            return self._nodes
        return self._rbac

    def unknown_rules(self, user: UserInfo) -> str:
        """Why `rules` does not have all that a user may do; "" when it has."""
        return NO_RULES if "Node" in self._modes and is_node(user) else ""

    def rules(self, user: UserInfo, namespace: str) -> list[Obj]:
        """Every rule that is the user's in a namespace."""
        found = []
        for mode in self._modes:
            if mode == "AlwaysAllow":
                found += _EVERYTHING
            elif mode == "RBAC":
                found += self._rbac.rules(user, namespace)
        return found
