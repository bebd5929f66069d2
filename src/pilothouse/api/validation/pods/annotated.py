"""Annotations that mean something for pods (ValidatePodSpecificAnnotations)."""

from __future__ import annotations

from collections.abc import Iterator

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation.pods.forms import local_path

MIRROR = "kubernetes.io/config.mirror"
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
TOLERATIONS = "scheduler.alpha.kubernetes.io/tolerations"
SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"
APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/"
_SECCOMP_NAMES = ("runtime/default", "docker/default", "unconfined")
_INT32 = 2**31
_LISTS = ("initContainers", "containers", "ephemeralContainers")


def validate(annotations: dict[str, str], spec: Obj, path: str, out: f.Errors) -> None:
    mirror = annotations.get(MIRROR)
    if mirror and not spec.get("nodeName"):
        why = "must set spec.nodeName if mirror pod annotation is set"
        out.append(f.invalid(f"{path}[{MIRROR}]", mirror, why))
    if SECCOMP_POD in annotations:
        _seccomp(annotations[SECCOMP_POD], f"{path}.{SECCOMP_POD}", out)
    known = {c.get("name") for _, c in _containers(spec, "")}
    for key, value in annotations.items():
        if key.startswith(SECCOMP_CONTAINER):
            _seccomp(value, f"{path}.{key}", out)
        elif key.startswith(APP_ARMOR):
            name = key.removeprefix(APP_ARMOR)
            if name not in known:
                out.append(f.invalid(f"{path}[{key}]", name, "container not found"))
            if value not in ("", "runtime/default", "unconfined") and not value.startswith("localhost/"):
                why = f"invalid AppArmor profile name: {f.go_quote(value)}"
                out.append(f.invalid(f"{path}[{key}]", value, why))
    if DELETION_COST in annotations:
        cost = annotations[DELETION_COST]
        if not _is_int32(cost):
            out.append(f.invalid(f"{path}[{DELETION_COST}]", cost, "must be a 32bit integer"))


def _is_int32(text: str) -> bool:
    """Go's ParseInt, and no leading zeros or plus sign."""
    digits = text.removeprefix("-")
    if not digits.isascii() or not digits.isdigit() or (digits.startswith("0") and text != "0"):
        return False
    return -_INT32 <= int(text) < _INT32


def _seccomp(profile: str, path: str, out: f.Errors) -> None:
    if profile in _SECCOMP_NAMES:
        return
    if profile.startswith("localhost/"):
        local_path(profile.removeprefix("localhost/"), path, out)
    else:
        out.append(f.invalid(path, profile, "must be a valid seccomp profile"))


def _containers(spec: Obj, path: str) -> Iterator[tuple[str, Obj]]:
    for key in _LISTS:
        for i, container in enumerate(spec.get(key) or ()):
            yield f"{path}.{key}[{i}]", container


def seccomp_matches(metadata: Obj, spec: Obj, path: str, out: f.Errors) -> None:
    """Seccomp annotations and fields say the same (validateSeccompAnnotationsAndFields)."""
    annotations = metadata.get("annotations")
    if not annotations:
        return
    profile = (spec.get("securityContext") or {}).get("seccompProfile")
    if profile is not None and SECCOMP_POD in annotations:
        _matches(annotations[SECCOMP_POD], profile, f"{path}.securityContext.seccompProfile", "seccomp", out)
    for at, container in _containers(spec, path):
        profile = (container.get("securityContext") or {}).get("seccompProfile")
        key = SECCOMP_CONTAINER + container.get("name", "")
        if profile is not None and key in annotations:
            _matches(annotations[key], profile, f"{at}.securityContext.seccompProfile", "seccomp", out)


def app_armor_matches(metadata: Obj, spec: Obj, path: str, out: f.Errors) -> None:
    """AppArmor annotations and fields say the same, at a pod's creation."""
    annotations = metadata.get("annotations")
    if not annotations or (spec.get("os") or {}).get("name") == "windows":
        return
    of_pod = (spec.get("securityContext") or {}).get("appArmorProfile")
    for at, container in _containers(spec, path):
        profile = (container.get("securityContext") or {}).get("appArmorProfile") or of_pod
        key = APP_ARMOR + container.get("name", "")
        if profile is not None and key in annotations:
            _matches(annotations[key], profile, f"{at}.securityContext.appArmorProfile", "apparmor", out)


def _matches(annotation: str, profile: Obj, path: str, what: str, out: f.Errors) -> None:
    kind = profile.get("type")
    plain = {"Unconfined": ("unconfined",), "RuntimeDefault": ("runtime/default", "docker/default")}
    allowed = plain.get(kind or "", ())
    if what == "apparmor":
        allowed = allowed[:1]
    if kind == "Localhost":
        if not annotation.startswith("localhost/"):
            out.append(f.forbidden(f"{path}.type", f"{what} type in annotation and field must match"))
        elif annotation.removeprefix("localhost/") != profile.get("localhostProfile"):
            why = f"{what} profile in annotation and field must match"
            out.append(f.forbidden(f"{path}.localhostProfile", why))
    elif allowed and annotation not in allowed:
        out.append(f.forbidden(f"{path}.type", f"{what} type in annotation and field must match"))
