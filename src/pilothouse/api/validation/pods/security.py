"""Who a pod and its containers run as, and what they may do on their node."""

from __future__ import annotations

import re

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation.gotext import struct, text
from pilothouse.api.validation.names import is_dns1123_subdomain
from pilothouse.api.validation.pods import gostructs
from pilothouse.api.validation.pods.forms import identity, local_path

_PROFILE_TYPES = ("Localhost", "RuntimeDefault", "Unconfined")
_SYSCTL_SEGMENT = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SYSCTL = f"^({_SYSCTL_SEGMENT}[\\./])*{_SYSCTL_SEGMENT}$"
_SYSCTL_FORM = re.compile(_SYSCTL)
_SYSCTL_MAX = 253
_IPC_SYSCTLS = ("kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")
_PATH_MAX = 4095
_SECCOMP = struct(Type="", LocalhostProfile=None)
WINDOWS_ONLY = "windows options cannot be set for a linux pod"
LINUX_ONLY = "cannot be set for a windows pod"


def pod_context(context: Obj, spec: Obj, path: str, out: f.Errors) -> None:
    """spec.securityContext."""
    for key in ("fsGroup", "runAsUser", "runAsGroup"):
        identity(context, key, path, out)
    for i, group in enumerate(context.get("supplementalGroups") or ()):
        identity({f"supplementalGroups[{i}]": group}, f"supplementalGroups[{i}]", path, out)
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        why = "ShareProcessNamespace and HostPID cannot both be enabled"
        out.append(f.invalid(f"{path}.shareProcessNamespace", True, why))
    if context.get("sysctls"):
        _sysctls(context["sysctls"], spec, f"{path}.sysctls", out)
    _one_of(context, "fsGroupChangePolicy", path, ("Always", "OnRootMismatch"), out)
    _shared(context, path, out)
    _one_of(context, "supplementalGroupsPolicy", path, ("Merge", "Strict"), out)
    _one_of(context, "seLinuxChangePolicy", path, ("MountOption", "Recursive"), out)


def _shared(context: Obj, path: str, out: f.Errors) -> None:
    if context.get("seccompProfile") is not None:
        _seccomp(context["seccompProfile"], f"{path}.seccompProfile", out)
    if context.get("windowsOptions") is not None:
        _windows_options(context["windowsOptions"], f"{path}.windowsOptions", out)
    if context.get("appArmorProfile") is not None:
        _app_armor(context["appArmorProfile"], f"{path}.appArmorProfile", out)


def _one_of(holder: Obj, key: str, path: str, allowed: tuple[str, ...], out: f.Errors) -> None:
    value = holder.get(key)
    if value is not None and value not in allowed:
        out.append(f.not_supported(f"{path}.{key}", value, allowed))


def _sysctls(values: list[Obj], spec: Obj, path: str, out: f.Errors) -> None:
    seen: set[str] = set()
    for i, sysctl in enumerate(values):
        name, at = sysctl.get("name", ""), f"{path}[{i}].name"
        if not name:
            out.append(f.required(at))
        elif len(name) > _SYSCTL_MAX or not _SYSCTL_FORM.match(name):
            why = f"must have at most {_SYSCTL_MAX} characters and match regex {_SYSCTL}"
            out.append(f.invalid(at, name, why))
        elif name in seen:
            out.append(f.duplicate(at, name))
        dotted = name.replace("/", ".")
        if spec.get("hostNetwork") and dotted.startswith("net."):
            out.append(f.invalid(at, name, "may not be specified when 'hostNetwork' is true"))
        elif spec.get("hostIPC") and dotted.startswith(_IPC_SYSCTLS):
            out.append(f.invalid(at, name, "may not be specified when 'hostIPC' is true"))
        seen.add(name)


def _seccomp(profile: Obj, path: str, out: f.Errors) -> None:
    kind, local = profile.get("type", ""), profile.get("localhostProfile")
    if not kind:
        out.append(f.required(f"{path}.type", "type is required when seccompProfile is set"))
    elif kind not in _PROFILE_TYPES:
        out.append(f.not_supported(f"{path}.type", kind, _PROFILE_TYPES))
    if kind == "Localhost":
        if local is None:
            why = "must be set when seccomp type is Localhost"
            out.append(f.required(f"{path}.localhostProfile", why))
        else:
            local_path(local, f"{path}.localhostProfile", out)
    elif local is not None:
        why = "can only be set when seccomp type is Localhost"
        out.append(f.invalid(f"{path}.localhostProfile", text(profile, _SECCOMP), why))


