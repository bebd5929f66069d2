"""Node selection as pods write it: nodeSelector and the terms of node affinity, one node at a time
(k8s.io/component-helpers/scheduling/corev1/nodeaffinity).

The scheduler has the same rules on columns (`scheduler.selection`); these are the plain ones, its oracle.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pilothouse.api.types import Obj

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
NAME_FIELD = "metadata.name"
"""The only field that matchFields knows."""


def node_affinity(pod: Obj) -> Obj:
    found: Obj = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    return found


def matches(pod: Obj, node: Obj) -> bool:
    """Whether a pod's nodeSelector and required node affinity let it onto a node."""
    labels = node["metadata"].get("labels") or {}
    selector = pod["spec"].get("nodeSelector") or {}
    if any(labels.get(key) != value for key, value in selector.items()):
        return False
    required = node_affinity(pod).get(REQUIRED)
    return required is None or selector_matches(required, node)


def selector_matches(selector: Obj, node: Obj) -> bool:
    """A NodeSelector: any of its terms; none matches without terms."""
    return any(term_matches(term, node) for term in selector.get("nodeSelectorTerms") or ())


def preference(pod: Obj, node: Obj) -> int:
    """The sum of the weights of the preferred terms that match."""
    preferred = node_affinity(pod).get(PREFERRED) or ()
    return sum(p["weight"] for p in preferred if term_matches(p["preference"], node))


def is_empty(term: Obj) -> bool:
    return not term.get("matchExpressions") and not term.get("matchFields")


def term_matches(term: Obj, node: Obj) -> bool:
    """A NodeSelectorTerm: all of its requirements; an empty one matches nothing."""
    if is_empty(term):
        return False
    labels = node["metadata"].get("labels") or {}
    fields = {NAME_FIELD: node["metadata"]["name"]}
    return _all_hold(term.get("matchExpressions"), labels) and _all_hold(term.get("matchFields"), fields)


def _all_hold(requirements: Iterable[Obj] | None, values: Mapping[str, str]) -> bool:
    return all(holds(r, values.get(r["key"])) for r in requirements or ())


def holds(requirement: Obj, value: str | None) -> bool:
    """A NodeSelectorRequirement against the value that its key has, None where it has none."""
    wanted = requirement.get("values") or []
    match requirement["operator"]:
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "In":
            return value is not None and value in wanted
        case "NotIn":
            return value is None or value not in wanted
        case operator:
            return value is not None and _compares(operator, value, wanted)


def _compares(operator: str, value: str, wanted: list[str]) -> bool:
    """Gt and Lt: both sides are whole numbers, or nothing matches."""
    try:
        actual, bound = int(value), int(wanted[0])
    except (ValueError, IndexError):
        return False
    return actual > bound if operator == "Gt" else actual < bound
