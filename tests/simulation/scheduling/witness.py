"""What a scheduler decided, and what it had been told by then. It looks on, and changes nothing.

`Cut` is the knowledge of one moment: of every resource the last revision that the scheduler's informer has heard of. A
decision is right if it is right for the cluster of its cut, with the pods on it that the scheduler itself has placed
and not yet heard back of. What changed within the lag of its watches is no fault of the scheduler's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pilothouse.components.scheduler import SchedulerComponent
from pilothouse.scheduler.framework import Cycle, Nomination
from pilothouse.scheduler.plugins.default_preemption import DefaultPreemption
from pilothouse.scheduler.pod_info import PodInfo
from pilothouse.scheduler.preemption import Candidate

Cut = dict[str, int]


@dataclass(frozen=True, slots=True)
class Decision:
    """`assumed` are the nodes, by UID, of the pods that this scheduler had placed before without having heard back."""

    who: str
    at_s: float
    pod: str
    uid: str
    node: str
    cut: Cut
    assumed: dict[str, str]


@dataclass(frozen=True, slots=True)
class Preemption:
    who: str
    at_s: float
    pod: str
    uid: str
    node: str
    victims: tuple[str, ...]
    """Their UIDs."""
    cut: Cut
    assumed: dict[str, str]
    kept: frozenset[str]
    """Nodes where this scheduler kept room for others: some of that it has told nobody yet."""
    alone: bool
    """Not for a gang: those suppose more than a cut says."""


@dataclass(slots=True)
class Witness:
    """Of one incarnation of one scheduler."""

    who: str
    component: SchedulerComponent
    now_s: Callable[[], float]
    trace: Callable[[str], None]
    decisions: dict[str, list[Decision]] = field(default_factory=dict)
    """By UID, in order."""
    preemptions: list[Preemption] = field(default_factory=list)
    binds: list[tuple[float, str, Decision | None, str]] = field(default_factory=list)
    """(when, UID, the decision it follows, node) of each request to bind."""
    _assumed: dict[str, str] = field(default_factory=dict)
    _heard: Cut = field(default_factory=dict)

    def __post_init__(self) -> None:
        cache: Any = self.component.scheduler.cache
        assume, forget = cache.assume, cache.forget

        def assumes(info: PodInfo, node: str) -> None:
            self._decided(info, node)
            assume(info, node)

        def forgets(uid: str) -> PodInfo | None:
            self._assumed.pop(uid, None)
            found: PodInfo | None = forget(uid)
            return found

        cache.assume, cache.forget = assumes, forgets
        for profile in self.component.scheduler._profiles.values():
            for plugin in profile.post_filter:
                if isinstance(plugin, DefaultPreemption):
                    self._look_at(plugin)

    def _look_at(self, plugin: Any) -> None:
        nominate = plugin.nominate

        def nominates(cycle: Cycle, found: Sequence[Candidate]) -> Nomination:
            nomination: Nomination = nominate(cycle, found)
            self._preempted(cycle, nomination)
            return nomination

        plugin.nominate = nominates

    def _decided(self, info: PodInfo, node: str) -> None:
        made = Decision(self.who, self.now_s(), info.key, info.uid, node, self.cut(), dict(self._assumed))
        self.decisions.setdefault(info.uid, []).append(made)
        self._assumed[info.uid] = node

    def _preempted(self, cycle: Cycle, nomination: Nomination) -> None:
        info, victims = cycle.info, tuple(victim.uid for victim in nomination.leaving)
        names = ", ".join(victim.key for victim in nomination.leaving)
        self.trace(f"{self.who}: {info.key} preempts {names} on {nomination.node}")
        gangs: Any = self.component.scheduler._gangs
        alone = gangs is None or not gangs.takes(info)
        assert nomination.node is not None
        self.preemptions.append(
            Preemption(
                self.who,
                self.now_s(),
                info.key,
                info.uid,
                nomination.node,
                victims,
                self.cut(),
                dict(self._assumed),
                frozenset(guest.node for guest in cycle.guests if guest.uid != info.uid),
                alone,
            )
        )

    def cut(self) -> Cut:
        for (resource, _), informer in self.component.informers._informers.items():
            if informer.last_revision:
                self._heard[resource.plural] = int(informer.last_revision)
                continue
            # It has lost its place, and knows what it knew.
            newest = (int(obj["metadata"]["resourceVersion"]) for obj in informer.list())
            self._heard[resource.plural] = max(self._heard.get(resource.plural, 0), *newest, 0)
        return dict(self._heard)

    def request(self, method: str, path: str, body: Any) -> None:
        """Each request that the scheduler makes comes by here."""
        if not path.endswith("/binding"):
            return
        uid, node = body["metadata"]["uid"], body["target"]["name"]
        made = self.decisions.get(uid)
        self.trace(f"{self.who}: binds {body['metadata']['name']} to {node}")
        self.binds.append((self.now_s(), uid, made[-1] if made else None, node))
