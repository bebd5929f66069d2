"""Validation of ingresses, network policies, IP addresses and service CIDRs (pkg/apis/networking/validation)."""

from __future__ import annotations

from collections.abc import Collection

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import addresses, gotext, meta, names
from pilothouse.api.validation.core import dns_label, subdomain

# Network policies

POLICY_TYPES = ("Ingress", "Egress")
PROTOCOLS = ("TCP", "UDP", "SCTP")


def network_policy(obj: Obj, old: Obj | None = None) -> f.Errors:
    """CIDRs that the old policy had may stay as they are."""
    spec: Obj = obj["spec"]
    before: Obj = old["spec"] if old is not None else {}
    known = set(_cidrs(before))
    selector = before.get("podSelector") or {}
    lenient = bool(old is not None and meta.validate_label_selector(selector, ""))
    errors = meta.validate_label_selector(
        spec.get("podSelector") or {}, "spec.podSelector", allow_invalid_values=lenient
    )
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for i, rule in enumerate(spec.get(direction) or ()):
            path = f"spec.{direction}[{i}]"
            for j, port in enumerate(rule.get("ports") or ()):
                _policy_port(port, f"{path}.ports[{j}]", errors)
            for j, peer in enumerate(rule.get(peers) or ()):
                _peer(peer, f"{path}.{peers}[{j}]", known, lenient, errors)
    types = spec.get("policyTypes") or []
    if len(types) > len(POLICY_TYPES):
        errors.append(f.invalid("spec.policyTypes", types, "may not specify more than two policyTypes"))
        return errors
    for i, kind in enumerate(types):
        if kind not in POLICY_TYPES:
            errors.append(f.not_supported(f"spec.policyTypes[{i}]", kind, POLICY_TYPES))
    return errors


def _cidrs(spec: Obj) -> list[str]:
    blocks = [
        peer.get("ipBlock") or {}
        for direction, peers in (("ingress", "from"), ("egress", "to"))
        for rule in spec.get(direction) or ()
        for peer in rule.get(peers) or ()
    ]
    return [value for b in blocks for value in (b.get("cidr", ""), *(b.get("except") or ())) if value]


def _policy_port(port: Obj, path: str, out: f.Errors) -> None:
    protocol, number, end = port.get("protocol"), port.get("port"), port.get("endPort")
    if protocol is not None and protocol not in PROTOCOLS:
        out.append(f.not_supported(f"{path}.protocol", protocol, PROTOCOLS))
    at = f"{path}.endPort"
    if number is None:
        if end is not None:
            out.append(f.invalid(at, end, "may not be specified when `port` is not specified"))
    elif isinstance(number, str):
        if end is not None:
            out.append(f.invalid(at, end, "may not be specified when `port` is non-numeric"))
        out += [f.invalid(f"{path}.port", number, why) for why in names.is_port_name(number)]
    else:
        out += [f.invalid(f"{path}.port", number, why) for why in names.is_port_number(number)]
        if end is not None:
            if end < number:
                out.append(f.invalid(at, end, "must be greater than or equal to `port`"))
            out += [f.invalid(at, end, why) for why in names.is_port_number(end)]


def _peer(peer: Obj, path: str, known: Collection[str], lenient: bool, out: f.Errors) -> None:
    count = 0
    for key in ("podSelector", "namespaceSelector"):
        if peer.get(key) is not None:
            count += 1
            out += meta.validate_label_selector(peer[key], f"{path}.{key}", allow_invalid_values=lenient)
    if peer.get("ipBlock") is not None:
        count += 1
        _ip_block(peer["ipBlock"], f"{path}.ipBlock", known, out)
    if not count:
        out.append(f.required(path, "must specify a peer"))
    elif count > 1 and peer.get("ipBlock") is not None:
        out.append(f.forbidden(path, "may not specify both ipBlock and another peer"))


def _ip_block(block: Obj, path: str, known: Collection[str], out: f.Errors) -> None:
    cidr = block.get("cidr", "")
    if not cidr:
        out.append(f.required(f"{path}.cidr"))
        return
    out += addresses.cidr(cidr, f"{path}.cidr", known)
    whole = addresses.network(cidr)
    if whole is None:
        return
    for i, value in enumerate(block.get("except") or ()):
        at = f"{path}.except[{i}]"
        out += addresses.cidr(value, at, known)
        part = addresses.network(value)
        if part is None:
            continue
        same_family = part.version == whole.version
        if not same_family or part.network_address not in whole or whole.prefixlen >= part.prefixlen:
            out.append(f.invalid(at, value, "must be a strict subset of `cidr`"))


