"""NamespaceAutoProvision: a namespace is made when something is to be made in it
(plugin/pkg/admission/namespace/autoprovision)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api.resources import NAMESPACES
from pilothouse.apiserver.admission.plugin import Attributes, Environment, Operation, Plugin


class NamespaceAutoProvision(Plugin):
    name: ClassVar[str] = "NamespaceAutoProvision"
    operations: ClassVar[frozenset[Operation]] = frozenset(("CREATE",))

    def __init__(self, env: Environment) -> None:
        self._lister = env.lister
        self._objects = env.objects

    async def admit(self, a: Attributes) -> None:
        """Not for a dry run: it must leave nothing behind."""
        if a.dry_run or not a.namespace or self._lister.get(NAMESPACES, a.namespace) is not None:
            return
        await self._objects.make(
            NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": a.namespace}}
        )
