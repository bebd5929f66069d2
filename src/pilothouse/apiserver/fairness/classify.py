"""Which FlowSchema a request matches (k8s.io/apiserver/pkg/util/flowcontrol rule.go)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pilothouse.api.types import Obj
from pilothouse.apiserver.request import RequestInfo, UserInfo

EVERYTHING = "*"
_ACCOUNT = "system:serviceaccount:"


def in_order(schemas: Iterable[Obj]) -> list[Obj]:
    """As they are tried: by precedence, then by name."""
    return sorted(schemas, key=lambda s: (s["spec"].get("matchingPrecedence", 0), s["metadata"]["name"]))


def matches(schema: Obj, user: UserInfo, info: RequestInfo) -> bool:
    return any(
        any(_is_subject(subject, user) for subject in rule.get("subjects") or ()) and _has_rule(rule, info)
        for rule in schema["spec"].get("rules") or ()
    )


def distinguisher(schema: Obj, user: UserInfo, info: RequestInfo) -> str:
    """What tells the flows of one schema apart."""
    kind = (schema["spec"].get("distinguisherMethod") or {}).get("type", "")
    if kind == "ByUser":
        return user.name
    return info.namespace if kind == "ByNamespace" else ""


def _is_subject(subject: Obj, user: UserInfo) -> bool:
    kind = subject["kind"]
    if kind == "User":
        return bool(subject["user"]["name"] in (EVERYTHING, user.name))
    if kind == "Group":
        name: str = subject["group"]["name"]
        return name == EVERYTHING or name in user.groups
    account = subject["serviceAccount"]
    prefix = f"{_ACCOUNT}{account['namespace']}:"
    if account["name"] == EVERYTHING:
        return user.name.startswith(prefix)
    return user.name == f"{prefix}{account['name']}"


def _has_rule(rule: Obj, info: RequestInfo) -> bool:
    if info.is_resource:
        return any(_is_resource(r, info) for r in rule.get("resourceRules") or ())
    return any(_is_path(r, info) for r in rule.get("nonResourceRules") or ())


def _is_resource(rule: Obj, info: RequestInfo) -> bool:
    resource = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    if not (
        _has(rule.get("verbs") or (), info.verb)
        and _has(rule.get("apiGroups") or (), info.group)
        and _has(rule.get("resources") or (), resource)
    ):
        return False
    if not info.namespace:
        return bool(rule.get("clusterScope"))
    return _has(rule.get("namespaces") or (), info.namespace)


def _is_path(rule: Obj, info: RequestInfo) -> bool:
    if not _has(rule.get("verbs") or (), info.verb):
        return False
    for url in rule.get("nonResourceURLs") or ():
        if url in (EVERYTHING, info.path):
            return True
        if url.endswith(EVERYTHING) and info.path.startswith(url.rstrip(EVERYTHING)):
            return True
    return False


def _has(listed: Sequence[str], wanted: str) -> bool:
    return EVERYTHING in listed or wanted in listed
