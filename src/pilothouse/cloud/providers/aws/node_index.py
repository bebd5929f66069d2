"""Nodes by the instance that they run on."""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.api.resources import NODES
from pilothouse.api.types import Obj
from pilothouse.client.informer import Informers, key_of
from pilothouse.cloud.provider import CloudError
from pilothouse.cloud.providers.aws.instances import instance_id

_INDEX = "ec2-instance"


class NodeIndex:
    def __init__(self, informers: Informers) -> None:
        self._nodes = informers.informer(NODES)
        self._nodes.add_index(_INDEX, _instance)

    def name(self, instance: str) -> str:
        """ "" for an instance that no node runs on."""
        return next((key_of(node) for node in self._nodes.by_index(_INDEX, instance)), "")

    def get(self, name: str) -> Obj | None:
        return self._nodes.get(name)


def _instance(node: Obj) -> Iterable[str]:
    try:
        found = instance_id(node)
    except CloudError:
        return ()  # another cloud's
    return (found,) if found else ()
