"""What plugins get to work with besides a cycle (framework.Handle)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pilothouse.client.client import Client
from pilothouse.client.events import EventRecorder
from pilothouse.client.informer import Informers
from pilothouse.kit.world import World
from pilothouse.scheduler.nominator import Nominator


@dataclass(frozen=True, slots=True)
class Handle:
    """The scheduler's own identity, caches and clock. What an informer gives is shared: never change it."""

    client: Client
    informers: Informers
    world: World
    recorder: EventRecorder
    nominator: Nominator
    features: frozenset[str] = frozenset()
    """Upstream's feature gates that are on beyond its defaults."""
    shared: dict[str, Any] = field(default_factory=dict)
    """What a plugin keeps for all profiles, by its name."""
