"""What becomes of pods when a request to the API server fails, is late, or is done without the scheduler hearing of it.
Each of these was found by the simulation (tests/simulation/scheduling)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import EVENTS, NODES, PERSISTENT_VOLUME_CLAIMS, PODS, STORAGE_CLASSES
from pilothouse.scheduler.framework import Cycle, PreBindPlugin
from pilothouse.scheduler.gangs import MINIMUM_LABEL, NAME_LABEL
from pilothouse.scheduler.nominator import Nominator
from pilothouse.scheduler.pod_info import pod_info
from tests.unit.scheduler import builders as b
from tests.unit.scheduler import test_scheduler_loop as loop
from tests.unit.scheduler.test_scheduler_component import House, Line, virtual

HIGH = "system-cluster-critical"
DOWN = ApiError(500, "InternalError", "the network is down")


class Hindered(Line):
    """`rule` says of each request (method, path, body) how long it takes to arrive, or that it fails (after some time);
    `lost` whether its answer gets lost."""

    rule: Callable[[str, str, Any], float | Exception | tuple[float, Exception]] = staticmethod(
        lambda method, path, body: 0.0
    )
    lost: Callable[[str, str], bool] = staticmethod(lambda method, path: False)

    async def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> Any:
        hindrance = self.rule(method, path, body)
        if isinstance(hindrance, Exception):
            raise hindrance
        if isinstance(hindrance, tuple):
            await asyncio.sleep(hindrance[0])
            raise hindrance[1]
        await asyncio.sleep(hindrance)
        answer = await super().request(method, path, query, body, content_type)
        if self.lost(method, path):
            await asyncio.sleep(0.2)
            raise ConnectionError("the answer got lost")
        return answer


def first_only(wanted: Callable[[str, str], bool], outcome: float | Exception) -> Any:
    """A rule for the first request of a kind."""
    left = [outcome]

    def rule(method: str, path: str, body: Any) -> float | Exception:
        return left.pop() if left and wanted(method, path) else 0.0

    return rule


async def begin(h: House) -> Hindered:
    line = Hindered(h.cluster)
    h.schedule(line=line)
    return line


@virtual
async def test_who_could_not_evict_tries_again(h: House) -> None:
    """Upstream activates the pod (preemption/executor.go): nothing else would ever wake it but five minutes."""
    line = await begin(h)
    await h.node("a")
    await h.pod("low", "3")
    await h.settle()
    line.rule = first_only(lambda method, path: method == "DELETE" and path.endswith("/low"), DOWN)
    await h.pod("high", "3", priorityClassName=HIGH)
    await h.settle(15)
    assert "deletionTimestamp" in (await h.get("low"))["metadata"]


@virtual
async def test_nobody_evicts_twice_while_victims_are_being_told(h: House) -> None:
    """KEP-4832: a pod does not come back into the queue before all its victims have been told."""
    line = await begin(h)
    for name in ("a", "b"):
        await h.node(name)
        await h.pod(f"low-{name}", "3", nodeName=name)
        for number in range(4):
            await h.pod(f"tiny-{name}-{number}", "100m", nodeName=name)
    line.rule = lambda method, path, body: 5.0 if method == "PATCH" and "/low-" in path else 0.0
    await h.pod("high", "3", priorityClassName=HIGH)
    for number in range(4):
        await h.settle(1)
        for name in ("a", "b"):
            await h.client.delete(PODS, f"tiny-{name}-{number}", "default", {"gracePeriodSeconds": 0})
    await h.settle(15)
    going = [n for n in ("a", "b") if "deletionTimestamp" in (await h.get(f"low-{n}"))["metadata"]]
    assert len(going) == 1


@virtual
async def test_who_waits_for_kept_room_is_told_when_it_is_kept_no_more(h: House) -> None:
    """`high` was to go to node a; when it is deleted, `equal` need not wait five minutes."""
    await begin(h)
    await h.node("a")
    await h.pod("low-0", "2")
    await h.pod("low-1", "2")
    await h.settle()
    await h.pod("high", "4", priorityClassName=HIGH)
    await h.settle()
    await h.pod("patient", "2", priorityClassName=HIGH)
    await h.client.delete(PODS, "low-0", "default", {"gracePeriodSeconds": 0})
    await h.settle(15)
    assert await h.place("patient") == ""
    await h.client.delete(PODS, "high", "default")
    await h.settle(15)
    assert await h.place("patient") == "a"


@virtual
async def test_a_less_important_pod_loses_its_nomination_for_everybody_to_see(h: House) -> None:
    await begin(h)
    await h.node("a")
    await h.pod("low", "3")
    await h.settle()
    await h.pod("middle", "3", priorityClassName=HIGH)
    await h.settle()
    assert (await h.get("middle"))["status"]["nominatedNodeName"] == "a"
    await h.pod("high", "3", priorityClassName="system-node-critical")
    await h.settle()
    assert (await h.get("high"))["status"]["nominatedNodeName"] == "a"
    assert "nominatedNodeName" not in (await h.get("middle"))["status"]


@virtual
async def test_what_is_said_of_a_pod_never_arrives_after_its_binding(h: House) -> None:
    line = await begin(h)
    await h.node("a")
    await h.pod("low", "3")
    await h.settle()
    line.rule = lambda method, path, body: 4.0 if path.endswith("/high/status") else 0.0
    await h.pod("high", "3", priorityClassName=HIGH)
    await h.settle()
    await h.client.delete(PODS, "low", "default", {"gracePeriodSeconds": 0})
    await h.settle(15)
    high = await h.get("high")
    assert high["spec"]["nodeName"] == "a"
    assert "nominatedNodeName" not in high["status"]


@virtual
async def test_a_pod_that_is_bound_after_all_is_not_called_a_failure(h: House) -> None:
    line = await begin(h)
    await h.node("a")
    line.lost = lambda method, path: path.endswith("/binding")
    await h.pod("web")
    await h.settle(5)
    assert (await h.condition("web"))["status"] == "True"
    events = (await h.client.list(EVENTS, "default"))["items"]
    assert not [event for event in events if event["reason"] == "FailedScheduling"]


@virtual
async def test_what_was_said_of_a_pod_on_its_way_counts_when_it_comes_back(h: House) -> None:
    """It gets a toleration while it is being bound; that fails, and only the toleration lets it go anywhere."""
    line = await begin(h)
    await h.node("a")
    started = asyncio.Event()

    def rule(method: str, path: str, body: Any) -> float | tuple[float, Exception]:
        if path.endswith("/status"):
            return 0.0, DOWN
        if started.is_set() or not path.endswith("/binding"):
            return 0.0
        started.set()
        return 2.0, DOWN

    line.rule = rule
    await h.pod("web")
    await started.wait()
    taint = [{"key": "k", "effect": "NoSchedule"}]
    await h.client.patch(NODES, "a", {"spec": {"taints": taint}})
    pod = await h.get("web")
    tolerations = [*pod["spec"]["tolerations"], {"key": "k", "operator": "Exists"}]
    await h.client.patch(PODS, "web", {"spec": {"tolerations": tolerations}}, "default")
    await h.settle(20)
    assert await h.place("web") == "a"


async def member(h: House, name: str, minimum: int, cpu: str, **spec: Any) -> None:
    labels = {NAME_LABEL: "g", MINIMUM_LABEL: str(minimum)}
    container = {"name": "c", "image": "x", "resources": {"requests": {"cpu": cpu}}}
    pod = {"metadata": {"name": name, "labels": labels}, "spec": {"containers": [container], **spec}}
    await h.client.create(PODS, {"apiVersion": "v1", "kind": "Pod", **pod}, "default")


@virtual
async def test_a_new_scheduler_knows_the_members_that_run_already(h: House) -> None:
    """Its first list may tell of the one that waits before it tells of those that run."""
    await h.node("a")
    for name, spec in (("g-0", {}), ("g-1", {"nodeName": "a"}), ("g-2", {"nodeName": "a"})):
        await member(h, name, 3, "1", **spec)
    await begin(h)
    await h.settle(15)
    assert await h.place("g-0") == "a"


@virtual
async def test_a_gang_that_lost_a_pod_keeps_no_room(h: House) -> None:
    await begin(h)
    await h.node("a")
    await h.pod("low", "3")
    await h.settle()
    for number in range(2):
        await member(h, f"g-{number}", 2, "2", priorityClassName=HIGH)
    await h.settle()
    assert (await h.get("g-0"))["status"]["nominatedNodeName"] == "a"
    await h.client.delete(PODS, "g-1", "default")
    await h.pod("next", "1")
    await h.settle(15)
    assert "nominatedNodeName" not in (await h.get("g-0"))["status"]
    assert await h.place("next") == "a"


@virtual
async def test_no_room_is_kept_for_a_pod_that_can_go_nowhere(h: House) -> None:
    """Its claim is deleted while its victim still ends."""
    await begin(h)
    await h.node("a")
    await h.pod("low", "3")
    await h.settle()
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    claim = {"metadata": {"name": "data"}, "spec": {**spec, "storageClassName": "late"}}
    late = {"metadata": {"name": "late"}, "provisioner": "p", "volumeBindingMode": "WaitForFirstConsumer"}
    await h.client.create(
        STORAGE_CLASSES, {**late, "kind": "StorageClass", "apiVersion": "storage.k8s.io/v1"}
    )
    kind = {"kind": "PersistentVolumeClaim", "apiVersion": "v1"}
    await h.client.create(PERSISTENT_VOLUME_CLAIMS, {**claim, **kind}, "default")
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    await h.pod("high", "3", priorityClassName=HIGH, volumes=volumes)
    await h.settle()
    assert (await h.get("high"))["status"]["nominatedNodeName"] == "a"
    free = {"metadata": {"finalizers": None}}
    await h.client.patch(PERSISTENT_VOLUME_CLAIMS, "data", free, "default")
    await h.client.delete(PERSISTENT_VOLUME_CLAIMS, "data", "default")
    await h.client.delete(PODS, "low", "default", {"gracePeriodSeconds": 0})
    await h.pod("next", "3")
    await h.settle(15)
    assert "nominatedNodeName" not in (await h.get("high"))["status"]
    assert await h.place("next") == "a"


class LosesItsVolume(PreBindPlugin):
    """As VolumeBinding when a claim is deleted under its hands."""

    name = "LosesItsVolume"

    def __init__(self) -> None:
        self.left = 1

    async def pre_bind(self, cycle: Cycle, node: str) -> None:
        if self.left:
            self.left -= 1
            raise ApiError(404, "NotFound", 'persistentvolumeclaims "data" not found')


@loop.virtual(LosesItsVolume)
async def test_something_else_that_is_gone_is_no_reason_to_forget_the_pod(c: loop.Running) -> None:
    await c.node("a")
    await c.pod("web")
    await c.settle(15)
    assert await c.place("web") == "a"


def _pod(nominated: str = "", **fields: Any) -> Any:
    made = b.pod(**fields)
    made["metadata"]["uid"] = "u"
    made["status"] = {"nominatedNodeName": nominated} if nominated else {}
    return pod_info(made)


def test_only_a_change_of_its_status_changes_where_a_pod_is_expected() -> None:
    nominator, freed = Nominator(), []
    nominator.freed = lambda info: freed.append(info.node)
    nominator.seen("", _pod("a"))
    nominator.put(_pod("a"), "b")
    assert freed == ["a"]
    nominator.seen("a", _pod("a"))
    assert nominator.pods()[0].node == "b", "what was decided since is on its way"
    nominator.seen("a", _pod())
    assert (list(nominator.pods()), freed) == ([], ["a", "b"])
    nominator.put(_pod(), "c")
    nominator.remove(_pod().uid, "c")
    assert freed == ["a", "b"], "it has taken its room itself"
