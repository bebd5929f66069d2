"""Validation that every kind shares: object metadata, label selectors, request options
(k8s.io/apimachinery/pkg/api/validation and pkg/apis/meta/v1/validation)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import addresses, names

ANNOTATIONS_BYTES_MAX = 256 * 1024
_STANDARD_FINALIZERS = frozenset(("kubernetes", "orphan", "foregroundDeletion"))
_FIELD_MANAGER_LENGTH_MAX = 128
_SUBRESOURCE_LENGTH_MAX = 256
_BANNED_OWNERS = {("v1", "Event")}

_NAME_RULES: dict[str, Callable[[str], list[str]]] = {
    "subdomain": names.is_dns1123_subdomain,
    "label": names.is_dns1123_label,
    "dns1035": names.is_dns1035_label,
    "path": names.path_segment,
    "config-key": names.is_config_map_key,
    "ip": addresses.ip_faults_canonical,
}


def _prefix_faults(prefix: str, name_rule: str) -> list[str]:
    """What is wrong with a metadata.generateName. An address is not generated, and goes on with nothing."""
    check = _NAME_RULES[name_rule]
    if name_rule in ("ip", "config-key"):
        return check(prefix)
    return check(f"{prefix}a") if name_rule == "path" else check(_masked(prefix))


def _masked(prefix: str) -> str:
    """A prefix may end in a dash, since letters follow (apimachinery's maskTrailingDash)."""
    return f"{prefix[:-2]}a" if len(prefix) > 1 and prefix.endswith("-") else prefix


def validate_create(
    meta: Obj, namespaced: bool, name_rule: str, path: str = "metadata", *, known_finalizers: bool = True
) -> f.Errors:
    """ObjectMeta of a new object. `known_finalizers`: finalizers without a prefix must be upstream's own, as the core
    group's ValidateObjectMeta has it and apimachinery's has not."""
    check = _NAME_RULES[name_rule]
    out: f.Errors = []
    generate = meta.get("generateName", "")
    if generate:
        out += [f.invalid(f"{path}.generateName", generate, m) for m in _prefix_faults(generate, name_rule)]
    name = meta.get("name", "")
    if not name:
        out.append(f.required(f"{path}.name", "name or generateName is required"))
    else:
        out += [f.invalid(f"{path}.name", name, m) for m in check(name)]
    namespace = meta.get("namespace", "")
    if namespaced:
        if not namespace:
            out.append(f.required(f"{path}.namespace"))
        else:
            out += [f.invalid(f"{path}.namespace", namespace, m) for m in names.is_dns1123_label(namespace)]
    elif namespace:
        out.append(f.forbidden(f"{path}.namespace", "not allowed on this type"))
    if meta.get("generation", 0) < 0:
        out.append(f.invalid(f"{path}.generation", meta["generation"], "must be greater than or equal to 0"))
    out += _maps_and_owners(meta, path)
    finalizers = meta.get("finalizers") or []
    out += validate_finalizers(finalizers, f"{path}.finalizers")
    out += _managed(meta, path)
    if known_finalizers:
        for index, finalizer in enumerate(finalizers):
            out += _known_finalizer(finalizer, f"{path}.finalizers[{index}]")
    return out


def _maps_and_owners(meta: Obj, path: str) -> f.Errors:
    out: f.Errors = []
    if meta.get("labels"):
        out += validate_labels(meta["labels"], f"{path}.labels")
    if meta.get("annotations"):
        out += validate_annotations(meta["annotations"], f"{path}.annotations")
    if meta.get("ownerReferences"):
        out += validate_owner_references(meta["ownerReferences"], f"{path}.ownerReferences")
    return out


def _managed(meta: Obj, path: str) -> f.Errors:
    return validate_managed_fields(meta.get("managedFields") or [], f"{path}.managedFields")


def validate_labels(labels: dict[str, str], path: str) -> f.Errors:
    out: f.Errors = []
    for key, value in labels.items():
        out += [f.invalid(path, key, m) for m in names.is_qualified_label_key(key)]
        out += [f.invalid(path, value, m) for m in names.is_label_value(value)]
    return out


def validate_annotations(annotations: dict[str, str], path: str) -> f.Errors:
    out: f.Errors = []
    size = 0
    for key, value in annotations.items():
        out += [f.invalid(path, key, m) for m in names.is_qualified_name(key.lower())]
        size += len(key.encode()) + len(value.encode())
    if size > ANNOTATIONS_BYTES_MAX:
        out.append(f.too_long(path, "", ANNOTATIONS_BYTES_MAX))
    return out


def validate_owner_references(references: list[Obj], path: str) -> f.Errors:
    out: f.Errors = []
    controller = ""
    for ref in references:
        out += _owner_reference(ref, path)
        if ref.get("controller"):
            if controller:
                text = (
                    "Only one reference can have Controller set to true. Found "
                    f'"true" in references for {controller} and {_named(ref)}'
                )
                out.append(f.invalid(path, references, text))
            else:
                controller = _named(ref)
    return out


def _named(ref: Obj) -> str:
    return f"{ref.get('kind', '')}/{ref.get('name', '')}"


def _owner_reference(ref: Obj, path: str) -> f.Errors:
    out: f.Errors = []
    version = ref.get("apiVersion", "")
    if not version.rpartition("/")[2]:
        out.append(f.invalid(f"{path}.apiVersion", version, "version must not be empty"))
    for key in ("kind", "name", "uid"):
        if not ref.get(key):
            out.append(f.invalid(f"{path}.{key}", ref.get(key, ""), "must not be empty"))
    if (version, ref.get("kind")) in _BANNED_OWNERS:
        out.append(f.invalid(path, ref, f"/{version}, Kind={ref['kind']} is disallowed from being an owner"))
    return out


def validate_finalizers(finalizers: list[str], path: str) -> f.Errors:
    """Their form alone, without an index."""
    out: f.Errors = []
    for name in finalizers:
        out += [f.invalid(path, name, m) for m in names.is_qualified_name(name)]
    if "orphan" in finalizers and "foregroundDeletion" in finalizers:
        text = "finalizer orphan and foregroundDeletion cannot be both set"
        out.append(f.invalid(path, finalizers, text))
    return out


def _known_finalizer(name: str, path: str) -> f.Errors:
    if "/" in name or name in _STANDARD_FINALIZERS:
        return []
    return [f.invalid(path, name, "name is neither a standard finalizer name nor is it fully qualified")]


def validate_managed_fields(entries: list[Obj], path: str) -> f.Errors:
    out: f.Errors = []
    for index, entry in enumerate(entries):
        here = f"{path}[{index}]"
        if entry.get("operation") not in ("Apply", "Update"):
            text = "must be `Apply` or `Update`"
            out.append(f.invalid(f"{here}.operation", entry.get("operation", ""), text))
        if entry.get("fieldsType") not in (None, "", "FieldsV1"):
            out.append(f.invalid(f"{here}.fieldsType", entry["fieldsType"], "must be `FieldsV1`"))
        out += _field_manager(entry.get("manager", ""), f"{here}.manager")
        subresource = entry.get("subresource", "")
        if len(subresource.encode()) > _SUBRESOURCE_LENGTH_MAX:
            out.append(f.too_long(f"{here}.subresource", subresource, _SUBRESOURCE_LENGTH_MAX))
    return out


def validate_update(meta: Obj, old: Obj, path: str = "metadata") -> f.Errors:
    """ObjectMeta of an update; `meta` already has what the registry keeps."""
    out: f.Errors = []
    if old.get("deletionTimestamp"):
        known = set(old.get("finalizers") or ())
        new = sorted(set(meta.get("finalizers") or ()) - known)
        if new:
            listed = ", ".join(f.go_quote(n) for n in new)
            text = (
                "no new finalizers can be added if the object is being deleted, "
                f"found new finalizers []string{{{listed}}}"
            )
            out.append(f.forbidden(f"{path}.finalizers", text))
    if meta.get("generation", 0) < old.get("generation", 0):
        out.append(f.invalid(f"{path}.generation", meta.get("generation", 0), "must not be decremented"))
    for key in (
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ):
        if meta.get(key) != old.get(key) and (meta.get(key) or old.get(key)):
            out.append(f.invalid(f"{path}.{key}", meta.get(key, ""), "field is immutable"))
    return out + _maps_and_owners(meta, path) + _managed(meta, path)


def validate_label_selector(selector: Obj, path: str, *, allow_invalid_values: bool = False) -> f.Errors:
    """A metav1.LabelSelector."""
    out: f.Errors = []
    if selector.get("matchLabels"):
        out += validate_labels(selector["matchLabels"], f"{path}.matchLabels")
    for index, expression in enumerate(selector.get("matchExpressions") or ()):
        out += _selector_requirement(expression, f"{path}.matchExpressions[{index}]", allow_invalid_values)
    return out


def _selector_requirement(e: Obj, path: str, allow_invalid_values: bool) -> f.Errors:
    out: f.Errors = []
    operator, values = e.get("operator", ""), e.get("values") or []
    if operator in ("In", "NotIn"):
        if not values:
            out.append(f.required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            out.append(f.forbidden(f"{path}.values", text))
    else:
        out.append(f.invalid(f"{path}.operator", operator, "not a valid selector operator"))
    out += [
        f.invalid(f"{path}.key", e.get("key", ""), m) for m in names.is_qualified_label_key(e.get("key", ""))
    ]
    if not allow_invalid_values:
        for index, value in enumerate(values):
            out += [f.invalid(f"{path}.values[{index}]", value, m) for m in names.is_label_value(value)]
    return out


def validate_list_options(
    revision: str, match: str, continue_: str, initial_events: bool | None, *, watch: bool
) -> f.Errors:
    """metainternalversion ListOptions."""
    if watch:
        return _watch_options(match, continue_, initial_events)
    out: f.Errors = []
    if match:
        if not revision:
            text = "resourceVersionMatch is forbidden unless resourceVersion is provided"
            out.append(f.forbidden("resourceVersionMatch", text))
        if continue_:
            text = "resourceVersionMatch is forbidden when continue is provided"
            out.append(f.forbidden("resourceVersionMatch", text))
        if match not in ("Exact", "NotOlderThan"):
            out.append(f.not_supported("resourceVersionMatch", match, ("Exact", "NotOlderThan", "")))
        if match == "Exact" and revision == "0":
            text = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
            out.append(f.forbidden("resourceVersionMatch", text))
    if initial_events is not None:
        out.append(f.forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    return out


def _watch_options(match: str, continue_: str, initial_events: bool | None) -> f.Errors:
    out: f.Errors = []
    if initial_events is not None and match != "NotOlderThan":
        text = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        out.append(f.forbidden("resourceVersionMatch", text))
    if match:
        if initial_events is None:
            text = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
            out.append(f.forbidden("resourceVersionMatch", text))
        if match != "NotOlderThan":
            out.append(f.not_supported("resourceVersionMatch", match, ("NotOlderThan",)))
    if continue_:
        text = "resourceVersionMatch is forbidden when continue is provided"
        out.append(f.forbidden("resourceVersionMatch", text))
    return out


_APPLY = "application/apply-patch+yaml"


def validate_write_options(options: Obj, patch_type: str) -> f.Errors:
    """Create-, Update- and PatchOptions."""
    out: f.Errors = []
    if options["kind"] == "PatchOptions":
        if patch_type != _APPLY:
            if options.get("force") is not None:
                out.append(f.forbidden("force", "may not be specified for non-apply patch"))
        elif not options.get("fieldManager"):
            out.append(f.required("fieldManager", "is required for apply patch"))
    out += _field_manager(options.get("fieldManager", ""), "fieldManager")
    out += _dry_run(options.get("dryRun"))
    validation = options.get("fieldValidation", "")
    if validation not in ("", "Ignore", "Warn", "Strict"):
        out.append(f.not_supported("fieldValidation", validation, ("", "Ignore", "Strict", "Warn")))
    return out


def _field_manager(manager: str, path: str) -> f.Errors:
    out: f.Errors = []
    if len(manager.encode()) > _FIELD_MANAGER_LENGTH_MAX:
        out.append(f.too_long(path, manager, _FIELD_MANAGER_LENGTH_MAX))
    if manager.isprintable():
        return out
    position = 0
    for char in manager:
        if not char.isprintable():
            text = f"invalid character U+{ord(char):04X} (at position {position})"
            out.append(f.invalid(path, manager, text))
        position += len(char.encode())
    return out


def _dry_run(values: list[str] | None) -> f.Errors:
    if values and set(values) != {"All"}:
        return [f.not_supported("dryRun", values, ("All",))]
    return []


_POLICIES = ("Foreground", "Background", "Orphan")


def validate_delete_options(options: Obj) -> f.Errors:
    out: f.Errors = []
    policy: Any = options.get("propagationPolicy")
    if policy is not None and options.get("orphanDependents") is not None:
        text = "orphanDependents and deletionPropagation cannot be both set"
        out.append(f.invalid("propagationPolicy", policy, text))
    if policy is not None and policy not in _POLICIES:
        out.append(f.not_supported("propagationPolicy", policy, (*_POLICIES, "nil")))
    return out + _dry_run(options.get("dryRun"))
