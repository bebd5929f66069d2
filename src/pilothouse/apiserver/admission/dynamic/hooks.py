"""Configured webhooks in the order in which they are asked (k8s.io/apiserver/pkg/admission/configuration).

By name of the configuration, then as they stand in it. Worked out anew only when a configuration changed.
"""

from __future__ import annotations

from typing import NamedTuple

from pilothouse.api.cel.compiler import WITH_AUTHORIZER
from pilothouse.api.resources import Resource
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission.dynamic.expressions import Condition, compiled
from pilothouse.apiserver.registry.lister import Lister


class Hook(NamedTuple):
    """`key` tells it from all others; `config` is the webhook as configured."""

    key: str
    name: str
    configuration: str
    config: Obj
    conditions: list[Condition]

    @property
    def ignores_failures(self) -> bool:
        return self.config.get("failurePolicy") == "Ignore"


class Hooks:
    def __init__(self, lister: Lister, resource: Resource) -> None:
        self._lister = lister
        self._resource = resource
        self._revision = -1
        self._hooks: list[Hook] = []

    def none(self) -> bool:
        """Asked for every write: one look at a revision when nothing is configured."""
        if self._hooks:
            return False
        return self._revision == self._lister.revision(self._resource) or not self.now()

    def now(self) -> list[Hook]:
        revision = self._lister.revision(self._resource)
        if revision != self._revision:
            found = sorted(self._lister.list(self._resource), key=lambda c: c["metadata"]["name"])
            self._hooks = [hook for configuration in found for hook in _hooks(configuration)]
            self._revision = revision
        return self._hooks


def _hooks(configuration: Obj) -> list[Hook]:
    meta, seen = configuration["metadata"], dict[str, int]()
    out = []
    for config in configuration.get("webhooks") or ():
        name = config["name"]
        at = seen[name] = seen.get(name, -1) + 1
        conditions = [
            Condition(c["name"], compiled(c["expression"], WITH_AUTHORIZER))
            for c in config.get("matchConditions") or ()
        ]
        key = f"{meta['name']}/{name}/{at}"
        out.append(Hook(key, name, meta["name"], config, conditions))
    return out
