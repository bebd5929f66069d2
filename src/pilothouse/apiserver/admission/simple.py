"""AlwaysAdmit and AlwaysDeny: deprecated upstream, and still named in manifests (plugin/pkg/admission/admit, deny)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.apiserver.admission.plugin import Attributes, Operation, Plugin


class AlwaysAdmit(Plugin):
    name: ClassVar[str] = "AlwaysAdmit"


class AlwaysDeny(Plugin):
    name: ClassVar[str] = "AlwaysDeny"
    operations: ClassVar[frozenset[Operation]] = frozenset(("CREATE", "UPDATE", "DELETE", "CONNECT"))

    async def admit(self, a: Attributes) -> None:
        raise a.forbidden("admission control is denying all modifications")

    async def validate(self, a: Attributes) -> None:
        raise a.forbidden("admission control is denying all modifications")
