"""What of a pod may change once it exists, and through which door (ValidatePodUpdate and its relatives).

PUT, PATCH        images, a shorter deadline, more tolerations, fewer gates; while gated, tighter placement
/status           the status, within bounds
/ephemeralcontainers   more ephemeral containers
/resize           resources of containers
/binding          the node, once
"""

from __future__ import annotations

from typing import Any

from pilothouse.api import field as f
from pilothouse.api.quantity import parse
from pilothouse.api.types import Obj
from pilothouse.api.validation import meta, names
from pilothouse.api.validation.pods import annotated, gostructs, scheduling
from pilothouse.api.validation.pods.containers import only_for_pods
from pilothouse.api.validation.pods.diff import diff
from pilothouse.api.validation.pods.forms import checked, not_padded
from pilothouse.api.validation.pods.options import POD, Options
from pilothouse.api.validation.pods.scheduling import REQUIRED
from pilothouse.api.validation.pods.spec import INT32_MAX, pod_spec

UPDATABLE = (
    "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
    "`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` "
    "(allow it to be set to 1 if it was previously negative)"
)
IMMUTABLE = "field is immutable"


def pod(obj: Obj) -> f.Errors:
    """A new pod, beyond its ObjectMeta."""
    out = _whole(obj, POD)
    spec, metadata = obj["spec"], obj["metadata"]
    if spec.get("ephemeralContainers"):
        out.append(f.forbidden("spec.ephemeralContainers", "cannot be set on create"))
    if spec.get("nodeName") and spec.get("schedulingGates"):
        why = "cannot be set until all schedulingGates have been cleared"
        out.append(f.forbidden("spec.nodeName", why))
    if metadata.get("annotations"):
        annotated.seccomp_matches(metadata, spec, "spec", out)
        annotated.app_armor_matches(metadata, spec, "spec", out)
    return out


def _whole(obj: Obj, options: Options) -> f.Errors:
    out: f.Errors = []
    spec, metadata = obj["spec"], obj["metadata"]
    if metadata.get("annotations"):
        annotated.validate(metadata["annotations"], spec, "metadata.annotations", out)
    pod_spec(spec, "spec", options, out, metadata.get("name", ""))
    if not spec.get("serviceAccountName"):
        _no_tokens(spec, out)
    only_for_pods(spec.get("containers") or [], "spec.containers", out)
    only_for_pods(spec.get("initContainers") or [], "spec.initContainers", out)
    return out


def _no_tokens(spec: Obj, out: f.Errors) -> None:
    for i, volume in enumerate(spec.get("volumes") or ()):
        for j, source in enumerate((volume.get("projected") or {}).get("sources") or ()):
            if source.get("serviceAccountToken") is not None:
                at = f"spec.volumes[{i}].projected.sources[{j}].serviceAccountToken"
                out.append(f.forbidden(at, "must not be specified when serviceAccountName is not set"))


def _options(old: Obj) -> Options:
    """What a stored pod already breaks, its updates may go on breaking."""
    spec = old["spec"]
    if not spec.get("affinity") and not spec.get("topologySpreadConstraints"):
        return POD
    found: f.Errors = []
    for constraint in spec.get("topologySpreadConstraints") or ():
        if constraint.get("labelSelector") is not None:
            found += meta.validate_label_selector(constraint["labelSelector"], "")
    return Options(
        True, bad_selector_values=True, bad_node_affinity_values=True, bad_spread_selector=bool(found)
    )


def pod_update(obj: Obj, old: Obj) -> f.Errors:
    """An update of the pod itself."""
    out = _whole(obj, _options(old))
    _annotation_updates(obj, old, out)
    new_spec, old_spec = obj["spec"], old["spec"]
    for key in ("containers", "initContainers"):
        if _container_updates(new_spec.get(key) or [], old_spec.get(key) or [], f"spec.{key}", out):
            return out
    if _deadline(new_spec, old_spec, out):
        return out
    _tolerations(new_spec, old_spec, out)
    _gates(new_spec, old_spec, out)
    if new_spec == old_spec:
        return out
    munged = _munged(new_spec, old_spec, out)
    before, after = gostructs.pod_spec(old_spec), gostructs.pod_spec(munged)
    if before != after:
        why = f"pod updates may not change fields other than {UPDATABLE}\n{diff(before, after)}"
        out.append(f.forbidden("spec", why))
    return out


