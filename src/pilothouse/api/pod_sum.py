"""How the resources of containers add up to a pod's (k8s.io/component-helpers/resource AggregateContainerRequests).

containers and sidecars run at once; init containers run one after the other, each beside the sidecars that were
started before it: a pod needs the larger of the running sum and the hungriest init step
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from pilothouse.api.types import Obj

V = TypeVar("V")
Into = Callable[[dict[str, V], Mapping[str, V]], None]
"""Changes its first argument by its second."""


def over_containers(
    spec: Obj, of: Callable[[Obj], dict[str, V]], add_to: Into[V], raise_to: Into[V]
) -> dict[str, V]:
    """`of` gives one container's amounts, of which this function becomes the owner."""
    total: dict[str, V] = {}
    for container in spec.get("containers") or ():
        add_to(total, of(container))
    sidecars: dict[str, V] = {}
    peak: dict[str, V] = {}
    for container in spec.get("initContainers") or ():
        step = of(container)
        if container.get("restartPolicy") == "Always":
            add_to(total, step)
            add_to(sidecars, step)
            raise_to(peak, sidecars)
        else:
            add_to(step, sidecars)
            raise_to(peak, step)
    raise_to(total, peak)
    return total
