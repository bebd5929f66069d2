"""NamespaceExists: nothing happens in a namespace that is not there; NamespaceLifecycle does as much and more
(plugin/pkg/admission/namespace/exists)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api import errors
from pilothouse.api.resources import NAMESPACES
from pilothouse.apiserver.admission.plugin import Attributes, Environment, Operation, Plugin


class NamespaceExists(Plugin):
    name: ClassVar[str] = "NamespaceExists"
    operations: ClassVar[frozenset[Operation]] = frozenset(("CREATE", "UPDATE", "DELETE"))

    def __init__(self, env: Environment) -> None:
        self._lister = env.lister

    async def validate(self, a: Attributes) -> None:
        if a.namespace and (await self._lister.sure(NAMESPACES, a.namespace)) is None:
            raise errors.not_found("", "namespaces", a.namespace)
