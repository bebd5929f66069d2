"""Gangs in the scheduler's loop: which pods are decided on together, and what follows from the decision
(`gang_cycle`)."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import NamedTuple, Protocol

from pilothouse.api.types import Obj
from pilothouse.client.informer import Handler
from pilothouse.scheduler import gang_cycle, gang_report
from pilothouse.scheduler.binding import GANG
from pilothouse.scheduler.cache import Cache
from pilothouse.scheduler.company import Company
from pilothouse.scheduler.extenders.extender import Extender
from pilothouse.scheduler.framework import Cycle, Effect, PluginFailed
from pilothouse.scheduler.gang_cycle import Member, Outcome
from pilothouse.scheduler.gangs import Gangs, Group
from pilothouse.scheduler.handle import Handle
from pilothouse.scheduler.outcome import Reporter
from pilothouse.scheduler.plugins.default_preemption import DefaultPreemption
from pilothouse.scheduler.plugins.gang_scheduling import GangScheduling
from pilothouse.scheduler.pod_info import PodInfo, pod_info
from pilothouse.scheduler.profile import Profile
from pilothouse.scheduler.queue import SchedulingQueue, Waiting

_MESSAGES: Mapping[Outcome, str] = {
    "scheduled": "",
    "preempting": gang_cycle.WAITING,
    "unschedulable": gang_cycle.UNSCHEDULABLE,
}
NO_EXTENDERS = (
    "pods of a gang are not decided on by extenders: take the pod out of its group, or from the extender"
)


class Refuse(Protocol):
    def __call__(
        self, entry: Waiting, why: str, rejected_by: set[str], began_s: float, nominated: str | None = None
    ) -> None:
        """The pod goes back into the queue, and people are told."""


class Hands(NamedTuple):
    """What the loop does for a gang, pod by pod."""

    cycle: Callable[[Waiting], Cycle]
    decided: Callable[[Cycle, Waiting], None]
    """A cycle's decision is over (its plugins may have been timed)."""
    is_settled: Callable[[Waiting], bool]
    refuse: Refuse
    failed: Callable[[Waiting, Exception, float], None]
    bind: Callable[[Waiting, Cycle, str, float, Company], Coroutine[object, object, None]]
    start: Callable[[Coroutine[object, object, None]], None]
    make_room: Callable[[Waiting, Effect], None]
    now_s: Callable[[], float]


