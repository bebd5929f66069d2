"""What a pod or a template may say but hardly means: texts for Warning headers (pkg/api/pod/warnings.go)."""

from __future__ import annotations

from collections.abc import Iterator

from pilothouse.api import quantity
from pilothouse.api.field import go_quote
from pilothouse.api.types import Obj
from pilothouse.api.validation import names
from pilothouse.api.validation.labels import deprecated_label
from pilothouse.api.validation.pods.annotated import APP_ARMOR, SECCOMP_CONTAINER, SECCOMP_POD
from pilothouse.api.validation.pods.scheduling import PREFERRED, REQUIRED

_ANNOTATIONS = {
    "scheduler.alpha.kubernetes.io/critical-pod": (
        'non-functional in v1.16+; use the "priorityClassName" field instead'
    ),
    "security.alpha.kubernetes.io/sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
    "security.alpha.kubernetes.io/unsafe-sysctls": (
        'non-functional in v1.11+; use the "sysctls" field instead'
    ),
}
_VOLUMES = {
    "photonPersistentDisk": "deprecated in v1.11, non-functional in v1.16+",
    "gitRepo": "deprecated in v1.11",
    "scaleIO": "deprecated in v1.16, non-functional in v1.22+",
    "flocker": "deprecated in v1.22, non-functional in v1.25+",
    "storageos": "deprecated in v1.22, non-functional in v1.25+",
    "quobyte": "deprecated in v1.22, non-functional in v1.25+",
    "glusterfs": "deprecated in v1.25, non-functional in v1.26+",
    "cephfs": "deprecated in v1.28, non-functional in v1.31+",
    "rbd": "deprecated in v1.28, non-functional in v1.31+",
}
_SHOWN_AS = {"storageos": "storageOS"}
_BYTES = ("memory", "ephemeral-storage")
_SECCOMP = 'non-functional in v1.27+; use the "seccompProfile" field instead'
_LISTS = ("initContainers", "containers", "ephemeralContainers")


def name(obj_name: str, used_in: str) -> list[str]:
    """A name that becomes part of host names and is no DNS label."""
    found = names.is_dns1123_label(obj_name)
    if not found:
        return []
    return [
        f"metadata.name: this is used in {used_in}, which can result in surprising behavior; a DNS label is "
        f"recommended: [{' '.join(found)}]"
    ]


def pod(obj: Obj) -> list[str]:
    """Of a new pod."""
    return pod_name(obj) + pod_but_name(obj)


def pod_name(obj: Obj) -> list[str]:
    return name(obj["metadata"].get("name", ""), "the Pod's hostname")


def pod_but_name(obj: Obj) -> list[str]:
    """What its spec and annotations say."""
    found: list[str] = []
    _walk(obj["metadata"], obj["spec"], "", found)
    return found


def template(value: Obj, path: str) -> list[str]:
    found: list[str] = []
    _walk(value["metadata"], value["spec"], f"{path}.", found)
    return found


