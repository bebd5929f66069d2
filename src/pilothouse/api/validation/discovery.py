"""Validation of endpoint slices (pkg/apis/discovery/validation)."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import addresses, names
from pilothouse.api.validation.core import app_protocol, dns_label, protocol

ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
ENDPOINTS_MAX = 1000
PORTS_MAX = 20000
ADDRESSES_MAX = 100
HINTS_MAX = 8
TOPOLOGY_MAX = 16


def endpoint_slice(obj: Obj, old: Obj | None = None) -> f.Errors:
    errors: f.Errors = []
    kind = obj.get("addressType", "")
    if not kind:
        errors.append(f.required("addressType"))
    elif kind not in ADDRESS_TYPES:
        errors.append(f.not_supported("addressType", kind, ADDRESS_TYPES))
    _endpoints(obj.get("endpoints") or (), kind, old, errors)
    _ports(obj.get("ports") or (), errors)
    return errors


def _endpoints(endpoints: Sequence[Obj], kind: str, old: Obj | None, out: f.Errors) -> None:
    if len(endpoints) > ENDPOINTS_MAX:
        out.append(f.too_many("endpoints", len(endpoints), ENDPOINTS_MAX))
        return
    known = {a for e in (old or {}).get("endpoints") or () for a in e.get("addresses") or ()}
    for i, endpoint in enumerate(endpoints):
        _endpoint(endpoint, kind, f"endpoints[{i}]", known, out)


def _endpoint(endpoint: Obj, kind: str, path: str, known: set[str], out: f.Errors) -> None:
    values = endpoint.get("addresses") or ()
    if not values:
        out.append(f.required(f"{path}.addresses", "must contain at least 1 address"))
    elif len(values) > ADDRESSES_MAX:
        out.append(f.too_many(f"{path}.addresses", len(values), ADDRESSES_MAX))
    for i, value in enumerate(values):
        out += _address(value, kind, f"{path}.addresses[{i}]", known)
    node = endpoint.get("nodeName")
    if node is not None:
        out += [f.invalid(f"{path}.nodeName", node, why) for why in names.is_dns1123_subdomain(node)]
    hostname = endpoint.get("hostname")
    if hostname is not None:
        out += dns_label(hostname, f"{path}.hostname")
    if endpoint.get("hints") is not None:
        _hints(endpoint["hints"], f"{path}.hints", out)


def _address(value: str, kind: str, path: str, known: set[str]) -> f.Errors:
    if kind == "FQDN":
        return _domain_name(value, path)
    if kind not in ("IPv4", "IPv6"):
        return []
    errors = addresses.ip(value, path, known)
    parsed = addresses.parse(value)
    version = ipaddress.IPv4Address if kind == "IPv4" else ipaddress.IPv6Address
    if parsed is not None and not isinstance(parsed, version):
        errors.append(f.invalid(path, value, f"must be an {kind} address"))
    return errors or addresses.non_special(value, path)


def _domain_name(value: str, path: str) -> f.Errors:
    """IsFullyQualifiedDomainName."""
    if not value:
        return [f.required(path)]
    name = value.removesuffix(".")
    faults = names.is_dns1123_subdomain(name)
    if faults:
        return [f.invalid(path, name, ",".join(faults))]
    labels = name.split(".")
    if len(labels) < 2:
        why = "should be a domain with at least two segments separated by dots"
        return [f.invalid(path, name, why)]
    faults = [fault for label in labels for fault in names.is_dns1123_label(label)]
    return [f.invalid(path, name, ",".join(faults))] if faults else []


def _hints(hints: Obj, path: str, out: f.Errors) -> None:
    for key, check in (("forZones", names.is_label_value), ("forNodes", names.is_dns1123_subdomain)):
        items = hints.get(key) or ()
        if len(items) > HINTS_MAX:
            out.append(f.too_many(f"{path}.{key}", len(items), HINTS_MAX))
            return
        seen: set[str] = set()
        for i, item in enumerate(items):
            name, at = item.get("name", ""), f"{path}.{key}[{i}].name"
            if name in seen:
                out.append(f.duplicate(at, name))
            seen.add(name)
            out += [f.invalid(at, name, why) for why in check(name)]


def _ports(ports: Sequence[Obj], out: f.Errors) -> None:
    if len(ports) > PORTS_MAX:
        out.append(f.too_many("ports", len(ports), PORTS_MAX))
        return
    seen: set[str] = set()
    for i, port in enumerate(ports):
        name, path = port.get("name") or "", f"ports[{i}]"
        if name:
            out += dns_label(name, f"{path}.name")
        if name in seen:
            out.append(f.duplicate(f"{path}.name", name))
        seen.add(name)
        protocol(port.get("protocol") or "", f"{path}.protocol", out)
        app_protocol(port, path, out)


def endpoint_slice_update(obj: Obj, old: Obj) -> f.Errors:
    errors = endpoint_slice(obj, old)
    kind = obj.get("addressType", "")
    if kind != old.get("addressType", ""):
        errors.append(f.invalid("addressType", kind, "field is immutable"))
    return errors


def endpoint_slice_warnings(obj: Obj) -> list[str]:
    """Addresses in forms that will not always be taken."""
    if obj.get("addressType") == "FQDN":
        return ["spec.addressType: FQDN endpoints are deprecated"]
    return [
        warning
        for i, endpoint in enumerate(obj.get("endpoints") or ())
        for j, value in enumerate(endpoint.get("addresses") or ())
        for warning in addresses.ip_warnings(value, f"endpoints[{i}].addresses[{j}]")
    ]
