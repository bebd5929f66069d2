"""serviceaccounts/token: a bound token for an account (registry/core/serviceaccount/storage TokenREST)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pilothouse.api import errors
from pilothouse.api import field as f
from pilothouse.api.defaults.authentication import token_request
from pilothouse.api.resources import NODES, PODS, SECRETS, Resource
from pilothouse.api.types import Obj
from pilothouse.api.validation import authentication
from pilothouse.apiserver.admission.plugin import ObjectKind
from pilothouse.apiserver.endpoints import negotiation, render, writing
from pilothouse.apiserver.endpoints.options import is_dry_run, write_options
from pilothouse.apiserver.endpoints.scope import Scope
from pilothouse.apiserver.endpoints.subresources import sent
from pilothouse.apiserver.request import Request, Response
from pilothouse.kit.world import timestamp

if TYPE_CHECKING:
    from pilothouse.apiserver.server import ApiServer

_BOUND_KINDS: dict[tuple[str, str], Resource] = {
    ("v1", "Pod"): PODS,
    ("v1", "Secret"): SECRETS,
    ("v1", "Node"): NODES,
}
_TOKEN_REQUEST = ObjectKind("authentication.k8s.io", "v1", "TokenRequest")
_WARN_AFTER_S = 3607
_EXTENDED_S = 365 * 24 * 3600


class Issuer:
    def __init__(self, server: ApiServer) -> None:
        self._server = server

    async def create(self, request: Request, scope: Scope) -> Response:
        options = write_options(request, "CreateOptions")
        wanted = sent.read(self._server, request, "authentication.k8s.io", "v1", "TokenRequest")
        name, namespace = request.info.name, request.info.namespace
        ctx = scope.context(request, dry_run=is_dry_run(options))
        attributes = scope.rest.attributes(
            ctx, "CREATE", wanted, None, options, name=name, kind=_TOKEN_REQUEST
        )
        await scope.rest.admission.admit(attributes)
        self._check_name(wanted, name)
        account = (await scope.rest.newest(namespace, name)).obj
        token_request(wanted)
        manager, now = writing.manager_of(request, options), self._server.world.timestamp()
        wanted = self._server.token_fields.update(None, wanted, manager, "token", now)
        spec = wanted["spec"]
        found = authentication.token_request(wanted)
        if found:
            raise errors.invalid("authentication.k8s.io", "TokenRequest", "", found)
        await scope.rest.admission.validate(attributes)
        expiration = min(
            spec["expirationSeconds"],
            self._server.options.token_expiration_s_max or spec["expirationSeconds"],
        )
        audiences = spec.get("audiences") or list(self._server.options.audiences)
        bound = self._bound(spec.get("boundObjectRef"), name, namespace)
        node = self._node_of(bound)
        token, expires = self._server.signer.bound(account, audiences, expiration, bound, node)
        meta = {
            "name": name,
            "namespace": namespace,
            "uid": self._server.world.uid(),
            "creationTimestamp": now,
            "managedFields": wanted["metadata"]["managedFields"],
        }
        answer: Obj = {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": meta,
            "spec": {
                "audiences": audiences,
                "expirationSeconds": expiration,
                "boundObjectRef": spec.get("boundObjectRef"),
            },
            "status": {"token": token, "expirationTimestamp": timestamp(expires)},
        }
        return render.one(request, scope.kind, answer, None, negotiation.Form(), 201)

    def _check_name(self, wanted: Obj, name: str) -> None:
        given = (wanted.get("metadata") or {}).get("name", "")
        if given and given != name:
            text = "must match the service account name if specified"
            found = [f.invalid("metadata.name", given, text)]
            raise errors.invalid("authentication.k8s.io", "TokenRequest", name, found)

    def _bound(self, ref: Obj | None, account: str, namespace: str) -> Obj | None:
        if not ref:
            return None
        version, kind = ref.get("apiVersion", ""), ref.get("kind", "")
        resource = _BOUND_KINDS.get((version, kind))
        if resource is None:
            group, _, short = version.rpartition("/")
            raise errors.bad_request(f"cannot bind token to object of type {group}/{short}, Kind={kind}")
        obj = self._server.lister.get(resource, ref["name"], namespace if resource.namespaced else "")
        if obj is None:
            raise errors.not_found(resource.group, resource.plural, ref["name"])
        runs_as = obj["spec"].get("serviceAccountName", "") if kind == "Pod" else account
        if runs_as != account:
            raise errors.bad_request(
                f"cannot bind token for serviceaccount {f.go_quote(account)} to pod running with different "
                "serviceaccount name."
            )
        uid = ref.get("uid")
        if uid and uid != obj["metadata"]["uid"]:
            why = (
                f"the UID in the bound object reference ({uid}) does not match the UID in record. "
                "The object might have been deleted and then recreated"
            )
            raise errors.conflict(resource.group, kind, ref["name"], why)
        return {**obj, "kind": kind}

    def _node_of(self, bound: Obj | None) -> Obj | None:
        """The node that a bound pod is on."""
        if bound is None or bound["kind"] != "Pod":
            return None
        name = bound["spec"].get("nodeName")
        return self._server.lister.get(NODES, name) if name else None
