"""Groups that belong to the Kubernetes community: definitions in them need an approval
(k8s.io/apiextensions-apiserver/pkg/apihelpers, pkg/controller/apiapproval;
https://github.com/kubernetes/enhancements/pull/1111).
"""

from __future__ import annotations

import re
from enum import Enum
from urllib.parse import urlsplit

from pilothouse.api import field as f
from pilothouse.api.types import Obj

ANNOTATION = "api-approved.kubernetes.io"
CONDITION = "KubernetesAPIApprovalPolicyConformant"
_SEE = "see https://github.com/kubernetes/enhancements/pull/1111"


class State(Enum):
    """What the annotation says. Value: the condition's status and reason."""

    INVALID = ("False", "InvalidAnnotation")
    APPROVED = ("True", "ApprovedAnnotation")
    BYPASSED = ("False", "UnapprovedAnnotation")
    MISSING = ("False", "MissingAnnotation")


def is_protected(group: str) -> bool:
    return any(group == domain or group.endswith(f".{domain}") for domain in ("k8s.io", "kubernetes.io"))


def state(obj: Obj) -> tuple[State, str]:
    """The approval state of a definition, and why (GetAPIApprovalState)."""
    annotation = (obj["metadata"].get("annotations") or {}).get(ANNOTATION, "")
    must = f"protected groups must have approval annotation {f.go_quote(ANNOTATION)}"
    if not annotation:
        return State.MISSING, f"{must}, {_SEE}"
    if annotation.startswith("unapproved"):
        return State.BYPASSED, f"not approved: {f.go_quote(annotation)}"
    if _is_url(annotation):
        return State.APPROVED, f"approved in {annotation}"
    return State.INVALID, f'{must} with either a URL or a reason starting with "unapproved", {_SEE}'


def _is_url(text: str) -> bool:
    """A scheme and a host, and nothing that Go's url.ParseRequestURI refuses."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s/?#]+(?:[/?#]|$)", text) is None or not text.isprintable():
        return False
    try:
        return urlsplit(text).port != -1
    except ValueError:
        return False


def condition(obj: Obj) -> Obj | None:
    """The condition that a definition should have, without its time; None outside the protected groups."""
    if not is_protected(obj["spec"].get("group", "")):
        return None
    found, why = state(obj)
    status, reason = found.value
    return {"type": CONDITION, "status": status, "reason": reason, "message": why}


def validate(obj: Obj, old: Obj | None) -> f.Errors:
    """An update that leaves the state as it was is never refused for it."""
    if not is_protected(obj["spec"].get("group", "")):
        return []
    found, why = state(obj)
    if old is not None and state(old)[0] is found:
        return []
    path = f"metadata.annotations[{ANNOTATION}]"
    if found is State.INVALID:
        return [f.invalid(path, obj["metadata"]["annotations"][ANNOTATION], why)]
    return [f.required(path, why)] if found is State.MISSING else []