def network_policy_warnings(obj: Obj) -> list[str]:
    found: list[str] = []
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for i, rule in enumerate(obj["spec"].get(direction) or ()):
            for j, peer in enumerate(rule.get(peers) or ()):
                block = peer.get("ipBlock") or {}
                path = f"spec.{direction}[{i}].{peers}[{j}].ipBlock"
                if block.get("cidr"):
                    found += addresses.cidr_warnings(block["cidr"], f"{path}.cidr")
                for k, value in enumerate(block.get("except") or ()):
                    found += addresses.cidr_warnings(value, f"{path}.except[{k}]")
    return found


# Ingresses

CLASS_ANNOTATION = "kubernetes.io/ingress.class"
PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
_BAD_SEQUENCES = ("//", "/./", "/../", "%2f", "%2F")
_BAD_ENDS = ("/..", "/.")
NOT_A_NAME = "must be a DNS name, not an IP address"


def ingress(obj: Obj, old: Obj | None = None) -> f.Errors:
    """`old`: what an older server let in may stay."""
    spec: Obj = obj["spec"]
    rules, backend = spec.get("rules") or (), spec.get("defaultBackend")
    errors: f.Errors = []
    if not rules and backend is None:
        why = "either `defaultBackend` or `rules` must be specified"
        errors.append(f.invalid("spec", gotext.NULL, why))
    if backend is not None:
        _backend(backend, "spec.defaultBackend", errors)
    lenient = old is not None and _has_bad_wildcard_rule(old["spec"])
    for i, rule in enumerate(rules):
        _rule(rule, f"spec.rules[{i}]", lenient, errors)
    _tls(spec.get("tls") or (), old, errors)
    name = spec.get("ingressClassName")
    if name is not None:
        errors += subdomain(name, "spec.ingressClassName")
    return errors


def ingress_create(obj: Obj) -> f.Errors:
    errors = ingress(obj)
    annotated = (obj["metadata"].get("annotations") or {}).get(CLASS_ANNOTATION)
    name = obj["spec"].get("ingressClassName")
    if annotated is not None and name is not None and annotated != name:
        why = "must match `ingressClassName` when both are specified"
        errors.append(f.invalid(f"annotations.{CLASS_ANNOTATION}", annotated, why))
    return errors


def _host(host: str, path: str) -> f.Errors:
    check = names.is_wildcard_dns1123_subdomain if "*" in host else names.is_dns1123_subdomain
    return [f.invalid(path, host, why) for why in check(host)]


def _tls(items: Collection[Obj], old: Obj | None, out: f.Errors) -> None:
    before = (old["spec"].get("tls") or ()) if old is not None else ()
    lenient = any(names.is_dns1123_subdomain(t["secretName"]) for t in before if t.get("secretName"))
    for i, tls in enumerate(items):
        path = f"spec.tls[{i}]"
        for j, host in enumerate(tls.get("hosts") or ()):
            out += _host(host, f"{path}.hosts[{j}]")
        if tls.get("secretName") and not lenient:
            out += subdomain(tls["secretName"], f"{path}.secretName")


def _rule(rule: Obj, path: str, lenient: bool, out: f.Errors) -> None:
    host = rule.get("host", "")
    if host:
        if addresses.parse(host) is not None:
            out.append(f.invalid(f"{path}.host", host, NOT_A_NAME))
        out += _host(host, f"{path}.host")
    if "*" not in host or not lenient:
        _rule_value(rule, path, out)


def _has_bad_wildcard_rule(spec: Obj) -> bool:
    for rule in spec.get("rules") or ():
        found: f.Errors = []
        if "*" in rule.get("host", ""):
            _rule_value(rule, "", found)
        if found:
            return True
    return False


def _rule_value(rule: Obj, path: str, out: f.Errors) -> None:
    http = rule.get("http")
    if http is None:
        return
    paths = http.get("paths") or ()
    if not paths:
        out.append(f.required(f"{path}.http.paths"))
    for i, item in enumerate(paths):
        _http_path(item, f"{path}.http.paths[{i}]", out)


