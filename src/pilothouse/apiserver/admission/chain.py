"""All plugins, in upstream's order (pkg/kubeapiserver/options/plugins.go AllOrderedPlugins)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from pilothouse.apiserver.admission.default_toleration_seconds import DefaultTolerationSeconds
from pilothouse.apiserver.admission.namespace_lifecycle import NamespaceLifecycle
from pilothouse.apiserver.admission.plugin import Attributes, Operation, Plugin
from pilothouse.apiserver.admission.priority import Priority
from pilothouse.apiserver.admission.service_account import ServiceAccount
from pilothouse.apiserver.admission.storage_protection import StorageObjectInUseProtection
from pilothouse.apiserver.admission.taint_nodes import TaintNodesByCondition
from pilothouse.apiserver.registry.lister import Lister
from pilothouse.kit.world import World

Factory = Callable[[Lister, World], Plugin]

ORDERED: dict[str, Factory] = {
    NamespaceLifecycle.name: lambda lister, world: NamespaceLifecycle(lister, world),
    ServiceAccount.name: lambda lister, world: ServiceAccount(lister, world),
    TaintNodesByCondition.name: lambda lister, world: TaintNodesByCondition(),
    DefaultTolerationSeconds.name: lambda lister, world: DefaultTolerationSeconds(),
    StorageObjectInUseProtection.name: lambda lister, world: StorageObjectInUseProtection(),
    Priority.name: lambda lister, world: Priority(lister),
}
"""By name, in the order in which they run; all are on by default."""


class Chain:
    """The plugins of one server."""

    def __init__(self, plugins: Sequence[Plugin]) -> None:
        self._plugins = plugins
        self._by_operation: dict[Operation, list[Plugin]] = {
            operation: [p for p in plugins if operation in p.operations]
            for operation in ("CREATE", "UPDATE", "DELETE", "CONNECT")
        }

    async def admit(self, a: Attributes) -> None:
        for plugin in self._by_operation[a.operation]:
            await plugin.admit(a)

    async def validate(self, a: Attributes) -> None:
        for plugin in self._by_operation[a.operation]:
            await plugin.validate(a)


def chain(lister: Lister, world: World, enable: Iterable[str] = (), disable: Iterable[str] = ()) -> Chain:
    """The default plugins, less those disabled. ValueError for a name that is no plugin."""
    off = set(disable)
    for name in (*enable, *off):
        if name not in ORDERED:
            raise ValueError(f"admission plugin {name!r} is not known; known are {', '.join(ORDERED)}")
    return Chain([make(lister, world) for name, make in ORDERED.items() if name not in off])
