"""The scheduling queue in virtual time: order, back-off, gates, what events do, what happens in flight
(https://kubernetes.io/docs/concepts/scheduling-eviction/scheduling-framework/#queue-sort, KEP-4247, KEP-5142)."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from typing import Any

import pytest

from pilothouse.api.types import Obj
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import World, simulated_world
from pilothouse.scheduler.framework import Cycle, FilterPlugin, Rejection
from pilothouse.scheduler.hints import NODE, Action, Event, Registration
from pilothouse.scheduler.node_table import Mask
from pilothouse.scheduler.pod_info import PodInfo, pod_info
from pilothouse.scheduler.profile import Profile
from pilothouse.scheduler.queue import SchedulingQueue, Waiting
from tests.unit.scheduler import builders as b


class Moody(FilterPlugin):
    """Wants to hear of new nodes, and of those only if they are called after the pod."""

    name = "Moody"

    def registrations(self) -> Iterable[Registration]:
        return (Registration(NODE, Action.ADD, _same_name),)

    def filter(self, cycle: Cycle, left: Mask) -> Iterable[Rejection]:
        return ()


def _same_name(info: PodInfo, event: Event) -> bool:
    assert event.new is not None
    return bool(event.new["metadata"]["name"] == info.name)


class Queue:
    """A queue, its clock, and pods by name."""

    def __init__(self) -> None:
        self.world: World = simulated_world(1)
        self.queue = SchedulingQueue(self.world)
        self.profile: Profile = b.profile(Moody())

    def put(self, pod: Obj) -> None:
        self.queue.put(pod_info(pod), self.profile)

    def pop(self) -> Waiting:
        entry = self.queue.pop()
        assert entry is not None
        return entry

    def names(self) -> list[str]:
        found = []
        while (entry := self.queue.pop()) is not None:
            found.append(entry.info.name)
        return found

    async def after(self, seconds: float) -> None:
        await self.world.clock.sleep(seconds)


def virtual(body: Any) -> Any:
    def test() -> None:
        async def main() -> None:
            await body(Queue())

        work: Coroutine[Any, Any, None] = main()
        run_virtual(work)

    test.__name__, test.__doc__ = body.__name__, body.__doc__
    return test


NODE_ADDED = Event(NODE, Action.ADD, None, b.node("web"))


@virtual
async def test_higher_priority_first_then_who_waits_longer(q: Queue) -> None:
    q.put(b.pod("old"))
    await q.after(1)
    q.put(b.pod("young"))
    q.put(b.pod("urgent", priority=10))
    q.put(b.pod("unimportant", priority=-1))
    assert q.names() == ["urgent", "old", "young", "unimportant"]


@virtual
async def test_a_pod_that_fits_nowhere_waits_for_an_event_that_helps_it(q: Queue) -> None:
    q.put(b.pod("web"))
    q.put(b.pod("db"))
    for _ in range(2):
        q.queue.put_back(q.pop(), {"Moody"})
    assert q.queue.pop() is None
    q.queue.happened(Event(NODE, Action.UPDATE_NODE_LABEL, b.node("web"), b.node("web")))
    assert q.queue.pop() is None
    q.queue.happened(NODE_ADDED)
    assert q.names() == ["web"]
    assert q.queue.sizes()["unschedulable"] == 1


@virtual
async def test_backing_off_doubles_from_one_second_to_ten(q: Queue) -> None:
    q.put(b.pod("web"))
    waits = []
    for _ in range(6):
        began = q.world.clock.monotonic()
        q.queue.put_back(q.pop(), set())
        assert q.queue.pop() is None, "an error waits its back-off out"
        await q.queue.wait()
        waits.append(q.world.clock.monotonic() - began)
    assert waits == pytest.approx([1, 2, 4, 8, 10, 10], abs=0.01)


@virtual
async def test_a_pod_that_backs_off_is_tried_early_when_nothing_else_is_to_do(q: Queue) -> None:
    q.put(b.pod("web"))
    q.queue.put_back(q.pop(), {"Moody"})
    q.queue.happened(NODE_ADDED)
    q.put(b.pod("other"))
    assert q.queue.sizes()["backoff"] == 1
    assert q.names() == ["other", "web"]


@virtual
async def test_nobody_waits_longer_than_five_minutes(q: Queue) -> None:
    q.put(b.pod("web"))
    q.queue.put_back(q.pop(), {"Moody"})
    await q.after(299)
    assert q.queue.pop() is None
    await q.queue.wait()
    assert q.world.clock.monotonic() == pytest.approx(300, abs=0.01)
    assert q.names() == ["web"]


@virtual
async def test_what_happens_during_an_attempt_is_not_missed(q: Queue) -> None:
    """The event comes after the decision and before the pod is back."""
    q.put(b.pod("web"))
    entry = q.pop()
    q.queue.happened(NODE_ADDED)
    q.queue.put_back(entry, {"Moody"})
    assert q.queue.sizes()["unschedulable"] == 0
    assert q.names() == ["web"]


@virtual
async def test_what_happened_before_an_attempt_does_not_count_for_it(q: Queue) -> None:
    q.put(b.pod("other"))
    in_flight = q.pop()
    q.queue.happened(NODE_ADDED)
    q.put(b.pod("web"))
    q.queue.put_back(q.pop(), {"Moody"})
    assert q.queue.sizes()["unschedulable"] == 1
    q.queue.remove(in_flight.info.uid)


@virtual
async def test_a_gated_pod_is_not_tried_until_its_gates_are_gone(q: Queue) -> None:
    """KEP-3521."""
    pod = b.pod("web", schedulingGates=[{"name": "a"}])
    q.put(pod)
    assert q.queue.pop() is None
    assert q.queue.sizes()["gated"] == 1
    q.put({**pod, "spec": {**pod["spec"], "schedulingGates": []}})
    assert q.names() == ["web"]


@virtual
async def test_a_pod_that_changes_while_it_waits_is_tried_as_it_is_now(q: Queue) -> None:
    pod = b.pod("web")
    q.put(pod)
    q.put({**pod, "metadata": {**pod["metadata"], "labels": {"v": "2"}}})
    entry = q.pop()
    assert entry.info.pod["metadata"]["labels"] == {"v": "2"}
    assert q.queue.pop() is None


@virtual
async def test_tolerations_added_to_a_waiting_pod_let_it_try_again(q: Queue) -> None:
    pod = b.pod("web")
    q.put(pod)
    q.queue.put_back(q.pop(), {"TaintToleration"})
    q.put({**pod, "status": {"conditions": []}})
    assert q.queue.pop() is None
    q.put({**pod, "spec": {**pod["spec"], "tolerations": [{"operator": "Exists"}]}})
    assert q.names() == ["web"]


@virtual
async def test_a_pod_that_is_gone_does_not_come_back(q: Queue) -> None:
    q.put(b.pod("web"))
    entry = q.pop()
    q.queue.remove(entry.info.uid)
    q.queue.put_back(entry, set())
    assert sum(q.queue.sizes().values()) == 0


@virtual
async def test_the_queue_counts_where_pods_went_and_why(q: Queue) -> None:
    q.put(b.pod("web"))
    q.queue.put_back(q.pop(), {"Moody"})
    q.queue.happened(NODE_ADDED)
    assert q.queue.incoming == {
        ("active", "PodAdd"): 1,
        ("unschedulable", "ScheduleAttemptFailure"): 1,
        ("backoff", "Node"): 1,
    }
