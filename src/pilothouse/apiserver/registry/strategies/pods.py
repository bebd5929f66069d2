"""Strategies of pods and of the core kinds that carry a pod template (pkg/registry/core/pod/strategy.go)."""

from __future__ import annotations

from typing import Any, ClassVar

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import apps
from pilothouse.api.validation.pods import sound, update, warnings
from pilothouse.api.validation.pods.annotated import APP_ARMOR
from pilothouse.api.validation.pods.scheduling import PREFERRED, REQUIRED
from pilothouse.api.validation.pods.spec import template
from pilothouse.api.validation.pods.update import qos_class
from pilothouse.apiserver.registry.strategy import Context, MetadataCheck, Strategy

POD_NAMES = "Pod names and hostnames"
_SOUND = sound.Sound()
_APP_ARMOR_TYPES = {"runtime/default": "RuntimeDefault", "unconfined": "Unconfined"}


class PodStrategy(Strategy):
    generation: ClassVar[bool] = True
    from_templates: ClassVar[bool] = True
    field_names: ClassVar[tuple[str, ...]] = (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.podIPs",
        "status.nominatedNodeName",
    )

    def field_labels(self, group_version: str) -> dict[str, str]:
        """`spec.host` is what clients of long ago say."""
        return super().field_labels(group_version) | {"spec.host": "spec.nodeName"}

    def fields(self, obj: Obj) -> dict[str, str]:
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        return {
            "spec.nodeName": spec.get("nodeName", ""),
            "spec.restartPolicy": spec.get("restartPolicy", ""),
            "spec.schedulerName": spec.get("schedulerName", ""),
            "spec.serviceAccountName": spec.get("serviceAccountName", ""),
            "spec.hostNetwork": "true" if spec.get("hostNetwork") else "false",
            "status.phase": status.get("phase", ""),
            "status.podIP": status.get("podIP", ""),
            "status.podIPs": status.get("podIP", ""),
            "status.nominatedNodeName": status.get("nominatedNodeName", ""),
        }

    def prepare_for_create(self, ctx: Context, obj: Obj) -> None:
        spec = obj["spec"]
        status: Obj = {"phase": "Pending", "qosClass": qos_class(spec)}
        if spec.get("schedulingGates"):
            status["conditions"] = [
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "lastProbeTime": None,
                    "lastTransitionTime": ctx.world.timestamp(),
                    "reason": "SchedulingGated",
                    "message": "Scheduling is blocked due to non-empty scheduling gates",
                }
            ]
        obj["status"] = status
        labels = obj["metadata"].get("labels") or {}
        if spec.get("affinity"):
            _merge_affinity_keys(spec["affinity"], labels)
        for constraint in spec.get("topologySpreadConstraints") or ():
            _merge(constraint, "matchLabelKeys", "In", labels)
        if obj["metadata"].get("annotations"):
            _app_armor(ctx, obj)

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        key = sound.key(obj)
        ctx.sound = key in _SOUND
        if ctx.sound:
            return []
        found = update.pod(obj)
        if not found and not warnings.pod_but_name(obj):
            _SOUND.keep(key)
        return found

    def warnings(self, ctx: Context, obj: Obj, old: Obj | None) -> list[str]:
        # People seldom update pods, controllers do often: upstream stays silent then.
        if old is not None:
            return []
        return warnings.pod_name(obj) if ctx.sound else warnings.pod(obj)

    def prepare_for_update(self, ctx: Context, obj: Obj, old: Obj) -> None:
        """A subresource brings its own part of the pod and nothing else."""
        if ctx.subresource == "ephemeralcontainers":
            spec = _with(old["spec"], "ephemeralContainers", obj["spec"].get("ephemeralContainers"))
            _keep_metadata(obj, old)
            obj["spec"] = spec
        elif ctx.subresource == "resize":
            spec = _resized(obj["spec"], old["spec"])
            _keep_metadata(obj, old)
            obj["spec"] = spec

    def changes_generation(self, obj: Obj, old: Obj) -> bool:
        """A binding is no change of the spec that a kubelet must observe."""
        before, now = dict(old["spec"]), dict(obj["spec"])
        if not before.get("nodeName"):
            before.pop("nodeName", None)
            now.pop("nodeName", None)
        return before != now

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        check = _UPDATES.get(ctx.subresource)
        return [] if check is None else check(obj, old)

    def prepare_for_status_update(self, ctx: Context, obj: Obj, old: Obj) -> None:
        """Labels and annotations pass; the QoS class and the generation that a kubelet saw stay."""
        metadata, before = obj["metadata"], old["metadata"]
        for key in ("deletionTimestamp", "deletionGracePeriodSeconds", "ownerReferences"):
            _copy(metadata, before, key)
        status = obj["status"]
        if not status.get("qosClass") and old["status"].get("qosClass"):
            status["qosClass"] = old["status"]["qosClass"]

    def validate_status_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return update.pod_status_update(obj, old)

    def graceful_delete(self, ctx: Context, obj: Obj, options: Obj) -> int | None:
        """The pod's own period unless another is asked for; at once for pods that run nowhere or no more."""
        spec, status = obj["spec"], obj.get("status") or {}
        period = options.get("gracePeriodSeconds")
        if period is None:
            period = spec.get("terminationGracePeriodSeconds", 0)
        if not spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
            return 0
        return 1 if period < 0 else int(period)


_UPDATES = {
    "": update.pod_update,
    "ephemeralcontainers": update.ephemeral_update,
    "resize": update.resize,
}
"""By subresource. A binding is checked by its own handler."""


def _with(spec: Obj, key: str, value: Any) -> Obj:
    made = {**spec, key: value}
    if not value:
        del made[key]
    return made


