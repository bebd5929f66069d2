"""A pod's spec, and the template that other kinds carry (ValidatePodSpec, ValidatePodTemplateSpec)."""

from __future__ import annotations

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import meta, names
from pilothouse.api.validation.pods import annotated, resources, scheduling, security
from pilothouse.api.validation.pods.containers import (
    Around,
    containers,
    ephemeral_containers,
    host_network,
    init_containers,
)
from pilothouse.api.validation.pods.forms import checked
from pilothouse.api.validation.pods.options import TEMPLATE, Options
from pilothouse.api.validation.pods.volumes import volumes

DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
RESTART_POLICIES = ("Always", "OnFailure", "Never")
NAMESERVERS_MAX = 3
SEARCHES_MAX = 32
SEARCH_CHARACTERS_MAX = 2048
INT32_MAX = 2**31 - 1


def pod_spec(spec: Obj, path: str, options: Options, out: f.Errors, pod_name: str = "") -> None:
    """`pod_name` is set for a real pod only."""
    get = spec.get
    grace = get("terminationGracePeriodSeconds")
    if grace is None:
        out.append(f.required(f"{path}.terminationGracePeriodSeconds"))
    known = volumes(get("volumes") or [], f"{path}.volumes", pod_name, options, out)
    claims: list[Obj] = get("resourceClaims") or []
    if claims:
        resources.pod_claims(claims, f"{path}.resourceClaims", out)
    around = Around(spec, known, [c.get("name", "") for c in claims], grace or 0, options)
    containers(get("containers") or [], f"{path}.containers", around, out)
    if get("initContainers"):
        init_containers(spec["initContainers"], f"{path}.initContainers", around, out)
    if get("ephemeralContainers"):
        ephemeral_containers(spec["ephemeralContainers"], f"{path}.ephemeralContainers", around, out)
    if get("resources") is not None:
        resources.pod_level(spec, f"{path}.resources", out)
    host_network(spec, path, options, out)
    _policy(spec, "restartPolicy", path, RESTART_POLICIES, out)
    _policy(spec, "dnsPolicy", path, DNS_POLICIES, out)
    if get("nodeSelector"):
        out += meta.validate_labels(spec["nodeSelector"], f"{path}.nodeSelector")
    if get("securityContext") is not None:
        security.pod_context(spec["securityContext"], spec, f"{path}.securityContext", out)
    if get("affinity") is not None:
        scheduling.affinity(spec["affinity"], f"{path}.affinity", options, out)
    _dns_config(spec, path, out)
    if get("readinessGates"):
        scheduling.readiness_gates(spec["readinessGates"], f"{path}.readinessGates", out)
    if get("schedulingGates"):
        scheduling.scheduling_gates(spec["schedulingGates"], f"{path}.schedulingGates", out)
    if get("topologySpreadConstraints"):
        constraints = spec["topologySpreadConstraints"]
        scheduling.spread(constraints, f"{path}.topologySpreadConstraints", options, out)
    security.host_process(spec, path, out)
    security.host_users(spec, path, out)
    _names(spec, path, out)


def _policy(spec: Obj, key: str, path: str, allowed: tuple[str, ...], out: f.Errors) -> None:
    value = spec.get(key)
    if value in allowed:
        return
    out.append(f.not_supported(f"{path}.{key}", value, allowed) if value else f.required(f"{path}.{key}"))


def _names(spec: Obj, path: str, out: f.Errors) -> None:
    get = spec.get
    for key in ("serviceAccountName", "nodeName"):
        if get(key):
            checked(spec[key], f"{path}.{key}", names.is_dns1123_subdomain, out)
    deadline = get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= INT32_MAX:
        why = f"must be between 1 and {INT32_MAX}, inclusive"
        out.append(f.invalid(f"{path}.activeDeadlineSeconds", deadline, why))
    for key in ("hostname", "subdomain"):
        if get(key):
            checked(spec[key], f"{path}.{key}", names.is_dns1123_label, out)
    if get("tolerations"):
        scheduling.tolerations(spec["tolerations"], f"{path}.tolerations", out)
    if get("hostAliases"):
        _host_aliases(spec["hostAliases"], f"{path}.hostAliases", out)
    for key in ("priorityClassName", "runtimeClassName"):
        if get(key) or (key == "runtimeClassName" and get(key) is not None):
            checked(spec[key], f"{path}.{key}", names.is_dns1123_subdomain, out)
    preemption = get("preemptionPolicy")
    if preemption is not None and preemption not in ("Never", "PreemptLowerPriority"):
        if preemption:
            supported = ("PreemptLowerPriority", "Never")
            out.append(f.not_supported(f"{path}.preemptionPolicy", preemption, supported))
        else:
            out.append(f.required(f"{path}.preemptionPolicy"))
    if get("overhead"):
        resources.overhead(spec["overhead"], f"{path}.overhead", out)
    if get("os") is not None:
        security.operating_system(spec, path, out)
    if get("hostnameOverride") is not None:
        _hostname_override(spec, path, out)


