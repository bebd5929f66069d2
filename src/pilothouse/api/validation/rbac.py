"""Validation of the kinds in rbac.authorization.k8s.io (pkg/apis/rbac/validation).

Whether the writer may grant what a role or binding grants is authorization's question, not this one's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import gotext, meta, names

GROUP = "rbac.authorization.k8s.io"


def role(obj: Obj) -> f.Errors:
    return _rules(obj, namespaced=True)


def cluster_role(obj: Obj, old: Obj | None = None) -> f.Errors:
    errors = _rules(obj, namespaced=False)
    rule = obj.get("aggregationRule")
    if rule is None:
        return errors
    path = "aggregationRule.clusterRoleSelectors"
    selectors = rule.get("clusterRoleSelectors") or ()
    if not selectors:
        errors.append(
            f.required(path, "at least one clusterRoleSelector required if aggregationRule is non-nil")
        )
    tolerant = old is not None and _has_bad_selector_values(old)
    for i, selector in enumerate(selectors):
        at = f"{path}[{i}]"
        found = meta.validate_label_selector(selector, at, allow_invalid_values=tolerant)
        errors += found
        if found or (tolerant and meta.validate_label_selector(selector, at)):
            errors.append(f.invalid(at, gotext.NULL, "invalid label selector."))
    return errors


def _has_bad_selector_values(obj: Obj) -> bool:
    selectors = (obj.get("aggregationRule") or {}).get("clusterRoleSelectors") or ()
    return any(meta.validate_label_selector(selector, "") for selector in selectors)


def _rules(obj: Obj, namespaced: bool) -> f.Errors:
    errors: f.Errors = []
    for i, rule in enumerate(obj.get("rules") or ()):
        errors += policy_rule(rule, f"rules[{i}]", namespaced)
    return errors


def policy_rule(rule: Obj, path: str, namespaced: bool) -> f.Errors:
    errors: f.Errors = []
    if not rule.get("verbs"):
        errors.append(f.required(f"{path}.verbs", "verbs must contain at least one value"))
    urls = rule.get("nonResourceURLs")
    if urls:
        at = f"{path}.nonResourceURLs"
        if namespaced:
            errors.append(f.invalid(at, urls, "namespaced rules cannot apply to non-resource URLs"))
        if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
            errors.append(
                f.invalid(at, urls, "rules cannot apply to both regular resources and non-resource URLs")
            )
        return errors
    if not rule.get("apiGroups"):
        errors.append(f.required(f"{path}.apiGroups", "resource rules must supply at least one api group"))
    if not rule.get("resources"):
        errors.append(f.required(f"{path}.resources", "resource rules must supply at least one resource"))
    return errors


def role_binding(obj: Obj) -> f.Errors:
    return _binding(obj, ("Role", "ClusterRole"), namespaced=True)


def cluster_role_binding(obj: Obj) -> f.Errors:
    return _binding(obj, ("ClusterRole",), namespaced=False)


def role_ref_update(obj: Obj, old: Obj) -> f.Errors:
    """A binding's role cannot be exchanged: delete and create the binding instead."""
    if obj["roleRef"] == old["roleRef"]:
        return []
    return [f.invalid("roleRef", gotext.text(obj["roleRef"], _ROLE_REF), "cannot change roleRef")]


_ROLE_REF = gotext.struct(APIGroup="", Kind="", Name="")


def _binding(obj: Obj, kinds: Sequence[str], namespaced: bool) -> f.Errors:
    errors: f.Errors = []
    ref = obj["roleRef"]
    if ref.get("apiGroup") != GROUP:
        errors.append(f.not_supported("roleRef.apiGroup", ref.get("apiGroup", ""), [GROUP]))
    if ref.get("kind") not in kinds:
        errors.append(f.not_supported("roleRef.kind", ref.get("kind", ""), kinds))
    name = ref.get("name", "")
    if not name:
        errors.append(f.required("roleRef.name"))
    else:
        errors += [f.invalid("roleRef.name", name, text) for text in names.path_segment(name)]
    for i, subject in enumerate(obj.get("subjects") or ()):
        errors += _subject(subject, f"subjects[{i}]", namespaced)
    return errors


def _subject(subject: Obj, path: str, namespaced: bool) -> f.Errors:
    errors: f.Errors = []
    name, group = subject.get("name", ""), subject.get("apiGroup", "")
    kind: Any = subject.get("kind", "")
    if not name:
        errors.append(f.required(f"{path}.name"))
    if kind == "ServiceAccount":
        if name:
            errors += [f.invalid(f"{path}.name", name, text) for text in names.is_dns1123_subdomain(name)]
        if group:
            errors.append(f.not_supported(f"{path}.apiGroup", group, [""]))
        if not namespaced and not subject.get("namespace"):
            errors.append(f.required(f"{path}.namespace"))
    elif kind in ("User", "Group"):
        if group != GROUP:
            errors.append(f.not_supported(f"{path}.apiGroup", group, [GROUP]))
    else:
        errors.append(f.not_supported(f"{path}.kind", kind, ["ServiceAccount", "User", "Group"]))
    return errors