def _app_armor(profile: Obj, path: str, out: f.Errors) -> None:
    kind, local, at = profile.get("type", ""), profile.get("localhostProfile"), f"{path}.localhostProfile"
    needed = "must be set when AppArmor type is Localhost"
    if kind == "Localhost":
        if local is None or not local:
            out.append(f.required(at, needed))
        elif local != local.strip():
            out.append(f.invalid(at, local, "must not be padded with whitespace"))
        if local is not None and len(local) > _PATH_MAX:
            out.append(f.too_long(at, "", _PATH_MAX))
    elif kind in _PROFILE_TYPES:
        if local is not None:
            out.append(f.invalid(at, local, "can only be set when AppArmor type is Localhost"))
    elif not kind:
        out.append(f.required(f"{path}.type", "type is required when appArmorProfile is set"))
    else:
        out.append(f.not_supported(f"{path}.type", kind, _PROFILE_TYPES))


_GMSA_KIB = 64
_DOMAIN_MAX = 256
_USER_MAX = 104
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NETBIOS = re.compile(r'[^\\/:*?"<>|.][^\\/:*?"<>|]{0,14}')
_DNS_LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_DNS_NAME = re.compile(rf"{_DNS_LABEL}(?:\.{_DNS_LABEL})*")
_DOTS_AND_SPACES = re.compile(r"[. ]+")
_NOT_IN_USERS = re.compile(r'["/\\:;|=,+*?<>@\[\]]')


def _windows_options(options: Obj, path: str, out: f.Errors) -> None:
    name, credentials = options.get("gmsaCredentialSpecName"), options.get("gmsaCredentialSpec")
    if name is not None:
        at = f"{path}.gmsaCredentialSpecName"
        out += [f.invalid(at, name, why) for why in is_dns1123_subdomain(name)]
    if credentials is not None:
        at = f"{path}.gmsaCredentialSpec"
        if not credentials:
            out.append(f.invalid(at, credentials, "gmsaCredentialSpec cannot be an empty string"))
        elif len(credentials.encode()) > _GMSA_KIB * 1024:
            why = f"gmsaCredentialSpec size must be under {_GMSA_KIB} KiB"
            out.append(f.invalid(at, credentials, why))
    user = options.get("runAsUserName")
    if user is not None:
        at = f"{path}.runAsUserName"
        out += [f.invalid(at, user, f"runAsUserName{why}") for why in _user_name_errors(user)]


def _user_name_errors(name: str) -> list[str]:
    """What is wrong with `User` or `DOMAIN\\User`."""
    if not name:
        return [" cannot be an empty string"]
    if _CONTROL.search(name):
        return [" cannot contain control characters"]
    if name.count("\\") > 1:
        return [" cannot contain more than one backslash"]
    domain, separator, user = name.rpartition("\\")
    out = []
    if len(domain.encode()) >= _DOMAIN_MAX:
        out.append(f"'s Domain length must be under {_DOMAIN_MAX} characters")
    if separator and not (_NETBIOS.fullmatch(domain) or _DNS_NAME.fullmatch(domain)):
        out.append("'s Domain doesn't match the NetBios nor the DNS format")
    if not user:
        out.append("'s User cannot be empty")
    elif len(user.encode()) > _USER_MAX:
        out.append(f"'s User length must not be longer than {_USER_MAX} characters")
    if _DOTS_AND_SPACES.fullmatch(user):
        out.append("'s User cannot contain only periods or spaces")
    if _NOT_IN_USERS.search(user):
        out.append("'s User cannot contain the following characters: \"/\\:;|=,+*?<>@[]")
    return out


def host_process(spec: Obj, path: str, out: f.Errors) -> None:
    """A Windows pod's containers run as processes of the node all together or not at all, in its network."""
    of_pod = _host_process(spec)
    effective = []
    for key in _CONTAINER_LISTS:
        for i, container in enumerate(spec.get(key) or ()):
            own = _host_process(container)
            if None not in (of_pod, own) and own != of_pod:
                shown = "true" if of_pod else "false"
                why = f"pod hostProcess value must be identical if both are specified, was {shown}"
                at = f"{path}.{key}[{i}].securityContext.windowsOptions.hostProcess"
                out.append(f.invalid(at, own, why))
            effective.append(of_pod if own is None else own)
    if not any(effective):
        return
    if not all(effective):
        why = "If pod contains any hostProcess containers then all containers must be HostProcess containers"
        out.append(f.invalid(path, "", why))
    if not spec.get("hostNetwork"):
        why = "hostNetwork must be true if pod contains any hostProcess containers"
        out.append(f.invalid(f"{path}.hostNetwork", False, why))


