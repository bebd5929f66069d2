"""The plugin (plugin/pkg/admission/security/podsecurity, k8s.io/pod-security-admission/admission).

Pods are refused what the namespace enforces; pods and what makes pods bring a warning about what it warns of. A
namespace with a new, stricter level is told which of its pods would not be let in any more.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from pilothouse.api import errors
from pilothouse.api.field import go_quote
from pilothouse.api.resources import NAMESPACES, PODS, Resource
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission.plugin import Attributes, Environment, Operation, Plugin
from pilothouse.apiserver.admission.pod_security import standards
from pilothouse.apiserver.admission.pod_security.policy import (
    PRIVILEGED,
    LevelVersion,
    Policy,
    is_stricter,
    of_labels,
    parse_level,
    parse_version,
)

_PODS_CHECKED_MAX = 3000
_HARMLESS_SUBRESOURCES = frozenset(
    ("attach", "binding", "eviction", "exec", "log", "portforward", "proxy", "resize", "status")
)
_TEMPLATES: dict[tuple[str, str], tuple[str, ...]] = {
    ("", "podtemplates"): ("template",),
    ("", "replicationcontrollers"): ("spec", "template"),
    ("apps", "daemonsets"): ("spec", "template"),
    ("apps", "deployments"): ("spec", "template"),
    ("apps", "replicasets"): ("spec", "template"),
    ("apps", "statefulsets"): ("spec", "template"),
    ("batch", "cronjobs"): ("spec", "jobTemplate", "spec", "template"),
    ("batch", "jobs"): ("spec", "template"),
}
"""Where what makes pods keeps how they will be."""
_SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"


class PodSecurity(Plugin):
    name: ClassVar[str] = "PodSecurity"
    operations: ClassVar[frozenset[Operation]] = frozenset(("CREATE", "UPDATE"))

    def __init__(self, env: Environment) -> None:
        self._lister = env.lister
        configuration = env.configuration.get(self.name) or {}
        self._default = _default(configuration.get("defaults") or {})
        exempt = configuration.get("exemptions") or {}
        self._users = frozenset(exempt.get("usernames") or ())
        self._namespaces = frozenset(exempt.get("namespaces") or ())
        self._runtime_classes = frozenset(exempt.get("runtimeClasses") or ())

    def concerns(self, resource: Resource, subresource: str) -> bool:
        key = (resource.group, resource.plural)
        if key == ("", "pods"):
            return subresource not in _HARMLESS_SUBRESOURCES
        return not subresource and (key == ("", "namespaces") or key in _TEMPLATES)

    async def validate(self, a: Attributes) -> None:
        assert a.obj is not None
        if a.resource.plural == "namespaces":
            self._namespace(a, a.obj)
        elif a.namespace not in self._namespaces and a.user.name not in self._users:
            if a.resource.plural == "pods":
                self._pod(a, a.obj)
            else:
                self._template(a, a.obj)

    def _policy(self, a: Attributes) -> Policy:
        namespace = self._lister.get(NAMESPACES, a.namespace)
        if namespace is None:
            raise errors.internal(f"failed to lookup namespace {go_quote(a.namespace)}")
        return of_labels(namespace["metadata"].get("labels") or {}, self._default)[0]

    def _pod(self, a: Attributes, pod: Obj) -> None:
        policy = self._policy(a)
        if policy.is_privileged or (a.old is not None and not _is_significant(pod, a.old)):
            return
        metadata, spec = pod["metadata"], pod["spec"]
        if self._is_exempt(spec):
            return
        found = standards.violations(policy.enforce, metadata, spec)
        if found:
            text = f"violates PodSecurity {go_quote(str(policy.enforce))}: {standards.details(found)}"
            raise a.forbidden(text)
        if not policy.warn.is_same(policy.enforce):
            _warn(a, policy.warn, metadata, spec)

    def _template(self, a: Attributes, obj: Obj) -> None:
        policy = self._policy(a)
        if policy.warn.level == PRIVILEGED:
            return
        template: Any = obj
        for key in _TEMPLATES[a.resource.group, a.resource.plural]:
            template = (template or {}).get(key)
        if template and not self._is_exempt(template["spec"]):
            _warn(a, policy.warn, template.get("metadata") or {}, template["spec"])

    def _is_exempt(self, spec: Obj) -> bool:
        return (spec.get("runtimeClassName") or "") in self._runtime_classes

    # -- namespaces -------------------------------------------------------------------------------------

    def _namespace(self, a: Attributes, namespace: Obj) -> None:
        policy, wrong = of_labels(namespace["metadata"].get("labels") or {}, self._default)
        before, wrong_before = Policy(), None
        if a.old is not None:
            before, wrong_before = of_labels(a.old["metadata"].get("labels") or {}, self._default)
        if wrong and wrong != wrong_before:
            raise errors.invalid("", "Namespace", a.name, wrong)
        name = namespace["metadata"].get("name", "")
        if a.old is None or name in self._namespaces or not _tightens(policy.enforce, before.enforce):
            return
        a.warnings.extend(self._told(name, policy.enforce))

    def _told(self, namespace: str, standard: LevelVersion) -> list[str]:
        """The pods that a new level would not let in, those with the same faults together."""
        pods = list(self._lister.list(PODS, namespace))
        faulty: dict[str, list[str]] = {}
        for pod in _owners_first(pods)[:_PODS_CHECKED_MAX]:
            if self._is_exempt(pod["spec"]):
                continue
            found = standards.violations(standard, pod["metadata"], pod["spec"])
            if found:
                faulty.setdefault(standards.reasons(found), []).append(pod["metadata"]["name"])
        warnings = []
        if len(pods) > _PODS_CHECKED_MAX:
            warnings.append(
                f"new PodSecurity enforce level only checked against the first {_PODS_CHECKED_MAX} of {len(pods)} "
                "existing pods"
            )
        if faulty:
            warnings.append(
                f"existing pods in namespace {go_quote(namespace)} violate the new PodSecurity enforce level "
                f"{go_quote(str(standard))}"
            )
        return warnings + sorted(f"{_those(names)}: {reasons}" for reasons, names in faulty.items())


def _warn(a: Attributes, standard: LevelVersion, metadata: Obj, spec: Obj) -> None:
    found = standards.violations(standard, metadata, spec)
    if found:
        text = f"would violate PodSecurity {go_quote(str(standard))}: {standards.details(found)}"
        a.warnings.append(text)


def _default(given: Obj) -> Policy:
    """What --admission-control-config-file says for namespaces without labels."""
    parts = (
        LevelVersion(
            parse_level(given.get(mode) or PRIVILEGED),
            parse_version(given.get(f"{mode}-version") or "latest"),
        )
        for mode in ("enforce", "audit", "warn")
    )
    return Policy(*parts)


def _tightens(now: LevelVersion, before: LevelVersion) -> bool:
    if now == before or now.level == PRIVILEGED:
        return False
    return now.version != before.version or is_stricter(now.level, before.level)


def _owners_first(pods: Iterable[Obj]) -> list[Obj]:
    """One pod of each owner before the others: they are alike (prioritizePods)."""
    seen: set[str] = set()
    first: list[Obj] = []
    rest: list[Obj] = []
    for pod in pods:
        owner = next((r for r in pod["metadata"].get("ownerReferences") or () if r.get("controller")), None)
        if owner is None or owner["uid"] not in seen:
            first.append(pod)
            seen.update((owner["uid"],) if owner else ())
        else:
            rest.append(pod)
    return first + rest


def _those(names: list[str]) -> str:
    """`a`, `a (and 1 other pod)`, `a (and 2 other pods)`."""
    others = len(names) - 1
    if not others:
        return names[0]
    return f"{min(names)} (and {others} other pod{'s' if others > 1 else ''})"


def _is_significant(pod: Obj, old: Obj) -> bool:
    """Whether an update changes something that a check looks at: containers, images, old annotations."""
    spec, before = pod["spec"], old["spec"]
    notes, notes_before = ((o["metadata"].get("annotations") or {}) for o in (pod, old))
    if notes.get(_SECCOMP_POD, "") != notes_before.get(_SECCOMP_POD, ""):
        return True
    for key in ("containers", "initContainers"):
        if len(spec.get(key) or ()) != len(before.get(key) or ()):
            return True
    known = {
        (key, c["name"]): c
        for key in ("containers", "initContainers", "ephemeralContainers")
        for c in before.get(key) or ()
    }
    for key in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(key) or ():
            was = known.get((key, container["name"]))
            if was is None or container.get("image") != was.get("image"):
                return True
            note = _SECCOMP_CONTAINER + container["name"]
            if notes.get(note, "") != notes_before.get(note, ""):
                return True
    return False
