"""What containers and pods ask for: requests, limits, device claims, resize policies."""

from __future__ import annotations

from collections.abc import Collection

from pilothouse.api import field as f
from pilothouse.api import quantity
from pilothouse.api.types import Obj
from pilothouse.api.validation import names
from pilothouse.api.validation.gotext import struct, text
from pilothouse.api.validation.pods.forms import NON_NEGATIVE, checked, listed, one_of

_CONTAINER = frozenset(("cpu", "memory", "ephemeral-storage"))
_QUOTA = frozenset(
    (
        "cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory", "requests.ephemeral-storage",
        "limits.cpu", "limits.memory", "limits.ephemeral-storage", "pods", "resourcequotas", "services",
        "replicationcontrollers", "secrets", "configmaps", "persistentvolumeclaims", "storage",
        "requests.storage", "services.nodeports", "services.loadbalancers",
    )
)  # fmt: skip
_WHOLE = frozenset(
    (
        "pods", "resourcequotas", "services", "replicationcontrollers", "secrets", "configmaps",
        "persistentvolumeclaims", "services.nodeports", "services.loadbalancers",
    )
)  # fmt: skip
HUGE_PAGES = "hugepages-"
_POD_LEVEL = frozenset(("cpu", "memory"))
_NANO = 10**9
_REFERENCE = struct(Name="", ResourceClaimName=None, ResourceClaimTemplateName=None)


def is_native(name: str) -> bool:
    """Ours rather than a vendor's: unprefixed or in kubernetes.io (helper.IsNativeResource)."""
    return "/" not in name or "kubernetes.io/" in name


def is_extended(name: str) -> bool:
    """A vendor's resource that may stand in a quota too (helper.IsExtendedResourceName)."""
    if is_native(name) or name.startswith("requests."):
        return False
    return not names.is_qualified_name(f"requests.{name}")


def resource_name(name: str, path: str, out: f.Errors) -> None:
    """Of a resource in any list (validateResourceName)."""
    if name in _QUOTA:
        return
    found = names.is_qualified_name(name)
    if found:
        out += [f.invalid(path, name, message) for message in found]
    elif "/" not in name and not name.startswith((HUGE_PAGES, "requests." + HUGE_PAGES)):
        out.append(f.invalid(path, name, "must be a standard resource type or fully qualified"))


def is_standard_quota_resource(name: str) -> bool:
    """What a quota may count without a domain in its name (helper.IsStandardQuotaResourceName)."""
    if name in _QUOTA:
        return name != "storage"
    return name.startswith((HUGE_PAGES, "requests." + HUGE_PAGES))


def container_resource_name(name: str, path: str, out: f.Errors) -> None:
    """Of a resource that a container or a limit on containers names (validateContainerResourceName)."""
    if name in _CONTAINER:
        return
    resource_name(name, path, out)
    if "/" not in name:
        if not name.startswith(HUGE_PAGES):
            out.append(f.invalid(path, name, "must be a standard resource for containers"))
    elif not is_native(name) and not is_extended(name):
        out.append(f.invalid(path, name, "doesn't follow extended resource name standard"))


def quantity_value(name: str, value: str, path: str, out: f.Errors) -> None:
    """Not negative, and whole where halves mean nothing (ValidateResourceQuantityValue)."""
    nano = quantity.parse(value).nano
    if nano < 0:
        out.append(f.invalid(path, value, NON_NEGATIVE))
    if nano % _NANO and name not in _CONTAINER and (name in _WHOLE or is_extended(name)):
        out.append(f.invalid(path, value, "must be an integer"))


def requirements(value: Obj, path: str, claim_names: Collection[str], out: f.Errors) -> None:
    """A container's resources."""
    limits, requests = value.get("limits") or {}, value.get("requests") or {}
    for name, amount in limits.items():
        _entry(name, amount, path, "limits", out)
    for name, amount in requests.items():
        _entry(name, amount, path, "requests", out)
        _against_limit(name, amount, limits.get(name), path, out)
    _huge_pages_alone(limits, requests, path, out)
    if value.get("claims"):
        _claims(value["claims"], f"{path}.claims", claim_names, out)


