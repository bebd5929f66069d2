"""What EndpointSlice controller counts (k8s.io/endpointslice/metrics): what each sync changed, and how full slices are
beside how full they could be."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from pilothouse.api.types import Obj
from pilothouse.controllers.slice_packing import identity
from pilothouse.kit.metrics import exponential_buckets, gauge, histogram, plain_counter

_PREFIX = "endpoint_slice_controller_"
_KNOWN = ("PreferClose", "PreferSameZone", "PreferSameNode")
_PER_SYNC = exponential_buckets(2, 2, 15)


@dataclass(slots=True)
class Done:
    """What one sync of a service did. `wanted` are the endpoints of each set of ports, `created` those of each new
    slice; `slices` is how many slices there are now."""

    service: Obj
    by_topology: bool
    wanted: list[int] = field(default_factory=list)
    slices: int = 0
    created: list[int] = field(default_factory=list)
    updated: list[tuple[Obj, list[Obj]]] = field(default_factory=list)
    """Slices as they were, with their new endpoints."""
    deleted: list[Obj] = field(default_factory=list)

    def added(self) -> int:
        return sum(self.created) + sum(len(_ids(after) - _ids_of(was)) for was, after in self.updated)

    def removed(self) -> int:
        gone = sum(len(_ids_of(was)) for was in self.deleted)
        return gone + sum(len(_ids_of(was) - _ids(after)) for was, after in self.updated)


class SliceMetrics:
    """`slice_max` endpoints go into one slice."""

    def __init__(self, registry: CollectorRegistry, slice_max: int) -> None:
        self._slice_max = slice_max
        self._totals: dict[str, tuple[int, int, int]] = {}
        """By service: endpoints, slices, and slices that would do."""
        self._distribution: dict[str, str] = {}
        per_sync = "on each Service sync"
        self._added = histogram(
            registry,
            f"{_PREFIX}endpoints_added_per_sync",
            f"Number of endpoints added {per_sync}",
            buckets=_PER_SYNC,
        )
        self._removed = histogram(
            registry,
            f"{_PREFIX}endpoints_removed_per_sync",
            f"Number of endpoints removed {per_sync}",
            buckets=_PER_SYNC,
        )
        self._changed = histogram(
            registry,
            f"{_PREFIX}endpointslices_changed_per_sync",
            f"Number of EndpointSlices changed {per_sync}",
            ("topology", "traffic_distribution"),
        )
        self._desired = gauge(registry, f"{_PREFIX}endpoints_desired", "Number of endpoints desired")
        self._slices = gauge(registry, f"{_PREFIX}num_endpoint_slices", "Number of EndpointSlices")
        self._perfect = gauge(
            registry,
            f"{_PREFIX}desired_endpoint_slices",
            "Number of EndpointSlices that would exist with perfect endpoint allocation",
        )
        self._services = gauge(
            registry,
            f"{_PREFIX}services_count_by_traffic_distribution",
            "Number of Services using some specific trafficDistribution",
            ("traffic_distribution",),
        )
        self._changes = plain_counter(
            registry, f"{_PREFIX}changes", "Number of EndpointSlice changes", ("operation",)
        )
        self._syncs = plain_counter(registry, f"{_PREFIX}syncs", "Number of EndpointSlice syncs", ("result",))

    def synced(self, result: str) -> None:
        """success, error, or stale: our own last writes were not seen yet."""
        self._syncs.inc(result)

    def wrote(self, key: str, done: Done) -> None:
        for operation, count in (
            ("create", len(done.created)),
            ("update", len(done.updated)),
            ("delete", len(done.deleted)),
        ):
            if count:
                self._changes.inc(operation, by=count)
        self._added.observe(done.added())
        self._removed.observe(done.removed())
        distribution = done.service["spec"].get("trafficDistribution") or ""
        topology = "Auto" if done.by_topology else "Disabled"
        changed = len(done.created) + len(done.updated) + len(done.deleted)
        self._changed.labels(topology, "" if done.by_topology else distribution).observe(changed)
        perfect = sum(math.ceil(count / self._slice_max) for count in done.wanted) or 1
        self._totals[key] = (sum(done.wanted), done.slices, perfect)
        if distribution:
            self._distribution[key] = distribution if distribution in _KNOWN else "ImplementationSpecific"
        else:
            self._distribution.pop(key, None)
        self._show()

    def forget(self, key: str) -> None:
        """The service is gone."""
        self._distribution.pop(key, None)
        if self._totals.pop(key, None) is not None:
            self._show()

    def _show(self) -> None:
        endpoints, slices, perfect = (sum(each[i] for each in self._totals.values()) for i in range(3))
        self._desired.set(endpoints)
        self._slices.set(slices)
        self._perfect.set(perfect)
        self._services.clear()
        for name in self._distribution.values():
            self._services.labels(name).inc()


def _ids(endpoints: list[Obj]) -> set[object]:
    return {identity(endpoint) for endpoint in endpoints}


def _ids_of(found: Obj) -> set[object]:
    return _ids(found.get("endpoints") or [])