def _walk(metadata: Obj, spec: Obj, prefix: str, out: list[str]) -> None:
    """`prefix` is "" for a pod, else the template's path and a dot."""
    annotations = metadata.get("annotations") or {}
    at = f"{prefix}spec"
    for key in spec.get("nodeSelector") or ():
        if deprecated_label(key):
            out.append(f"{at}.nodeSelector[{key}]: {deprecated_label(key)}")
    affinity = spec.get("affinity")
    if affinity is not None and affinity.get("nodeAffinity") is not None:
        _node_affinity(affinity["nodeAffinity"], f"{at}.affinity.nodeAffinity", out)
    for i, constraint in enumerate(spec.get("topologySpreadConstraints") or ()):
        _spread(constraint, f"{at}.topologySpreadConstraints[{i}]", out)
    for key in annotations:
        if key in _ANNOTATIONS:
            out.append(f"{prefix}metadata.annotations[{key}]: {_ANNOTATIONS[key]}")
    for i, volume in enumerate(spec.get("volumes") or ()):
        for key in volume:
            if key in _VOLUMES:
                out.append(f"{at}.volumes[{i}].{_SHOWN_AS.get(key, key)}: {_VOLUMES[key]}")
    _host_aliases(spec.get("hostAliases") or [], f"{at}.hostAliases", out)
    _pull_secrets(spec.get("imagePullSecrets") or [], f"{at}.imagePullSecrets", out)
    if spec.get("overhead"):
        _fractions(spec["overhead"], f"{at}.overhead", out)
    context = spec.get("securityContext") or {}
    if SECCOMP_POD in annotations and context.get("seccompProfile") is None:
        out.append(f"{prefix}metadata.annotations[{SECCOMP_POD}]: {_SECCOMP}")
    for path, container in _containers(spec, at):
        if annotations:
            _container_annotations(container, context, annotations, prefix, out)
        limits = container.get("resources") or {}
        if limits:
            _fractions(limits.get("limits") or {}, f"{path}.resources.limits", out, "memory")
            _fractions(limits.get("requests") or {}, f"{path}.resources.requests", out, "memory")
            _fractions(limits.get("limits") or {}, f"{path}.resources.limits", out, "ephemeral-storage")
            _fractions(limits.get("requests") or {}, f"{path}.resources.requests", out, "ephemeral-storage")
        if len(container.get("env") or ()) > 1:
            _hidden_variables(container["env"], f"{path}.env", out)
    _ports(spec, at, out)
    if spec.get("terminationGracePeriodSeconds", 0) < 0:
        out.append(
            f"{at}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
        )
    for key in ("podAffinity", "podAntiAffinity"):
        if affinity is not None and affinity.get(key) is not None:
            _pod_affinity(affinity[key], f"{at}.affinity.{key}", out)


def _containers(spec: Obj, path: str) -> Iterator[tuple[str, Obj]]:
    for key in _LISTS:
        for i, container in enumerate(spec.get(key) or ()):
            yield f"{path}.{key}[{i}]", container


def _node_affinity(value: Obj, path: str, out: list[str]) -> None:
    for i, term in enumerate((value.get(REQUIRED) or {}).get("nodeSelectorTerms") or ()):
        _node_term(term, f"{path}.{REQUIRED}.nodeSelectorTerms[{i}]", out)
    for i, term in enumerate(value.get(PREFERRED) or ()):
        _node_term(term.get("preference") or {}, f"{path}.{PREFERRED}[{i}].preference", out)


def _node_term(term: Obj, path: str, out: list[str]) -> None:
    for i, expression in enumerate(term.get("matchExpressions") or ()):
        key = expression.get("key", "")
        if deprecated_label(key):
            out.append(f"{path}.matchExpressions[{i}].key: {key} is {deprecated_label(key)}")


def _pod_affinity(value: Obj, path: str, out: list[str]) -> None:
    for i, term in enumerate(value.get(REQUIRED) or ()):
        _pod_term(term, f"{path}.{REQUIRED}[{i}]", out)
    for i, weighted in enumerate(value.get(PREFERRED) or ()):
        _pod_term(weighted.get("podAffinityTerm") or {}, f"{path}.{PREFERRED}[{i}].podAffinityTerm", out)


def _pod_term(term: Obj, path: str, out: list[str]) -> None:
    key = term.get("topologyKey", "")
    if deprecated_label(key):
        out.append(f"{path}.topologyKey: {key} is {deprecated_label(key)}")
    if term.get("labelSelector") is None:
        out.append(f"{path}.labelSelector: a null labelSelector results in matching no pod")


def _spread(constraint: Obj, path: str, out: list[str]) -> None:
    key = constraint.get("topologyKey", "")
    if deprecated_label(key):
        out.append(f"{path}.topologyKey: {key} is {deprecated_label(key)}")
    if constraint.get("labelSelector") is None:
        out.append(f"{path}.labelSelector: a null labelSelector results in matching no pod")


