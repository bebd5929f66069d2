"""Authorizers in a row, as --authorization-mode names them: the first that has an opinion decides
(k8s.io/apiserver/pkg/authorization/union).

Node is named by everybody who runs a real cluster and has no opinion here: what nodes may do is RBAC's to say.
"""

from __future__ import annotations

from collections.abc import Sequence

from pilothouse.api.types import Obj
from pilothouse.apiserver.authz.rbac import MASTERS, Decision, Rbac
from pilothouse.apiserver.request import RequestInfo, UserInfo

_EVERYTHING: list[Obj] = [
    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
    {"verbs": ["*"], "nonResourceURLs": ["*"]},
]


class Modes:
    """`modes` of AlwaysAllow, AlwaysDeny, Node, RBAC. Members of system:masters may do anything in any of them."""

    def __init__(self, rbac: Rbac, modes: Sequence[str]) -> None:
        self._rbac = rbac
        self._modes = [mode for mode in modes if mode != "Node"]
        self.authorize = rbac.authorize if self._modes == ["RBAC"] else self._in_turn

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
            decision = self._rbac.authorize(user, info)
            if decision.allowed:
                return decision
            reasons.append(decision.reason)
        return Decision(False, "\n".join(filter(None, reasons)))

    def rules(self, user: UserInfo, namespace: str) -> list[Obj]:
        """Every rule that is the user's in a namespace."""
        found = []
        for mode in self._modes:
            if mode == "AlwaysAllow":
                found += _EVERYTHING
            elif mode == "RBAC":
                found += self._rbac.rules(user, namespace)
        return found