def _annotation_updates(obj: Obj, old: Obj, out: f.Errors) -> None:
    """Mirror pods stay mirror pods (ValidatePodSpecificAnnotationUpdates)."""
    new, before = (o["metadata"].get("annotations") or {} for o in (obj, old))
    if new.get(annotated.MIRROR) != before.get(annotated.MIRROR):
        at = f"metadata.annotations[{annotated.MIRROR}]"
        if annotated.MIRROR not in new:
            out.append(f.forbidden(at, "may not remove or update mirror pod annotation"))
        elif annotated.MIRROR not in before:
            out.append(f.forbidden(at, "may not add mirror pod annotation"))
        else:
            out.append(f.forbidden(at, "may not remove or update mirror pod annotation"))
    if new == before:
        return
    for key in before:
        if key.startswith(annotated.APP_ARMOR) and before[key] != new.get(key):
            why = "may not remove or update AppArmor annotations"
            out.append(f.forbidden(f"metadata.annotations[{key}]", why))
    for key in new:
        if key.startswith(annotated.APP_ARMOR) and key not in before:
            out.append(f.forbidden(f"metadata.annotations[{key}]", "may not add AppArmor annotations"))


def _container_updates(new: list[Obj], old: list[Obj], path: str, out: f.Errors) -> bool:
    """True when nothing more can be compared."""
    if len(new) != len(old):
        out.append(f.forbidden(path, "pod updates may not add or remove containers"))
        return True
    for i, container in enumerate(new):
        image = container.get("image", "")
        if not image:
            out.append(f.required(f"{path}[{i}].image"))
        not_padded(image, f"{path}[{i}].image", out)
    return False


def _deadline(new: Obj, old: Obj, out: f.Errors) -> bool:
    """A deadline may come and get nearer. True when the update is refused outright."""
    value, before = new.get("activeDeadlineSeconds"), old.get("activeDeadlineSeconds")
    at = "spec.activeDeadlineSeconds"
    if value is None:
        if before is not None:
            why = "must not update from a positive integer to nil value"
            out.append(f.invalid(at, None, why))
        return False
    if not 0 <= value <= INT32_MAX:
        out.append(f.invalid(at, value, f"must be between 0 and {INT32_MAX}, inclusive"))
        return True
    if before is not None and before < value:
        out.append(f.invalid(at, value, "must be less than or equal to previous value"))
        return True
    return False


def _tolerations(new: Obj, old: Obj, out: f.Errors) -> None:
    current: list[Obj] = new.get("tolerations") or []
    kept = [{k: v for k, v in t.items() if k != "tolerationSeconds"} for t in current]
    for toleration in old.get("tolerations") or ():
        if {k: v for k, v in toleration.items() if k != "tolerationSeconds"} not in kept:
            why = "existing toleration can not be modified except its tolerationSeconds"
            out.append(f.forbidden("spec.tolerations", why))
            return
    scheduling.tolerations(current, "spec.tolerations", out)


def _gates(new: Obj, old: Obj, out: f.Errors) -> None:
    known = {gate.get("name") for gate in old.get("schedulingGates") or ()}
    for i, gate in enumerate(new.get("schedulingGates") or ()):
        if gate.get("name") not in known:
            why = f"only deletion is allowed, but found new scheduling gate '{gate.get('name', '')}'"
            out.append(f.forbidden(f"spec.schedulingGates[{i}].name", why))