def _host_aliases(aliases: list[Obj], path: str, out: list[str]) -> None:
    seen: set[str] = set()
    for i, alias in enumerate(aliases):
        address = alias.get("ip", "")
        if address in seen:
            out.append(f"{path}[{i}].ip: duplicate ip {go_quote(address)}")
        seen.add(address)


def _pull_secrets(secrets: list[Obj], path: str, out: list[str]) -> None:
    seen: set[str] = set()
    for i, secret in enumerate(secrets):
        given = secret.get("name", "")
        if given in seen:
            out.append(f"{path}[{i}].name: duplicate name {go_quote(given)}")
        seen.add(given)
    for i, secret in enumerate(secrets):
        if not secret.get("name"):
            out.append(f'{path}[{i}].name: invalid empty name ""')


def _fractions(amounts: Obj, path: str, out: list[str], *only: str) -> None:
    for key in only or _BYTES:
        amount = amounts.get(key)
        if amount is not None and quantity.parse(amount).milli % 1000:
            why = f"fractional byte value {go_quote(amount)} is invalid, must be an integer"
            out.append(f"{path}[{key}]: {why}")


def _container_annotations(
    container: Obj, pod_context: Obj, annotations: Obj, prefix: str, out: list[str]
) -> None:
    context = container.get("securityContext") or {}
    key = SECCOMP_CONTAINER + container.get("name", "")
    if key in annotations and context.get("seccompProfile") is None:
        out.append(f"{prefix}metadata.annotations[{key}]: {_SECCOMP}")
    key = APP_ARMOR + container.get("name", "")
    covered = pod_context.get("appArmorProfile") or context.get("appArmorProfile")
    if key in annotations and not covered:
        why = 'deprecated since v1.30; use the "appArmorProfile" field instead'
        out.append(f"{prefix}metadata.annotations[{key}]: {why}")


def _hidden_variables(variables: list[Obj], path: str, out: list[str]) -> None:
    """X twice is fine only where the second value builds on the first."""
    seen: set[str] = set()
    for i, variable in enumerate(variables):
        key, value = variable.get("name", ""), variable.get("value", "")
        if key not in seen:
            seen.add(key)
            continue
        reference = f"$({key})"
        if variable.get("valueFrom") is not None or value == reference or reference not in value:
            why = f"hides previous definition of {go_quote(key)}, which may be dropped when using apply"
            out.append(f"{path}[{i}]: {why}")


def _ports(spec: Obj, path: str, out: list[str]) -> None:
    seen: dict[tuple[int, str], list[tuple[str, Obj]]] = {}
    for at, container in _containers(spec, path):
        for i, port in enumerate(container.get("ports") or ()):
            here = f"{at}.ports[{i}]"
            if port.get("hostIP") and not port.get("hostPort"):
                out.append(f"{here}: hostIP set without hostPort: {_shown(port)}")
            key = (port.get("containerPort", 0), port.get("protocol", ""))
            for other_at, other in seen.get(key, ()):
                kind = _clash(port, other)
                if kind:
                    out.append(f"{here}: {kind} port definition with {other_at}")
            seen.setdefault(key, []).append((here, port))


def _clash(port: Obj, other: Obj) -> str:
    host, other_host = port.get("hostPort", 0), other.get("hostPort", 0)
    address, other_address = port.get("hostIP", ""), other.get("hostIP", "")
    if address == other_address and host == other_host:
        return "duplicate"
    if not host or not other_host:
        return "overlapping"
    if host == other_host and bool(address) != bool(other_address):
        return "dangerously ambiguous"
    return ""


def _shown(port: Obj) -> str:
    """Go's %+v of a ContainerPort."""
    fields = ("name", "hostPort", "containerPort", "protocol", "hostIP")
    zero = {"hostPort": 0, "containerPort": 0}
    inner = " ".join(f"{key[0].upper()}{key[1:]}:{port.get(key, zero.get(key, ''))}" for key in fields)
    return f"{{{inner}}}"
