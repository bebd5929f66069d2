"""What containers and files learn of their pod: environment variables, field and resource references."""

from __future__ import annotations

from pilothouse.api import field as f
from pilothouse.api import quantity
from pilothouse.api.types import Obj
from pilothouse.api.validation import names
from pilothouse.api.validation.pods.forms import checked, local_file, need

ENV_FIELDS = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
    "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip
KNOWN_FIELDS = frozenset(ENV_FIELDS) | {
    "metadata.annotations",
    "metadata.labels",
    "spec.restartPolicy",
    "spec.schedulerName",
    "status.phase",
}
_SUBSCRIPTED = ("metadata.annotations", "metadata.labels")
RESOURCES = (
    "limits.cpu", "limits.ephemeral-storage", "limits.memory",
    "requests.cpu", "requests.ephemeral-storage", "requests.memory",
)  # fmt: skip
_HUGE_PAGES = ("requests.hugepages-", "limits.hugepages-")
_BYTE_DIVISORS = ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")
_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")


def environment(variables: list[Obj], path: str, out: f.Errors) -> None:
    for i, variable in enumerate(variables):
        name = variable.get("name")
        if not name:
            out.append(f.required(f"{path}[{i}].name"))
        elif found := names.is_env_var_name(name):
            out += [f.invalid(f"{path}[{i}].name", name, text) for text in found]
        source = variable.get("valueFrom")
        if source is not None:
            _value_from(source, variable.get("value", ""), f"{path}[{i}].valueFrom", out)


def _value_from(source: Obj, value: str, path: str, out: f.Errors) -> None:
    given = [key for key in _SOURCES if source.get(key) is not None]
    for key in given:
        reference, at = source[key], f"{path}.{key}"
        if key == "fieldRef":
            object_field(reference, at, ENV_FIELDS, out)
        elif key == "resourceFieldRef":
            container_resource(reference, at, out)
        elif key == "fileKeyRef":
            _file_key(reference, at, out)
        else:
            _key_selector(reference, at, out)
    if not given:
        why = (
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or "
            "`fileKeyRef`"
        )
        out.append(f.invalid(path, "", why))
    elif value:
        out.append(f.invalid(path, "", "may not be specified when `value` is not empty"))
    elif len(given) > 1:
        out.append(f.invalid(path, "", "may not have more than one field specified at a time"))


def _key_selector(reference: Obj, path: str, out: f.Errors) -> None:
    need(reference, "name", path, out)
    if need(reference, "key", path, out):
        checked(reference["key"], f"{path}.key", names.is_config_map_key, out)


def _file_key(reference: Obj, path: str, out: f.Errors) -> None:
    if need(reference, "key", path, out):
        checked(reference["key"], f"{path}.key", names.is_env_var_name, out)
    if need(reference, "volumeName", path, out):
        checked(reference["volumeName"], f"{path}.volumeName", names.is_dns1123_label, out)
    if need(reference, "path", path, out):
        local_file(reference["path"], f"{path}.path", out)


def object_field(reference: Obj, path: str, allowed: tuple[str, ...], out: f.Errors) -> None:
    """A fieldRef (validateObjectFieldSelector)."""
    version, field_path = reference.get("apiVersion", ""), reference.get("fieldPath", "")
    if not version:
        out.append(f.required(f"{path}.apiVersion"))
        return
    if not field_path:
        out.append(f.required(f"{path}.fieldPath"))
        return
    base, subscript = _subscript(field_path)
    known = base in _SUBSCRIPTED if subscript is not None else field_path in KNOWN_FIELDS
    if field_path == "spec.host":
        field_path, known = "spec.nodeName", True
    if version != "v1" or not known:
        why = (
            f"field label not supported: {field_path}"
            if version == "v1"
            else f"unsupported pod version: {version}"
        )
        out.append(f.invalid(f"{path}.fieldPath", field_path, f"error converting fieldPath: {why}"))
    elif subscript is not None:
        key = subscript.lower() if base == "metadata.annotations" else subscript
        out += [f.invalid(path, subscript, text) for text in names.is_qualified_name(key)]
    elif field_path not in allowed:
        out.append(f.not_supported(f"{path}.fieldPath", field_path, allowed))


def _subscript(field_path: str) -> tuple[str, str | None]:
    """`metadata.labels['a']` as its path and key."""
    if not field_path.endswith("']"):
        return field_path, None
    base, found, key = field_path[:-2].partition("['")
    return (base, key) if found and base else (field_path, None)


def container_resource(reference: Obj, path: str, out: f.Errors, *, need_container: bool = False) -> None:
    """A resourceFieldRef (validateContainerResourceFieldSelector)."""
    resource = reference.get("resource", "")
    if need_container and not reference.get("containerName"):
        out.append(f.required(f"{path}.containerName"))
    elif not resource:
        out.append(f.required(f"{path}.resource"))
    elif resource not in RESOURCES and not resource.startswith(_HUGE_PAGES):
        out.append(f.not_supported(f"{path}.resource", resource, RESOURCES))
    _divisor(resource, reference.get("divisor"), path, out)


def _divisor(resource: str, divisor: str | None, path: str, out: f.Errors) -> None:
    if divisor is None or quantity.parse(divisor).nano == 0:
        return
    unit = resource.partition(".")[2]
    if unit == "cpu":
        if divisor not in ("1", "1m"):
            why = "only divisor's values 1m and 1 are supported with the cpu resource"
            out.append(f.invalid(f"{path}.divisor", resource, why))
    elif divisor not in _BYTE_DIVISORS:
        what = {"memory": "memory", "ephemeral-storage": "local ephemeral storage"}.get(unit, "hugepages")
        why = f"only divisor's values {', '.join(_BYTE_DIVISORS)} are supported with the {what} resource"
        if what == "hugepages" and not unit.startswith("hugepages-"):
            return
        out.append(f.invalid(f"{path}.divisor", resource, why))


def environment_from(sources: list[Obj], path: str, out: f.Errors) -> None:
    for i, source in enumerate(sources):
        prefix = source.get("prefix")
        if prefix:
            checked(prefix, f"{path}[{i}].prefix", names.is_env_var_name, out)
        given = [key for key in ("configMapRef", "secretRef") if source.get(key) is not None]
        for key in given:
            need(source[key], "name", f"{path}[{i}].{key}", out)
        if not given:
            why = "must specify one of: `configMapRef` or `secretRef`"
            out.append(f.invalid(f"{path}[{i}]", "", why))
        elif len(given) > 1:
            why = "may not have more than one field specified at a time"
            out.append(f.invalid(f"{path}[{i}]", "", why))