def _hostname_override(spec: Obj, path: str, out: f.Errors) -> None:
    """KEP-4762."""
    name = spec["hostnameOverride"]
    if len(name) > 64:
        out.append(f.too_long(f"{path}.hostnameOverride", name, 64))
    checked(name, f"{path}.hostnameOverride", names.is_dns1123_subdomain, out)
    if spec.get("setHostnameAsFQDN"):
        why = "must be nil or false when hostnameOverride is set"
        out.append(f.forbidden(f"{path}.setHostnameAsFQDN", why))
    if spec.get("hostNetwork"):
        why = "must be false when hostnameOverride is set"
        out.append(f.forbidden(f"{path}.hostNetwork", why))


def _host_aliases(aliases: list[Obj], path: str, out: f.Errors) -> None:
    for i, alias in enumerate(aliases):
        checked(alias.get("ip", ""), f"{path}[{i}].ip", names.is_ip, out)
        for j, name in enumerate(alias.get("hostnames") or ()):
            checked(name, f"{path}[{i}].hostnames[{j}]", names.is_dns1123_subdomain, out)


def _dns_config(spec: Obj, path: str, out: f.Errors) -> None:
    config, at = spec.get("dnsConfig"), f"{path}.dnsConfig"
    servers = (config or {}).get("nameservers") or []
    if spec.get("dnsPolicy") == "None":
        if config is None:
            why = "must provide `dnsConfig` when `dnsPolicy` is None"
            out.append(f.required(at, why))
            return
        if not servers:
            why = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            out.append(f.required(f"{at}.nameservers", why))
            return
    if config is None:
        return
    if len(servers) > NAMESERVERS_MAX:
        why = f"must not have more than {NAMESERVERS_MAX} nameservers"
        out.append(f.invalid(f"{at}.nameservers", servers, why))
    for i, server in enumerate(servers):
        checked(server, f"{at}.nameservers[{i}]", names.is_ip, out)
    searches = config.get("searches") or []
    if len(searches) > SEARCHES_MAX:
        why = f"must not have more than {SEARCHES_MAX} search paths"
        out.append(f.invalid(f"{at}.searches", searches, why))
    if len(" ".join(searches)) > SEARCH_CHARACTERS_MAX:
        most = f"{SEARCH_CHARACTERS_MAX} characters (including spaces)"
        why = f"must not have more than {most} in the search list"
        out.append(f.invalid(f"{at}.searches", searches, why))
    for i, search in enumerate(searches):
        if search != ".":
            checked(
                search.removesuffix("."), f"{at}.searches[{i}]", names.is_dns1123_subdomain_underscore, out
            )
    for i, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            out.append(f.required(f"{at}.options[{i}]", "must not be empty"))


def template(value: Obj, path: str, out: f.Errors, options: Options = TEMPLATE) -> None:
    """ValidatePodTemplateSpec. Metadata errors name `PATH.labels`, not `PATH.metadata.labels`."""
    metadata, spec = value["metadata"], value["spec"]
    if metadata.get("labels"):
        out += meta.validate_labels(metadata["labels"], f"{path}.labels")
    if metadata.get("annotations"):
        out += meta.validate_annotations(metadata["annotations"], f"{path}.annotations")
        annotated.validate(metadata["annotations"], spec, f"{path}.annotations", out)
    pod_spec(spec, f"{path}.spec", options, out)
    annotated.seccomp_matches(metadata, spec, f"{path}.spec", out)
    if spec.get("ephemeralContainers"):
        why = "ephemeral containers not allowed in pod template"
        out.append(f.forbidden(f"{path}.spec.ephemeralContainers", why))
