"""Providers by name: those here, and those of installed packages.

A package ships one as an entry point (see docs/cloud-providers.md):

    [project.entry-points."pilothouse.cloud_providers"]
    small = "small_cloud:open_provider"
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path

from prometheus_client import CollectorRegistry

from pilothouse.client.client import Client
from pilothouse.client.informer import Informers
from pilothouse.cloud.provider import Provider
from pilothouse.kit.metrics import new_registry
from pilothouse.kit.world import World

ENTRY_POINTS = "pilothouse.cloud_providers"
BUILT_IN = {
    "aws": "pilothouse.cloud.providers.aws",
    "local": "pilothouse.cloud.providers.local",
    "sim": "pilothouse.cloud.providers.sim",
}
"""By name, the module whose `open_provider` makes it; imported when it is asked for."""


class UnknownProvider(ValueError):
    """No provider of this name; the message names those that there are."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a provider is made from. It may read the cluster through the informers, and writes nothing there."""

    cluster: str
    """The cluster's name (--cluster-name): a tag on everything that is made."""
    config: Path | None
    """--cloud-config, in a format of the provider's own; ValueError tells what is wrong with it."""
    world: World
    client: Client
    informers: Informers
    directory: Path
    """Where a provider may keep files of its own; private to the cluster, and there as long as its data is."""
    metrics: CollectorRegistry = field(default_factory=new_registry)
    """What the component shows on /metrics."""


Open = Callable[[Setting], Provider]


def known() -> list[str]:
    """The names that --cloud-provider takes."""
    return sorted({*BUILT_IN, *(e.name for e in entry_points(group=ENTRY_POINTS))})


def find(name: str) -> Open:
    """How to open the provider `name`. UnknownProvider for a name that is none."""
    if name in BUILT_IN:
        found: Open = importlib.import_module(BUILT_IN[name]).open_provider
        return found
    for entry in entry_points(group=ENTRY_POINTS):
        if entry.name == name:
            opened: Open = entry.load()
            return opened
    raise UnknownProvider(f'unknown cloud provider "{name}"; there are {", ".join(known())}')
