"""Acting as somebody else: the Impersonate-* headers
(https://kubernetes.io/docs/reference/access-authn-authz/user-impersonation/)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import unquote

from pilothouse.api import errors
from pilothouse.api.field import go_quote
from pilothouse.apiserver.authn.chain import AUTHENTICATED, UNAUTHENTICATED
from pilothouse.apiserver.authn.service_account import GROUP
from pilothouse.apiserver.authz.rbac import Decision
from pilothouse.apiserver.request import Request, RequestInfo, UserInfo

_SERVICE_ACCOUNT = "system:serviceaccount:"
_EXTRA = "impersonate-extra-"

Authorize = Callable[[UserInfo, RequestInfo], Decision]
Refuse = Callable[[UserInfo, RequestInfo, str], errors.ApiError]


class Impersonation:
    """Each part (user, each group, uid, each extra value) needs the verb `impersonate` on its own resource."""

    def __init__(self, authorize: Authorize, refuse: Refuse) -> None:
        self._authorize = authorize
        self._refuse = refuse

    def apply(self, request: Request, user: UserInfo) -> UserInfo:
        """The user to act as; 400 without a user name, 403 where it is not allowed."""
        name = request.headers.get("impersonate-user", "")
        groups = [g for g in request.headers.get("impersonate-group", "").split("\n") if g]
        uid = request.headers.get("impersonate-uid", "")
        extra = {
            unquote(k.removeprefix(_EXTRA)): tuple(v.split("\n"))
            for k, v in request.headers.items()
            if k.startswith(_EXTRA)
        }
        if not name:
            raise errors.bad_request(
                f"requested {_go_user(uid, groups, extra)} without impersonating a user name"
            )
        for info in _questions(name, uid, groups, extra):
            decision = self._authorize(user, info)
            if not decision.allowed:
                raise self._refuse(user, info, decision.reason)
        return _result(name, uid, groups, extra)


def _questions(
    name: str, uid: str, groups: list[str], extra: dict[str, tuple[str, ...]]
) -> Iterator[RequestInfo]:
    if name.startswith(_SERVICE_ACCOUNT) and name.count(":") == 3:
        _, _, namespace, account = name.split(":")
        yield _question("", "v1", "serviceaccounts", account, namespace)
    else:
        yield _question("", "v1", "users", name)
    for group in groups:
        yield _question("", "v1", "groups", group)
    for key, values in extra.items():
        for value in values:
            yield _question("authentication.k8s.io", "v1", "userextras", value, subresource=key)
    if uid:
        yield _question("authentication.k8s.io", "v1", "uids", uid)


def _question(
    group: str, version: str, resource: str, name: str, namespace: str = "", subresource: str = ""
) -> RequestInfo:
    return RequestInfo(
        True,
        "",
        "impersonate",
        group=group,
        version=version,
        namespace=namespace,
        resource=resource,
        subresource=subresource,
        name=name,
    )


def _result(name: str, uid: str, groups: list[str], extra: dict[str, tuple[str, ...]]) -> UserInfo:
    if name.startswith(_SERVICE_ACCOUNT) and not groups:
        groups = [GROUP, f"{GROUP}:{name.split(':')[2]}"]
    if name == "system:anonymous":
        if UNAUTHENTICATED not in groups:
            groups = [*groups, UNAUTHENTICATED]
    elif AUTHENTICATED not in groups and UNAUTHENTICATED not in groups:
        groups = [*groups, AUTHENTICATED]
    return UserInfo(name, uid, tuple(groups), extra)


def _go_user(uid: str, groups: list[str], extra: dict[str, tuple[str, ...]]) -> str:
    listed = "[]string(nil)"
    if groups:
        listed = "[]string{" + ", ".join(go_quote(g) for g in groups) + "}"
    mapped = "map[string][]string(nil)"
    if extra:
        pairs = (
            f"{go_quote(k)}:[]string{{{', '.join(go_quote(v) for v in values)}}}"
            for k, values in extra.items()
        )
        mapped = "map[string][]string{" + ", ".join(pairs) + "}"
    return f'&user.DefaultInfo{{Name:"", UID:{go_quote(uid)}, Groups:{listed}, Extra:{mapped}}}'