def _host_process(holder: Obj) -> bool | None:
    options = (holder.get("securityContext") or {}).get("windowsOptions") or {}
    given: bool | None = options.get("hostProcess")
    return given


def container_context(context: Obj, path: str, spec: Obj, out: f.Errors) -> None:
    """A container's securityContext."""
    identity(context, "runAsUser", path, out)
    identity(context, "runAsGroup", path, out)
    mount = context.get("procMount")
    if mount is not None:
        if mount not in ("Default", "Unmasked"):
            out.append(f.not_supported(f"{path}.procMount", mount, ("Default", "Unmasked")))
        if mount == "Unmasked" and spec.get("hostUsers") is not False:
            why = "`hostUsers` must be false to use `Unmasked`"
            out.append(f.invalid(f"{path}.procMount", mount, why))
    if context.get("seccompProfile") is not None:
        _seccomp(context["seccompProfile"], f"{path}.seccompProfile", out)
    if context.get("allowPrivilegeEscalation") is False:
        if context.get("privileged"):
            why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            out.append(f.invalid(path, text(context, gostructs.SECURITY_CONTEXT), why))
        if "CAP_SYS_ADMIN" in ((context.get("capabilities") or {}).get("add") or ()):
            why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            out.append(f.invalid(path, text(context, gostructs.SECURITY_CONTEXT), why))
    if context.get("windowsOptions") is not None:
        _windows_options(context["windowsOptions"], f"{path}.windowsOptions", out)
    if context.get("appArmorProfile") is not None:
        _app_armor(context["appArmorProfile"], f"{path}.appArmorProfile", out)


# Pods that say which operating system they need

_WINDOWS_POD = (
    (True, "appArmorProfile"), (True, "seLinuxOptions"), (False, "hostUsers"), (False, "hostPID"),
    (False, "hostIPC"), (True, "seccompProfile"), (True, "fsGroup"), (True, "fsGroupChangePolicy"),
    (True, "sysctls"), (False, "shareProcessNamespace"), (True, "runAsUser"), (True, "runAsGroup"),
    (True, "supplementalGroups"), (True, "supplementalGroupsPolicy"), (True, "seLinuxChangePolicy"),
)  # fmt: skip
"""What a Windows pod may not set, and whether it stands in the security context."""
_WINDOWS_CONTAINER = (
    "appArmorProfile", "seLinuxOptions", "seccompProfile", "capabilities", "readOnlyRootFilesystem",
    "privileged", "allowPrivilegeEscalation", "procMount", "runAsUser", "runAsGroup",
)  # fmt: skip
_CONTAINER_LISTS = ("initContainers", "containers", "ephemeralContainers")


def operating_system(spec: Obj, path: str, out: f.Errors) -> None:
    name = spec["os"].get("name", "")
    if not name:
        out.append(f.required(f"{path}.os.name", "cannot be empty"))
    elif name not in ("linux", "windows"):
        out.append(f.not_supported(f"{path}.os", name, ("linux", "windows")))
    elif name == "linux":
        _linux(spec, path, out)
    else:
        _windows(spec, path, out)


def _linux(spec: Obj, path: str, out: f.Errors) -> None:
    if (spec.get("securityContext") or {}).get("windowsOptions") is not None:
        out.append(f.forbidden(f"{path}.securityContext.windowsOptions", WINDOWS_ONLY))
    for key in _CONTAINER_LISTS:
        for i, container in enumerate(spec.get(key) or ()):
            if (container.get("securityContext") or {}).get("windowsOptions") is not None:
                out.append(f.forbidden(f"{path}.{key}[{i}].securityContext.windowsOptions", WINDOWS_ONLY))


def _windows(spec: Obj, path: str, out: f.Errors) -> None:
    context = spec.get("securityContext")
    if context is not None:
        for inside, key in _WINDOWS_POD:
            value = (context if inside else spec).get(key)
            if value is not None and (value or key not in ("hostPID", "hostIPC")):
                at = f"{path}.securityContext.{key}" if inside else f"{path}.{key}"
                out.append(f.forbidden(at, LINUX_ONLY))
    for name in _CONTAINER_LISTS:
        for i, container in enumerate(spec.get(name) or ()):
            context = container.get("securityContext") or {}
            for key in _WINDOWS_CONTAINER:
                if context.get(key) is not None:
                    out.append(f.forbidden(f"{path}.{name}[{i}].securityContext.{key}", LINUX_ONLY))


def host_users(spec: Obj, path: str, out: f.Errors) -> None:
    """A pod in its own user namespace shares no other namespace with its node."""
    if spec.get("hostUsers") is not False:
        return
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key):
            why = "when `hostUsers` is false"
            out.append(f.forbidden(f"{path}.{key}", why))
