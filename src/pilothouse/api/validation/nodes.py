"""Validation of nodes (ValidateNode, ValidateNodeUpdate in pkg/apis/core/validation)."""

from __future__ import annotations

import json
from typing import Any

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import addresses, fields, gotext, names
from pilothouse.api.validation.pods.resources import quantity_value

TAINT_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
TAINTS_ANNOTATION = "scheduler.alpha.kubernetes.io/taints"
AVOID_PODS_ANNOTATION = "scheduler.alpha.kubernetes.io/preferAvoidPods"
_TAINT = gotext.struct(Key="", Value="", Effect="", TimeAdded=None)
_ADDRESS = gotext.struct(Type="", Address="")


def node(obj: Obj) -> f.Errors:
    spec: Obj = obj.get("spec") or {}
    errors = _annotations(obj)
    if spec.get("taints"):
        errors += taints(spec["taints"], "metadata.taints")
    _amounts(obj, errors)
    if spec.get("podCIDRs"):
        _pod_cidrs(spec["podCIDRs"], errors)
    return errors


def _annotations(obj: Obj) -> f.Errors:
    annotations = obj["metadata"].get("annotations")
    if not annotations:
        return []
    errors: f.Errors = []
    text = annotations.get(TAINTS_ANNOTATION)
    if text:
        path = "metadata.annotations"
        value = _json(text)
        if isinstance(value, list):
            errors += taints([t for t in value if isinstance(t, dict)], f"{path}.{TAINTS_ANNOTATION}")
        elif value is not None:
            errors.append(f.invalid(path, TAINTS_ANNOTATION, "must be a JSON list of taints"))
    text = annotations.get(AVOID_PODS_ANNOTATION)
    if text:
        errors += _avoid_pods(text)
    return errors


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _avoid_pods(text: str) -> f.Errors:
    """ValidateAvoidPodsInNodeAnnotations: each entry names the controller whose pods are not wanted."""
    path = "metadata.annotations"
    value = _json(text)
    if not isinstance(value, dict):
        return [f.invalid(path, AVOID_PODS_ANNOTATION, "must be a JSON object")]
    errors: f.Errors = []
    at = f"{path}.{AVOID_PODS_ANNOTATION}"
    for i, entry in enumerate(value.get("preferAvoidPods") or ()):
        signature = f"{at}[{i}].PodSignature"
        controller = (entry.get("podSignature") or {}).get("podController")
        if controller is None:
            errors.append(f.required(signature))
        elif controller.get("controller") is not True:
            why = "must point to a controller"
            errors.append(f.invalid(f"{signature}.PodController", controller.get("controller"), why))
    return errors


def taints(values: list[Obj], path: str) -> f.Errors:
    errors: f.Errors = []
    seen: set[tuple[str, str]] = set()
    for i, taint in enumerate(values):
        key, value, effect = taint.get("key", ""), taint.get("value", ""), taint.get("effect", "")
        at = f"{path}[{i}]"
        errors += fields.label_name(key, f"{at}.key")
        faults = names.is_label_value(value)
        if faults:
            errors.append(f.invalid(f"{at}.value", value, ";".join(faults)))
        if not effect:
            errors.append(f.required(f"{at}.effect"))
        elif effect not in TAINT_EFFECTS:
            errors.append(f.not_supported(f"{at}.effect", effect, TAINT_EFFECTS))
        if (key, effect) in seen:
            shown, why = gotext.text(taint, _TAINT), "taints must be unique by key and effect pair"
            errors.append(f.FieldError(f.ErrorType.DUPLICATE, at, shown, why))
        seen.add((key, effect))
    return errors


def _amounts(obj: Obj, out: f.Errors) -> None:
    """Capacity and allocatable; upstream's path has the resource as a field of its own."""
    status = obj.get("status") or {}
    for key in ("capacity", "allocatable"):
        for name, amount in (status.get(key) or {}).items():
            quantity_value(name, amount, f"status.{key}.{name}", out)