def _http_path(item: Obj, path: str, out: f.Errors) -> None:
    kind, value = item.get("pathType"), item.get("path", "")
    if kind is None:
        out.append(f.required(f"{path}.pathType", "pathType must be specified"))
        return
    at = f"{path}.path"
    if kind in ("Exact", "Prefix"):
        if not value.startswith("/"):
            out.append(f.invalid(at, value, "must be an absolute path"))
        out += [f.invalid(at, value, f"must not contain '{bad}'") for bad in _BAD_SEQUENCES if bad in value]
        out += [f.invalid(at, value, f"cannot end with '{bad}'") for bad in _BAD_ENDS if value.endswith(bad)]
    elif kind == "ImplementationSpecific":
        if value and not value.startswith("/"):
            out.append(f.invalid(at, value, "must be an absolute path"))
    else:
        out.append(f.not_supported(f"{path}.pathType", kind, PATH_TYPES))
    _backend(item.get("backend") or {}, f"{path}.backend", out)


def _backend(backend: Obj, path: str, out: f.Errors) -> None:
    resource, service = backend.get("resource"), backend.get("service")
    if resource is not None and service is not None:
        out.append(f.invalid(path, "", "cannot set both resource and service backends"))
    elif resource is not None:
        _typed_reference(resource, f"{path}.resource", out)
    elif service is not None:
        _service_backend(service, path, out)
    else:
        out.append(f.invalid(path, "", "resource or service backend is required"))


def _service_backend(service: Obj, path: str, out: f.Errors) -> None:
    if service.get("name"):
        out += dns_label(service["name"], f"{path}.service.name")
    else:
        out.append(f.required(f"{path}.service.name"))
    port = service.get("port") or {}
    name, number = port.get("name", ""), port.get("number", 0)
    if name and number:
        out.append(f.invalid(path, "", "cannot set both port name & port number"))
    elif name:
        out += [f.invalid(f"{path}.service.port.name", name, why) for why in names.is_port_name(name)]
    elif number:
        at = f"{path}.service.port.number"
        out += [f.invalid(at, number, why) for why in names.is_port_number(number)]
    else:
        out.append(f.required(path, "port name or number is required"))


def _typed_reference(reference: Obj, path: str, out: f.Errors) -> None:
    group = reference.get("apiGroup")
    if group is not None:
        out += subdomain(group, f"{path}.apiGroup")
    for key in ("kind", "name"):
        value = reference.get(key, "")
        if not value:
            out.append(f.required(f"{path}.{key}"))
        else:
            out += [f.invalid(f"{path}.{key}", value, why) for why in names.path_segment(value)]


def ingress_status(obj: Obj, old: Obj) -> f.Errors:
    path = "status.loadBalancer.ingress"
    known = [item.get("ip", "") for item in _balancer_ingress(old)]
    errors: f.Errors = []
    for i, item in enumerate(_balancer_ingress(obj)):
        ip, host = item.get("ip", ""), item.get("hostname", "")
        if ip:
            errors += addresses.ip(ip, f"{path}[{i}].ip", known)
        if host:
            errors += subdomain(host, f"{path}[{i}].hostname")
            if addresses.parse(host) is not None:
                errors.append(f.invalid(f"{path}[{i}].hostname", host, NOT_A_NAME))
    return errors


def _balancer_ingress(obj: Obj) -> Collection[Obj]:
    return ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()


# Ingress classes

CONTROLLER_BYTES_MAX = 250
SCOPES = ("Cluster", "Namespace")


def ingress_class(obj: Obj) -> f.Errors:
    spec: Obj = obj["spec"]
    errors: f.Errors = []
    controller = spec.get("controller", "")
    if not controller:
        errors.append(f.required("spec.controller"))
    else:
        if len(controller.encode()) > CONTROLLER_BYTES_MAX:
            errors.append(f.too_long("spec.controller", "", CONTROLLER_BYTES_MAX))
        errors += _domain_prefixed_path(controller, "spec.controller")
    if spec.get("parameters") is not None:
        _parameters(spec["parameters"], "spec.parameters", errors)
    return errors


