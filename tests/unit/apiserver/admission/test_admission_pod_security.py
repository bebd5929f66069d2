"""PodSecurity (k8s.io/pod-security-admission, https://kubernetes.io/docs/concepts/security/pod-security-standards/)."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.api.resources import DEPLOYMENTS, NAMESPACES, PODS
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission.pod_security import standards
from pilothouse.apiserver.admission.pod_security.plugin import PodSecurity
from pilothouse.apiserver.admission.pod_security.policy import LATEST, LevelVersion, Policy, of_labels
from tests.admission import Bench, attributes, container, pod, refusal

PREFIX = "pod-security.kubernetes.io/"
FINE = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def found(level: str, spec: Obj, version: int = LATEST, **metadata: Any) -> str:
    return standards.details(standards.violations(LevelVersion(level, version), metadata, spec))


def with_context(name: str = "c", **security: Any) -> Obj:
    return container(name, securityContext=security)


def spec(*containers: Obj, **more: Any) -> Obj:
    return {"containers": list(containers or (with_context(**FINE),)), **more}


def test_a_pod_that_says_nothing_is_baseline_and_not_restricted() -> None:
    plain = spec(container("a"), container("b"))
    assert found("baseline", plain) == ""
    assert found("restricted", plain) == (
        'allowPrivilegeEscalation != false (containers "a", "b" must set '
        "securityContext.allowPrivilegeEscalation=false), "
        'unrestricted capabilities (containers "a", "b" must set securityContext.capabilities.drop=["ALL"]), '
        'runAsNonRoot != true (pod or containers "a", "b" must set securityContext.runAsNonRoot=true), '
        'seccompProfile (pod or containers "a", "b" must set securityContext.seccompProfile.type to '
        '"RuntimeDefault" or "Localhost")'
    )
    assert found("restricted", spec()) == ""
    assert found("privileged", spec(with_context(privileged=True))) == ""


@pytest.mark.parametrize(
    ("level", "of", "text"),
    [
        (
            "baseline",
            spec(hostNetwork=True, hostIPC=True),
            "host namespaces (hostNetwork=true, hostIPC=true)",
        ),
        (
            "baseline",
            spec(volumes=[{"name": "v", "hostPath": {"path": "/"}}]),
            'hostPath volumes (volume "v")',
        ),
        (
            "restricted",
            spec(volumes=[{"name": "v", "hostPath": {}}, {"name": "n", "nfs": {}}, {"name": "e", "emptyDir": {}}]),
            'restricted volume types (volumes "v", "n" use restricted volume types "hostPath", "nfs")',
        ),
        (
            "baseline",
            spec(container("c", ports=[{"containerPort": 80, "hostPort": 80}, {"hostPort": 443}])),
            'hostPort (container "c" uses hostPorts 443, 80)',
        ),
        (
            "baseline",
            spec(container("c", livenessProbe={"httpGet": {"host": "169.254.169.254"}})),
            'probe or lifecycle host (container "c" uses probe or lifecycle host "169.254.169.254")',
        ),
        (
            "baseline",
            spec(with_context(privileged=True), initContainers=[with_context("i", privileged=True)]),
            'privileged (containers "i", "c" must not set securityContext.privileged=true)',
        ),
        (
            "baseline",
            spec(with_context(procMount="Unmasked")),
            'procMount (container "c" must not set securityContext.procMount to "Unmasked")',
        ),
        (
            "baseline",
            spec(with_context(capabilities={"add": ["SYS_ADMIN", "CHOWN", "NET_RAW"]})),
            'non-default capabilities (container "c" must not include "NET_RAW", "SYS_ADMIN" in '
            "securityContext.capabilities.add)",
        ),
        (
            "restricted",
            spec(with_context(**{**FINE, "capabilities": {"drop": ["ALL"], "add": ["CHOWN", "NET_BIND_SERVICE"]}})),
            'unrestricted capabilities (container "c" must not include "CHOWN" in securityContext.capabilities.add)',
        ),
        (
            "baseline",
            spec(
                with_context(seLinuxOptions={"type": "x_t", "user": "u"}),
                securityContext={"seLinuxOptions": {"role": "r"}},
            ),
            'seLinuxOptions (pod and container "c" set forbidden securityContext.seLinuxOptions: type "x_t"; user may '
            "not be set; role may not be set)",
        ),
        (
            "baseline",
            spec(securityContext={"sysctls": [{"name": "kernel.msgmax"}, {"name": "net.ipv4.tcp_rmem"}]}),
            "forbidden sysctls (kernel.msgmax)",
        ),
        (
            "baseline",
            spec(with_context(windowsOptions={"hostProcess": True})),
            'hostProcess (container "c" must not set securityContext.windowsOptions.hostProcess=true)',
        ),
        (
            "baseline",
            spec(securityContext={"seccompProfile": {"type": "Unconfined"}}),
            'seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")',
        ),
        (
            "baseline",
            spec(with_context(appArmorProfile={"type": "Unconfined"})),
            'forbidden AppArmor profile (container "c" must not set AppArmor profile type to "Unconfined")',
        ),
        (
            "restricted",
            spec(with_context(**{**FINE, "runAsNonRoot": False}), securityContext={"runAsNonRoot": False}),
            'runAsNonRoot != true (pod and container "c" must not set securityContext.runAsNonRoot=false)',
        ),
        (
            "restricted",
            spec(with_context(**FINE, runAsUser=0)),
            'runAsUser=0 (container "c" must not set runAsUser=0)',
        ),
    ],
)  # fmt: skip
def test_what_a_level_forbids(level: str, of: Obj, text: str) -> None:
    assert found(level, of) == text


def test_each_version_has_the_checks_of_its_time() -> None:
    annotated = {"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}
    assert found("baseline", spec(), 18, annotations=annotated) == (
        'seccompProfile (forbidden annotation seccomp.security.alpha.kubernetes.io/pod="unconfined")'
    )
    assert found("baseline", spec(), 19, annotations=annotated) == ""
    probing = spec(container("c", readinessProbe={"tcpSocket": {"host": "h"}}))
    assert (found("baseline", probing, 33), bool(found("baseline", probing, 34))) == ("", True)
    root = spec(with_context(**FINE, runAsUser=0))
    assert (found("restricted", root, 22), bool(found("restricted", root, 23))) == ("", True)


def test_windows_and_user_namespaces_are_excepted() -> None:
    windows = spec(container("c"), os={"name": "windows"}, securityContext={"runAsNonRoot": True})
    assert found("restricted", windows) == ""
    assert "seccompProfile" in found("restricted", windows, 24)
    apart = spec(with_context(**{**FINE, "runAsNonRoot": False, "procMount": "Unmasked"}), hostUsers=False)
    assert found("baseline", apart) == ""
    assert found("restricted", apart) == (
        'procMount (container "c" must not set securityContext.procMount to "Unmasked")'
    )


def test_labels_make_a_policy() -> None:
    policy, wrong = of_labels({PREFIX + "enforce": "baseline", PREFIX + "enforce-version": "v1.30"}, Policy())
    assert not wrong
    assert [str(part) for part in policy] == ["baseline:v1.30", "privileged:latest", "baseline:v1.30"]
    policy, wrong = of_labels(
        {PREFIX + "enforce": "x", PREFIX + "audit": "y", PREFIX + "warn-version": "1.2"}, Policy()
    )
    assert [str(error) for error in wrong] == [
        f'metadata.labels[{PREFIX}enforce]: Invalid value: "x": must be one of privileged, baseline, restricted',
        f'metadata.labels[{PREFIX}audit]: Invalid value: "y": must be one of privileged, baseline, restricted',
        f'metadata.labels[{PREFIX}warn-version]: Invalid value: "1.2": must be "latest" or "v1.x"',
    ]
    assert [part.level for part in policy] == ["restricted", "privileged", "privileged"]


def bench(**labels: str) -> Bench:
    made = Bench()
    made.namespace(labels={PREFIX + key.replace("_", "-"): value for key, value in labels.items()})
    return made


async def test_pods_are_refused_what_is_enforced_and_warned_of_the_rest() -> None:
    plugin = PodSecurity(bench(enforce="baseline", warn="restricted", warn_version="v1.8").env())
    assert await refusal(plugin.validate(attributes("CREATE", pod(hostPID=True)))) == (
        'pods "p" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostPID=true)'
    )
    asked = attributes("CREATE", pod())
    await plugin.validate(asked)
    assert asked.warnings == [
        'would violate PodSecurity "restricted:v1.8": allowPrivilegeEscalation != false (container "c" must set '
        'securityContext.allowPrivilegeEscalation=false), runAsNonRoot != true (pod or container "c" must set '
        "securityContext.runAsNonRoot=true)"
    ]


async def test_what_makes_pods_is_warned_of_and_never_refused() -> None:
    plugin = PodSecurity(bench(enforce="baseline").env())
    template = {"metadata": {}, "spec": spec(hostPID=True)}
    deployment = {"metadata": {"name": "d", "namespace": "ns"}, "spec": {"template": template}}
    asked = attributes("CREATE", deployment, resource=DEPLOYMENTS)
    await plugin.validate(asked)
    assert asked.warnings == ['would violate PodSecurity "baseline:latest": host namespaces (hostPID=true)']
    assert plugin.concerns(DEPLOYMENTS, "") and not plugin.concerns(DEPLOYMENTS, "scale")


async def test_updates_that_change_no_container_are_let_be() -> None:
    plugin = PodSecurity(bench(enforce="restricted").env())
    old, relabelled = pod(hostPID=True), pod(hostPID=True)
    relabelled["metadata"]["labels"] = {"a": "b"}
    await plugin.validate(attributes("UPDATE", relabelled, old))
    changed = pod(hostPID=True, containers=[{**container("c"), "image": "other"}])
    assert "violates PodSecurity" in await refusal(plugin.validate(attributes("UPDATE", changed, old)))
    debugged = pod(hostPID=True, ephemeralContainers=[container("debug")])
    assert "violates PodSecurity" in await refusal(
        plugin.validate(attributes("UPDATE", debugged, old, subresource="ephemeralcontainers"))
    )
    assert not plugin.concerns(PODS, "status")


async def test_a_stricter_namespace_tells_which_pods_it_would_not_let_in() -> None:
    made = Bench()
    for name in ("b", "a", "c"):
        made.store(PODS, pod(name, hostPID=name != "c"))
    plugin = PodSecurity(made.env())
    old = {"metadata": {"name": "ns", "labels": {}}}
    new = {"metadata": {"name": "ns", "labels": {PREFIX + "enforce": "baseline"}}}
    asked = attributes("UPDATE", new, old, resource=NAMESPACES)
    await plugin.validate(asked)
    assert asked.warnings == [
        'existing pods in namespace "ns" violate the new PodSecurity enforce level "baseline:latest"',
        "a (and 1 other pod): host namespaces",
    ]
    relaxed = attributes("UPDATE", old, new, resource=NAMESPACES)
    await plugin.validate(relaxed)
    assert relaxed.warnings == []


async def test_bad_labels_are_refused_when_they_are_new() -> None:
    plugin = PodSecurity(Bench().env())
    bad = {"metadata": {"name": "ns", "labels": {PREFIX + "warn": "x"}}}
    assert await refusal(plugin.validate(attributes("CREATE", bad, resource=NAMESPACES))) == (
        f'Namespace "ns" is invalid: metadata.labels[{PREFIX}warn]: Invalid value: "x": must be one of privileged, '
        "baseline, restricted"
    )
    await plugin.validate(attributes("UPDATE", bad, bad, resource=NAMESPACES))


async def test_the_configuration_sets_defaults_and_exemptions() -> None:
    """PodSecurityConfiguration of pod-security.admission.config.k8s.io/v1."""
    made = Bench()
    made.namespace()
    configured = {
        "defaults": {"enforce": "baseline", "enforce-version": "v1.30"},
        "exemptions": {"usernames": ["bob"], "runtimeClasses": ["vm"]},
    }
    plugin = PodSecurity(made.env({"PodSecurity": configured}))
    assert 'violates PodSecurity "baseline:v1.30"' in await refusal(
        plugin.validate(attributes("CREATE", pod(hostPID=True)))
    )
    await plugin.validate(attributes("CREATE", pod(hostPID=True, runtimeClassName="vm")))
