"""GangScheduling: a group's pods wait until there are enough of them (KEP-4671,
https://kubernetes.io/docs/concepts/scheduling-eviction/gang-scheduling/).

    PreEnqueue   the PodGroup exists, and at least minCount pods of it do
    cycle        all pods of the group that wait are decided on in one go (`scheduler.gang_cycle`)
    binding      none is bound before as many as must be together are ready to (`scheduler.company`)

As the whole group is decided on at once, as 1.36 does, nothing waits at Permit with room taken, and two gangs cannot
hold half of a cluster each.
"""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.scheduler.binding import GANG
from pilothouse.scheduler.framework import PreEnqueuePlugin
from pilothouse.scheduler.gangs import GATES, Gangs
from pilothouse.scheduler.handle import Handle
from pilothouse.scheduler.hints import Registration
from pilothouse.scheduler.pod_info import PodInfo

TOO_FEW = "waiting for minCount pods from a gang to appear in scheduling queue"


class GangScheduling(PreEnqueuePlugin):
    name = GANG

    def __init__(self, handle: Handle) -> None:
        self.gangs = Gangs(handle.informers, api=handle.features.issuperset(GATES))

    def registrations(self) -> Iterable[Registration]:
        """None by events of other kinds: the scheduler itself looks at a group again when a pod or a PodGroup comes
        (`Scheduler.reconsider`)."""
        return ()

    def pre_enqueue(self, info: PodInfo) -> str:
        gangs = self.gangs
        group = gangs.of(info.pod)
        if group is None:
            return ""
        if not group.by_label and gangs.object(group) is None:
            return f'waiting for pods\'s pod group "{group.name}" to appear in scheduling queue'
        try:
            minimum = gangs.minimum(info.pod)
        except ValueError as error:
            return str(error)
        return TOO_FEW if len(gangs.members(group)) < minimum else ""
