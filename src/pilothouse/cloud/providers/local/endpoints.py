"""Where a connection to a service goes; pure (https://kubernetes.io/docs/reference/networking/virtual-ips/).

ready ones ──▶ else those that serve though they end ──▶ of these: the client's own, by affinity ──▶ else any
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

from pilothouse.api.types import Obj

AFFINITY_S = 10800.0
_CLIENTS_MAX = 65536


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address and port behind a service."""

    address: str
    port: int
    node: str = ""
    pod: str = ""
    """NAMESPACE/NAME; "" where no pod stands behind the address."""


def behind(slices: Iterable[Obj], port: Obj) -> list[Endpoint]:
    """The endpoints of a service's port: the ready ones, or where there are none those that serve until they have
    ended."""
    ready: list[Endpoint] = []
    ending: list[Endpoint] = []
    for piece in slices:
        number = _number(piece, port)
        if number is None:
            continue
        for endpoint in piece.get("endpoints") or ():
            conditions = endpoint.get("conditions") or {}
            if conditions.get("ready") is not False:
                ready.append(_endpoint(endpoint, number))
            elif conditions.get("serving") and conditions.get("terminating"):
                ending.append(_endpoint(endpoint, number))
    return sorted(ready or ending, key=lambda e: (e.address, e.port))


def _number(piece: Obj, port: Obj) -> int | None:
    for candidate in piece.get("ports") or ():
        same_name = (candidate.get("name") or "") == (port.get("name") or "")
        if same_name and (candidate.get("protocol") or "TCP") == (port.get("protocol") or "TCP"):
            number: int | None = candidate.get("port")
            return number
    return None


def _endpoint(endpoint: Obj, port: int) -> Endpoint:
    target = endpoint.get("targetRef") or {}
    pod = f"{target.get('namespace', '')}/{target['name']}" if target.get("kind") == "Pod" else ""
    return Endpoint(endpoint["addresses"][0], port, endpoint.get("nodeName") or "", pod)


@dataclass(slots=True)
class Choice:
    """Which endpoint a client gets. `affinity_s` 0 sends each connection anywhere; `by_node` first takes a node and
    then one of its endpoints, as a balancer before nodes does (externalTrafficPolicy: Local)."""

    random: Random
    affinity_s: float = 0.0
    by_node: bool = False
    _known: dict[str, tuple[Endpoint, float]] = field(default_factory=dict)
    """By client, the endpoint it had last, and when."""

    def of(self, client: str, endpoints: Sequence[Endpoint], now_s: float) -> Endpoint | None:
        """None where there is none."""
        if not endpoints:
            return None
        if self.affinity_s <= 0:
            return self._any(endpoints)
        known = self._known.pop(client, None)
        if known is not None and known[0] in endpoints and now_s - known[1] < self.affinity_s:
            chosen = known[0]
        else:
            chosen = self._any(endpoints)
        self._known[client] = (chosen, now_s)
        if len(self._known) > _CLIENTS_MAX:
            del self._known[next(iter(self._known))]
        return chosen

    def _any(self, endpoints: Sequence[Endpoint]) -> Endpoint:
        if not self.by_node:
            return self.random.choice(endpoints)
        node = self.random.choice(sorted({endpoint.node for endpoint in endpoints}))
        return self.random.choice([endpoint for endpoint in endpoints if endpoint.node == node])


Choose = Callable[[str], Endpoint | None]
"""By a client's address, where its connection goes."""
