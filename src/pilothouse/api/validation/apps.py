"""Validation of the kinds in apps, and of ReplicationController (pkg/apis/apps/validation, core/validation)."""

from __future__ import annotations

from typing import Any

from pilothouse.api import field as f
from pilothouse.api import labels
from pilothouse.api.types import Obj
from pilothouse.api.validation import meta, names
from pilothouse.api.validation.claims import claim_spec
from pilothouse.api.validation.gotext import NULL, Maybe, struct, text
from pilothouse.api.validation.pods.forms import NON_NEGATIVE, non_negative
from pilothouse.api.validation.pods.spec import template

MISMATCH = "`selector` does not match template `labels`"
IMMUTABLE = "field is immutable"
STATEFUL_SET_FROZEN = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)
_STATEFUL_SET_FREE = frozenset(
    (
        "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy", "minReadySeconds",
    )
)  # fmt: skip
_ROLLING = struct(MaxUnavailable=0, MaxSurge=0)
_STRATEGY = struct(Type="", RollingUpdate=Maybe(_ROLLING))
_PARTITIONED = struct(Partition=0, MaxUnavailable=None)
_SET_STRATEGY = struct(Type="", RollingUpdate=Maybe(_PARTITIONED))


# What workloads share


def selector_of(selector: Obj | None) -> labels.Selector | None:
    """None when the selector does not parse (LabelSelectorAsSelector)."""
    if selector is not None and meta.validate_label_selector(selector, ""):
        return None
    return labels.from_label_selector(selector)


def is_empty(selector: Obj) -> bool:
    return not selector.get("matchLabels") and not selector.get("matchExpressions")


def template_labels(spec: Obj) -> dict[str, str] | None:
    found: dict[str, str] | None = spec["template"]["metadata"].get("labels")
    return found


def mismatch(spec: Obj, path: str) -> f.FieldError:
    found = template_labels(spec)
    return f.invalid(f"{path}.template.metadata.labels", NULL if found is None else found, MISMATCH)


def _selector(spec: Obj, path: str, empty: str, out: f.Errors) -> None:
    selector = spec.get("selector")
    if selector is None:
        out.append(f.required(f"{path}.selector"))
        return
    out += meta.validate_label_selector(selector, f"{path}.selector")
    if is_empty(selector):
        out.append(f.invalid(f"{path}.selector", selector, empty))


def _template(
    spec: Obj, selector: labels.Selector, path: str, kind: str, out: f.Errors, *, empty: bool = True
) -> None:
    """The template of a kind whose pods always restart. `empty`: an empty selector asks nothing."""
    if not (empty and selector.empty) and not selector.matches(template_labels(spec) or {}):
        out.append(mismatch(spec, path))
    template(spec["template"], f"{path}.template", out)
    always_running(spec["template"]["spec"], f"{path}.template.spec", kind, out)


def always_running(spec: Obj, path: str, kind: str, out: f.Errors) -> None:
    if spec.get("restartPolicy") != "Always":
        found = spec.get("restartPolicy", "")
        out.append(f.not_supported(f"{path}.restartPolicy", found, ("Always",)))
    if spec.get("activeDeadlineSeconds") is not None:
        why = f"activeDeadlineSeconds in {kind} is not Supported"
        out.append(f.forbidden(f"{path}.activeDeadlineSeconds", why))


def int_or_percent(value: int | str, path: str, out: f.Errors) -> None:
    """ValidatePositiveIntOrPercent: not negative, or digits and a percent sign."""
    if isinstance(value, str):
        out += [f.invalid(path, value, message) for message in names.is_percent(value)]
    elif value < 0:
        out.append(f.invalid(path, value, NON_NEGATIVE))


def percent(value: int | str) -> int | None:
    """The number of a percentage, None for anything else."""
    if isinstance(value, str) and not names.is_percent(value):
        return int(value[:-1])
    return None


def _at_most_all(value: int | str, path: str, out: f.Errors) -> None:
    if (percent(value) or 0) > 100:
        out.append(f.invalid(path, value, "must not be greater than 100%"))


def _number(value: int | str) -> int:
    """getIntOrPercentValue: a share counts as its number, nonsense as 0."""
    return percent(value) or 0 if isinstance(value, str) else value


def immutable(new: Any, old: Any, path: str) -> f.Errors:
    if new == old:
        return []
    return [f.invalid(path, NULL if new is None else new, IMMUTABLE)]


# Deployment


