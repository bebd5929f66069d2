"""Which IP families a service gets (Allocators.initIPFamilyFields in pkg/registry/core/service/storage).

Worked example, on a cluster with IPv4 only: no policy, no families → SingleStack, [IPv4]; PreferDualStack →
[IPv4]; RequireDualStack → refused; headless without a selector → RequireDualStack, [IPv4, IPv6].
"""

from __future__ import annotations

from typing import Any

from pilothouse.api import errors
from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import services as validation

POLICY = "spec.ipFamilyPolicy"


def is_headless(spec: Obj) -> bool:
    return bool(spec.get("clusterIP") == "None")


def matches_prefer_dual_stack(spec: Obj, before: Obj | None) -> bool:
    """An update that leaves a PreferDualStack service alone is not carried along when the cluster gains or
    loses a family (isMatchingPreferDualStackClusterIPFields)."""
    if before is None:
        return False
    if any(s.get("ipFamilyPolicy") not in (None, "PreferDualStack") for s in (spec, before)):
        return False
    if spec.get("ipFamilyPolicy") is None and before.get("ipFamilyPolicy") is None:
        return False
    if "ExternalName" in (spec.get("type"), before.get("type")):
        return False
    return all((spec.get(key) or []) == (before.get(key) or []) for key in ("clusterIPs", "ipFamilies"))


def fill(service: Obj, before: Obj | None, configured: tuple[str, ...]) -> None:
    """Set ipFamilyPolicy and ipFamilies; 422 for what this cluster cannot give. `before`: the old spec."""
    spec = service["spec"]
    if spec.get("type") == "ExternalName" or matches_prefer_dual_stack(spec, before):
        if before is not None and spec.get("ipFamilyPolicy") is None and spec.get("type") != "ExternalName":
            spec["ipFamilyPolicy"] = before["ipFamilyPolicy"]
        return
    if spec.get("ipFamilyPolicy") is None:
        spec["ipFamilyPolicy"] = _default_policy(spec, before)
    _refuse(service, validation.cluster_ips(spec, before or {}))
    found = _reductions(spec, before) if before is not None else []
    found += _single_stack(spec)
    found += _infer(spec, configured)
    _refuse(service, found)
    if is_headless(spec) and not spec.get("selector"):
        _headless_without_selector(spec, configured[0])
        return
    _refuse(service, _unavailable(spec, configured))
    if not spec.get("ipFamilies"):
        spec["ipFamilies"] = [configured[0]]
    wants_two = spec["ipFamilyPolicy"] != "SingleStack"
    if wants_two and len(spec["ipFamilies"]) == 1 and len(configured) == 2:
        spec["ipFamilies"] = [*spec["ipFamilies"], _other(spec["ipFamilies"][0])]


def _refuse(service: Obj, found: f.Errors) -> None:
    if found:
        raise errors.invalid("", "Service", service["metadata"].get("name", ""), found)


def _other(family: str) -> str:
    return "IPv6" if family == "IPv4" else "IPv4"


def _default_policy(spec: Obj, before: Obj | None) -> Any:
    if before is not None and before.get("ipFamilyPolicy") is not None:
        return before["ipFamilyPolicy"]
    return "RequireDualStack" if is_headless(spec) and not spec.get("selector") else "SingleStack"


def _reductions(spec: Obj, before: Obj) -> f.Errors:
    """Going back to one family takes a clear word: the policy SingleStack."""
    found: f.Errors = []
    policy = spec["ipFamilyPolicy"]
    for key, what in (("clusterIPs", "IP"), ("ipFamilies", "IP family")):
        new, old = spec.get(key) or [], before.get(key) or []
        if policy == "SingleStack":
            if new == old and len(new) > 1:
                spec[key] = new[:1]
        elif new and len(new) == 1 < len(old) and new[0] == old[0]:
            name = "cluster IP" if what == "IP" else what
            why = f"must be 'SingleStack' to release the secondary {name}"
            found.append(f.invalid(POLICY, policy, why))
    return found


def _single_stack(spec: Obj) -> f.Errors:
    if spec["ipFamilyPolicy"] != "SingleStack":
        return []
    why = "must be 'RequireDualStack' or 'PreferDualStack' when multiple {} are specified"
    return [
        f.invalid(POLICY, "SingleStack", why.format(what))
        for key, what in (("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families"))
        if len(spec.get(key) or ()) == 2
    ]


def _infer(spec: Obj, configured: tuple[str, ...]) -> f.Errors:
    """Addresses that were chosen say their families."""
    found: f.Errors = []
    ips, families = spec.get("clusterIPs") or [], list(spec.get("ipFamilies") or ())
    for i, ip in enumerate(ips):
        if ip == "None":
            break
        family = validation.family_of(ip)
        if i < len(families):
            continue
        if family not in configured:
            why = f"{family} is not configured on this cluster"
            found.append(f.invalid(f"spec.clusterIPs[{i}]", ips, why))
        else:
            families.append(family)
    if families:
        spec["ipFamilies"] = families
    return found


def _headless_without_selector(spec: Obj, default: str) -> None:
    """Somebody else manages its endpoints: both families, whatever the cluster has."""
    families = spec.get("ipFamilies") or [default]
    if len(families) < 2 and spec["ipFamilyPolicy"] != "SingleStack":
        families = [families[0], _other(families[0])]
    spec["ipFamilies"] = families


def _unavailable(spec: Obj, configured: tuple[str, ...]) -> f.Errors:
    found: f.Errors = []
    if spec["ipFamilyPolicy"] == "RequireDualStack" and len(configured) < 2:
        why = "this cluster is not configured for dual-stack services"
        found.append(f.invalid(POLICY, "RequireDualStack", why))
    for i, family in enumerate(spec.get("ipFamilies") or ()):
        if family not in configured:
            found.append(f.invalid(f"spec.ipFamilies[{i}]", family, "not configured on this cluster"))
    return found
