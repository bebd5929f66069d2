"""Which checks make up a level in a version (k8s.io/pod-security-admission/policy registry.go).

A version holds the checks of its time; in the restricted level some of the baseline's are replaced by stricter ones.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from pilothouse.api.types import Obj
from pilothouse.apiserver.admission.pod_security import checks as c
from pilothouse.apiserver.admission.pod_security.policy import PRIVILEGED, RESTRICTED, LevelVersion


class _Since(NamedTuple):
    minor: int
    check: c.Check


class _Entry(NamedTuple):
    """`versions` in rising order; `instead_of` is the baseline check that a restricted one replaces."""

    name: str
    versions: tuple[_Since, ...]
    instead_of: str = ""


_TYPES = ("", "container_t", "container_init_t", "container_kvm_t")
_SYSCTLS = (
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
)
_SYSCTLS_27 = (*_SYSCTLS, "net.ipv4.ip_local_reserved_ports")
_SYSCTLS_29 = (
    *_SYSCTLS_27,
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
)
_SYSCTLS_32 = (*_SYSCTLS_29, "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem")

_BASELINE = (
    _Entry("appArmorProfile", (_Since(0, c.app_armor),)),
    _Entry("capabilities_baseline", (_Since(0, c.capabilities_baseline),)),
    _Entry("hostNamespaces", (_Since(0, c.host_namespaces),)),
    _Entry("hostPathVolumes", (_Since(0, c.host_path_volumes),)),
    _Entry("hostPorts", (_Since(0, c.host_ports),)),
    _Entry("hostProbesAndHostLifecycle", (_Since(34, c.host_probes),)),
    _Entry("privileged", (_Since(0, c.privileged),)),
    _Entry("procMount", (_Since(0, c.proc_mount), _Since(35, c.unless_user_namespace(c.proc_mount)))),
    _Entry(
        "seLinuxOptions",
        (_Since(0, c.se_linux(_TYPES)), _Since(31, c.se_linux((*_TYPES, "container_engine_t")))),
    ),
    _Entry("seccompProfile_baseline", (_Since(0, c.seccomp_annotations), _Since(19, c.seccomp_baseline))),
    _Entry(
        "sysctls",
        (
            _Since(0, c.sysctls(_SYSCTLS)),
            _Since(27, c.sysctls(_SYSCTLS_27)),
            _Since(29, c.sysctls(_SYSCTLS_29)),
            _Since(32, c.sysctls(_SYSCTLS_32)),
        ),
    ),
    _Entry("windowsHostProcess", (_Since(0, c.windows_host_process),)),
)
_RESTRICTED = (
    _Entry(
        "allowPrivilegeEscalation",
        (
            _Since(8, c.allow_privilege_escalation),
            _Since(25, c.unless_windows(c.allow_privilege_escalation)),
        ),
    ),
    _Entry(
        "capabilities_restricted",
        (_Since(22, c.capabilities_restricted), _Since(25, c.unless_windows(c.capabilities_restricted))),
        instead_of="capabilities_baseline",
    ),
    _Entry("procMount_restricted", (_Since(35, c.proc_mount),), instead_of="procMount"),
    _Entry("restrictedVolumes", (_Since(0, c.restricted_volumes),), instead_of="hostPathVolumes"),
    _Entry(
        "runAsNonRoot",
        (_Since(0, c.run_as_non_root), _Since(35, c.unless_user_namespace(c.run_as_non_root))),
    ),
    _Entry("runAsUser", (_Since(23, c.run_as_user), _Since(35, c.unless_user_namespace(c.run_as_user)))),
    _Entry(
        "seccompProfile_restricted",
        (_Since(19, c.seccomp_restricted), _Since(25, c.unless_windows(c.seccomp_restricted))),
        instead_of="seccompProfile_baseline",
    ),
)
"""Both in the order of their names, which is the order of the messages."""


def _at(entry: _Entry, minor: int) -> c.Check | None:
    return next((since.check for since in reversed(entry.versions) if since.minor <= minor), None)


@lru_cache(maxsize=256)
def _checks(level: str, minor: int) -> tuple[c.Check, ...]:
    baseline = {e.name: check for e in _BASELINE if (check := _at(e, minor)) is not None}
    if level != RESTRICTED:
        return tuple(baseline.values())
    stricter = [(e, check) for e in _RESTRICTED if (check := _at(e, minor)) is not None]
    for entry, _ in stricter:
        baseline.pop(entry.instead_of, None)
    return (*baseline.values(), *(check for _, check in stricter))


def violations(standard: LevelVersion, metadata: Obj, spec: Obj) -> list[c.Violation]:
    """What a pod does that the level in that version forbids."""
    if standard.level == PRIVILEGED:
        return []
    found = (check(metadata, spec) for check in _checks(*standard))
    return [violation for violation in found if violation is not None]


def details(found: list[c.Violation]) -> str:
    """Of one pod: `host namespaces (hostPID=true), privileged (container "c" must not …)`."""
    return ", ".join(f"{v.reason} ({v.detail})" if v.detail else v.reason for v in found)


def reasons(found: list[c.Violation]) -> str:
    return ", ".join(v.reason for v in found)
