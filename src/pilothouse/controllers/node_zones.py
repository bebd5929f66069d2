"""How fast nodes may be tainted NoExecute: the more of a zone is down, the likelier the fault is not the nodes'
(k8s.io/kubernetes/pkg/controller/nodelifecycle handleDisruption and scheduler/rate_limited_queue.go,
https://kubernetes.io/docs/concepts/architecture/nodes/#rate-limits-on-eviction).

    a zone's nodes                     state       nodes tainted a second
    ─────────────────────────────────────────────────────────────────────────────────────────
    most are ready                     normal      rate
    3 down at least, and threshold     partial     secondary_rate in large zones, none in small ones
    none is ready                      full        rate (its pods may run elsewhere) …
    every zone is full                 full        … but none at all: nobody is left to judge
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pilothouse.api.types import Obj

_EXCLUDED = "node.kubernetes.io/exclude-disruption"
_REGION = "topology.kubernetes.io/region"
_ZONE = "topology.kubernetes.io/zone"
_PARTIAL_DOWN_MIN = 3


@dataclass(frozen=True, slots=True)
class Rates:
    """kube-controller-manager's flags on the matter; rates are nodes a second."""

    rate: float = 0.1
    secondary_rate: float = 0.01
    threshold: float = 0.55
    large: int = 50
    """Zones of more nodes are large."""


@dataclass(slots=True)
class _Zone:
    up: set[str] = field(default_factory=set)
    down: set[str] = field(default_factory=set)
    rate: float = 0.0
    next_s: float = 0.0
    """When the next node may be tainted, by monotonic time: a token bucket that holds one."""

    @property
    def is_full(self) -> bool:
        return bool(self.down) and not self.up


class Zones:
    """Which nodes are up, by zone, and when one of a zone may be tainted."""

    def __init__(self, rates: Rates) -> None:
        self._rates = rates
        self._zones: dict[str, _Zone] = {}
        self._zone_of: dict[str, str] = {}
        self.all_down = False

    def observe(self, name: str, zone: str, *, ready: bool) -> bool:
        """Note a node's state; True when `all_down` changed."""
        if self._zone_of.get(name, zone) != zone:
            self._remove(name)
        self._zone_of[name] = zone
        found = self._zones.setdefault(zone, _Zone())
        (found.up if ready else found.down).add(name)
        (found.down if ready else found.up).discard(name)
        return self._judge()

    def forget(self, name: str) -> bool:
        """A node is gone, or does not count; True when `all_down` changed."""
        self._remove(name)
        return self._judge()

    def wait_s(self, name: str, now_s: float) -> float | None:
        """Seconds until the node may be tainted; 0 takes the turn. None: not before something changes."""
        zone = self._zones.get(self._zone_of.get(name, ""))
        rate = self._rates.rate if zone is None else self._rate(zone)
        if self.all_down or not rate:
            return None
        if zone is None:
            return 0.0
        if zone.rate != rate:
            zone.rate, zone.next_s = rate, min(zone.next_s, now_s + 1 / rate)
        if zone.next_s > now_s:
            return zone.next_s - now_s
        zone.next_s = now_s + 1 / rate
        return 0.0

    def _rate(self, zone: _Zone) -> float:
        size = len(zone.up) + len(zone.down)
        is_partial = len(zone.down) >= _PARTIAL_DOWN_MIN and len(zone.down) / size >= self._rates.threshold
        if zone.is_full or not is_partial:
            return self._rates.rate
        return self._rates.secondary_rate if size > self._rates.large else 0.0

    def _remove(self, name: str) -> None:
        zone = self._zones.get(self._zone_of.pop(name, ""))
        if zone is not None:
            zone.up.discard(name)
            zone.down.discard(name)

    def _judge(self) -> bool:
        before = self.all_down
        inhabited = [z for z in self._zones.values() if z.up or z.down]
        self.all_down = bool(inhabited) and all(z.is_full for z in inhabited)
        return self.all_down != before


def zone_of(node: Obj) -> str:
    """Region and zone as one name (GetZoneKey); "" for a node without either."""
    labels = node["metadata"].get("labels") or {}
    region, zone = labels.get(_REGION, ""), labels.get(_ZONE, "")
    return f"{region}:\x00:{zone}" if region or zone else ""


def counts(node: Obj) -> bool:
    """Whether a node tells anything about its zone."""
    return _EXCLUDED not in (node["metadata"].get("labels") or {})
