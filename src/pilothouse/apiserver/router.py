"""From a request to its handler: resources by path and verb, and the few paths that are no resources.

The shapes of resource paths (a trailing slash is ignored):

    …/RESOURCE                              list, watch (and create, deletecollection for cluster scope)
    …/namespaces/NS/RESOURCE                list, watch, create, deletecollection
    …/[namespaces/NS/]RESOURCE/NAME[/SUB]   get, update, patch, delete
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pilothouse.api import errors
from pilothouse.api.resources import Resource
from pilothouse.apiserver.endpoints import deleting, listing, watching, writing
from pilothouse.apiserver.endpoints.discovery import Discovery
from pilothouse.apiserver.endpoints.scope import Scope
from pilothouse.apiserver.request import Request, RequestInfo, Response

ResourceHandler = Callable[[Request, Scope], Awaitable[Response]]
PathHandler = Callable[[Request], Awaitable[Response]]

_VERBS: dict[str, ResourceHandler] = {
    "get": listing.get,
    "list": listing.list_,
    "watch": watching.watch,
    "create": writing.create,
    "update": writing.update,
    "patch": writing.patch,
    "delete": deleting.delete,
    "deletecollection": deleting.delete_collection,
}
_METHODS = frozenset(("GET", "POST", "PUT", "PATCH", "DELETE"))
_STATUS: dict[str, ResourceHandler] = {
    "get": listing.get,
    "update": writing.update,
    "patch": writing.patch,
}


class Router:
    def __init__(self, discovery: Discovery) -> None:
        self._discovery = discovery
        self.catch_up: Callable[[], Awaitable[None]] | None = None
        """Returns once definitions that other servers stored are served here, too; None when there are no others."""
        self.generation = 0
        """Changes whenever a kind comes or goes."""
        self._scopes: dict[tuple[str, str, str], Scope] = {}
        self._computed: dict[tuple[str, str, str], tuple[Resource, PathHandler]] = {}
        self._subresources: dict[tuple[str, str, str], ResourceHandler] = {}
        self._paths: list[tuple[str, PathHandler]] = []
        self._remote: dict[tuple[str, str], PathHandler] = {}
        """By group and version: what others serve."""

    def add_remote(self, group: str, version: str, handler: PathHandler) -> None:
        """A group's version that somebody else serves, whatever is served here."""
        self._remote[(group, version)] = handler

    def remove_remote(self, group: str, version: str) -> None:
        self._remote.pop((group, version), None)

    def add_scope(self, scope: Scope) -> None:
        r = scope.kind.resource
        self.generation += 1
        self._scopes[(r.group, r.version, r.plural)] = scope

    def remove_scope(self, scope: Scope) -> None:
        r = scope.kind.resource
        self.generation += 1
        self._scopes.pop((r.group, r.version, r.plural), None)

    def add_computed(self, resource: Resource, handler: PathHandler) -> None:
        """A resource whose objects are made when somebody asks: it has no store, and a handler for all its verbs."""
        self._computed[(resource.group, resource.version, resource.plural)] = (resource, handler)

    def remove_computed(self, resource: Resource) -> None:
        self._computed.pop((resource.group, resource.version, resource.plural), None)

    def scope(self, group: str, version: str, plural: str) -> Scope | None:
        return self._scopes.get((group, version, plural))

    def scopes(self) -> list[Scope]:
        return list(self._scopes.values())

    def serves(self, info: RequestInfo) -> bool:
        """Whether there is such a resource, and such a subresource of it."""
        if (info.group, info.version, info.resource) in self._computed:
            return True
        scope = self._scopes.get((info.group, info.version, info.resource))
        return scope is not None and (not info.subresource or info.subresource in scope.kind.subresources)

    def add_subresource(self, plural: str, name: str, verb: str, handler: ResourceHandler) -> None:
        """A subresource with a handler of its own; `plural` "*" is every resource that has it."""
        self._subresources[(plural, name, verb)] = handler

    def add_path(self, prefix: str, handler: PathHandler) -> None:
        """A path outside the resources: exact, or everything below when it ends in a slash."""
        self._paths.append((prefix, handler))

    def paths(self) -> list[str]:
        """What the root document lists."""
        resources = [scope.kind.resource for scope in self._scopes.values()]
        versions = [r.prefix for r in (*resources, *(r for r, _ in self._computed.values()))]
        groups = [version.rpartition("/")[0] for version in versions]
        return sorted({"/api", "/apis", *groups, *versions, *(p.rstrip("/") for p, _ in self._paths if p)})

    async def handle(self, request: Request) -> Response:
        if request.path.startswith("//"):
            # Request info looks through leading slashes, Go's routes do not.
            return not_found()
        if self._remote and (remote := self._remote_of(request)) is not None:
            return await remote(request)
        if request.info.is_resource:
            return await self._resource(request)
        return await self._path(request)

    def _remote_of(self, request: Request) -> PathHandler | None:
        info = request.info
        if info.is_resource:
            return self._remote.get((info.group, info.version)) if info.prefix == "apis" else None
        parts = request.path.split("/", 4)
        if len(parts) < 4 or parts[1] != "apis":
            return None
        return self._remote.get((parts[2], parts[3]))

    async def _path(self, request: Request) -> Response:
        path = request.path
        for prefix, handler in self._paths:
            if path.rstrip("/") == prefix.rstrip("/") or (prefix.endswith("/") and path.startswith(prefix)):
                return await handler(request)
        found = self._discovery.handle(request)
        if found is not None:
            return found
        return not_found()

    async def _resource(self, request: Request) -> Response:
        info = request.info
        scope = self._scopes.get((info.group, info.version, info.resource))
        if scope is None and (computed := self._computed.get((info.group, info.version, info.resource))):
            return await computed[1](request)
        if scope is None and self.catch_up is not None and "." in info.group:
            await self.catch_up()
            scope = self._scopes.get((info.group, info.version, info.resource))
        if scope is None:
            if info.prefix == "apis" and self._discovery.is_custom_group(info.group):
                return not_found()
            raise errors.resource_not_found()
        if scope.kind.custom:
            if _is_elsewhere(request, scope):
                return not_found()
            _check_custom(request, scope)
        _check_shape(request, scope)
        handler = self._handler(request, scope)
        if handler is None:
            raise _unsupported(request, scope)
        if scope.kind.deprecation:
            request.warnings.append(scope.kind.deprecation)
        return await handler(request, scope)

    def _handler(self, request: Request, scope: Scope) -> ResourceHandler | None:
        """None when the resource is there, but not for this method."""
        info, kind = request.info, scope.kind
        plural = kind.resource.plural
        if request.method not in _METHODS:
            return None
        if info.subresource:
            verbs = kind.subresources.get(info.subresource)
            if verbs is None:
                raise errors.resource_not_found()
            if info.verb not in verbs:
                return None
            own = self._subresources.get((plural, info.subresource, info.verb))
            if own is not None:
                return own
            shared = self._subresources.get(("*", info.subresource, info.verb))
            return shared or _STATUS.get(info.verb)
        if info.verb not in kind.verbs:
            return None
        return self._subresources.get((plural, "", info.verb)) or _VERBS.get(info.verb)


