"""Containers, init containers and ephemeral containers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import names
from pilothouse.api.validation.pods import env, gostructs, probes, resources, security
from pilothouse.api.validation.pods.forms import (
    local_path,
    no_backsteps,
    not_padded,
    one_of,
    port,
)
from pilothouse.api.validation.pods.options import Options

PROTOCOLS = ("SCTP", "TCP", "UDP")
RESTART_POLICIES = ("Always", "Never", "OnFailure")
PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")
RULES_MAX = 20
EXIT_CODES_MAX = 255
ONLY_SIDECARS = "may not be set for init containers without restartPolicy=Always"
EPHEMERAL_FIELDS = frozenset(
    (
        "name", "image", "command", "args", "workingDir", "envFrom", "env", "volumeMounts", "volumeDevices",
        "terminationMessagePath", "terminationMessagePolicy", "imagePullPolicy", "securityContext", "stdin",
        "stdinOnce", "tty", "targetContainerName",
    )
)  # fmt: skip
"""What an ephemeral container may set: nothing that needs planning."""


class Around(NamedTuple):
    """What a container is checked against."""

    spec: Obj
    volumes: Mapping[str, Obj]
    claims: Collection[str]
    grace_s: int
    options: Options


def containers(values: list[Obj], path: str, around: Around, out: f.Errors) -> None:
    if not values:
        out.append(f.required(path))
        return
    seen: set[str] = set()
    for i, container in enumerate(values):
        at = f"{path}[{i}]"
        _common(container, at, around, out)
        name = container.get("name", "")
        if name in seen:
            out.append(f.duplicate(f"{at}.name", name))
        elif name:
            seen.add(name)
        _running(container, at, around, out)
        _restart(container, at, out)
    _host_ports(values, path, out)


def init_containers(values: list[Obj], path: str, around: Around, out: f.Errors) -> None:
    seen = {c.get("name", "") for c in around.spec.get("containers") or ()}
    for i, container in enumerate(values):
        at = f"{path}[{i}]"
        _common(container, at, around, out)
        name = container.get("name", "")
        if name in seen:
            out.append(f.duplicate(f"{at}.name", name))
        elif name:
            seen.add(name)
        _host_ports([container], path, out)
        if container.get("restartPolicy") == "Always":
            _running(container, at, around, out)
        else:
            for key in ("lifecycle", *probes.PROBES):
                if container.get(key) is not None:
                    out.append(f.forbidden(f"{at}.{key}", ONLY_SIDECARS))
            if container.get("resizePolicy"):
                why = "must not be set for init containers"
                shown = [gostructs.resize_policy(policy) for policy in container["resizePolicy"]]
                out.append(f.invalid(f"{at}.resizePolicy", shown, why))
        _restart(container, at, out)


def ephemeral_containers(values: list[Obj], path: str, around: Around, out: f.Errors) -> None:
    spec = around.spec
    others = {c.get("name", "") for key in ("containers", "initContainers") for c in spec.get(key) or ()}
    seen = set(others)
    for i, container in enumerate(values):
        at = f"{path}[{i}]"
        _common(container, at, around, out)
        not_padded(container.get("image", ""), f"{at}.image", out)
        name = container.get("name", "")
        if name in seen:
            out.append(f.duplicate(f"{at}.name", name))
        elif name:
            seen.add(name)
        target = container.get("targetContainerName", "")
        if target and target not in others:
            out.append(f.not_found(f"{at}.targetContainerName", target))
        for key, value in container.items():
            absent = value in ([], "") or (key == "resources" and not value)
            if key not in EPHEMERAL_FIELDS and not absent:
                out.append(f.forbidden(f"{at}.{key}", "cannot be set for an Ephemeral Container"))
        for j, mount in enumerate(container.get("volumeMounts") or ()):
            for key in ("subPath", "subPathExpr"):
                if mount.get(key):
                    why = "cannot be set for an Ephemeral Container"
                    out.append(f.forbidden(f"{at}.volumeMounts[{j}].{key}", why))


def only_for_pods(values: list[Obj], path: str, out: f.Errors) -> None:
    """What a template may get away with and a pod may not."""
    for i, container in enumerate(values):
        image = container.get("image", "")
        if image != image.strip():
            not_padded(image, f"{path}[{i}].image", out)


def _common(container: Obj, path: str, around: Around, out: f.Errors) -> None:
    name = container.get("name")
    if not name:
        out.append(f.required(f"{path}.name"))
    elif found := names.is_dns1123_label(name):
        out += [f.invalid(f"{path}.name", name, message) for message in found]
    if not container.get("image"):
        out.append(f.required(f"{path}.image"))
    if container.get("terminationMessagePolicy") not in ("File", "FallbackToLogsOnError"):
        policies = ("File", "FallbackToLogsOnError")
        one_of(container, "terminationMessagePolicy", path, policies, out, required=True)
    if container.get("ports"):
        _ports(container["ports"], f"{path}.ports", out)
    if container.get("env"):
        env.environment(container["env"], f"{path}.env", out)
    if container.get("envFrom"):
        env.environment_from(container["envFrom"], f"{path}.envFrom", out)
    mounts, devices = container.get("volumeMounts"), container.get("volumeDevices")
    if mounts:
        _mounts(mounts, container, f"{path}.volumeMounts", around, out)
    if devices:
        _devices(devices, mounts or [], f"{path}.volumeDevices", around, out)
    if container.get("imagePullPolicy") not in ("Always", "IfNotPresent", "Never"):
        resources.pull_policy(container, path, out)
    if container.get("resources"):
        resources.requirements(container["resources"], f"{path}.resources", around.claims, out)
    if container.get("resizePolicy"):
        restart = around.spec.get("restartPolicy", "")
        resources.resize_policy(container["resizePolicy"], f"{path}.resizePolicy", restart, out)
    if container.get("securityContext"):
        security.container_context(container["securityContext"], f"{path}.securityContext", around.spec, out)


def _running(container: Obj, path: str, around: Around, out: f.Errors) -> None:
    """What only a container that keeps running can have."""
    if container.get("lifecycle") is not None:
        probes.lifecycle(container["lifecycle"], f"{path}.lifecycle", around.grace_s, out)
    probes.probes(container, path, around.grace_s, out)


def _restart(container: Obj, path: str, out: f.Errors) -> None:
    """restartPolicy and restartPolicyRules of one container (KEP-5307)."""
    policy, rules = container.get("restartPolicy"), container.get("restartPolicyRules") or ()
    if policy is None:
        if rules:
            why = "must specify restartPolicy when restart rules are used"
            out.append(f.required(f"{path}.restartPolicy", why))
    elif policy not in RESTART_POLICIES:
        out.append(f.not_supported(f"{path}.restartPolicy", policy, RESTART_POLICIES))
    if len(rules) > RULES_MAX:
        out.append(f.too_many(f"{path}.restartPolicyRules", len(rules), RULES_MAX))
    for i, rule in enumerate(rules):
        at = f"{path}.restartPolicyRules[{i}]"
        if rule.get("action") not in ("Restart", "RestartAllContainers"):
            actions = ("Restart", "RestartAllContainers")
            out.append(f.not_supported(f"{at}.action", rule.get("action", ""), actions))
        codes = rule.get("exitCodes")
        if codes is None:
            out.append(f.required(f"{at}.exitCodes", "must be specified"))
            continue
        if codes.get("operator") not in ("In", "NotIn"):
            operators = ("In", "NotIn")
            out.append(f.not_supported(f"{at}.exitCodes.operator", codes.get("operator", ""), operators))
        if len(codes.get("values") or ()) > EXIT_CODES_MAX:
            out.append(f.too_many(f"{at}.exitCodes.values", len(codes["values"]), EXIT_CODES_MAX))


def _ports(values: list[Obj], path: str, out: f.Errors) -> None:
    seen: set[str] = set()
    for i, value in enumerate(values):
        name = value.get("name")
        if name:
            found = names.is_port_name(name)
            if found:
                out += [f.invalid(f"{path}[{i}].name", name, message) for message in found]
            elif name in seen:
                out.append(f.duplicate(f"{path}[{i}].name", name))
            else:
                seen.add(name)
        number = value.get("containerPort", 0)
        if not number:
            out.append(f.required(f"{path}[{i}].containerPort"))
        elif not 1 <= number <= 65535:
            port(number, f"{path}[{i}].containerPort", out)
        host = value.get("hostPort", 0)
        if host and not 1 <= host <= 65535:
            port(host, f"{path}[{i}].hostPort", out)
        if value.get("protocol") not in PROTOCOLS:
            one_of(value, "protocol", f"{path}[{i}]", PROTOCOLS, out, required=True)


def _host_ports(values: list[Obj], path: str, out: f.Errors) -> None:
    """Two containers cannot hold one port of the node (checkHostPortConflicts)."""
    seen: set[tuple[int, str, str]] = set()
    for i, container in enumerate(values):
        for j, value in enumerate(container.get("ports") or ()):
            number = value.get("hostPort", 0)
            if not number:
                continue
            key = (number, value.get("protocol", ""), value.get("hostIP", ""))
            if key in seen:
                shown = f"{key[1]}/{key[2]}/{number}"
                out.append(f.duplicate(f"{path}[{i}].ports[{j}].hostPort", shown))
            seen.add(key)


def _mounts(values: list[Obj], container: Obj, path: str, around: Around, out: f.Errors) -> None:
    devices = container.get("volumeDevices") or ()
    seen: set[str] = set()
    for i, mount in enumerate(values):
        name, target = mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            out.append(f.required(f"{path}[{i}].name"))
        if name not in around.volumes:
            out.append(f.not_found(f"{path}[{i}].name", name))
        if not target:
            out.append(f.required(f"{path}[{i}].mountPath"))
        if target in seen:
            out.append(f.invalid(f"{path}[{i}].mountPath", target, "must be unique"))
        seen.add(target)
        for device in devices:
            if device.get("name") == name:
                why = "must not already exist in volumeDevices"
                out.append(f.invalid(f"{path}[{i}].name", name, why))
            if device.get("devicePath") == target:
                why = "must not already exist as a path in volumeDevices"
                out.append(f.invalid(f"{path}[{i}].mountPath", target, why))
        # Upstream leaves the index out of the paths below.
        if mount.get("subPath"):
            local_path(mount["subPath"], f"{path}.subPath", out)
        if mount.get("subPathExpr"):
            if mount.get("subPath"):
                why = "subPathExpr and subPath are mutually exclusive"
                out.append(f.invalid(f"{path}.subPathExpr", mount["subPathExpr"], why))
            local_path(mount["subPathExpr"], f"{path}.subPathExpr", out)
        if mount.get("mountPropagation") is not None:
            _propagation(mount["mountPropagation"], container, f"{path}.mountPropagation", out)
        if mount.get("recursiveReadOnly") is not None:
            _recursive_read_only(mount, f"{path}.recursiveReadOnly", out)


def _propagation(value: str, container: Obj, path: str, out: f.Errors) -> None:
    if value not in PROPAGATIONS:
        out.append(f.not_supported(path, value, PROPAGATIONS))
    if value == "Bidirectional" and not (container.get("securityContext") or {}).get("privileged"):
        why = "Bidirectional mount propagation is available only to privileged containers"
        out.append(f.forbidden(path, why))


def _recursive_read_only(mount: Obj, path: str, out: f.Errors) -> None:
    value = mount["recursiveReadOnly"]
    if value not in ("Disabled", "Enabled", "IfPossible"):
        out.append(f.not_supported(path, value, ("Disabled", "IfPossible", "Enabled")))
    elif value != "Disabled":
        if not mount.get("readOnly"):
            out.append(f.forbidden(path, "may only be specified when readOnly is true"))
        if mount.get("mountPropagation") not in (None, "None"):
            why = "may only be specified when mountPropagation is None or not specified"
            out.append(f.forbidden(path, why))


def _devices(values: list[Obj], mounts: list[Obj], path: str, around: Around, out: f.Errors) -> None:
    seen_names: set[str] = set()
    seen_paths: set[str] = set()
    for i, device in enumerate(values):
        name, target = device.get("name", ""), device.get("devicePath", "")
        if not name:
            out.append(f.required(f"{path}[{i}].name"))
        if name in seen_names:
            out.append(f.invalid(f"{path}[{i}].name", name, "must be unique"))
        volume = around.volumes.get(name)
        if volume is None:
            out.append(f.not_found(f"{path}[{i}].name", name))
        elif volume.get("persistentVolumeClaim") is None and volume.get("ephemeral") is None:
            why = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            out.append(f.invalid(f"{path}[{i}].name", name, why))
        if not target:
            out.append(f.required(f"{path}[{i}].devicePath"))
        if target in seen_paths:
            out.append(f.invalid(f"{path}[{i}].devicePath", target, "must be unique"))
        if target:
            no_backsteps(target, f"{path}[{i}].devicePath", out)
            seen_paths.add(target)
        if name:
            seen_names.add(name)


def host_network(spec: Obj, path: str, options: Options, out: f.Errors) -> None:
    """On the node's network a container's ports are the node's (validatePodHostNetworkDeps)."""
    if not spec.get("hostNetwork"):
        return
    for i, container in enumerate(spec.get("containers") or ()):
        for j, value in enumerate(container.get("ports") or ()):
            host = value.get("hostPort", 0)
            if (options.is_pod or host) and host != value.get("containerPort", 0):
                why = "must match `containerPort` when `hostNetwork` is true"
                out.append(f.invalid(f"{path}.containers[{i}].ports[{j}].hostPort", host, why))
