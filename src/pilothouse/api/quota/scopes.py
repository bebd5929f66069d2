"""Scopes narrow a quota to some objects (https://kubernetes.io/docs/concepts/policy/resource-quotas/#quota-scopes)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pilothouse.api.labels import Requirement
from pilothouse.api.types import Obj

_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}


def selectors(quota: Obj) -> Iterator[Obj]:
    """A quota's scopes and scope selector as one list of requirements: scopeName, operator, values."""
    spec = quota.get("spec") or {}
    for scope in spec.get("scopes") or ():
        yield {"scopeName": scope, "operator": "Exists"}
    yield from (spec.get("scopeSelector") or {}).get("matchExpressions") or ()


def counted_selectors(quota: Obj) -> Iterator[Obj]:
    """The same for counting: upstream leaves out the operator of plain scopes there, so that a plain PriorityClass
    scope counts nothing (generic.CalculateUsageStats)."""
    spec = quota.get("spec") or {}
    for scope in spec.get("scopes") or ():
        yield {"scopeName": scope}
    yield from (spec.get("scopeSelector") or {}).get("matchExpressions") or ()


def matches_values(selector: Obj, values: Mapping[str, str]) -> bool:
    """Whether a requirement holds for the values by scope. ValueError for an operator that is none
    (helper.ScopedResourceSelectorRequirementsAsSelector)."""
    given = selector.get("operator", "")
    operator = _OPERATORS.get(given)
    if operator is None:
        raise ValueError(f'"{given}" is not a valid scope selector operator')
    return Requirement(selector["scopeName"], operator, tuple(selector.get("values") or ())).matches(values)
