"""Taints and tolerations (k8s.io/component-helpers/scheduling/corev1, Toleration.ToleratesTaint)."""

from __future__ import annotations

from collections.abc import Collection

from pilothouse.api.types import Obj


def tolerates(toleration: Obj, taint: Obj) -> bool:
    """Whether a toleration matches a taint; an empty effect or key matches any."""
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    if toleration.get("operator", "Equal") in ("", "Equal"):
        return bool(toleration.get("value", "") == taint.get("value", ""))
    return bool(toleration["operator"] == "Exists")


def tolerates_all(spec: Obj, node: Obj, effects: Collection[str]) -> bool:
    """Whether a pod with this spec tolerates every taint of the node that has one of the effects."""
    tolerations = spec.get("tolerations") or ()
    return all(
        any(tolerates(t, taint) for t in tolerations)
        for taint in (node.get("spec") or {}).get("taints") or ()
        if taint["effect"] in effects
    )
