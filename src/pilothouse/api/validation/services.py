"""Validation of services (ValidateService in pkg/apis/core/validation).

Runs after allocation, as upstream does it: a service that gets here has its addresses, families and ports.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from typing import Any

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import addresses, gotext, meta, names
from pilothouse.api.validation.core import app_protocol, dns_label, protocol, subdomain

AFFINITIES = ("ClientIP", "None")
TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
FAMILIES = ("IPv4", "IPv6")
FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
TRAFFIC_POLICIES = ("Cluster", "Local")
DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")
AFFINITY_SECONDS_MAX = 86400
TOPOLOGY_HINTS = "service.kubernetes.io/topology-aware-hints"
TOPOLOGY_MODE = "service.kubernetes.io/topology-mode"
SOURCE_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
IP_MODES = ("Proxy", "VIP")
ONLY_BALANCERS = "may only be used when `type` is 'LoadBalancer'"
ONLY_ONCE = "may not change once set"
_PORT = gotext.struct(Name="", Protocol="", AppProtocol=None, Port=0, TargetPort=0, NodePort=0)


def is_headless(spec: Obj) -> bool:
    return (spec.get("clusterIPs") or [])[:2] == ["None"]


def is_externally_accessible(spec: Obj) -> bool:
    kind = spec.get("type")
    return kind in ("LoadBalancer", "NodePort") or (kind == "ClusterIP" and bool(spec.get("externalIPs")))


def needs_health_check(spec: Obj) -> bool:
    """A port on every node tells a balancer whether the node has endpoints (apiservice.NeedsHealthCheck)."""
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def service(obj: Obj, old: Obj | None = None) -> f.Errors:
    """`old` tells which addresses in forms of the past may stay."""
    spec: Obj = obj["spec"]
    before: Obj = old["spec"] if old is not None else {}
    errors = _topology_annotations(obj["metadata"].get("annotations") or {})
    _by_type(spec, errors)
    _ports(spec, errors)
    if spec.get("selector"):
        errors += meta.validate_labels(spec["selector"], "spec.selector")
    _affinity(spec, errors)
    errors += cluster_ips(spec, before)
    _external_ips(spec, before, errors)
    kind = spec.get("type", "")
    if not kind:
        errors.append(f.required("spec.type"))
    elif kind not in TYPES:
        errors.append(f.not_supported("spec.type", kind, TYPES))
    _node_ports(spec, errors)
    _source_ranges(obj, before, errors)
    _balancer(spec, errors)
    _traffic(spec, errors)
    return errors


def _topology_annotations(annotations: dict[str, str]) -> f.Errors:
    mode, hints = annotations.get(TOPOLOGY_MODE), annotations.get(TOPOLOGY_HINTS)
    if mode is None or hints is None or mode == hints:
        return []
    why = f"must match annotations[{TOPOLOGY_HINTS}] when both are specified"
    return [f.invalid(f"metadata.annotations[{TOPOLOGY_MODE}]", mode, why)]


def _by_type(spec: Obj, out: f.Errors) -> None:
    kind, headless = spec.get("type"), is_headless(spec)
    if not spec.get("ports") and not headless and kind != "ExternalName":
        out.append(f.required("spec.ports"))
    if kind in ("LoadBalancer", "NodePort") and headless:
        out.append(f.invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services"))
    if kind != "ExternalName":
        return
    for key in ("clusterIPs", "ipFamilies"):
        if spec.get(key):
            out.append(f.forbidden(f"spec.{key}", "may not be set for ExternalName services"))
    if spec.get("ipFamilyPolicy") is not None:
        out.append(f.forbidden("spec.ipFamilyPolicy", "may not be set for ExternalName services"))
    name = spec.get("externalName", "").removesuffix(".")
    if name:
        out += subdomain(name, "spec.externalName")
    else:
        out.append(f.required("spec.externalName"))


def _ports(spec: Obj, out: f.Errors) -> None:
    ports = spec.get("ports") or ()
    known: set[str] = set()
    for i, port in enumerate(ports):
        path, name = f"spec.ports[{i}]", port.get("name", "")
        if name:
            out += dns_label(name, f"{path}.name")
            if name in known:
                out.append(f.duplicate(f"{path}.name", name))
            known.add(name)
        elif len(ports) > 1:
            out.append(f.required(f"{path}.name"))
        number = port.get("port", 0)
        out += [f.invalid(f"{path}.port", number, why) for why in names.is_port_number(number)]
        protocol(port.get("protocol", ""), f"{path}.protocol", out)
        target = port.get("targetPort", 0)
        faults = names.is_port_name(target) if isinstance(target, str) else names.is_port_number(target)
        out += [f.invalid(f"{path}.targetPort", target, why) for why in faults]
        app_protocol(port, path, out)


def _affinity(spec: Obj, out: f.Errors) -> None:
    affinity, config = spec.get("sessionAffinity", ""), spec.get("sessionAffinityConfig")
    path = "spec.sessionAffinityConfig"
    if not affinity:
        out.append(f.required("spec.sessionAffinity"))
    elif affinity not in AFFINITIES:
        out.append(f.not_supported("spec.sessionAffinity", affinity, AFFINITIES))
    if affinity == "None" and config is not None:
        out.append(f.forbidden(path, "must not be set when session affinity is None"))
    if affinity == "ClientIP":
        _client_ip(config, path, out)


def _client_ip(config: Obj | None, path: str, out: f.Errors) -> None:
    if config is None:
        out.append(f.required(path, "when session affinity type is ClientIP"))
        return
    client = config.get("clientIP")
    if client is None:
        out.append(f.required(f"{path}.clientIP", "when session affinity type is ClientIP"))
        return
    seconds = client.get("timeoutSeconds")
    if seconds is None:
        why = "when session affinity type is ClientIP"
        out.append(f.required(f"{path}.clientIP.timeoutSeconds", why))
    elif not 0 < seconds <= AFFINITY_SECONDS_MAX:
        why = f"must be greater than 0 and less than {AFFINITY_SECONDS_MAX}"
        out.append(f.invalid(f"{path}.clientIP.timeoutSeconds", seconds, why))


def cluster_ips(spec: Obj, before: Obj) -> f.Errors:
    """clusterIP, clusterIPs, ipFamilies and ipFamilyPolicy among themselves; also asked before allocation
    (ValidateServiceClusterIPsRelatedFields)."""
    if spec.get("type") == "ExternalName":
        return []
    out: f.Errors = []
    ips, families = spec.get("clusterIPs") or [], spec.get("ipFamilies") or []
    _same_first(spec.get("clusterIP", ""), ips, out)
    for i, family in enumerate(families):
        if family not in FAMILIES:
            out.append(f.not_supported(f"spec.ipFamilies[{i}]", family, FAMILIES))
        if family in families[:i]:
            out.append(f.duplicate(f"spec.ipFamilies[{i}]", family))
    policy = spec.get("ipFamilyPolicy")
    if policy is not None and policy not in FAMILY_POLICIES:
        out.append(f.not_supported("spec.ipFamilyPolicy", policy, FAMILY_POLICIES))
    if not _well_formed(ips, before.get("clusterIPs") or (), out):
        return out
    if len(ips) > 1 and len({family_of(ip) for ip in ips}) != 2:
        why = "may specify no more than one IP for each IP family"
        out.append(f.invalid("spec.clusterIPs", ips, why))
    if not is_headless(spec):
        for i, (ip, family) in enumerate(zip(ips, families, strict=False)):
            if family in FAMILIES and family_of(ip) != family:
                why = f"expected an {family} value as indicated by `ipFamilies[{i}]`"
                out.append(f.invalid(f"spec.clusterIPs[{i}]", ip, why))
    return out


def family_of(ip: str) -> str:
    return "IPv6" if isinstance(addresses.parse(ip), ipaddress.IPv6Address) else "IPv4"


def _same_first(ip: str, ips: list[str], out: f.Errors) -> None:
    if not ip:
        if ips:
            why = "must be empty when `clusterIP` is not specified"
            out.append(f.invalid("spec.clusterIPs", ips, why))
    elif not ips:
        out.append(f.required("spec.clusterIPs"))
    elif ips[0] != ip:
        out.append(f.invalid("spec.clusterIPs", ips, "first value must match `clusterIP`"))


def _well_formed(ips: list[str], known: Collection[str], out: f.Errors) -> bool:
    good = True
    for i, ip in enumerate(ips):
        if i == 0 and ip == "None":
            if len(ips) > 1:
                good = False
                why = "'None' must be the first and only value"
                out.append(f.invalid("spec.clusterIPs", ips, why))
            continue
        found = addresses.ip(ip, f"spec.clusterIPs[{i}]", known)
        good = good and not found
        out += found
    if len(ips) > 2:
        out.append(f.invalid("spec.clusterIPs", ips, "may only hold up to 2 values"))
    return good


def _external_ips(spec: Obj, before: Obj, out: f.Errors) -> None:
    for i, ip in enumerate(spec.get("externalIPs") or ()):
        path = f"spec.externalIPs[{i}]"
        out += addresses.ip(ip, path, before.get("externalIPs") or ()) or addresses.non_special(ip, path)


def _node_ports(spec: Obj, out: f.Errors) -> None:
    ports = spec.get("ports") or ()
    if spec.get("type") == "ClusterIP":
        why = "may not be used when `type` is 'ClusterIP'"
        out += [
            f.forbidden(f"spec.ports[{i}].nodePort", why) for i, p in enumerate(ports) if p.get("nodePort")
        ]
    taken: set[tuple[str, int]] = set()
    for i, port in enumerate(ports):
        number = port.get("nodePort")
        if not number:
            continue
        if (port.get("protocol", ""), number) in taken:
            out.append(f.duplicate(f"spec.ports[{i}].nodePort", number))
        taken.add((port.get("protocol", ""), number))
    seen: set[tuple[str, int]] = set()
    for i, port in enumerate(ports):
        key = (port.get("protocol", ""), port.get("port", 0))
        if key in seen:
            shown = {"protocol": key[0], "port": key[1]}
            out.append(f.duplicate(f"spec.ports[{i}]", gotext.text(shown, _PORT)))
        seen.add(key)


def _source_ranges(obj: Obj, before: Obj, out: f.Errors) -> None:
    spec = obj["spec"]
    ranges = spec.get("loadBalancerSourceRanges")
    if ranges:
        path = "spec.LoadBalancerSourceRanges"
        if spec.get("type") != "LoadBalancer":
            out.append(f.forbidden(path, ONLY_BALANCERS))
        known = [value.strip() for value in before.get("loadBalancerSourceRanges") or ()]
        for i, value in enumerate(ranges):
            out += addresses.cidr(value.strip(), f"{path}[{i}]", known)
        return
    annotated = (obj["metadata"].get("annotations") or {}).get(SOURCE_RANGES)
    if annotated is None:
        return
    path = f"metadata.annotations[{SOURCE_RANGES}]"
    if spec.get("type") != "LoadBalancer":
        out.append(f.forbidden(path, ONLY_BALANCERS))
    if annotated.strip():
        for value in annotated.strip().split(","):
            out += addresses.cidr(value.strip(), path)


def _balancer(spec: Obj, out: f.Errors) -> None:
    is_balancer = spec.get("type") == "LoadBalancer"
    allocate = spec.get("allocateLoadBalancerNodePorts")
    if allocate is not None and not is_balancer:
        out.append(f.forbidden("spec.allocateLoadBalancerNodePorts", ONLY_BALANCERS))
    if allocate is None and is_balancer:
        out.append(f.required("allocateLoadBalancerNodePorts"))
    _balancer_class(spec, out)


def _balancer_class(spec: Obj, out: f.Errors) -> None:
    name = spec.get("loadBalancerClass")
    if name is None:
        return
    if spec.get("type") != "LoadBalancer":
        out.append(f.forbidden("spec.loadBalancerClass", ONLY_BALANCERS))
    else:
        out += [f.invalid("spec.loadBalancerClass", name, why) for why in names.is_qualified_name(name)]


def _traffic(spec: Obj, out: f.Errors) -> None:
    external = spec.get("externalTrafficPolicy", "")
    path = "spec.externalTrafficPolicy"
    if not is_externally_accessible(spec):
        if external:
            why = "may only be set for externally-accessible services"
            out.append(f.invalid(path, external, why))
    elif not external:
        out.append(f.required(path))
    elif external not in TRAFFIC_POLICIES:
        out.append(f.not_supported(path, external, TRAFFIC_POLICIES))
    _health_check(spec, out)
    internal = spec.get("internalTrafficPolicy")
    if internal is None:
        if spec.get("type") in ("ClusterIP", "LoadBalancer", "NodePort"):
            out.append(f.required("spec.internalTrafficPolicy"))
    elif internal not in TRAFFIC_POLICIES:
        out.append(f.not_supported("spec.internalTrafficPolicy", internal, TRAFFIC_POLICIES))
    distribution = spec.get("trafficDistribution")
    if distribution is not None and distribution not in DISTRIBUTIONS:
        out.append(f.not_supported("spec.trafficDistribution", distribution, DISTRIBUTIONS))


def _health_check(spec: Obj, out: f.Errors) -> None:
    path, number = "spec.healthCheckNodePort", spec.get("healthCheckNodePort", 0)
    if not needs_health_check(spec):
        if number:
            why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
            out.append(f.invalid(path, number, why))
    elif not number:
        out.append(f.required(path))
    else:
        out += [f.invalid(path, number, why) for why in names.is_port_number(number)]


def service_update(obj: Obj, old: Obj) -> f.Errors:
    """What was allocated stays; a second family may come and go, by the policy's leave."""
    spec, before = obj["spec"], old["spec"]
    errors: f.Errors = []
    if "ExternalName" not in (spec.get("type"), before.get("type")):
        _changed_ips(spec, before, errors)
        _changed_families(spec, before, errors)
    if spec.get("type") == before.get("type") == "LoadBalancer":
        name = spec.get("loadBalancerClass")
        if name != before.get("loadBalancerClass"):
            shown: Any = gotext.NULL if name is None else name
            errors.append(f.invalid("spec.loadBalancerClass", shown, ONLY_ONCE))
    _balancer_class(spec, errors)
    moved = spec.get("healthCheckNodePort") != before.get("healthCheckNodePort")
    if moved and needs_health_check(spec) and needs_health_check(before):
        errors.append(f.forbidden("spec.healthCheckNodePort", "field is immutable"))
    return errors + service(obj, old)


