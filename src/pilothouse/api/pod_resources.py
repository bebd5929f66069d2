"""What a whole pod asks for and may use, in exact quantities (k8s.io/component-helpers/resource/helpers.go).

All containers and sidecars run at once; init containers run one after another beside the sidecars before them. So a
pod needs the larger of the running sum and the hungriest init step. What stands at the pod's own level goes before
what its containers add up to (KEP-2837).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pilothouse.api import amounts
from pilothouse.api.amounts import Amounts
from pilothouse.api.pod_sum import over_containers
from pilothouse.api.types import Obj

HUGE_PAGES = "hugepages-"
_POD_LEVEL = ("cpu", "memory")
Key = Literal["requests", "limits"]
_Of = Callable[[Obj], Amounts]


def spec_amounts(spec: Obj, key: Key) -> Amounts:
    """The spec's word alone, without overhead: what limit ranges look at. At the pod's level only CPU and memory
    count (plugin/pkg/admission/limitranger podRequests, podLimits)."""
    total = _aggregate(spec, lambda container: _resources(container, key))
    total.update(amounts.mask(_resources(spec, key), _POD_LEVEL))
    return total


def requests(pod: Obj) -> Amounts:
    """With overhead; while a resize is under way, the most of what is wanted, allocated and in use."""
    spec = pod["spec"]
    total = _aggregate(spec, _reader(pod, "requests"))
    total.update(_at_pod_level(spec, "requests"))
    amounts.add_to(total, amounts.read(spec.get("overhead")))
    return total


def limits(pod: Obj) -> Amounts:
    """With overhead, where there is a limit at all."""
    spec = pod["spec"]
    total = _aggregate(spec, _reader(pod, "limits"))
    total.update(_at_pod_level(spec, "limits"))
    amounts.add_to(total, amounts.mask(amounts.read(spec.get("overhead")), tuple(total)))
    return total


def is_set_at_pod_level(spec: Obj) -> bool:
    return any(_at_pod_level(spec, key) for key in ("requests", "limits"))


def _at_pod_level(spec: Obj, key: Key) -> Amounts:
    given = _resources(spec, key)
    return {name: given[name] for name in given if name in _POD_LEVEL or name.startswith(HUGE_PAGES)}


def _resources(owner: Obj, key: str) -> Amounts:
    return amounts.read((owner.get("resources") or {}).get(key))


def _reader(pod: Obj, key: Key) -> _Of:
    """How to read a container: by its spec, and its status where that says what it has."""
    status = pod.get("status") or {}
    listed = (*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ()))
    told = {s["name"]: s for s in listed if s.get("resources") is not None}
    infeasible = _is_resize_infeasible(status)

    def read(container: Obj) -> Amounts:
        actual = told.get(container["name"])
        if actual is None:
            return _resources(container, key)
        total = {} if infeasible else _resources(container, key)
        amounts.raise_to(total, _resources(actual, key))
        if key == "requests":
            amounts.raise_to(total, amounts.read(actual.get("allocatedResources")))
        return total

    return read


def _is_resize_infeasible(status: Obj) -> bool:
    return any(
        c.get("type") == "PodResizePending" and c.get("reason") == "Infeasible"
        for c in status.get("conditions") or ()
    )


def _aggregate(spec: Obj, of: _Of) -> Amounts:
    return over_containers(spec, of, amounts.add_to, amounts.raise_to)
