"""`authorizer` in CEL: what a user may do, as the server's own authorizers say (k8s.io/apiserver/pkg/cel/library
authz.go).

    authorizer.group("apps").resource("deployments").namespace("ns").check("create").allowed()
    authorizer.requestResource.check("approve").allowed()
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from pilothouse.api.cel.evaluate import EvalError, Function
from pilothouse.api.cel.functions import FUNCTIONS
from pilothouse.api.validation import names
from pilothouse.apiserver.authz.rbac import Decision
from pilothouse.apiserver.request import RequestInfo, UserInfo

Authorize = Callable[[UserInfo, RequestInfo], Decision]


class Authorizer(NamedTuple):
    user: UserInfo
    authorize: Authorize


class PathCheck(NamedTuple):
    authorizer: Authorizer
    path: str


class GroupCheck(NamedTuple):
    authorizer: Authorizer
    group: str


class ResourceCheck(NamedTuple):
    authorizer: Authorizer
    group: str
    resource: str
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    field_selector: str = ""


def _path(of: Authorizer, path: str) -> PathCheck:
    if not path.strip():
        raise EvalError("path must not be empty")
    return PathCheck(of, path)


def _service_account(of: Authorizer, namespace: str, name: str) -> Authorizer:
    if names.is_dns1123_subdomain(name):
        raise EvalError("Invalid service account name")
    if names.is_dns1123_label(namespace):
        raise EvalError("Invalid service account namespace")
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
    return Authorizer(UserInfo(f"system:serviceaccount:{namespace}:{name}", groups=groups), of.authorize)


def _resource(of: GroupCheck, resource: str) -> ResourceCheck:
    if not resource.strip():
        raise EvalError("resource must not be empty")
    return ResourceCheck(of.authorizer, of.group, resource)


def _check(of: PathCheck | ResourceCheck, verb: str) -> Decision:
    if isinstance(of, PathCheck):
        info = RequestInfo(False, of.path, verb)
    else:
        info = RequestInfo(
            True,
            "",
            verb,
            group=of.group,
            version="*",
            namespace=of.namespace,
            resource=of.resource,
            subresource=of.subresource,
            name=of.name,
            field_selector=of.field_selector,
        )
    return of.authorizer.authorize(of.authorizer.user, info)


WITH_AUTHORIZER: Mapping[str, Function] = {
    **FUNCTIONS,
    "path": _path,
    "group": lambda of, group: GroupCheck(of, group),
    "serviceAccount": _service_account,
    "resource": _resource,
    "subresource": lambda of, value: of._replace(subresource=value),
    "namespace": lambda of, value: of._replace(namespace=value),
    "name": lambda of, value: of._replace(name=value),
    "fieldSelector": lambda of, value: of._replace(field_selector=value),
    "labelSelector": lambda of, selector: of,
    "check": _check,
    "errored": lambda decision: False,
    "error": lambda decision: "",
    "allowed": lambda decision: decision.allowed,
    "reason": lambda decision: decision.reason,
}
"""CEL's functions and those of the authorizer. Authorizers here never fail, and none looks at label selectors."""