def _entry(name: str, amount: str, path: str, key: str, out: f.Errors) -> None:
    if name in _CONTAINER and quantity.parse(amount).nano >= 0:
        return
    at = f"{path}.{key}[{name}]"
    container_resource_name(name, at, out)
    quantity_value(name, amount, at, out)


def _against_limit(name: str, amount: str, limit: str | None, path: str, out: f.Errors) -> None:
    overcommit = is_native(name) and not name.startswith(HUGE_PAGES)
    if limit is None:
        if not overcommit:
            why = "Limit must be set for non overcommitable resources"
            out.append(f.required(f"{path}.limits", why))
        return
    wanted, most = quantity.parse(amount).nano, quantity.parse(limit).nano
    if wanted != most and not overcommit:
        out.append(f.invalid(f"{path}.requests", amount, f"must be equal to {name} limit of {limit}"))
    elif wanted > most:
        why = f"must be less than or equal to {name} limit of {limit}"
        out.append(f.invalid(f"{path}.requests", amount, why))


def _huge_pages_alone(limits: Obj, requests: Obj, path: str, out: f.Errors) -> None:
    if not any(name.startswith(HUGE_PAGES) for name in (*limits, *requests)):
        return
    if not any(name in ("cpu", "memory") for name in (*limits, *requests)):
        out.append(f.forbidden(path, "HugePages require cpu or memory"))


def _claims(claims: list[Obj], path: str, known: Collection[str], out: f.Errors) -> None:
    seen: set[tuple[str, str]] = set()
    for i, claim in enumerate(claims):
        name, request = claim.get("name", ""), claim.get("request", "")
        if not name:
            out.append(f.required(f"{path}[{i}]"))
            continue
        key = (name, request)
        if key in seen or (request and (name, "") in seen) or (not request and _named(seen, name)):
            out.append(f.duplicate(f"{path}[{i}]", f"{name}/{request}" if request else name))
        seen.add(key)
        if name not in known:
            why = "must be one of the names in pod.spec.resourceClaims"
            why += f": {listed(set(known))}" if known else " which is empty"
            out.append(f.FieldError(f.ErrorType.NOT_FOUND, f"{path}[{i}]", name, why))


def _named(seen: set[tuple[str, str]], name: str) -> bool:
    return any(other == name for other, _ in seen)


def resize_policy(policies: list[Obj], path: str, pod_restart: str, out: f.Errors) -> None:
    seen: set[str] = set()
    for i, policy in enumerate(policies):
        name, action = policy.get("resourceName", ""), policy.get("restartPolicy", "")
        if name in ("cpu", "memory"):
            if name in seen:
                out.append(f.duplicate(f"{path}[{i}]", name))
        elif not name:
            out.append(f.required(path))
        else:
            out.append(f.not_supported(path, name, ("cpu", "memory")))
        seen.add(name)
        if action not in ("NotRequired", "RestartContainer"):
            if action:
                out.append(f.not_supported(path, action, ("NotRequired", "RestartContainer")))
            else:
                out.append(f.required(path))
        if pod_restart == "Never" and action == "RestartContainer":
            why = "must be 'NotRequired' when `restartPolicy` is 'Never'"
            out.append(f.invalid(path, action, why))


