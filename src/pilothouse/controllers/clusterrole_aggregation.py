"""ClusterRole aggregation controller: roles with an aggregationRule hold the rules of the roles that it selects
(k8s.io/kubernetes/pkg/controller/clusterroleaggregation,
https://kubernetes.io/docs/reference/access-authn-authz/rbac/#aggregated-clusterroles)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from pilothouse.api import labels
from pilothouse.api.errors import ApiError
from pilothouse.api.resources import CLUSTER_ROLES
from pilothouse.api.types import Obj
from pilothouse.client.reconciler import Controller


class ClusterRoleAggregationController(Controller):
    name: ClassVar[str] = "clusterrole-aggregation-controller"
    queue_name: ClassVar[str] = "ClusterRoleAggregator"

    def setup(self) -> None:
        self._roles = self.watch(CLUSTER_ROLES, keys=self._aggregated)

    def _aggregated(self, _: Obj) -> Iterable[str]:
        """Any role may be part of any aggregated one."""
        return [r["metadata"]["name"] for r in self._roles.list() if r.get("aggregationRule")]

    async def reconcile(self, key: str) -> float | None:
        role = self._roles.get(key)
        if role is None or not role.get("aggregationRule"):
            return None
        rules = aggregate(role, self._roles.list())
        if rules == (role.get("rules") or []):
            return None
        body = {
            "apiVersion": CLUSTER_ROLES.group_version,
            "kind": CLUSTER_ROLES.kind,
            "metadata": {"name": key},
            "rules": rules,
        }
        try:
            await self.client.patch(
                CLUSTER_ROLES, key, body, patch_type="apply", fieldManager=self.name, force="true"
            )
        except ApiError as error:
            if error.code != 404:
                raise
        return None


def aggregate(role: Obj, roles: Iterable[Obj]) -> list[Obj]:
    """The rules of all selected roles: selector by selector, role by role in the order of names, each rule once."""
    by_name = sorted(roles, key=lambda r: str(r["metadata"]["name"]))
    found: list[Obj] = []
    for selector in role["aggregationRule"].get("clusterRoleSelectors") or ():
        wanted = labels.from_label_selector(selector)
        for other in by_name:
            if other["metadata"]["name"] == role["metadata"]["name"]:
                continue
            if wanted.matches(other["metadata"].get("labels") or {}):
                found += [rule for rule in other.get("rules") or () if rule not in found]
    return found
