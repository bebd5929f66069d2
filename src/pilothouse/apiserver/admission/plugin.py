"""What an admission plugin is (k8s.io/apiserver/pkg/admission), and what it may know of its server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple, Protocol

from pilothouse.api import errors
from pilothouse.api.resources import Resource
from pilothouse.api.structure import Type
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission.dynamic_metrics import DynamicMetrics
from pilothouse.apiserver.authz.rbac import Decision
from pilothouse.apiserver.registry.lister import Lister
from pilothouse.apiserver.request import RequestInfo, UserInfo
from pilothouse.apiserver.webhook_client import WebhookError
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
class Rounds:
    """Mutation by webhooks and policies comes in two rounds at most (reinvocation.go): when one changed the object in
    the first (`wanted`), all plugins are asked once more, and then (`again`) those who want to see what came after
    them. `seen` is what each of both plugins remembers of the first round."""

    wanted: bool = False
    again: bool = False
    seen: dict[str, Reinvoked] = field(default_factory=dict)

    def of(self, plugin: str) -> Reinvoked:
        return self.seen.setdefault(plugin, Reinvoked())


@dataclass(slots=True)
class Reinvoked:
    """`eligible` were asked and want to be asked again when something changes after them; `due` are those for whom
    something did. `left` is the object as the plugin left it."""

    eligible: set[str] = field(default_factory=set)
    due: set[str] = field(default_factory=set)
    left: Obj | None = None

    def changed(self) -> None:
        self.due |= self.eligible
        self.eligible = set()


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
    group_version: str = ""
    """The version that the request came by; "" for the resource's own."""
    rounds: Rounds | None = None
    """None as long as nothing has changed the object from outside."""
    annotations: dict[str, str] | None = None
    """Of the audit event, by key; None when there are none."""

    def annotate(self, key: str, value: str) -> None:
        """Add to the audit event; the first of a key stays."""
        if self.annotations is None:
            self.annotations = {}
        self.annotations.setdefault(key, value)

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


class Shapes(Protocol):
    """Which versions of a resource are served, and objects in them."""

    def generation(self) -> int:
        """Another one whenever a kind came or went."""

    def equivalents(self, resource: Resource, subresource: str) -> Sequence[Resource]:
        """All served versions of what is stored with this resource, itself among them (two groups have events)."""

    async def convert(self, obj: Obj, resource: Resource) -> Obj:
        """An object (shared) in the version of a resource; the same dict when it is in it. Raises ApiError."""

    def complete(self, obj: Obj, kind: ObjectKind, resource: Resource) -> Obj:
        """A changed object, decoded and defaulted. ValueError when it does not fit its type."""

    def type_of(self, kind: ObjectKind, resource: Resource) -> Type | None:
        """None for a kind that is not known."""


class NoShapes:
    """Where every resource has one version only, and objects are taken as they are."""

    def generation(self) -> int:
        return 0

    def equivalents(self, resource: Resource, subresource: str) -> Sequence[Resource]:
        return (resource,)

    async def convert(self, obj: Obj, resource: Resource) -> Obj:
        return obj

    def complete(self, obj: Obj, kind: ObjectKind, resource: Resource) -> Obj:
        return obj

    def type_of(self, kind: ObjectKind, resource: Resource) -> Type | None:
        return None


Post = Callable[[Obj, bytes, float], Awaitable[bytes]]
"""Ask the webhook that a clientConfig names, with a body and a time limit in seconds. Raises WebhookError."""


async def _no_post(config: Obj, body: bytes, timeout_s: float) -> bytes:
    raise WebhookError("webhooks cannot be asked here")


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
    shapes: Shapes = field(default_factory=NoShapes)
    post: Post = _no_post
    metrics: DynamicMetrics = field(default_factory=DynamicMetrics)


class Plugin:
    """Base of all plugins: handles nothing. `admit` may change attributes.obj, `validate` may not; both raise
    ApiError to refuse. Which plugins a write asks is decided once for its kind of write: from `operations`,
    `targets`, `concerns`, and which of both methods a plugin has."""

    name: ClassVar[str] = ""
    operations: ClassVar[frozenset[Operation]] = frozenset()
    targets: ClassVar[frozenset[Target] | None] = None
    """None for every resource."""

    idle: Callable[[], bool] | None = None
    """Whether there is nothing to ask about now, whatever the write; None for plugins that always have an opinion.
    Asked for every write, so it must cost nothing."""

    def concerns(self, resource: Resource, subresource: str) -> bool:
        return self.targets is None or (resource.group, resource.plural, subresource) in self.targets

    async def admit(self, a: Attributes) -> None: ...

    async def validate(self, a: Attributes) -> None: ...