def pod_claims(claims: list[Obj], path: str, out: f.Errors) -> None:
    """spec.resourceClaims."""
    seen: set[str] = set()
    for i, claim in enumerate(claims):
        at, name = f"{path}[{i}]", claim.get("name", "")
        if not name:
            out.append(f.required(f"{at}.name"))
        elif name in seen:
            out.append(f.duplicate(f"{at}.name", name))
        else:
            checked(name, f"{at}.name", names.is_dns1123_label, out)
            seen.add(name)
        given, template = claim.get("resourceClaimName"), claim.get("resourceClaimTemplateName")
        if given is not None and template is not None:
            why = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            out.append(f.invalid(at, text(claim, _REFERENCE), why))
        if given is None and template is None:
            why = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
            out.append(f.invalid(at, text(claim, _REFERENCE), why))
        for key, reference in (("resourceClaimName", given), ("resourceClaimTemplateName", template)):
            if reference is not None:
                checked(reference, f"{at}.{key}", names.is_dns1123_subdomain, out)


def pod_level(spec: Obj, path: str, out: f.Errors) -> None:
    """spec.resources: what all containers together may use."""
    value = spec["resources"]
    if value.get("claims") is not None:
        why = "claims cannot be set for Resources at pod-level"
        out.append(f.forbidden(f"{path}.claims", why))
    limits, requests = value.get("limits") or {}, value.get("requests") or {}
    for key, amounts in (("limits", limits), ("requests", requests)):
        for name, amount in amounts.items():
            at = f"{path}.{key}[{name}]"
            if name not in _POD_LEVEL and not name.startswith(HUGE_PAGES):
                supported = ("cpu", "hugepages-", "memory")
                out.append(f.not_supported(at, name, supported))
            quantity_value(name, amount, at, out)
            if key == "requests":
                _against_limit(name, amount, limits.get(name), path, out)
    _aggregate(spec, requests, path, out)
    for i, container in enumerate(spec.get("containers") or ()):
        for name, amount in (container["resources"].get("limits") or {}).items():
            most = limits.get(name)
            if most is not None and quantity.parse(amount).nano > quantity.parse(most).nano:
                why = f"must be less than or equal to pod limits of {most}"
                out.append(f.invalid(f"{path}.containers[{i}][{name}].limits", amount, why))


def _aggregate(spec: Obj, requests: Obj, path: str, out: f.Errors) -> None:
    for name, total in container_requests(spec).items():
        given = requests.get(name, "0")
        if total.nano > quantity.parse(given).nano:
            why = f"must be greater than or equal to aggregate container requests of {total}"
            out.append(f.invalid(f"{path}.requests[{name}]", given, why))


def container_requests(spec: Obj) -> dict[str, quantity.Quantity]:
    """What the containers ask for together: all containers and sidecars at once, or the hungriest init
    container with the sidecars that started before it (resourcehelper.AggregateContainerRequests)."""
    total: dict[str, quantity.Quantity] = {}
    for container in spec.get("containers") or ():
        _add(total, container["resources"].get("requests") or {})
    sidecars: dict[str, quantity.Quantity] = {}
    peak: dict[str, quantity.Quantity] = {}
    for container in spec.get("initContainers") or ():
        requests = container["resources"].get("requests") or {}
        if container.get("restartPolicy") == "Always":
            _add(total, requests)
            _add(sidecars, requests)
            now = dict(sidecars)
        else:
            now = dict(sidecars)
            _add(now, requests)
        _max(peak, now)
    _max(total, peak)
    return total


def _add(total: dict[str, quantity.Quantity], amounts: Obj) -> None:
    for name, amount in amounts.items():
        total[name] = quantity.add(total.get(name, quantity.ZERO), quantity.parse(amount))


def _max(total: dict[str, quantity.Quantity], amounts: dict[str, quantity.Quantity]) -> None:
    for name, amount in amounts.items():
        if name not in total or amount.nano > total[name].nano:
            total[name] = amount


def overhead(amounts: Obj, path: str, out: f.Errors) -> None:
    for name, amount in amounts.items():
        _entry(name, amount, path.rpartition(".")[0], "overhead", out)


def pull_policy(container: Obj, path: str, out: f.Errors) -> None:
    one_of(container, "imagePullPolicy", path, ("Always", "IfNotPresent", "Never"), out, required=True)