def _munged(new: Obj, old: Obj, out: f.Errors) -> Obj:
    """The new spec with the old one's values wherever a change is allowed."""
    spec = dict(new)
    for key in ("containers", "initContainers"):
        if key in new and key in old:
            spec[key] = [
                {**c, "image": before.get("image", "")} for c, before in zip(new[key], old[key], strict=True)
            ]
    for key in ("activeDeadlineSeconds", "tolerations", "schedulingGates"):
        _as_before(spec, old, key)
    grace = old.get("terminationGracePeriodSeconds")
    if new.get("terminationGracePeriodSeconds") == 1 and grace is not None and grace < 0:
        _as_before(spec, old, "terminationGracePeriodSeconds")
    if old.get("schedulingGates"):
        _tighter_placement(spec, old, out)
    # Deprecated twins say nothing of their own.
    _as_before(spec, old, "serviceAccount")
    return spec


def _as_before(spec: Obj, old: Obj, key: str) -> None:
    if key in old:
        spec[key] = old[key]
    else:
        spec.pop(key, None)


def _tighter_placement(spec: Obj, old: Obj, out: f.Errors) -> None:
    """A gated pod may still be told where not to run, never be let loose (KEP-3838)."""
    selector, before = spec.get("nodeSelector") or {}, old.get("nodeSelector") or {}
    if selector != before:
        if any(selector.get(key) != value for key, value in before.items()):
            why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
            out.append(f.invalid("spec.nodeSelector", selector, why))
        _as_before(spec, old, "nodeSelector")
    new_affinity, old_affinity = (s.get("affinity") or {} for s in (spec, old))
    node, old_node = new_affinity.get("nodeAffinity"), old_affinity.get("nodeAffinity")
    if node == old_node:
        return
    _node_affinity_mutation(node or {}, old_node or {}, out)
    affinity = {**new_affinity, "nodeAffinity": old_node}
    if old_node is None:
        del affinity["nodeAffinity"]
    spec["affinity"] = affinity
    if "affinity" not in old and not affinity:
        del spec["affinity"]


def _node_affinity_mutation(node: Obj, old: Obj, out: f.Errors) -> None:
    path = f"spec.affinity.nodeAffinity.{REQUIRED}"
    before = (old.get(REQUIRED) or {}).get("nodeSelectorTerms") or []
    if not before:
        return
    terms = (node.get(REQUIRED) or {}).get("nodeSelectorTerms") or []
    if len(terms) != len(before):
        why = "no additions/deletions to non-empty NodeSelectorTerms list are allowed"
        out.append(f.invalid(f"{path}.nodeSelectorTerms", f.GoText(_shown(terms)), why))
        return
    for i, (term, was) in enumerate(zip(terms, before, strict=True)):
        if not _tightens(term, was):
            why = "only additions are allowed (no mutations or deletions)"
            out.append(f.invalid(f"{path}.nodeSelectorTerms[{i}]", f.GoText(_shown(term)), why))


def _shown(value: Any) -> str:
    return f.go_value(gostructs.node_terms(value))


def _tightens(term: Obj, old: Obj) -> bool:
    if not old.get("matchExpressions") and not old.get("matchFields") and term != old:
        return False
    return all(
        (term.get(key) or [])[: len(old.get(key) or [])] == (old.get(key) or [])
        for key in ("matchExpressions", "matchFields")
    )


# Status


def pod_status_update(obj: Obj, old: Obj) -> f.Errors:
    """ValidatePodStatusUpdate."""
    out: f.Errors = []
    _nominated(obj, old, out)
    status, before = obj["status"], old["status"]
    for i, condition in enumerate(status.get("conditions") or ()):
        if condition.get("type") == "PodScheduled" and condition.get("observedGeneration", 0) < 0:
            at = f"status.conditions[{i}].observedGeneration"
            out.append(f.invalid(at, condition["observedGeneration"], "must be a positive integer"))
    for key, of in (
        ("containerStatuses", "containers"),
        ("initContainerStatuses", "initContainers"),
    ):
        _container_states(status, before, key, obj["spec"], of, out)
    for key in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        _users(status.get(key) or [], f"status.{key}", out)
    if "qosClass" in before and status.get("qosClass") != before["qosClass"]:
        out.append(f.invalid("status.qosClass", status.get("qosClass", ""), IMMUTABLE))
    _addresses(status, "podIPs", "podIP", out)
    _addresses(status, "hostIPs", "hostIP", out)
    return out


