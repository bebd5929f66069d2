"""The checks of the Pod Security Standards (k8s.io/pod-security-admission/policy check_*.go,
https://kubernetes.io/docs/concepts/security/pod-security-standards/).

Each takes a pod's metadata and spec and gives None, or why the pod is forbidden. The texts are upstream's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, NamedTuple

from pilothouse.api.field import go_quote
from pilothouse.api.types import Obj


class Violation(NamedTuple):
    """`reason` is always shown, `detail` where a single pod is meant."""

    reason: str
    detail: str


Check = Callable[[Obj, Obj], Violation | None]
_Wrong = Callable[[Obj], bool]


# Words


def _quoted(items: Iterable[str]) -> str:
    return ", ".join(f'"{item}"' for item in items)


def _counted(one: str, more: str, count: int) -> str:
    return one if count == 1 else more


def _named(containers: list[str]) -> str:
    """`container "a"`, `containers "a", "b"`."""
    return f"{_counted('container', 'containers', len(containers))} {_quoted(containers)}"


def _setters(pod: bool, containers: list[str]) -> str:
    """Who set something: `pod and container "a"`."""
    return " and ".join((["pod"] if pod else []) + ([_named(containers)] if containers else []))


# Looking into a pod


def _containers(spec: Obj) -> Iterator[Obj]:
    for key in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(key) or ()


def _security(owner: Obj) -> Obj:
    found: Obj = owner.get("securityContext") or {}
    return found


def _those(spec: Obj, wrong: _Wrong) -> list[str]:
    """The names of the containers whose security context is wrong."""
    return [c["name"] for c in _containers(spec) if wrong(_security(c))]


# Baseline


def app_armor(metadata: Obj, spec: Obj) -> Violation | None:
    values: set[str] = set()
    pod, containers = _typed(spec, "appArmorProfile", values)
    setters = [_setters(pod, containers)] if pod or containers else []
    prefix = "container.apparmor.security.beta.kubernetes.io/"
    annotated = sorted(
        f"{key}={go_quote(value)}"
        for key, value in (metadata.get("annotations") or {}).items()
        if key.startswith(prefix) and not _is_fine_app_armor(value)
    )
    if annotated:
        setters.append(_counted("annotation", "annotations", len(annotated)))
    if not setters:
        return None
    bad = [*sorted(values), *annotated]
    return Violation(
        _counted("forbidden AppArmor profile", "forbidden AppArmor profiles", len(bad)),
        f"{' and '.join(setters)} must not set AppArmor profile type to {_quoted(bad)}",
    )


def _is_fine_app_armor(value: str) -> bool:
    return value in ("", "runtime/default") or value.startswith("localhost/")


def _typed(spec: Obj, key: str, values: set[str]) -> tuple[bool, list[str]]:
    """Who sets a profile (AppArmor's or seccomp's) to another type than the two harmless ones; collects those."""

    def is_wrong(context: Obj) -> bool:
        profile = context.get(key)
        if profile is None or profile.get("type") in ("RuntimeDefault", "Localhost"):
            return False
        values.add(profile.get("type", ""))
        return True

    return is_wrong(_security(spec)), _those(spec, is_wrong)


_DEFAULT_CAPABILITIES = frozenset(
    (
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE",
        "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    )
)  # fmt: skip


def capabilities_baseline(metadata: Obj, spec: Obj) -> Violation | None:
    containers, added = _adding(spec, _DEFAULT_CAPABILITIES)
    return Violation("non-default capabilities", _added(containers, added)) if containers else None


def _adding(spec: Obj, allowed: Collection[str]) -> tuple[list[str], list[str]]:
    """The containers that add other capabilities than those allowed, and which."""
    names: list[str] = []
    added: set[str] = set()
    for container in _containers(spec):
        given = (_security(container).get("capabilities") or {}).get("add") or ()
        more = [capability for capability in given if capability not in allowed]
        if more:
            names.append(container["name"])
            added.update(more)
    return names, sorted(added)


def _added(containers: list[str], added: list[str]) -> str:
    return f"{_named(containers)} must not include {_quoted(added)} in securityContext.capabilities.add"


def host_namespaces(metadata: Obj, spec: Obj) -> Violation | None:
    shared = [f"{key}=true" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    return Violation("host namespaces", ", ".join(shared)) if shared else None


def host_path_volumes(metadata: Obj, spec: Obj) -> Violation | None:
    names = [v["name"] for v in spec.get("volumes") or () if v.get("hostPath") is not None]
    if not names:
        return None
    return Violation("hostPath volumes", f"{_counted('volume', 'volumes', len(names))} {_quoted(names)}")


def host_ports(metadata: Obj, spec: Obj) -> Violation | None:
    names: list[str] = []
    ports: set[str] = set()
    for container in _containers(spec):
        used = [str(p["hostPort"]) for p in container.get("ports") or () if p.get("hostPort")]
        if used:
            names.append(container["name"])
            ports.update(used)
    if not names:
        return None
    what = _counted("hostPort", "hostPorts", len(ports))
    return Violation("hostPort", f"{_named(names)} {_use(names)} {what} {', '.join(sorted(ports))}")


def _use(names: Collection[str]) -> str:
    return _counted("uses", "use", len(names))


def host_probes(metadata: Obj, spec: Obj) -> Violation | None:
    """Probes and hooks that go to another host than the pod (KEP-4940)."""
    names: set[str] = set()
    hosts: set[str] = set()
    for container in _containers(spec):
        used = list(_hosts(container))
        if used:
            names.add(container["name"])
            hosts.update(used)
    if not names:
        return None
    what = _counted("probe or lifecycle host", "probe or lifecycle hosts", len(hosts))
    detail = f"{_named(sorted(names))} {_use(names)} {what} {_quoted(sorted(hosts))}"
    return Violation("probe or lifecycle host", detail)


def _hosts(container: Obj) -> Iterator[str]:
    lifecycle = container.get("lifecycle") or {}
    handlers = [container.get(key) for key in ("livenessProbe", "readinessProbe", "startupProbe")]
    handlers += [lifecycle.get(key) for key in ("postStart", "preStop")]
    for handler in handlers:
        for kind in ("httpGet", "tcpSocket"):
            host = ((handler or {}).get(kind) or {}).get("host")
            if host:
                yield host


def privileged(metadata: Obj, spec: Obj) -> Violation | None:
    names = _those(spec, lambda context: bool(context.get("privileged")))
    if not names:
        return None
    return Violation("privileged", f"{_named(names)} must not set securityContext.privileged=true")


def proc_mount(metadata: Obj, spec: Obj) -> Violation | None:
    kinds: set[str] = set()

    def is_wrong(context: Obj) -> bool:
        mount = context.get("procMount")
        if mount is None or mount == "Default":
            return False
        kinds.add(mount)
        return True

    names = _those(spec, is_wrong)
    if not names:
        return None
    detail = f"{_named(names)} must not set securityContext.procMount to {_quoted(sorted(kinds))}"
    return Violation("procMount", detail)


_SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"


def seccomp_annotations(metadata: Obj, spec: Obj) -> Violation | None:
    """How it was said before 1.19."""
    annotations = metadata.get("annotations") or {}
    keys = {_SECCOMP_POD, *(_SECCOMP_CONTAINER + c["name"] for c in _containers(spec))}
    bad = sorted(
        f"{key}={go_quote(annotations[key])}"
        for key in keys & annotations.keys()
        if annotations[key] not in ("runtime/default", "docker/default")
        and not annotations[key].startswith("localhost/")
    )
    if not bad:
        return None
    what = _counted("annotation", "annotations", len(bad))
    return Violation("seccompProfile", f"forbidden {what} {', '.join(bad)}")


def seccomp_baseline(metadata: Obj, spec: Obj) -> Violation | None:
    values: set[str] = set()
    pod, containers = _typed(spec, "seccompProfile", values)
    if not pod and not containers:
        return None
    text = f"must not set securityContext.seccompProfile.type to {_quoted(sorted(values))}"
    return Violation("seccompProfile", f"{_setters(pod, containers)} {text}")


def se_linux(allowed: Collection[str]) -> Check:
    def check(metadata: Obj, spec: Obj) -> Violation | None:
        types: set[str] = set()
        said: set[str] = set()

        def is_wrong(context: Obj) -> bool:
            options = context.get("seLinuxOptions")
            if options is None:
                return False
            kind = options.get("type", "")
            names = [key for key in ("user", "role") if options.get(key)]
            said.update(names)
            if kind not in allowed:
                types.add(kind)
            return bool(names) or kind not in allowed

        pod = is_wrong(_security(spec))
        containers = _those(spec, is_wrong)
        if not pod and not containers:
            return None
        faults = [f"{_counted('type', 'types', len(types))} {_quoted(sorted(types))}"] if types else []
        faults += [f"{key} may not be set" for key in ("user", "role") if key in said]
        text = f"set forbidden securityContext.seLinuxOptions: {'; '.join(faults)}"
        return Violation("seLinuxOptions", f"{_setters(pod, containers)} {text}")

    return check


def sysctls(allowed: Collection[str]) -> Check:
    def check(metadata: Obj, spec: Obj) -> Violation | None:
        names = [s["name"] for s in _security(spec).get("sysctls") or () if s["name"] not in allowed]
        return Violation("forbidden sysctls", ", ".join(names)) if names else None

    return check


def windows_host_process(metadata: Obj, spec: Obj) -> Violation | None:
    def is_wrong(context: Obj) -> bool:
        return bool((context.get("windowsOptions") or {}).get("hostProcess"))

    pod, containers = is_wrong(_security(spec)), _those(spec, is_wrong)
    if not pod and not containers:
        return None
    text = "must not set securityContext.windowsOptions.hostProcess=true"
    return Violation("hostProcess", f"{_setters(pod, containers)} {text}")


# Restricted


def allow_privilege_escalation(metadata: Obj, spec: Obj) -> Violation | None:
    names = _those(spec, lambda context: context.get("allowPrivilegeEscalation") is not False)
    if not names:
        return None
    detail = f"{_named(names)} must set securityContext.allowPrivilegeEscalation=false"
    return Violation("allowPrivilegeEscalation != false", detail)


def capabilities_restricted(metadata: Obj, spec: Obj) -> Violation | None:
    keeping = _those(spec, lambda c: "ALL" not in ((c.get("capabilities") or {}).get("drop") or ()))
    adding, added = _adding(spec, ("NET_BIND_SERVICE",))
    details = []
    if keeping:
        details.append(f'{_named(keeping)} must set securityContext.capabilities.drop=["ALL"]')
    if adding:
        details.append(_added(adding, added))
    return Violation("unrestricted capabilities", "; ".join(details)) if details else None


_HARMLESS_VOLUMES = (
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected",
    "secret",
)  # fmt: skip
_OTHER_VOLUMES = (
    "hostPath", "gcePersistentDisk", "awsElasticBlockStore", "gitRepo", "nfs", "iscsi", "glusterfs", "rbd",
    "flexVolume", "cinder", "cephfs", "flocker", "fc", "azureFile", "vsphereVolume", "quobyte", "azureDisk",
    "photonPersistentDisk", "portworxVolume", "scaleIO", "storageos",
)  # fmt: skip


def restricted_volumes(metadata: Obj, spec: Obj) -> Violation | None:
    names: list[str] = []
    kinds: set[str] = set()
    for volume in spec.get("volumes") or ():
        if any(volume.get(kind) is not None for kind in _HARMLESS_VOLUMES):
            continue
        names.append(volume["name"])
        kinds.add(next((kind for kind in _OTHER_VOLUMES if volume.get(kind) is not None), "unknown"))
    if not names:
        return None
    what = _counted("restricted volume type", "restricted volume types", len(kinds))
    volumes = f"{_counted('volume', 'volumes', len(names))} {_quoted(names)}"
    return Violation("restricted volume types", f"{volumes} {_use(names)} {what} {_quoted(sorted(kinds))}")


def run_as_non_root(metadata: Obj, spec: Obj) -> Violation | None:
    reason, key = "runAsNonRoot != true", "runAsNonRoot"
    own = _security(spec).get(key)
    pod = own is False
    explicit = _those(spec, lambda context: context.get(key) is False)
    if pod or explicit:
        return Violation(reason, f"{_setters(pod, explicit)} must not set securityContext.{key}=false")
    silent = [] if own else _those(spec, lambda context: context.get(key) is None)
    return (
        Violation(reason, f"pod or {_named(silent)} must set securityContext.{key}=true") if silent else None
    )


def run_as_user(metadata: Obj, spec: Obj) -> Violation | None:
    def is_root(context: Obj) -> bool:
        return context.get("runAsUser") == 0

    pod, containers = is_root(_security(spec)), _those(spec, is_root)
    if not pod and not containers:
        return None
    return Violation("runAsUser=0", f"{_setters(pod, containers)} must not set runAsUser=0")


def seccomp_restricted(metadata: Obj, spec: Obj) -> Violation | None:
    wrong = seccomp_baseline(metadata, spec)
    if wrong is not None or _security(spec).get("seccompProfile") is not None:
        return wrong
    silent = _those(spec, lambda context: context.get("seccompProfile") is None)
    if not silent:
        return None
    text = 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    return Violation("seccompProfile", f"pod or {_named(silent)} {text}")


# Exceptions


def unless_windows(check: Check) -> Check:
    """What Windows does not have cannot be asked of its pods (since 1.25)."""

    def checked(metadata: Obj, spec: Obj) -> Violation | None:
        return None if (spec.get("os") or {}).get("name") == "windows" else check(metadata, spec)

    return checked


def unless_user_namespace(check: Check) -> Check:
    """Root in a user namespace of its own is nobody outside (KEP-127, since 1.35)."""

    def checked(metadata: Obj, spec: Obj) -> Violation | None:
        host_users: Any = spec.get("hostUsers")
        return None if host_users is False else check(metadata, spec)

    return checked