def _copy(target: Obj, source: Obj, key: str) -> None:
    if key in source:
        target[key] = source[key]
    else:
        target.pop(key, None)


def _keep_metadata(obj: Obj, old: Obj) -> None:
    """All of the old metadata but what the write itself leaves there."""
    kept = dict(old["metadata"])
    for key in ("resourceVersion", "managedFields"):
        _copy(kept, obj["metadata"], key)
    obj["metadata"] = kept


def _resized(new: Obj, old: Obj) -> Obj:
    """The old spec with the new containers' resources and resize policies."""
    made = dict(old)
    for key in ("containers", "initContainers"):
        wanted = {c.get("name"): c for c in new.get(key) or ()}
        if old.get(key):
            made[key] = [_container(c, wanted.get(c.get("name"), c)) for c in old[key]]
    if new.get("resources") is not None:
        made["resources"] = new["resources"]
    return made


def _container(old: Obj, new: Obj) -> Obj:
    made = {**old, "resources": new.get("resources") or {}}
    _copy(made, new, "resizePolicy")
    return made


def _merge_affinity_keys(affinity: Obj, labels: dict[str, str]) -> None:
    """KEP-3633: keys whose values the pod itself gives become part of the selectors."""
    for kind in ("podAffinity", "podAntiAffinity"):
        terms = affinity.get(kind) or {}
        weighted = [w["podAffinityTerm"] for w in terms.get(PREFERRED) or () if w.get("podAffinityTerm")]
        for term in [*(terms.get(REQUIRED) or ()), *weighted]:
            _merge(term, "matchLabelKeys", "In", labels)
            _merge(term, "mismatchLabelKeys", "NotIn", labels)


def _merge(holder: Obj, key: str, operator: str, labels: dict[str, str]) -> None:
    given, selector = holder.get(key), holder.get("labelSelector")
    if not given or selector is None:
        return
    added = [
        {"key": name, "operator": operator, "values": [labels[name]]} for name in given if name in labels
    ]
    if added:
        holder["labelSelector"] = {
            **selector,
            "matchExpressions": [*(selector.get("matchExpressions") or ()), *added],
        }


def _app_armor(ctx: Context, obj: Obj) -> None:
    """The annotations of old become fields (KEP-24)."""
    spec = obj["spec"]
    if (spec.get("os") or {}).get("name") == "windows":
        return
    annotations = obj["metadata"]["annotations"]
    of_pod = (spec.get("securityContext") or {}).get("appArmorProfile")
    for key in ("initContainers", "containers"):
        for container in spec.get(key) or ():
            value = annotations.get(APP_ARMOR + container.get("name", ""))
            context = container.get("securityContext") or {}
            if value is None or of_pod is not None or context.get("appArmorProfile") is not None:
                continue
            profile = _profile(value)
            if profile is not None:
                container["securityContext"] = {**context, "appArmorProfile": profile}


def _profile(annotation: str) -> Obj | None:
    if annotation.startswith("localhost/"):
        return {"type": "Localhost", "localhostProfile": annotation.removeprefix("localhost/")}
    kind = _APP_ARMOR_TYPES.get(annotation)
    return None if kind is None else {"type": kind}


def drop_empty_labels(template: Obj | None) -> None:
    """An empty map is kept for error texts only: see go_facts.EMPTY_LABELS_KEPT."""
    if template is not None and template["metadata"].get("labels") == {}:
        metadata = dict(template["metadata"])
        del metadata["labels"]
        template["metadata"] = metadata


class TemplateStrategy(Strategy):
    """PodTemplate: no status."""

    has_status: ClassVar[bool] = False
    generation: ClassVar[bool] = True

    def canonicalize(self, obj: Obj) -> None:
        drop_empty_labels(obj["template"])

    def changes_generation(self, obj: Obj, old: Obj) -> bool:
        return bool(obj.get("template") != old.get("template"))

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        out: f.Errors = []
        template(obj["template"], "template", out)
        return out

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return self.validate(ctx, obj)

    def warnings(self, ctx: Context, obj: Obj, old: Obj | None) -> list[str]:
        if old is not None and not self.changes_generation(obj, old):
            return []
        return warnings.template(obj["template"], "template")


class ControllerStrategy(Strategy):
    """ReplicationController, whose dependents are orphaned by default."""

    metadata_checks: ClassVar[tuple[MetadataCheck, ...]] = ("create", "update")
    generation: ClassVar[bool] = True
    default_propagation: ClassVar[str] = "Orphan"
    field_names: ClassVar[tuple[str, ...]] = ("status.replicas",)

    def fields(self, obj: Obj) -> dict[str, str]:
        return {"status.replicas": str((obj.get("status") or {}).get("replicas", 0))}

    def prepare_for_create(self, ctx: Context, obj: Obj) -> None:
        obj["status"] = {"replicas": 0}

    def canonicalize(self, obj: Obj) -> None:
        drop_empty_labels(obj["spec"].get("template"))

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return apps.replication_controller(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return apps.replication_controller(obj)

    def validate_status_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return apps.replicas_status(obj)

    def warnings(self, ctx: Context, obj: Obj, old: Obj | None) -> list[str]:
        found = warnings.name(obj["metadata"].get("name", ""), POD_NAMES) if old is None else []
        if obj["spec"].get("template") is None or (old is not None and not self.changes_generation(obj, old)):
            return found
        return found + warnings.template(obj["spec"]["template"], "spec.template")


STRATEGIES: dict[tuple[str, str], Strategy] = {
    ("", "Pod"): PodStrategy(),
    ("", "PodTemplate"): TemplateStrategy(),
    ("", "ReplicationController"): ControllerStrategy(),
}