def _pod_cidrs(values: list[str], out: f.Errors) -> None:
    for i, value in enumerate(values):
        out += addresses.cidr(value, f"spec.podCIDRs[{i}]")
    if len(values) < 2:
        return
    networks = [addresses.network(value) for value in values]
    versions = {network.version for network in networks if network is not None}
    if None in networks:
        bad = values[networks.index(None)]
        why = f"invalid PodCIDRs. failed to check with dual stack with error:invalid CIDR address: {bad}"
        out.append(f.internal("spec.podCIDRs", why))
    if None in networks or len(versions) != 2 or len(values) > 2:
        why = "may specify no more than one CIDR for each IP family"
        out.append(f.invalid("spec.podCIDRs", values, why))
    for i, value in enumerate(values):
        if value in values[:i]:
            out.append(f.duplicate(f"spec.podCIDRs[{i}]", value))


def node_update(obj: Obj, old: Obj) -> f.Errors:
    """Also what a status update is held to."""
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    errors = _annotations(obj)
    _amounts(obj, errors)
    _addresses(obj, errors)
    _kept(spec, before, errors)
    if spec.get("configSource") is not None:
        _config_source(spec["configSource"], "spec.configSource", in_status=False, out=errors)
    _config_status((obj.get("status") or {}).get("config") or {}, errors)
    if spec.get("taints"):
        errors += taints(spec["taints"], "metadata.taints")
    if spec.get("externalID", "") != before.get("externalID", ""):
        errors.append(f.forbidden("spec.externalID", "may not be updated"))
    return errors


def _addresses(obj: Obj, out: f.Errors) -> None:
    seen: set[tuple[str, str]] = set()
    for i, address in enumerate((obj.get("status") or {}).get("addresses") or ()):
        key = (address.get("type", ""), address.get("address", ""))
        if key in seen:
            out.append(f.duplicate(f"status.addresses[{i}]", gotext.text(address, _ADDRESS)))
        seen.add(key)


def _kept(spec: Obj, before: Obj, out: f.Errors) -> None:
    old, new = before.get("podCIDRs") or [], spec.get("podCIDRs") or []
    if old and old != new:
        why = 'node updates may not change podCIDR except from "" to valid'
        changes = 1 if len(old) != len(new) else sum(a != b for a, b in zip(old, new, strict=True))
        out += [f.forbidden("spec.podCIDRs", why)] * changes
    provider = before.get("providerID", "")
    if provider and provider != spec.get("providerID", ""):
        why = 'node updates may not change providerID except from "" to valid'
        out.append(f.forbidden("spec.providerID", why))


_CONFIG_MAP = gotext.struct(Namespace="", Name="", UID="", ResourceVersion="", KubeletConfigKey="")
_CONFIG_SOURCE = gotext.struct(ConfigMap=gotext.Maybe(_CONFIG_MAP))


def _config_status(config: Obj, out: f.Errors) -> None:
    for key in ("assigned", "active", "lastKnownGood"):
        if config.get(key) is not None:
            _config_source(config[key], f"status.config.{key}", in_status=True, out=out)


def _config_source(source: Obj, path: str, *, in_status: bool, out: f.Errors) -> None:
    """Out of use, yet still checked."""
    reference = source.get("configMap")
    if reference is None:
        why = "exactly one reference subfield must be non-nil"
        out.append(f.invalid(path, gotext.text(source, _CONFIG_SOURCE), why))
        return
    at = f"{path}.configMap"
    for key in ("uid", "resourceVersion"):
        if in_status and not reference.get(key):
            out.append(f.required(f"{at}.{key}", f"{key} must be set in status"))
        elif not in_status and reference.get(key):
            out.append(f.forbidden(f"{at}.{key}", f"{key} must not be set in spec"))
    for key, faults in (
        ("namespace", names.is_dns1123_label),
        ("name", names.is_dns1123_subdomain),
        ("kubeletConfigKey", names.is_config_map_key),
    ):
        value = reference.get(key, "")
        if not value:
            out.append(f.required(f"{at}.{key}", f"{key} must be set"))
        else:
            out += [f.invalid(f"{at}.{key}", value, why) for why in faults(value)]
