"""The spec of a claim to storage, wherever it stands: a claim, a template in a StatefulSet, an ephemeral
volume (ValidatePersistentVolumeClaimSpec in pkg/apis/core/validation)."""

from __future__ import annotations

from pilothouse.api import field as f
from pilothouse.api import quantity
from pilothouse.api.types import Obj
from pilothouse.api.validation import meta, names
from pilothouse.api.validation.gotext import struct, text

ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
VOLUME_MODES = ("Block", "Filesystem")
_REFERENCE = struct(APIGroup=None, Kind="", Name="")
_OBJECT_REFERENCE = struct(APIGroup=None, Kind="", Name="", Namespace=None)
_SOURCES = (("dataSource", _REFERENCE), ("dataSourceRef", _OBJECT_REFERENCE))


def claim_spec(spec: Obj, path: str, out: f.Errors) -> None:
    modes = spec.get("accessModes") or ()
    if not modes:
        out.append(f.required(f"{path}.accessModes", "at least 1 access mode is required"))
    if spec.get("selector") is not None:
        out += meta.validate_label_selector(spec["selector"], f"{path}.selector")
    for mode in modes:
        if mode not in ACCESS_MODES:
            out.append(f.not_supported(f"{path}.accessModes", mode, ACCESS_MODES))
    if "ReadWriteOncePod" in modes and len(set(modes)) > 1:
        why = "may not use ReadWriteOncePod with other access modes"
        out.append(f.forbidden(f"{path}.accessModes", why))
    _storage(spec, path, out)
    _class(spec, "storageClassName", path, out)
    mode = spec.get("volumeMode")
    if mode is not None and mode not in VOLUME_MODES:
        out.append(f.not_supported(f"{path}.volumeMode", mode, VOLUME_MODES))
    for key, of in _SOURCES:
        if spec.get(key) is not None:
            _data_source(spec[key], f"{path}.{key}", text(spec[key], of), out)
    _same_source(spec.get("dataSource"), spec.get("dataSourceRef"), path, out)
    _class(spec, "volumeAttributesClassName", path, out)


def _class(spec: Obj, key: str, path: str, out: f.Errors) -> None:
    if spec.get(key):
        out += [f.invalid(f"{path}.{key}", spec[key], why) for why in names.is_dns1123_subdomain(spec[key])]


def _same_source(source: Obj | None, reference: Obj | None, path: str, out: f.Errors) -> None:
    """The old way to say where data come from may say nothing else than the new one."""
    if source is None or reference is None:
        return
    shown = f.GoText("{}")  # Upstream shows a path, of which JSON shows nothing.
    if reference.get("namespace"):
        why = "may not be specified when dataSourceRef.namespace is specified"
        out.append(f.invalid(path, shown, why))
    elif any(source.get(key) != reference.get(key) for key in ("apiGroup", "kind", "name")):
        out.append(f.invalid(path, shown, "must match dataSourceRef"))


def _storage(spec: Obj, path: str, out: f.Errors) -> None:
    amount = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if amount is None:
        out.append(f.required(f"{path}.resources[storage]"))
    elif quantity.parse(amount).nano <= 0:
        out.append(f.invalid(f"{path}.resources[storage]", amount, "must be greater than zero"))


def _data_source(source: Obj, path: str, shown: f.GoText, out: f.Errors) -> None:
    for key in ("name", "kind"):
        if not source.get(key):
            out.append(f.required(f"{path}.{key}"))
    group = source.get("apiGroup") or ""
    if group:
        out += [f.invalid(f"{path}.apiGroup", group, why) for why in names.is_dns1123_subdomain(group)]
    elif source.get("kind") != "PersistentVolumeClaim":
        why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
        out.append(f.invalid(path, source.get("kind", ""), why))
    namespace = source.get("namespace")
    if namespace:
        out += [f.invalid(f"{path}.namespace", namespace, why) for why in names.is_dns1123_label(namespace)]


def template(value: Obj, path: str, out: f.Errors) -> None:
    """An ephemeral volume's volumeClaimTemplate: of the metadata only labels and annotations count."""
    metadata = value.get("metadata") or {}
    for key in ("name", "generateName", "namespace"):
        if metadata.get(key):
            out.append(f.forbidden(f"{path}.metadata.{key}", "cannot be set"))
    out += meta.validate_annotations(metadata.get("annotations") or {}, f"{path}.metadata.annotations")
    out += meta.validate_labels(metadata.get("labels") or {}, f"{path}.metadata.labels")
    claim_spec(value.get("spec") or {}, f"{path}.spec", out)
