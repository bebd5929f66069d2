"""Fields that a write never owns because the server puts them back: a status sent to the main resource, a
spec sent to its status (GetResetFields of each registry strategy in kubernetes/pkg/registry)."""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.apiserver.endpoints.apply import field_set as fs
from pilothouse.apiserver.endpoints.apply.field_set import LEAF, FieldSet

_MAIN: dict[tuple[str, str], tuple[str, ...]] = {
    ("certificates.k8s.io", "certificatesigningrequests"): ("spec", "status"),
}
"""Main resources that put back more than the status."""

_STATUS: dict[tuple[str, str], tuple[str, ...]] = {
    ("", "pods"): ("spec", "metadata.deletionTimestamp", "metadata.ownerReferences"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"): ("metadata", "spec"),
    ("apiextensions.k8s.io", "customresourcedefinitions"): ("metadata", "spec"),
    ("apiregistration.k8s.io", "apiservices"): ("spec",),
    ("apps", "deployments"): ("spec", "metadata.labels"),
    ("flowcontrol.apiserver.k8s.io", "flowschemas"): ("metadata", "spec"),
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations"): ("metadata", "spec"),
    ("storage.k8s.io", "volumeattachments"): ("metadata", "spec"),
}
"""Status subresources that put back more, or other things, than the spec."""

_OTHER: dict[tuple[str, str, str], tuple[str, ...]] = {
    ("certificates.k8s.io", "certificatesigningrequests", "approval"): ("spec", "status.certificate"),
}


def reset_fields(
    group: str, resource: str, subresource: str, *, has_status: bool, custom_fields: Iterable[str] = ()
) -> FieldSet:
    """For writes to a resource ("" for `subresource`) or one of its subresources. `custom_fields` are the
    top-level fields of a custom resource: its status puts back all others."""
    key = (group, resource)
    if not subresource:
        paths = _MAIN.get(key, ("status",) if has_status else ())
    elif subresource == "status":
        paths = tuple(name for name in custom_fields if name != "status") or _STATUS.get(key, ("spec",))
    else:
        paths = _OTHER.get((*key, subresource), ())
    return fs.of_paths(*paths) if paths else LEAF