def _shown(values: list[str]) -> Any:
    return values or gotext.NULL


def _policy(spec: Obj) -> Any:
    policy = spec.get("ipFamilyPolicy")
    return gotext.NULL if policy is None else policy


def _changed_ips(spec: Obj, before: Obj, out: f.Errors) -> None:
    if is_headless(spec) and is_headless(before):
        return
    new, old = spec.get("clusterIPs") or [], before.get("clusterIPs") or []
    if len(new) == len(old):
        for i, (was, ip) in enumerate(zip(old, new, strict=True)):
            if was != ip:
                out.append(f.invalid(f"spec.clusterIPs[{i}]", new, ONLY_ONCE))
        return
    if len(old) > len(new) and not new:
        out.append(f.invalid("spec.clusterIPs[0]", gotext.NULL, "primary clusterIP can not be unset"))
    if old and new and old[0] != new[0]:
        out.append(f.invalid("spec.clusterIPs[0]", new, ONLY_ONCE))
    if len(old) > len(new) == 1 and spec.get("ipFamilyPolicy") != "SingleStack":
        why = "must be set to 'SingleStack' when releasing the secondary clusterIP"
        out.append(f.invalid("spec.ipFamilyPolicy", _policy(spec), why))


def _changed_families(spec: Obj, before: Obj, out: f.Errors) -> None:
    if is_headless(spec) or is_headless(before):
        return
    new, old = spec.get("ipFamilies") or [], before.get("ipFamilies") or []
    path, ips = "spec.ipFamilies[0]", spec.get("clusterIPs") or []
    if len(new) == len(old):
        out += [f.invalid(path, new, ONLY_ONCE) for was, is_ in zip(old, new, strict=True) if was != is_]
        return
    if len(old) > len(new) and not ips:
        out.append(f.invalid(path, _shown(new), "primary ipFamily can not be unset"))
    if old and new and old[0] != new[0]:
        # Upstream shows the addresses here, not the families.
        out.append(f.invalid(path, _shown(ips), ONLY_ONCE))
    if len(old) > len(new) == 1 and spec.get("ipFamilyPolicy") != "SingleStack":
        why = "must be set to 'SingleStack' when releasing the secondary ipFamily"
        out.append(f.invalid("spec.ipFamilyPolicy", _policy(spec), why))


