"""Validation of the kinds in apiregistration.k8s.io (kube-aggregator, pkg/apis/apiregistration)."""

from __future__ import annotations

from base64 import b64decode

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import names
from pilothouse.api.validation.webhooks import port

GROUP_PRIORITY_MAX = 20000
VERSION_PRIORITY_MAX = 1000
CONDITION_STATUSES = ("True", "False", "Unknown")


def api_service(obj: Obj) -> f.Errors:
    spec = obj["spec"]
    group, version, name = spec.get("group", ""), spec.get("version", ""), obj["metadata"].get("name", "")
    required_name = f"{version}.{group}"
    errors: f.Errors = []
    if name != required_name and not names.path_segment(name):
        errors.append(
            f.invalid("metadata.name", name, f'must be `spec.version+"."+spec.group`: "{required_name}"')
        )
    if not group and version != "v1":
        errors.append(
            f.required("spec.group", "only v1 may have an empty group and it better be legacy kube")
        )
    if group:
        errors += [f.invalid("spec.group", group, text) for text in names.is_dns1123_subdomain(group)]
    errors += [f.invalid("spec.version", version, text) for text in names.is_dns1035_label(version)]
    errors += _priorities(spec)
    return errors + _service(spec)


def _service(spec: Obj) -> f.Errors:
    errors: f.Errors = []
    service, insecure = spec.get("service"), spec.get("insecureSkipTLSVerify", False)
    bundle = spec.get("caBundle", "")
    if service is None:
        if bundle:
            size = f"{len(b64decode(bundle))} bytes"
            errors.append(f.invalid("spec.caBundle", size, "local APIServices may not have a caBundle"))
        if insecure:
            why = "local APIServices may not have insecureSkipTLSVerify"
            errors.append(f.invalid("spec.insecureSkipTLSVerify", insecure, why))
        return errors
    for key in ("namespace", "name"):
        if not service.get(key):
            errors.append(f.required(f"spec.service.{key}"))
    errors += port(service.get("port", 0), "spec.service.port")
    if insecure and bundle:
        why = "may not be true if caBundle is present"
        errors.append(f.invalid("spec.insecureSkipTLSVerify", insecure, why))
    return errors


def _priorities(spec: Obj) -> f.Errors:
    errors: f.Errors = []
    for key, most in (
        ("groupPriorityMinimum", GROUP_PRIORITY_MAX),
        ("versionPriority", VERSION_PRIORITY_MAX),
    ):
        value = spec.get(key, 0)
        if not 0 < value <= most:
            errors.append(f.invalid(f"spec.{key}", value, f"must be positive and less than {most}"))
    return errors


def api_service_status(obj: Obj) -> f.Errors:
    errors: f.Errors = []
    for i, condition in enumerate(obj["status"].get("conditions") or ()):
        status = condition.get("status", "")
        if status not in CONDITION_STATUSES:
            errors.append(f.not_supported(f"status.conditions[{i}].status", status, CONDITION_STATUSES))
    return errors