def _domain_prefixed_path(value: str, path: str) -> f.Errors:
    """IsDomainPrefixedPath."""
    host, _, rest = value.partition("/")
    if not host or not rest:
        return [f.invalid(path, value, 'must be a domain-prefixed path (such as "acme.io/foo")')]
    errors = [f.invalid(path, host, why) for why in names.is_dns1123_subdomain(host)]
    if not is_url_path(rest):
        errors.append(
            f.invalid(
                path, rest, "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')"
            )
        )
    return errors


def is_url_path(value: str) -> bool:
    return names.full(r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+", value)


def _parameters(reference: Obj, path: str, out: f.Errors) -> None:
    _typed_reference(reference, path, out)
    scope, namespace = reference.get("scope"), reference.get("namespace")
    if scope is None:
        out.append(f.required(f"{path}.scope"))
    elif scope not in SCOPES:
        out.append(f.not_supported(f"{path}.scope", scope, SCOPES))
    elif scope == "Namespace":
        if namespace is None:
            out.append(f.required(f"{path}.namespace", "`parameters.scope` is set to 'Namespace'"))
        else:
            out += dns_label(namespace, f"{path}.namespace")
    elif namespace is not None:
        out.append(f.forbidden(f"{path}.namespace", "`parameters.scope` is set to 'Cluster'"))


def ingress_class_update(obj: Obj, old: Obj) -> f.Errors:
    errors: f.Errors = []
    controller = obj["spec"].get("controller", "")
    if controller != old["spec"].get("controller", ""):
        errors.append(f.invalid("spec.controller", controller, "field is immutable"))
    return errors + ingress_class(obj)


# IP addresses and service CIDRs

_PARENT = gotext.struct(Group="", Resource="", Namespace="", Name="")
_CIDRS = gotext.struct(json={"CIDRs": "cidrs"}, CIDRs=None)


def ip_address(obj: Obj) -> f.Errors:
    parent = (obj.get("spec") or {}).get("parentRef")
    path = "spec.parentRef"
    if parent is None:
        return [f.required(path)]
    errors: f.Errors = []
    if parent.get("group"):
        errors += subdomain(parent["group"], f"{path}.group")
    for key in ("resource", "name"):
        if not parent.get(key):
            errors.append(f.required(f"{path}.{key}"))
        else:
            errors += _segment(parent[key], f"{path}.{key}")
    if parent.get("namespace"):
        errors += _segment(parent["namespace"], f"{path}.namespace")
    return errors


def _segment(value: str, path: str) -> f.Errors:
    return [f.invalid(path, value, why) for why in names.path_segment(value)]


def ip_address_update(obj: Obj, old: Obj) -> f.Errors:
    new, before = ((o.get("spec") or {}).get("parentRef") for o in (obj, old))
    if new == before:
        return []
    return [f.invalid("spec.parentRef", gotext.text(new, _PARENT), "field is immutable")]


def service_cidr(obj: Obj) -> f.Errors:
    path = "spec.cidrs"
    values: list[str] = (obj.get("spec") or {}).get("cidrs") or []
    if not values:
        return [f.required(path, "at least one CIDR required")]
    if len(values) > 2:
        shown = gotext.text({"cidrs": values}, _CIDRS)
        return [f.invalid(path, shown, "may only hold up to 2 values")]
    errors = [e for i, value in enumerate(values) for e in addresses.cidr_canonical(value, f"{path}[{i}]")]
    versions = [network.version for network in map(addresses.network, values) if network is not None]
    if len(versions) == 2 and versions[0] == versions[1]:
        why = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"
        errors.append(f.invalid(path, values, why))
    return errors


def service_cidr_update(obj: Obj, old: Obj) -> f.Errors:
    """A second family may be added; all else stays."""
    new, before = ((o.get("spec") or {}).get("cidrs") or [] for o in (obj, old))
    path, why = "spec.cidrs", "field is immutable"
    if len(new) == len(before):
        return [
            f.invalid(f"{path}[{i}]", value, why)
            for i, (value, was) in enumerate(zip(new, before, strict=True))
            if value != was
        ]
    if len(before) == 1 and len(new) == 2:
        errors = [] if new[0] == before[0] else [f.invalid(f"{path}[0]", new[0], why)]
        return errors + service_cidr(obj)
    return [f.invalid(path, new or gotext.NULL, why)]