def _nominated(obj: Obj, old: Obj, out: f.Errors) -> None:
    name = obj["status"].get("nominatedNodeName")
    if name and name != old["status"].get("nominatedNodeName"):
        checked(name, "status.nominatedNodeName", names.is_dns1123_subdomain, out)


def _container_states(status: Obj, old: Obj, key: str, spec: Obj, of: str, out: f.Errors) -> None:
    """A container that ended in a pod that does not restart stays ended."""
    if spec.get("restartPolicy") == "Always":
        return
    states = {c.get("name"): c for c in status.get(key) or ()}
    declared = {c.get("name"): c for c in spec.get(of) or ()}
    for i, before in enumerate(old.get(key) or ()):
        ended = (before.get("state") or {}).get("terminated")
        if ended is None or (ended.get("exitCode", 0) and spec.get("restartPolicy") == "OnFailure"):
            continue
        container = declared.get(before.get("name")) or {}
        if container.get("restartPolicy") is not None or container.get("restartPolicyRules"):
            continue
        now = states.get(before.get("name"))
        if now is not None and (now.get("state") or {}).get("terminated") is None:
            why = "may not be transitioned to non-terminated state"
            out.append(f.forbidden(f"status.{key}[{i}].state", why))


def _users(statuses: list[Obj], path: str, out: f.Errors) -> None:
    for i, status in enumerate(statuses):
        linux = (status.get("user") or {}).get("linux")
        if linux is None:
            continue
        for key in ("uid", "gid"):
            value = linux.get(key, 0)
            if not 0 <= value <= INT32_MAX:
                why = f"must be between 0 and {INT32_MAX}, inclusive"
                out.append(f.invalid(f"{path}[{i}].user.linux.{key}", value, why))


def _addresses(status: Obj, key: str, single: str, out: f.Errors) -> None:
    """podIPs and hostIPs: one of each family, the first the same as the single one."""
    values = [entry.get("ip", "") for entry in status.get(key) or ()]
    if single == "hostIP" and values and status.get("hostIP", "") != values[0]:
        out.append(f.invalid(f"status.{key}[0].ip", values[0], f"must be equal to `{single}`"))
    for i, value in enumerate(values):
        checked(value, f"status.{key}[{i}]", names.is_ip, out)
    if len(values) > 1:
        families = {":" in value for value in values}
        shown = [{"IP": value} for value in values]
        if len(families) < 2 or len(values) > 2:
            why = "may specify no more than one IP for each IP family"
            out.append(f.invalid(f"status.{key}", shown, why))
        for i, value in enumerate(values):
            if value in values[:i]:
                out.append(f.duplicate(f"status.{key}[{i}]", {"IP": value}))


# Subresources


def ephemeral_update(obj: Obj, old: Obj) -> f.Errors:
    """ValidatePodEphemeralContainersUpdate: they come, and never change or go."""
    out: f.Errors = []
    spec = obj["spec"]
    from_pod: f.Errors = []
    pod_spec(spec, "spec", POD, from_pod, obj["metadata"].get("name", ""))
    out += [error for error in from_pod if error.field.startswith("spec.ephemeralContainers")]
    if annotated.MIRROR in (old["metadata"].get("annotations") or {}):
        out.append(f.forbidden("", "ephemeralContainers can not be added to static pods"))
    current = {c.get("name"): c for c in spec.get("ephemeralContainers") or ()}
    for before in old["spec"].get("ephemeralContainers") or ():
        now = current.get(before.get("name"))
        which = f"existing ephemeral containers {f.go_quote(before.get('name', ''))}"
        if now is None:
            why = f"{which} may not be removed\n"
            out.append(f.forbidden("spec.ephemeralContainers", why))
        elif now != before:
            shown = diff(gostructs.ephemeral(before), gostructs.ephemeral(now))
            why = f"{which} may not be changed\n{shown}"
            out.append(f.forbidden("spec.ephemeralContainers", why))
    return out