def _is_elsewhere(request: Request, scope: Scope) -> bool:
    """Whether a path has a namespace where a custom resource has none, or lacks the one it needs: upstream's
    handler of custom resources leaves such a request to those behind it."""
    namespaced = scope.kind.resource.namespaced
    if request.info.namespace:
        return not namespaced
    return namespaced and request.info.verb not in ("list", "watch")


def _unsupported(request: Request, scope: Scope) -> errors.ApiError:
    """405: go-restful says it of built-in resources, a handler of upstream's own of custom ones."""
    if not scope.kind.custom:
        return errors.method_not_supported()
    resource = scope.kind.resource
    named = f"{resource.plural}.{resource.group}"
    return errors.ApiError(
        405,
        "MethodNotAllowed",
        f'{request.info.verb} is not supported on resources of kind "{named}"',
        {"group": resource.group, "kind": resource.plural},
    )


def _check_custom(request: Request, scope: Scope) -> None:
    """404 for a subresource that a custom resource does not have, 400 for a write that names no object, 405 for a
    create in a definition that goes (crdHandler.ServeHTTP)."""
    info, resource = request.info, scope.kind.resource
    if info.verb in ("update", "patch") and not info.name:
        raise errors.bad_request("name must be provided")
    if info.subresource and info.subresource not in scope.kind.subresources:
        raise errors.not_found(resource.group, resource.plural, info.name)
    if info.verb == "create" and scope.kind.terminating:
        raise errors.ApiError(
            405,
            "MethodNotAllowed",
            "create not allowed while custom resource definition is terminating",
            {"group": resource.group, "kind": resource.plural},
        )


def _check_shape(request: Request, scope: Scope) -> None:
    """404 for paths that no resource has, 405 for those that have it for other methods."""
    info, namespaced = request.info, scope.kind.resource.namespaced
    named = len(info.parts) > 1
    if any(not part for part in info.parts) or (len(info.parts) > 3 and info.subresource != "proxy"):
        raise errors.resource_not_found()
    if namespaced and not info.namespace:
        if named and info.verb != "watch":
            raise errors.resource_not_found()
        if info.verb not in ("list", "watch") and scope.kind.verbs - {"create"}:
            raise errors.method_not_supported()
    # The path of a namespace is read as one inside it; but there are no namespaces in a namespace.
    if not namespaced and info.namespace and (scope.kind.resource.plural != "namespaces" or not named):
        raise errors.resource_not_found()
    if info.verb in ("create", "deletecollection") and named and not info.subresource:
        raise errors.method_not_supported()
    if info.verb in ("update", "patch") and not named:
        raise errors.method_not_supported()


def not_found() -> Response:
    """What Go's mux says for a path that nobody has."""
    return Response(
        404,
        b"404 page not found\n",
        {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"},
    )