def deployment(obj: Obj) -> f.Errors:
    out: f.Errors = []
    spec = obj["spec"]
    non_negative(spec, "replicas", "spec", out)
    _selector(spec, "spec", "empty selector is invalid for deployment", out)
    selector = selector_of(spec.get("selector"))
    if selector is None:
        out.append(f.invalid("spec.selector", spec["selector"], "invalid label selector"))
    else:
        _template(spec, selector, "spec", "ReplicaSet", out)
    _deployment_strategy(spec.get("strategy") or {}, "spec.strategy", out)
    non_negative(spec, "minReadySeconds", "spec", out)
    non_negative(spec, "revisionHistoryLimit", "spec", out)
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None:
        non_negative(spec, "progressDeadlineSeconds", "spec", out)
        if deadline <= spec.get("minReadySeconds", 0):
            why = "must be greater than minReadySeconds"
            out.append(f.invalid("spec.progressDeadlineSeconds", deadline, why))
    return out


def _deployment_strategy(strategy: Obj, path: str, out: f.Errors) -> None:
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    if kind == "Recreate":
        if rolling is not None:
            why = "may not be specified when strategy `type` is 'Recreate'"
            out.append(f.forbidden(f"{path}.rollingUpdate", why))
    elif kind == "RollingUpdate":
        if rolling is None:
            why = "this should be defaulted and never be nil"
            out.append(f.required(f"{path}.rollingUpdate", why))
        else:
            _rolling_deployment(rolling, f"{path}.rollingUpdate", out)
    else:
        shown = text(strategy, _STRATEGY)
        out.append(f.not_supported(path, shown, ("Recreate", "RollingUpdate")))


def _rolling_deployment(rolling: Obj, path: str, out: f.Errors) -> None:
    unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
    int_or_percent(unavailable, f"{path}.maxUnavailable", out)
    int_or_percent(surge, f"{path}.maxSurge", out)
    if _number(unavailable) == 0 and _number(surge) == 0:
        why = "may not be 0 when `maxSurge` is 0"
        out.append(f.invalid(f"{path}.maxUnavailable", unavailable, why))
    _at_most_all(unavailable, f"{path}.maxUnavailable", out)


def deployment_update(obj: Obj, old: Obj) -> f.Errors:
    found = deployment(obj)
    return found + immutable(obj["spec"].get("selector"), old["spec"].get("selector"), "spec.selector")


def _counts(status: Obj, keys: tuple[str, ...], out: f.Errors) -> None:
    for key in keys:
        non_negative(status, key, "status", out)


def _at_most(status: Obj, keys: tuple[str, ...], most: str, why: str, out: f.Errors) -> None:
    for key in keys:
        if status.get(key, 0) > status.get(most, 0):
            out.append(f.invalid(f"status.{key}", status.get(key, 0), why))


_OVER_REPLICAS = "cannot be greater than status.replicas"


def _collisions(status: Obj, old: Obj, out: f.Errors) -> None:
    count, before = status.get("collisionCount"), old.get("collisionCount")
    if before is not None and (count or 0) < before:
        out.append(f.invalid("status.collisionCount", count or 0, "cannot be decremented"))


def deployment_status_update(obj: Obj, old: Obj) -> f.Errors:
    out: f.Errors = []
    status = obj["status"]
    keys = (
        "observedGeneration", "replicas", "updatedReplicas", "readyReplicas", "availableReplicas",
        "unavailableReplicas", "terminatingReplicas", "collisionCount",
    )  # fmt: skip
    _counts(status, keys, out)
    _at_most(
        status, ("updatedReplicas", "readyReplicas", "availableReplicas"), "replicas", _OVER_REPLICAS, out
    )
    _at_most(status, ("availableReplicas",), "readyReplicas", "cannot be greater than readyReplicas", out)
    _collisions(status, old["status"], out)
    return out


# ReplicaSet


def replica_set(obj: Obj) -> f.Errors:
    out: f.Errors = []
    spec = obj["spec"]
    non_negative(spec, "replicas", "spec", out)
    non_negative(spec, "minReadySeconds", "spec", out)
    _selector(spec, "spec", "empty selector is invalid for deployment", out)
    selector = selector_of(spec.get("selector"))
    if selector is None:
        out.append(f.invalid("spec.selector", spec["selector"], "invalid label selector"))
    else:
        _template(spec, selector, "spec", "ReplicaSet", out)
    return out


def replica_set_update(obj: Obj, old: Obj) -> f.Errors:
    found = replica_set(obj)
    return found + immutable(obj["spec"].get("selector"), old["spec"].get("selector"), "spec.selector")