class GangScheduler:
    def __init__(
        self,
        gangs: Gangs,
        handle: Handle,
        queue: SchedulingQueue,
        cache: Cache,
        extenders: Sequence[Extender],
        hands: Hands,
    ) -> None:
        self._gangs = gangs
        self._handle = handle
        self._queue = queue
        self._cache = cache
        self._extenders = extenders
        self._hands = hands

    def watch(self, handling: Callable[[str], None]) -> None:
        """`handling` is told of each event that there was."""
        if self._gangs.groups is not None:
            self._gangs.groups.add_handler(_PodGroupHandler(self, handling))

    def takes(self, info: PodInfo) -> bool:
        """Whether a pod is decided on with others."""
        if self._gangs.of(info.pod) is None:
            return False
        try:
            return self._gangs.minimum(info.pod) > 1
        except ValueError:
            return True

    def came(self, pod: Obj) -> None:
        """A new pod: its group may be complete."""
        group = self._gangs.of(pod)
        if group is not None:
            self.reconsider(group)

    def went(self, pod: Obj) -> None:
        """Without it its group may be incomplete."""
        group = self._gangs.of(pod)
        if group is not None:
            self._release(group)

    def begin(self) -> None:
        """All is known: groups that had lost pods before this scheduler came keep no room any more."""
        pods = [info.pod for info in self._handle.nominator.pods()]
        for group in sorted({g for g in map(self._gangs.of, pods) if g is not None}):
            self._release(group)

    def _release(self, group: Group) -> None:
        """No room is kept for pods that cannot go, as their group is too small."""
        members = self._gangs.members(group)
        try:
            if not members or len(members) >= self._gangs.minimum(members[0]):
                return
        except ValueError:
            return  # the label is no number: they are told so
        nominator = self._handle.nominator
        for info in map(pod_info, members):
            if not info.node and (info.nominated or nominator.node_of(info.uid)):
                nominator.remove(info.uid)
                self._hands.start(Reporter.of(self._handle).clear_nomination(info))

    def reconsider(self, group: Group) -> None:
        for pod in self._gangs.members(group):
            self._queue.reconsider(pod["metadata"]["uid"], GANG)

    def schedule(self, first: Waiting) -> None:
        """All pods of a group that wait, in one decision."""
        began_s = self._hands.now_s()
        group = self._gangs.of(first.info.pod)
        assert group is not None
        entries = self._waiting(first, group)
        if self._makes_room(group):
            self._wait_for_room(entries)
            return
        try:
            self._check(entries)
            minimum = self._gangs.minimum(first.info.pod)
            needed = minimum - self._gangs.placed(group, self._cache.is_assumed)
            outcome, members = gang_cycle.attempt(entries, self._hands.cycle, self._cache, needed)
        except (PluginFailed, ValueError) as error:
            for entry in entries:
                self._hands.failed(entry, error, began_s)
            return
        for member in members:
            self._hands.decided(member.cycle, member.entry)
        if outcome == "scheduled":
            self._bind(members, needed, began_s)
        else:
            self._put_back(members, outcome == "preempting", began_s)
        found = self._gangs.object(group)
        if members and found is not None:
            is_scheduled = outcome == "scheduled"
            self._hands.start(
                gang_report.report(self._handle, found, scheduled=is_scheduled, message=_MESSAGES[outcome])
            )

    def _makes_room(self, group: Group) -> bool:
        """Whether victims of one of its pods are still being told: the others would not see that they are going."""
        under_way = self._handle.nominator.under_way
        return bool(under_way) and any(p["metadata"]["uid"] in under_way for p in self._gangs.members(group))

    def _wait_for_room(self, entries: Sequence[Waiting]) -> None:
        """Until then (`room_made`). That was no attempt."""
        for entry in entries:
            entry.attempts -= 1
            self._queue.put_back(entry, {DefaultPreemption.name})

    def room_made(self, pod: Obj) -> None:
        """The victims of a pod have been told, as far as that was possible."""
        group = self._gangs.of(pod)
        for member in self._gangs.members(group) if group is not None else ():
            self._queue.reconsider(member["metadata"]["uid"], DefaultPreemption.name)

    def _waiting(self, first: Waiting, group: Group) -> list[Waiting]:
        """In a fixed order: by priority, then who was first seen first."""
        others = [self._queue.pull(pod["metadata"]["uid"]) for pod in self._gangs.members(group)]
        found = [e for e in (first, *others) if e is not None and not self._hands.is_settled(e)]
        return sorted(found, key=lambda e: (-e.info.priority, e.first_s, e.info.name))

    def _check(self, entries: Sequence[Waiting]) -> None:
        """ValueError when these pods cannot be decided on together."""
        names = sorted({entry.profile.name for entry in entries})
        if len(names) > 1:
            got = f'"{names[0]}" and "{names[1]}"'
            raise ValueError(
                f"all pods in a single pod group should have the same .spec.schedulerName set, got: {got}"
            )
        if any(extender.is_interested(entry.info) for entry in entries for extender in self._extenders):
            raise ValueError(NO_EXTENDERS)

    def _bind(self, members: Sequence[Member], needed: int, began_s: float) -> None:
        placed = [member for member in members if member.node]
        company = Company(len(placed), needed)
        for member in placed:
            self._handle.nominator.remove(member.entry.info.uid, member.node)
            self._hands.start(self._hands.bind(member.entry, member.cycle, member.node, began_s, company))
        for member in members:
            if not member.node:
                self._hands.refuse(member.entry, member.why, set(member.rejected_by), began_s)

    def _put_back(self, members: Sequence[Member], preempting: bool, began_s: float) -> None:
        """What may help one of them helps all: they are tried together."""
        together = {GANG}.union(*(member.rejected_by for member in members))
        waiting = any(member.waits for member in members)
        for member in members:
            why = gang_cycle.UNSCHEDULABLE if member.node else member.why
            nominated: str | None = None if waiting else ""
            if preempting and member.node:
                why, nominated = gang_cycle.WAITING, member.node
                self._handle.nominator.put(member.cycle.info, member.node)
                if member.nomination is not None and member.nomination.effect is not None:
                    self._hands.make_room(member.entry, member.nomination.effect)
            elif not waiting:
                self._handle.nominator.remove(member.entry.info.uid)
            self._hands.refuse(member.entry, why, together, began_s, nominated)


class _PodGroupHandler(Handler):
    def __init__(self, scheduler: GangScheduler, handling: Callable[[str], None]) -> None:
        self._scheduler = scheduler
        self._handling = handling

    def on_add(self, obj: Obj) -> None:
        self._scheduler.reconsider(_group(obj))
        self._handling("PodGroupAdd")

    def on_update(self, old: Obj, new: Obj) -> None:
        if old.get("spec") != new.get("spec"):
            self._scheduler.reconsider(_group(new))
            self._handling("PodGroupUpdate")

    def on_delete(self, obj: Obj) -> None:
        """Pods that wait are told at their next attempt."""


def _group(obj: Obj) -> Group:
    return Group(obj["metadata"]["namespace"], obj["metadata"]["name"])


def gangs_of(profiles: Mapping[str, Profile]) -> Gangs | None:
    """Groups are of the cluster: one look at them serves all profiles. None where the plugin is off."""
    for profile in profiles.values():
        for plugin in profile.pre_enqueue:
            if isinstance(plugin, GangScheduling):
                return plugin.gangs
    return None
