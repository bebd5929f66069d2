"""What one kind does differently from all others (k8s.io/apiserver/pkg/registry/rest Create/Update/DeleteStrategy).

The generic registry calls, for a create:

    decode, default → mutating admission → reserve_create (allocations) → prepare_for_create → validate
    → validating admission → the reservation's commit → store → its settle, stored or not

and for an update, inside the compare-and-swap retry:

    patch or body → decode, default → mutating admission → reserve_update → prepare_for_update
    → validate_update → validating admission → commit → store → settle

Objects are in "Go round-trip form": unknown fields pruned, nulls dropped, absent non-pointer structs present as
{}, zero values of optional non-pointer fields absent (see `api.schema`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.apiserver.registry.allocators.services import ServiceAllocators
from pilothouse.apiserver.registry.lister import Lister
from pilothouse.apiserver.request import RequestInfo, UserInfo
from pilothouse.kit.world import World


@dataclass(slots=True)
class Context:
    """What a strategy may know of the request and the server."""

    world: World
    lister: Lister
    user: UserInfo
    namespace: str = ""
    subresource: str = ""
    dry_run: bool = False
    warnings: list[str] = field(default_factory=list)
    services: ServiceAllocators | None = None
    """Cluster IPs and node ports."""
    group_version: str = ""
    """The version that the request came by, where two share a store (events)."""
    name: str = ""
    """The name in the request's path; "" for a create."""
    sound: bool = False
    """`validate` met an object such as this before, and had neither errors nor warnings (pods)."""
    verb: str = ""
    """The request's: create, update, patch, delete."""
    refusal: Callable[[RequestInfo], str] = lambda asked: ""
    """Why the user may not do something else that the request amounts to; "" when he may."""


MetadataCheck = Literal["create", "update"]


class Reservation(Protocol):
    """What a write has taken beside its object; nobody else gets it until `settle`."""

    async def commit(self) -> None:
        """Make it last; called before the object is stored. Raises ApiError."""

    async def settle(self, stored: bool | None) -> None:
        """The end, also when `commit` was never called. None: nobody knows whether the object was stored, so what was
        taken and what was to go both stay taken; `repair` finds out."""


class Strategy:
    """The behaviour most kinds share; a kind's own class overrides what differs. Stateless."""

    allow_create_on_update: ClassVar[bool] = False
    """PUT to a name that does not exist creates it (Lease, Node status, RBAC: see each upstream strategy)."""
    allow_unconditional_update: ClassVar[bool] = True
    """PUT without resourceVersion is accepted."""
    has_status: ClassVar[bool] = True
    """The kind has a status subresource: main-resource writes keep the old status, create clears it."""
    creates_with_status: ClassVar[bool] = False
    """A create keeps the status that was sent (nodes)."""
    status_keeps_metadata: ClassVar[bool] = False
    """A status write leaves labels, annotations, owners and finalizers as they are (ResetObjectMetaForStatus); most
    kinds let them through."""
    generation: ClassVar[bool] = False
    """metadata.generation is 1 at create and rises when the spec changes (see `changes_generation`)."""
    name_message: ClassVar[str] = "subdomain"
    """How metadata.name is validated: subdomain (RFC 1123), label (RFC 1123 label), dns1035, path (path segment),
    ip (canonical IP address)."""
    metadata_checks: ClassVar[tuple[MetadataCheck, ...]] = ("update",)
    """How the kind's ValidateUpdate checks metadata, after the checks that all kinds have in common: as an update
    (ValidateObjectMetaUpdate), as a new object (ValidateObjectMeta), or both. Each check's errors are causes."""
    known_finalizers: ClassVar[bool] = True
    """Finalizers without a prefix must be upstream's own (the core group's ValidateObjectMeta; others' have it not)."""
    generates_names: ClassVar[bool] = True
    """metadata.generateName gets a random suffix; otherwise it is the name."""
    from_templates: ClassVar[bool] = False
    """Objects come in great numbers that differ in their names only."""
    default_propagation: ClassVar[str] = "Background"
    """Deletion without a policy: Background; Orphan for upstream's legacy kinds (Job, ReplicationController)."""

    def canonicalize(self, obj: Obj) -> None:
        """Last touch before the store."""

    def prepare_for_create(self, ctx: Context, obj: Obj) -> None:
        """Clear what the client may not set (status is cleared by the registry when has_status), set what
        the server sets. Call super() when overriding."""

    def prepare_for_update(self, ctx: Context, obj: Obj, old: Obj) -> None:
        """Keep what the client may not change (status is kept by the registry)."""

    def changes_generation(self, obj: Obj, old: Obj) -> bool:
        """Whether an update of the main resource raises metadata.generation."""
        return bool(obj.get("spec") != old.get("spec"))

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        """Errors beyond metadata's, which the registry validates itself (before these, in one list)."""
        return []

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return []

    def prepare_for_status_update(self, ctx: Context, obj: Obj, old: Obj) -> None:
        """Keep everything but the status: the registry has already copied spec and immutable metadata from
        `old`; override for kinds that let more (or less) through."""

    def validate_status_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return []

    def warnings(self, ctx: Context, obj: Obj, old: Obj | None) -> list[str]:
        """Texts for Warning headers on create (old None) and update."""
        return []

    def fields(self, obj: Obj) -> dict[str, str]:
        """Selectable fields beyond metadata.name and metadata.namespace, all of them, "" when unset."""
        return {}

    field_names: ClassVar[tuple[str, ...]] = ()
    """The names `fields` returns: a selector on any other is refused."""
    field_error: ClassVar[str] = "field label not supported: {}"
    """How a selector on another field is refused, for kinds that have `field_names`."""

    def field_labels(self, group_version: str) -> dict[str, str]:
        """The names by which a version offers the selectable fields, and what `fields` calls them (upstream's
        AddFieldLabelConversionFunc)."""
        return {name: name for name in self.field_names}

    def graceful_delete(self, ctx: Context, obj: Obj, options: Obj) -> int | None:
        """Seconds of grace for a deletion, None for kinds that go at once. Pods override."""
        return None

    def reserve_create(self, ctx: Context, obj: Obj) -> Reservation | None:
        """Allocate and fill in what the server gives (cluster IPs, node ports). A dry run keeps nothing."""
        return None

    def reserve_update(self, ctx: Context, obj: Obj, old: Obj) -> Reservation | None:
        return None

    def terminate(self, ctx: Context, obj: Obj, options: Obj) -> bool | None:
        """For kinds that end in steps of their own (namespaces): False when `obj` (owned) is terminating and
        waits, True when it was changed to be and is to be stored, None for the way of all others."""
        return None

    def is_held(self, obj: Obj) -> bool:
        """Whether something beside metadata.finalizers keeps a terminating object."""
        return False

    async def after_delete(self, ctx: Context, obj: Obj) -> None:
        """Release what was allocated."""