def replicas_status(obj: Obj) -> f.Errors:
    """Status of a ReplicaSet or a ReplicationController."""
    out: f.Errors = []
    status = obj["status"]
    keys = (
        "replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration",
        "terminatingReplicas",
    )  # fmt: skip
    _counts(status, keys, out)
    within = ("fullyLabeledReplicas", "readyReplicas", "availableReplicas")
    _at_most(status, within, "replicas", _OVER_REPLICAS, out)
    _at_most(status, ("availableReplicas",), "readyReplicas", "cannot be greater than readyReplicas", out)
    return out


# ReplicationController


def replication_controller(obj: Obj) -> f.Errors:
    out: f.Errors = []
    spec = obj["spec"]
    non_negative(spec, "minReadySeconds", "spec", out)
    if not spec.get("selector"):
        out.append(f.required("spec.selector"))
    if spec.get("replicas") is None:
        out.append(f.required("spec.replicas"))
    non_negative(spec, "replicas", "spec", out)
    if spec.get("template") is None:
        out.append(f.required("spec.template"))
    else:
        chosen = labels.from_label_selector({"matchLabels": spec.get("selector") or {}})
        _template(spec, chosen, "spec", "ReplicationController", out)
    return out


# DaemonSet


def daemon_set(obj: Obj) -> f.Errors:
    out: f.Errors = []
    spec, selector = obj["spec"], obj["spec"].get("selector")
    if selector is not None:
        out += meta.validate_label_selector(selector, "spec.selector")
    parsed = selector_of(selector)
    if parsed is not None and not parsed.matches(template_labels(spec) or {}):
        out.append(mismatch(spec, "spec"))
    if selector is not None and is_empty(selector):
        why = "empty selector is invalid for daemonset"
        out.append(f.invalid("spec.selector", selector, why))
    template(spec["template"], "spec.template", out)
    always_running(spec["template"]["spec"], "spec.template.spec", "DaemonSet", out)
    non_negative(spec, "minReadySeconds", "spec", out)
    _daemon_strategy(spec.get("updateStrategy") or {}, "spec.updateStrategy", out)
    non_negative(spec, "revisionHistoryLimit", "spec", out)
    return out


def _daemon_strategy(strategy: Obj, path: str, out: f.Errors) -> None:
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    if kind == "OnDelete":
        return
    if kind != "RollingUpdate":
        shown = text(strategy, _STRATEGY)
        out.append(f.not_supported(path, shown, ("RollingUpdate", "OnDelete")))
    elif rolling is None:
        out.append(f.required(f"{path}.rollingUpdate"))
    else:
        _rolling_daemon(rolling, f"{path}.rollingUpdate", out)


def _rolling_daemon(rolling: Obj, path: str, out: f.Errors) -> None:
    unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
    for key, value in (("maxUnavailable", unavailable), ("maxSurge", surge)):
        int_or_percent(value, f"{path}.{key}", out)
        _at_most_all(value, f"{path}.{key}", out)
    if _number(unavailable) and _number(surge):
        why = "may not be set when maxUnavailable is non-zero"
        out.append(f.invalid(f"{path}.maxSurge", surge, why))
    if not _number(unavailable) and not _number(surge):
        out.append(f.required(f"{path}.maxUnavailable", "cannot be 0 when maxSurge is 0"))


def daemon_set_update(obj: Obj, old: Obj) -> f.Errors:
    found = daemon_set(obj)
    return found + immutable(obj["spec"].get("selector"), old["spec"].get("selector"), "spec.selector")


def daemon_set_status_update(obj: Obj, old: Obj) -> f.Errors:
    out: f.Errors = []
    keys = (
        "currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady",
        "observedGeneration", "updatedNumberScheduled", "numberAvailable", "numberUnavailable",
        "collisionCount",
    )  # fmt: skip
    _counts(obj["status"], keys, out)
    _collisions(obj["status"], old["status"], out)
    return out


# StatefulSet


def stateful_set_create(obj: Obj) -> f.Errors:
    """A new set's service must be able to be its pods' subdomain; older sets may have any."""
    service = obj["spec"].get("serviceName", "")
    found = [
        f.invalid("spec.serviceName", service, why) for why in names.is_dns1123_label(service) if service
    ]
    return found + stateful_set(obj)


def stateful_set(obj: Obj) -> f.Errors:
    out: f.Errors = []
    spec = obj["spec"]
    _set_policies(spec, out)
    non_negative(spec, "replicas", "spec", out)
    non_negative(spec, "minReadySeconds", "spec", out)
    if spec.get("ordinals") is not None:
        non_negative(spec["ordinals"], "start", "spec.ordinals", out)
    _selector(spec, "spec", "empty selector is invalid for statefulset", out)
    claims: list[Obj] = spec.get("volumeClaimTemplates") or []
    for i, claim in enumerate(claims):
        claim_spec(claim.get("spec") or {}, f"spec.volumeClaimTemplates[{i}].spec", out)
    selector = selector_of(spec.get("selector"))
    if selector is None:
        out.append(f.invalid("spec.selector", spec["selector"], ""))
        return out
    _template(_with_claims(spec, claims), selector, "spec", "StatefulSet", out)
    return out