def service_status(obj: Obj, old: Obj) -> f.Errors:
    """status.loadBalancer (ValidateLoadBalancerStatus), then the conditions."""
    balancer = (obj.get("status") or {}).get("loadBalancer") or {}
    known = [i.get("ip") for i in ((old.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()]
    path = "status.loadBalancer.ingress"
    errors: f.Errors = []
    ingresses = balancer.get("ingress") or ()
    if ingresses and obj["spec"].get("type") != "LoadBalancer":
        return [f.forbidden(path, "may only be used when `spec.type` is LoadBalancer")]
    for i, ingress in enumerate(ingresses):
        _load_balancer_ingress(ingress, f"{path}[{i}]", [ip for ip in known if ip], errors)
    return errors


def _load_balancer_ingress(ingress: Obj, path: str, known: Collection[str], out: f.Errors) -> None:
    ip, mode, host = ingress.get("ip", ""), ingress.get("ipMode"), ingress.get("hostname", "")
    if ip:
        out += addresses.ip(ip, f"{path}.ip", known)
    if mode is None:
        if ip:
            out.append(f.required(f"{path}.ipMode", "must be specified when `ip` is set"))
    elif not ip:
        out.append(f.forbidden(f"{path}.ipMode", "may not be specified when `ip` is not set"))
    elif mode not in IP_MODES:
        out.append(f.not_supported(f"{path}.ipMode", mode, IP_MODES))
    if host:
        out += subdomain(host, f"{path}.hostname")
        if addresses.parse(host) is not None:
            why = "must be a DNS name, not an IP address"
            out.append(f.invalid(f"{path}.hostname", host, why))


def service_warnings(obj: Obj) -> list[str]:
    """pkg/api/service GetWarningsForService."""
    spec: Obj = obj["spec"]
    headless = spec.get("type") == "ClusterIP" and spec.get("clusterIP") == "None"
    external_ips = spec.get("externalIPs") or ()
    found: list[str] = []
    if TOPOLOGY_HINTS in (obj["metadata"].get("annotations") or {}):
        found.append(f"annotation {TOPOLOGY_HINTS} is deprecated, please use {TOPOLOGY_MODE} instead")
    if spec.get("clusterIP") != "None":
        for i, ip in enumerate(spec.get("clusterIPs") or ()):
            found += addresses.ip_warnings(ip, f"spec.clusterIPs[{i}]")
    if headless:
        found += _headless_warnings(spec)
    for i, ip in enumerate(external_ips):
        found += addresses.ip_warnings(ip, f"spec.externalIPs[{i}]")
    if external_ips and not headless and spec.get("type") != "ExternalName":
        found.append("spec.externalIPs is deprecated and may no longer be implemented in some clusters")
    if spec.get("loadBalancerIP"):
        found += addresses.ip_warnings(spec["loadBalancerIP"], "spec.loadBalancerIP")
    for i, value in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        found += addresses.cidr_warnings(value, f"spec.loadBalancerSourceRanges[{i}]")
    if spec.get("type") == "ExternalName" and external_ips:
        found.append('spec.externalIPs is ignored when spec.type is "ExternalName"')
    if spec.get("type") != "ExternalName" and spec.get("externalName"):
        found.append('spec.externalName is ignored when spec.type is not "ExternalName"')
    if spec.get("trafficDistribution") == "PreferClose":
        found.append('spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"')
    return found


def _headless_warnings(spec: Obj) -> list[str]:
    found = []
    if spec.get("loadBalancerIP"):
        found.append("spec.loadBalancerIP is ignored for headless services")
    if spec.get("externalIPs"):
        found.append("spec.externalIPs is ignored for headless services")
    if spec.get("sessionAffinity") != "None":
        found.append("spec.SessionAffinity is ignored for headless services")
    return found
