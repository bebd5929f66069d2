"""Whether a node is one that a pod's nodeSelector and required node affinity allow."""

from __future__ import annotations

from collections.abc import Mapping

from pilothouse.api.types import Obj


def matches(pod: Obj, node: Obj) -> bool:
    spec = pod["spec"]
    labels = node["metadata"].get("labels") or {}
    if any(labels.get(k) != v for k, v in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if not required:
        return True
    return any(_term(t, node, labels) for t in required.get("nodeSelectorTerms") or ())


def _term(term: Obj, node: Obj, labels: Mapping[str, str]) -> bool:
    """A term without any requirement matches nothing."""
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    name = {"metadata.name": node["metadata"]["name"]}
    return all(_holds(e, labels) for e in expressions) and all(_holds(f, name) for f in fields)


def _holds(requirement: Obj, values: Mapping[str, str]) -> bool:
    value, wanted = values.get(requirement["key"]), requirement.get("values") or []
    match requirement["operator"]:
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "In":
            return value in wanted
        case "NotIn":
            return value not in wanted
        case operator:
            try:
                actual, bound = int(value or ""), int(wanted[0])
            except (ValueError, IndexError):
                return False
            return actual > bound if operator == "Gt" else actual < bound
