"""What nobody gets without a quota that covers it (apiserver.config.k8s.io ResourceQuotaConfiguration,
https://kubernetes.io/docs/concepts/policy/resource-quotas/#limit-priority-class-consumption-by-default).

    limitedResources:
    - resource: pods
      matchScopes: [{scopeName: PriorityClass, operator: In, values: [cluster-services]}]
    - resource: persistentvolumeclaims
      matchContains: [gold.storageclass.storage.k8s.io/]
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pilothouse.api.amounts import Amounts
from pilothouse.api.quota.evaluator import Evaluator
from pilothouse.api.types import Obj


class Limited(NamedTuple):
    """One entry: usage whose name contains one of `parts`, objects in one of `scopes`."""

    group: str
    plural: str
    parts: tuple[str, ...]
    scopes: tuple[Obj, ...]


def read(configuration: Obj) -> list[Limited]:
    return [
        Limited(
            entry.get("apiGroup", ""),
            entry.get("resource", ""),
            tuple(entry.get("matchContains") or ()),
            tuple(entry.get("matchScopes") or ()),
        )
        for entry in configuration.get("limitedResources") or ()
    ]


def uncovered_names(
    limited: Iterable[Limited], evaluator: Evaluator, usage: Amounts, covered: set[str]
) -> list[str]:
    """The resources that an object uses and that no quota covers."""
    found = {
        name
        for entry in limited
        if (entry.group, entry.plural) == (evaluator.group, evaluator.plural)
        for name, amount in usage.items()
        if amount.nano > 0 and any(part in name for part in entry.parts)
    }
    return sorted(found - covered)


def uncovered_scopes(
    limited: Iterable[Limited], evaluator: Evaluator, obj: Obj, covered: set[str]
) -> list[Obj]:
    """The scopes that an object is in and that no quota names."""
    return [
        scope
        for entry in limited
        for scope in entry.scopes
        if evaluator.in_scope(scope, obj) and scope["scopeName"] not in covered
    ]


def text(scopes: Sequence[Obj]) -> str:
    """As Go prints them: `[{PriorityClass In [a b]}]`."""
    shown = (
        f"{{{scope['scopeName']} {scope.get('operator', '')} [{' '.join(scope.get('values') or ())}]}}"
        for scope in scopes
    )
    return f"[{' '.join(shown)}]"
