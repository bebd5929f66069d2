"""What an admission plugin is (k8s.io/apiserver/pkg/admission), and what it may know of its server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple, Protocol

from pilothouse.api import errors
from pilothouse.api.resources import Resource
from pilothouse.api.types import Obj
from pilothouse.apiserver.authz.rbac import Decision
from pilothouse.apiserver.registry.lister import Lister
from pilothouse.apiserver.request import RequestInfo, UserInfo
from pilothouse.kit.world import World

Operation = Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]
Target = tuple[str, str, str]
"""Group, plural, subresource."""

PODS: Target = ("", "pods", "")


class ObjectKind(NamedTuple):
    """Of the object that an operation brings: for a subresource another than the resource's own."""

    group: str
    version: str
    kind: str


NO_KIND = ObjectKind("", "", "")
"""Stands for the resource's own."""


@dataclass(slots=True)
class Attributes:
    """One operation. `obj` is None for DELETE and belongs to the request (plugins change it in place);
    `old` is shared and None for CREATE. `options` is the Create/Update/DeleteOptions object. `name` is "" while a
    name is yet to be generated."""

    operation: Operation
    resource: Resource
    subresource: str
    namespace: str
    name: str
    obj: Obj | None
    old: Obj | None
    user: UserInfo
    dry_run: bool
    options: Obj
    warnings: list[str]
    kind: ObjectKind = NO_KIND

    def __post_init__(self) -> None:
        if self.kind is NO_KIND:
            r = self.resource
            self.kind = ObjectKind(r.group, r.version, r.kind)

    def forbidden(self, why: str) -> errors.ApiError:
        """The 403 of a plugin (admission.NewForbidden). An object whose name is not generated yet goes by what it
        will be generated from."""
        name = self.name
        if not name:
            meta = (self.obj or {}).get("metadata") or {}
            name = meta.get("name") or meta.get("generateName") or "Unknown"
        return errors.forbidden(self.resource.group, self.resource.plural, name, why)


class Objects(Protocol):
    """Writing objects as the server itself, past authorization."""

    async def make(self, resource: Resource, obj: Obj) -> bool:
        """Create an object as a client would; False when it exists."""

    async def update_status(self, resource: Resource, obj: Obj) -> None:
        """Store the status of `obj`, whose resourceVersion must be the stored one: ApiError 409 otherwise."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What plugins may use. `kind(group, version, kind)` is the resource that is served for a kind;
    `configuration` is what --admission-control-config-file says, by plugin."""

    lister: Lister
    world: World
    objects: Objects
    authorize: Callable[[UserInfo, RequestInfo], Decision]
    kind: Callable[[str, str, str], Resource | None]
    configuration: Mapping[str, Obj] = field(default_factory=dict)


class Plugin:
    """Base of all plugins: handles nothing. `admit` may change attributes.obj, `validate` may not; both raise
    ApiError to refuse. Which plugins a write asks is decided once for its kind of write: from `operations`,
    `targets`, `concerns`, and which of both methods a plugin has."""

    name: ClassVar[str] = ""
    operations: ClassVar[frozenset[Operation]] = frozenset()
    targets: ClassVar[frozenset[Target] | None] = None
    """None for every resource."""

    def concerns(self, resource: Resource, subresource: str) -> bool:
        return self.targets is None or (resource.group, resource.plural, subresource) in self.targets

    async def admit(self, a: Attributes) -> None: ...

    async def validate(self, a: Attributes) -> None: ...
