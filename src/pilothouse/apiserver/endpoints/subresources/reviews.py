"""Questions about access and identity: the reviews of authorization.k8s.io and authentication.k8s.io. Nothing
is stored; the answer is the question with its status."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pilothouse.api import errors
from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import authorization
from pilothouse.apiserver.authn.chain import with_group
from pilothouse.apiserver.authn.legacy_tokens import TokenRefused
from pilothouse.apiserver.endpoints import body, negotiation, render, writing
from pilothouse.apiserver.endpoints.options import write_options
from pilothouse.apiserver.endpoints.scope import Scope
from pilothouse.apiserver.request import ANONYMOUS, Request, RequestInfo, Response, UserInfo

if TYPE_CHECKING:
    from pilothouse.apiserver.server import ApiServer

_UNKNOWN_TOKEN = "invalid bearer token"
Validate = Callable[[Obj], f.Errors]


class Reviewer:
    def __init__(self, server: ApiServer) -> None:
        self._server = server

    def _read(self, request: Request, scope: Scope) -> Obj:
        options = write_options(request, "CreateOptions")
        obj = body.read(request, scope, options)
        obj.setdefault("metadata", {})
        manager = writing.manager_of(request, options)
        return scope.fields.update(None, obj, manager, "", self._server.world.timestamp())

    async def _admit(self, request: Request, scope: Scope, review: Obj) -> None:
        """A question is a create to admission, although nothing is stored."""
        ctx = scope.context(request)
        await scope.rest.admission.ask(scope.rest.attributes(ctx, "CREATE", review, None, {}))

    def _answer(self, request: Request, scope: Scope, review: Obj) -> Response:
        form = negotiation.form_of(request)
        return render.one(request, scope.kind, review, None, form, 201)

    async def subject_access(self, request: Request, scope: Scope) -> Response:
        return await self._access(request, scope, authorization.subject_access_review)

    async def local_subject_access(self, request: Request, scope: Scope) -> Response:
        namespace = request.info.namespace

        def validate(review: Obj) -> f.Errors:
            review["metadata"].setdefault("namespace", namespace)
            return authorization.local_subject_access_review(review)

        return await self._access(request, scope, validate)

    async def self_subject_access(self, request: Request, scope: Scope) -> Response:
        review = self._read(request, scope)
        await self._admit(request, scope, review)
        self._check(review, authorization.self_subject_access_review)
        user = request.user or ANONYMOUS
        review["status"] = self._decide(user, review["spec"])
        return self._answer(request, scope, review)

    async def _access(self, request: Request, scope: Scope, validate: Validate) -> Response:
        review = self._read(request, scope)
        await self._admit(request, scope, review)
        self._check(review, validate)
        spec = review["spec"]
        extra = {k.lower(): tuple(v) for k, v in (spec.get("extra") or {}).items()}
        user = UserInfo(spec.get("user", ""), spec.get("uid", ""), tuple(spec.get("groups") or ()), extra)
        review["status"] = self._decide(user, spec)
        return self._answer(request, scope, review)

    def _check(self, review: Obj, validate: Validate) -> None:
        found = validate(review)
        if found:
            raise errors.invalid("authorization.k8s.io", "", "", found)

    def _decide(self, user: UserInfo, spec: Obj) -> Obj:
        decision = self._server.authorizer.authorize(user, _question(spec))
        status: Obj = {"allowed": decision.allowed}
        if decision.reason:
            status["reason"] = decision.reason
        return status

    async def self_subject_rules(self, request: Request, scope: Scope) -> Response:
        options = write_options(request, "CreateOptions")
        review = body.read(request, scope, options)
        await self._admit(request, scope, review)
        namespace = (review.get("spec") or {}).get("namespace", "")
        if not namespace:
            raise errors.bad_request("no namespace on request")
        rules = self._server.authorizer.rules(request.user or ANONYMOUS, namespace)
        review["spec"] = {}
        review["status"] = {
            "resourceRules": [r for r in rules if r.get("resources")],
            "nonResourceRules": [
                {"verbs": r["verbs"], "nonResourceURLs": r["nonResourceURLs"]}
                for r in rules
                if r.get("nonResourceURLs")
            ],
            "incomplete": False,
        }
        unknown = self._server.authorizer.unknown_rules(request.user or ANONYMOUS)
        if unknown:
            review["status"].update(incomplete=True, evaluationError=unknown)
        return self._answer(request, scope, review)

    async def token(self, request: Request, scope: Scope) -> Response:
        review = self._read(request, scope)
        await self._admit(request, scope, review)
        token = (review.get("spec") or {}).get("token", "")
        if not token:
            raise errors.bad_request("token is required for TokenReview in authentication")
        review["status"] = self._token_status(token, review["spec"].get("audiences") or [])
        return self._answer(request, scope, review)

    def _token_status(self, token: str, audiences: list[str]) -> Obj:
        own = list(self._server.options.audiences)
        try:
            checked = self._server.tokens.check(token, audiences or own)
        except TokenRefused as refused:
            # Two authenticators have a say: that of the server's own loopback token, and everybody else's.
            return {"user": {}, "error": f"[{_UNKNOWN_TOKEN}, {refused}]"}
        if checked is not None:
            user, shared = checked
            return {"authenticated": True, "user": _user(with_group(user)), "audiences": shared}
        found = self._server.authenticator.token_user(token)
        shared = [a for a in own if not audiences or a in audiences]
        if found is None or not shared:
            return {"user": {}, "error": _UNKNOWN_TOKEN}
        return {"authenticated": True, "user": _user(with_group(found)), "audiences": shared}

    async def self_subject(self, request: Request, scope: Scope) -> Response:
        options = write_options(request, "CreateOptions")
        review = body.read(request, scope, options)
        await self._admit(request, scope, review)
        review["metadata"] = {"creationTimestamp": self._server.world.timestamp()}
        review["status"] = {"userInfo": _user(request.user or ANONYMOUS)}
        return self._answer(request, scope, review)


def _user(user: UserInfo) -> Obj:
    out: Obj = {"username": user.name}
    if user.uid:
        out["uid"] = user.uid
    if user.groups:
        out["groups"] = list(user.groups)
    if user.extra:
        out["extra"] = {k: list(v) for k, v in user.extra.items()}
    return out


def _question(spec: Obj) -> RequestInfo:
    asked = spec.get("resourceAttributes")
    if asked is None:
        path = spec.get("nonResourceAttributes") or {}
        return RequestInfo(False, path.get("path", ""), path.get("verb", ""))
    return RequestInfo(
        True,
        "",
        asked.get("verb", ""),
        group=asked.get("group", ""),
        version=asked.get("version", ""),
        namespace=asked.get("namespace", ""),
        resource=asked.get("resource", ""),
        subresource=asked.get("subresource", ""),
        name=asked.get("name", ""),
        field_selector=_field_selector(asked.get("fieldSelector") or {}),
    )


def _field_selector(asked: Obj) -> str:
    """As a request would send it; what cannot be sent so selects nothing that anybody looks for."""
    if asked.get("rawSelector"):
        return str(asked["rawSelector"])
    return ",".join(
        f"{term['key']}={term['values'][0]}"
        for term in asked.get("requirements") or ()
        if term.get("operator") == "In" and len(term.get("values") or ()) == 1
    )