def _with_claims(spec: Obj, claims: list[Obj]) -> Obj:
    """The template with a volume for each claim, so that containers may mount them."""
    if not claims:
        return spec
    named = [claim["metadata"].get("name", "") for claim in claims]
    made = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in named]
    pod = spec["template"]["spec"]
    kept = [v for v in pod.get("volumes") or () if v.get("name") not in named]
    return {**spec, "template": {**spec["template"], "spec": {**pod, "volumes": made + kept}}}


def _set_policies(spec: Obj, out: f.Errors) -> None:
    management = spec.get("podManagementPolicy")
    if not management:
        out.append(f.required("spec.podManagementPolicy"))
    elif management not in ("OrderedReady", "Parallel"):
        why = "must be 'OrderedReady' or 'Parallel'"
        out.append(f.invalid("spec.podManagementPolicy", management, why))
    _set_strategy(spec.get("updateStrategy") or {}, "spec.updateStrategy", out)
    retention: Obj = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for key in ("whenDeleted", "whenScaled") if retention else ():
        if retention.get(key) not in ("Retain", "Delete"):
            at = f"spec.persistentVolumeClaimRetentionPolicy.{key}"
            out.append(f.not_supported(at, retention.get(key, ""), ("Delete", "Retain")))


def _set_strategy(strategy: Obj, path: str, out: f.Errors) -> None:
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    if not kind:
        out.append(f.required(path))
    elif kind == "OnDelete":
        if rolling is not None:
            why = "only allowed for updateStrategy 'RollingUpdate'"
            out.append(f.invalid(f"{path}.rollingUpdate", text(rolling, _PARTITIONED), why))
    elif kind == "RollingUpdate":
        if rolling is not None:
            _rolling_set(rolling, f"{path}.rollingUpdate", out)
    else:
        why = "must be 'RollingUpdate' or 'OnDelete'"
        out.append(f.invalid(path, text(strategy, _SET_STRATEGY), why))


def _rolling_set(rolling: Obj, path: str, out: f.Errors) -> None:
    non_negative(rolling, "partition", path, out)
    unavailable = rolling.get("maxUnavailable")
    if unavailable is None:
        return
    int_or_percent(unavailable, f"{path}.maxUnavailable", out)
    if _number(unavailable) == 0:
        out.append(f.invalid(f"{path}.maxUnavailable", unavailable, "cannot be 0"))
    _at_most_all(unavailable, f"{path}.maxUnavailable", out)


def stateful_set_update(obj: Obj, old: Obj) -> f.Errors:
    found = stateful_set(obj)
    new_spec, old_spec = (
        {key: value for key, value in o["spec"].items() if key not in _STATEFUL_SET_FREE} for o in (obj, old)
    )
    if new_spec != old_spec:
        found.append(f.forbidden("spec", STATEFUL_SET_FROZEN))
    return found


def stateful_set_status_update(obj: Obj, old: Obj) -> f.Errors:
    out: f.Errors = []
    status = obj["status"]
    within = ("readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")
    _counts(status, ("replicas", *within, "observedGeneration", "collisionCount"), out)
    _at_most(status, within, "replicas", _OVER_REPLICAS, out)
    why = "cannot be greater than status.readyReplicas"
    _at_most(status, ("availableReplicas",), "readyReplicas", why, out)
    _collisions(status, old["status"], out)
    return out


# ControllerRevision


def controller_revision(obj: Obj) -> f.Errors:
    out: f.Errors = []
    data = obj.get("data")
    if data is None:
        out.append(f.required("data", "data is mandatory"))
    elif not _is_object(data):
        out.append(f.required("data", "data must be a valid JSON object"))
    if obj.get("revision", 0) < 0:
        out.append(f.invalid("revision", obj["revision"], NON_NEGATIVE))
    return out


def _is_object(data: Any) -> bool:
    """Raw data is a dict, or JSON text as bytes where it keeps its white space."""
    return isinstance(data, dict) or not isinstance(data, (str, int, float, bool, list))


def controller_revision_update(obj: Obj, old: Obj) -> f.Errors:
    return controller_revision(obj) + immutable(obj.get("data"), old.get("data"), "data")