RESIZABLE = ("cpu", "memory")


def resize(obj: Obj, old: Obj) -> f.Errors:
    """ValidatePodResize: only CPU and memory of containers and sidecars, and never across QoS classes."""
    out = _whole(obj, POD)
    spec, before = obj["spec"], old["spec"]
    if annotated.MIRROR in (old["metadata"].get("annotations") or {}):
        out.append(f.forbidden("", "static pods cannot be resized"))
    if (before.get("os") or {}).get("name") == "windows":
        out.append(f.forbidden("", "windows pods cannot be resized"))
    if qos_class(spec) != old["status"].get("qosClass", qos_class(before)):
        why = "Pod QOS Class may not change as a result of resizing"
        out.append(f.invalid("spec", old["status"].get("qosClass", ""), why))
    for key in ("containers", "initContainers"):
        if len(spec.get(key) or ()) != len(before.get(key) or ()):
            why = f"{key} may not be added or removed on resize"
            out.append(f.forbidden(f"spec.{key}", why))
            return out
    for key in ("containers", "initContainers"):
        for i, (now, was) in enumerate(zip(spec.get(key) or (), before.get(key) or (), strict=True)):
            _resized(now, was, f"spec.{key}[{i}]", key, out)
    return out


def _resized(now: Obj, was: Obj, path: str, key: str, out: f.Errors) -> None:
    if now.get("resources") == was.get("resources"):
        return
    if key == "initContainers" and was.get("restartPolicy") != "Always":
        why = "resources for non-sidecar init containers are immutable"
        out.append(f.forbidden(f"{path}.resources", why))
        return
    for kind in ("limits", "requests"):
        after, old = (c["resources"].get(kind) or {} for c in (now, was))
        if any(name in old and name not in after for name in RESIZABLE):
            out.append(f.forbidden(f"{path}.resources.{kind}", f"resource {kind} cannot be removed"))
    if any(_others(now, kind) != _others(was, kind) for kind in ("limits", "requests", "claims")):
        out.append(f.forbidden("spec", "only cpu and memory resources are mutable"))


def _others(container: Obj, kind: str) -> Any:
    """The resources of a container that cannot be resized."""
    given = container["resources"].get(kind)
    if kind == "claims":
        return given
    return {name: amount for name, amount in (given or {}).items() if name not in RESIZABLE}


def binding(obj: Obj) -> f.Errors:
    """ValidatePodBinding."""
    target = obj.get("target") or {}
    out: f.Errors = []
    if target.get("kind") not in (None, "", "Node"):
        out.append(f.not_supported("target.kind", target["kind"], ("Node", "<empty>")))
    if not target.get("name"):
        out.append(f.required("target.name"))
    return out


def qos_class(spec: Obj) -> str:
    """ComputePodQOS: Guaranteed when every container limits CPU and memory to what it requests."""
    if spec.get("resources") is not None and any(spec["resources"].get(k) for k in ("requests", "limits")):
        return _qos([spec["resources"]])
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    return _qos([c.get("resources") or {} for c in containers])


def _qos(all_resources: list[Obj]) -> str:
    any_set, guaranteed = False, True
    for resources in all_resources:
        requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
        for name in RESIZABLE:
            request, limit = requests.get(name), limits.get(name)
            request_nano = parse(request).nano if request else 0
            limit_nano = parse(limit).nano if limit else 0
            any_set = any_set or request_nano > 0 or limit_nano > 0
            if limit_nano <= 0 or request_nano != limit_nano:
                guaranteed = False
    if not any_set:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"
