"""What a handler works with: a served kind, its registry, and the parts of the server they share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from pilothouse.api.catalog import Catalog
from pilothouse.api.protobuf import Codec
from pilothouse.api.types import Obj
from pilothouse.apiserver.endpoints.apply.manager import FieldManager
from pilothouse.apiserver.endpoints.drafts import Drafts
from pilothouse.apiserver.registry.allocators.services import ServiceAllocators
from pilothouse.apiserver.registry.kind import Kind
from pilothouse.apiserver.registry.lister import Lister
from pilothouse.apiserver.registry.rest import Rest
from pilothouse.apiserver.registry.strategy import Context
from pilothouse.apiserver.request import ANONYMOUS, Request, RequestInfo, UserInfo
from pilothouse.kit.world import World


@dataclass(eq=False, slots=True)
class Shared:
    """One per server."""

    world: World
    lister: Lister
    catalog: Catalog
    services: ServiceAllocators
    codec: Codec
    watch_timeout_s_min: float = 1800.0
    refusal: Callable[[UserInfo, RequestInfo], str] = lambda user, asked: ""
    """Why a user may not do something; "" when he may."""


@dataclass(eq=False, slots=True)
class Scope:
    """One per served resource and version."""

    kind: Kind
    rest: Rest
    shared: Shared
    fields: FieldManager
    status_fields: FieldManager | None = None
    field_names: frozenset[str] = field(default_factory=frozenset)
    known_kind: Callable[[str, str, str], bool] = lambda group, version, kind: False
    """Whether a group, version and kind is registered at all."""
    drafts: Drafts | None = None
    """For kinds whose objects are made from templates."""

    def context(self, request: Request, *, dry_run: bool = False) -> Context:
        info = request.info
        user = request.user or ANONYMOUS
        return Context(
            self.shared.world,
            self.shared.lister,
            user,
            self.namespace(request),
            info.subresource,
            dry_run,
            request.warnings,
            self.shared.services,
            self.kind.resource.group_version,
            info.name,
            verb=info.verb,
            refusal=lambda asked: self.shared.refusal(user, asked),
        )

    def namespace(self, request: Request) -> str:
        """The namespace of the object that a request names; "" for cluster-scoped kinds, also namespaces."""
        return request.info.namespace if self.kind.resource.namespaced else ""

    async def ready(self, stored: Iterable[Obj]) -> None:
        """Make sure that `to_request_version` can convert these."""
        if self.rest.view is not None:
            await self.rest.view.ready(stored)

    def to_request_version(self, obj: Obj) -> Obj:
        """A stored object (shared) in the version that was asked for (may be the same dict)."""
        convert = self.kind.from_storage
        if convert is None:
            return obj
        return convert({**obj, "metadata": dict(obj["metadata"])})
