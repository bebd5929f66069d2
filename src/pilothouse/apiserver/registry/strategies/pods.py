"""Strategies of pods and of the kinds that only carry a pod template (pkg/registry/core/pod/strategy.go)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.apiserver.registry.strategy import Context, Strategy

_COMPUTE = ("cpu", "memory")


class PodStrategy(Strategy):
    generation: ClassVar[bool] = True
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
        status: Obj = {"phase": "Pending", "qosClass": qos_class(obj["spec"])}
        if obj["spec"].get("schedulingGates"):
            status["conditions"] = [
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "lastProbeTime": None,
                    "lastTransitionTime": None,
                    "reason": "SchedulingGated",
                    "message": "Scheduling is blocked due to non-empty scheduling gates",
                }
            ]
        obj["status"] = status

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        if not obj["spec"].get("containers"):
            return [f.required("spec.containers")]
        return []

    def prepare_for_update(self, ctx: Context, obj: Obj, old: Obj) -> None:
        if ctx.subresource == "binding":
            obj["status"] = obj.get("status") or {}

    def changes_generation(self, obj: Obj, old: Obj) -> bool:
        """A binding is no change of the spec that a kubelet must observe."""
        before, now = dict(old["spec"]), dict(obj["spec"])
        if not before.get("nodeName"):
            before.pop("nodeName", None)
            now.pop("nodeName", None)
        return before != now

    def graceful_delete(self, ctx: Context, obj: Obj, options: Obj) -> int | None:
        """The pod's own period unless another is asked for; at once for pods that run nowhere or no more."""
        spec, status = obj["spec"], obj.get("status") or {}
        period = options.get("gracePeriodSeconds")
        if period is None:
            period = spec.get("terminationGracePeriodSeconds", 30)
        if not spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
            return 0
        return 1 if period < 0 else int(period)


def qos_class(spec: Obj) -> str:
    """Guaranteed, Burstable or BestEffort (pkg/apis/core/v1/helper/qos)."""
    any_set, guaranteed = False, True
    if spec.get("resources"):
        containers = [spec]
    else:
        containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    for container in containers:
        resources = container.get("resources") or {}
        requests = _positive(resources.get("requests"))
        bounds = _positive(resources.get("limits"))
        any_set = any_set or bool(requests or bounds)
        if any(name not in bounds for name in _COMPUTE):
            guaranteed = False
        if any(requests.get(name, bounds.get(name)) != bounds.get(name) for name in _COMPUTE):
            guaranteed = False
    if not any_set:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _positive(amounts: Obj | None) -> Obj:
    return {k: v for k, v in (amounts or {}).items() if k in _COMPUTE and v not in ("0", 0)}


class TemplateStrategy(Strategy):
    """PodTemplate: no status."""

    has_status: ClassVar[bool] = False
    generation: ClassVar[bool] = True

    def changes_generation(self, obj: Obj, old: Obj) -> bool:
        return bool(obj.get("template") != old.get("template"))


class ControllerStrategy(Strategy):
    """ReplicationController, whose dependents are orphaned by default."""

    generation: ClassVar[bool] = True
    default_propagation: ClassVar[str] = "Orphan"
    field_names: ClassVar[tuple[str, ...]] = ("status.replicas",)

    def fields(self, obj: Obj) -> dict[str, str]:
        return {"status.replicas": str((obj.get("status") or {}).get("replicas", 0))}

    def prepare_for_create(self, ctx: Context, obj: Obj) -> None:
        obj["status"] = {"replicas": 0}


STRATEGIES: dict[tuple[str, str], Strategy] = {
    ("", "Pod"): PodStrategy(),
    ("", "PodTemplate"): TemplateStrategy(),
    ("", "ReplicationController"): ControllerStrategy(),
}
