"""From a method and a path to what is asked for (k8s.io/apiserver/pkg/endpoints/request/requestinfo.go)."""

from __future__ import annotations

from collections.abc import Mapping

from pilothouse.api import fields
from pilothouse.apiserver.request import RequestInfo

_VERBS = {
    "POST": "create",
    "GET": "get",
    "HEAD": "get",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}
_SELECTING = frozenset(("list", "watch", "deletecollection"))
_NAMESPACE_SUBRESOURCES = frozenset(("status", "finalize"))


def is_true(values: list[str] | None) -> bool:
    """A boolean query parameter as apimachinery converts it: absent, "false" and "0" are false, all else true."""
    return bool(values) and values[0] not in ("false", "0")  # type: ignore[index]


def parse(method: str, path: str, query: Mapping[str, list[str]]) -> RequestInfo:
    """Never fails: what is no resource path is a non-resource request."""
    parts = path.strip("/").split("/")
    if len(parts) < 3 or parts[0] not in ("api", "apis"):
        return RequestInfo(False, path, method.lower())
    prefix = parts[0]
    group = ""
    rest = parts[1:]
    if prefix == "apis":
        group, rest = rest[0], rest[1:]
        if len(rest) < 2:
            return RequestInfo(False, path, method.lower(), prefix, group)
    version, rest = rest[0], rest[1:]
    verb = _VERBS.get(method, "")
    if rest and rest[0] in ("proxy", "watch"):
        if len(rest) < 2:
            return RequestInfo(False, path, method.lower(), prefix, group, version)
        verb, rest = rest[0], rest[1:]
    namespace = ""
    if rest and rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in _NAMESPACE_SUBRESOURCES:
            rest = rest[2:]
    resource = rest[0] if rest else ""
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    if not name and verb == "get":
        verb = "watch" if is_true(query.get("watch")) else "list"
        selector = query.get("fieldSelector")
        if selector:
            name = fields.required_name(selector[0])
    elif not name and verb == "delete":
        verb = "deletecollection"
    info = RequestInfo(
        True, path, verb, prefix, group, version, namespace, resource, subresource, name, tuple(rest)
    )
    if "fieldSelector" in query and verb in _SELECTING:
        info.field_selector = query["fieldSelector"][0]
    return info
