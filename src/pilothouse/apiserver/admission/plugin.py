"""What an admission plugin is (k8s.io/apiserver/pkg/admission)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pilothouse.api.resources import Resource
from pilothouse.api.types import Obj
from pilothouse.apiserver.request import UserInfo

Operation = Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]


@dataclass(slots=True)
class Attributes:
    """One operation. `obj` is None for DELETE and belongs to the request (plugins change it in place);
    `old` is shared and None for CREATE. `options` is the Create/Update/DeleteOptions object."""

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


class Plugin:
    """Base of all plugins: handles nothing. `admit` may change attributes.obj, `validate` may not; both raise
    ApiError to refuse. Plugins with nothing to say must return fast: they run on every write."""

    name: ClassVar[str] = ""
    operations: ClassVar[frozenset[Operation]] = frozenset()

    async def admit(self, a: Attributes) -> None: ...

    async def validate(self, a: Attributes) -> None: ...
