"""What people and machines do to a cluster, one random thing at a time."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import (
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    POD_DISRUPTION_BUDGETS,
    POD_GROUPS,
    PODS,
    PRIORITY_CLASSES,
    SERVICE_ACCOUNTS,
    STORAGE_CLASSES,
)
from pilothouse.api.types import Obj
from pilothouse.client.resource_client import ResourceClient
from pilothouse.kit.world import World
from tests.simulation.scheduling import shapes
from tests.simulation.scheduling.history import History

_NODES_MAX, _PODS_MAX = 9, 50


class Churn:
    def __init__(
        self,
        client: ResourceClient,
        history: History,
        world: World,
        chance: random.Random,
        trace: Callable[[str], None],
        schedulers: int,
    ) -> None:
        self._client = client
        self._history = history
        self._world = world
        self._chance = chance
        self._trace = trace
        self._schedulers = schedulers
        self._made = 0

    async def begin(self) -> None:
        client = self._client
        for namespace in shapes.NAMESPACES:
            if namespace != "default":
                await client.create(
                    NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
                )
            account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
            await client.create(SERVICE_ACCOUNTS, account, namespace)
        for obj in shapes.classes():
            await client.create(STORAGE_CLASSES, obj)
        for obj in shapes.priorities():
            await client.create(PRIORITY_CLASSES, obj)
        for zone in shapes.ZONES:
            name = f"local-{zone}"
            await client.create(PERSISTENT_VOLUMES, shapes.volume(name, zone, shapes.LOCAL))
            free = {"status": {"phase": "Available"}}
            await client.patch(PERSISTENT_VOLUMES, name, free, subresource="status")
        for _ in range(self._chance.randint(2, 5)):
            await self._add_node()
        for app in shapes.APPS[:2]:
            await self._budget(app)

    async def run(self, seconds: float) -> None:
        """So long, in bursts and pauses."""
        until_s = self._world.clock.monotonic() + seconds
        while self._world.clock.monotonic() < until_s:
            work = self._chance.choices(list(_DEEDS), list(_DEEDS.values()))[0]
            try:
                await work(self)
            except ApiError as error:
                if error.code not in (404, 409):
                    raise
            if self._chance.random() < 0.6:
                await self._world.clock.sleep(self._chance.expovariate(1.0))

    # -- nodes ------------------------------------------------------------------------------------------

    def _some(self, kind: str, wanted: Callable[[Obj], bool] = lambda obj: True) -> Obj | None:
        found = [obj for _, obj in sorted(self._history.now(kind).items()) if wanted(obj)]
        return self._chance.choice(found) if found else None

    async def _add_node(self) -> None:
        taken = self._history.now("nodes")
        free = [f"n{number}" for number in range(_NODES_MAX) if f"n{number}" not in taken]
        if not free:
            return
        name = self._chance.choice(free)
        self._trace(f"node {name} comes")
        await self._client.create(NODES, shapes.node(name, self._chance))
        room = shapes.room(self._chance)
        status = {"capacity": room, "allocatable": room, "images": shapes.images(self._chance)}
        await self._client.patch(NODES, name, {"status": status}, subresource="status")
        await self._client.patch(NODES, name, {"spec": {"taints": None}})

    async def _remove_node(self) -> None:
        node = self._some("nodes")
        if node is not None and len(self._history.now("nodes")) > 2:
            self._trace(f"node {node['metadata']['name']} goes")
            await self._client.delete(NODES, node["metadata"]["name"])

    async def _patch_node(self, patch: Obj, what: str, node: Obj | None, subresource: str = "") -> None:
        if node is not None:
            name = node["metadata"]["name"]
            self._trace(f"node {name} is {what}")
            await self._client.patch(NODES, name, patch, subresource=subresource)

    async def _cordon(self) -> None:
        node = self._some("nodes")
        if node is not None:
            off = not node["spec"].get("unschedulable")
            what = "cordoned" if off else "uncordoned"
            await self._patch_node({"spec": {"unschedulable": off or None}}, what, node)

    async def _taint(self) -> None:
        node = self._some("nodes")
        if node is not None:
            if node["spec"].get("taints"):
                await self._patch_node({"spec": {"taints": None}}, "clear of taints", node)
            else:
                given = shapes.taint(self._chance)
                await self._patch_node({"spec": {"taints": [given]}}, f"tainted {given['key']}", node)

    async def _resize(self) -> None:
        room = shapes.room(self._chance)
        room.setdefault(shapes.GPU, "0")
        patch = {"status": {"capacity": room, "allocatable": room}}
        await self._patch_node(patch, f"resized to {room}", self._some("nodes"), "status")

    async def _label(self) -> None:
        key, values = self._chance.choice(((shapes.ZONE, shapes.ZONES), (shapes.DISK, ("ssd", "hdd", None))))
        value = self._chance.choice(values)
        patch = {"metadata": {"labels": {key: value}}}
        await self._patch_node(patch, f"labelled {key}={value}", self._some("nodes"))

    # -- pods -------------------------------------------------------------------------------------------

    def _name(self, prefix: str) -> str:
        self._made += 1
        return f"{prefix}{self._made}"

    async def _add_pod(self) -> None:
        if len(self._history.now("pods")) >= _PODS_MAX:
            await self._delete_pod()
            return
        namespace = self._chance.choice(("default", "default", "team"))
        pod = shapes.pod(self._name("p"), self._chance, self._schedulers)
        claims = [v["persistentVolumeClaim"]["claimName"] for v in pod["spec"].get("volumes") or ()]
        before = self._chance.random() < 0.7
        if before:
            await self._claims(claims, namespace)
        self._trace(f"pod {namespace}/{pod['metadata']['name']} comes")
        await self._client.create(PODS, pod, namespace)
        if not before:
            await self._claims(claims, namespace)

    async def _claims(self, names: list[str], namespace: str) -> None:
        for name in names:
            kind = self._chance.choice((shapes.PROVISIONED, shapes.EAST_ONLY, shapes.LOCAL))
            await self._client.create(PERSISTENT_VOLUME_CLAIMS, shapes.claim(name, kind), namespace)

    async def _bound_pod(self) -> None:
        """Somebody else's: a daemon, a static pod."""
        node = self._some("nodes")
        if node is not None and len(self._history.now("pods")) < _PODS_MAX:
            pod = shapes.pod(self._name("fixed"), self._chance)
            pod["spec"].pop("schedulingGates", None)
            pod["spec"].pop("volumes", None)
            pod["spec"]["nodeName"] = node["metadata"]["name"]
            self._trace(f"pod default/{pod['metadata']['name']} comes on {node['metadata']['name']}")
            await self._client.create(PODS, pod, "default")

    async def _delete_pod(self) -> None:
        pod = self._some("pods")
        if pod is None:
            return
        meta = pod["metadata"]
        self._trace(f"pod {meta['namespace']}/{meta['name']} is deleted")
        await self._client.delete(PODS, meta["name"], meta["namespace"])
        if self._chance.random() < 0.15:
            # Another one takes its name at once, as a StatefulSet's would.
            now = self._history.now("pods").get(f"{meta['namespace']}/{meta['name']}")
            if now is None and not meta["name"].startswith("g"):
                again = shapes.pod(meta["name"], self._chance, self._schedulers)
                again["spec"].pop("volumes", None)
                self._trace(f"pod {meta['namespace']}/{meta['name']} comes again")
                await self._client.create(PODS, again, meta["namespace"])

    async def _patch_pod(self, pod: Obj | None, patch: Obj, what: str, subresource: str = "") -> None:
        if pod is not None:
            meta = pod["metadata"]
            self._trace(f"pod {meta['namespace']}/{meta['name']} {what}")
            await self._client.patch(PODS, meta["name"], patch, meta["namespace"], subresource=subresource)

    async def _finish_pod(self) -> None:
        pod = self._some("pods", lambda p: p["status"].get("phase") == "Running")
        await self._patch_pod(pod, {"status": {"phase": "Succeeded"}}, "is done", "status")

    async def _relabel_pod(self) -> None:
        app = self._chance.choice(shapes.APPS)
        pod = self._some("pods", lambda p: not p["metadata"]["name"].startswith("g"))
        await self._patch_pod(pod, {"metadata": {"labels": {"app": app}}}, f"gets app={app}")

    async def _tolerate(self) -> None:
        pod = self._some("pods", lambda p: not p["spec"].get("nodeName"))
        if pod is not None:
            more = {"key": "flaky", "operator": "Exists"}
            given = [*(pod["spec"].get("tolerations") or ()), more]
            await self._patch_pod(pod, {"spec": {"tolerations": given}}, "tolerates flaky")

    async def _ungate(self) -> None:
        pod = self._some("pods", lambda p: bool(p["spec"].get("schedulingGates")))
        await self._patch_pod(pod, {"spec": {"schedulingGates": []}}, "has no gates any more")

    async def _gang(self) -> None:
        if len(self._history.now("pods")) >= _PODS_MAX:
            return
        name, chance = self._name("g"), self._chance
        minimum = chance.randint(2, 4)
        like = {
            "cpu": chance.choice(("500m", "1", "2")),
            "disk": chance.choice(("", "", "ssd")),
            "priority": chance.choice(("", "", "middle", "high")),
            "scheduler": shapes.SCHEDULERS[chance.randrange(self._schedulers)],
            "by_label": chance.random() < 0.3,
            "minimum": minimum,
        }
        self._trace(f"gang {name} of {minimum} comes: {like}")
        if not like["by_label"]:
            group = {
                "apiVersion": "scheduling.k8s.io/v1alpha2",
                "kind": "PodGroup",
                "metadata": {"name": name},
                "spec": {"schedulingPolicy": {"gang": {"minCount": minimum}}},
            }
            await self._client.create(POD_GROUPS, group, "default")
        for number in range(minimum + chance.choice((0, 0, 1))):
            await self._client.create(PODS, shapes.member(f"{name}-{number}", name, like), "default")
            if chance.random() < 0.2:
                await self._world.clock.sleep(chance.random())

    # -- others -----------------------------------------------------------------------------------------

    async def _delete_claim(self) -> None:
        claim = self._some("persistentvolumeclaims")
        if claim is not None:
            meta = claim["metadata"]
            self._trace(f"claim {meta['namespace']}/{meta['name']} is deleted")
            free = {"metadata": {"finalizers": None}}
            await self._client.patch(PERSISTENT_VOLUME_CLAIMS, meta["name"], free, meta["namespace"])
            await self._client.delete(PERSISTENT_VOLUME_CLAIMS, meta["name"], meta["namespace"])

    async def _make_claim(self) -> None:
        """A claim that a pod misses."""
        claims = self._history.now("persistentvolumeclaims")
        for key, pod in sorted(self._history.now("pods").items()):
            if pod["spec"].get("volumes") and not pod["spec"].get("nodeName") and f"{key}-data" not in claims:
                await self._claims([f"{pod['metadata']['name']}-data"], pod["metadata"]["namespace"])
                return

    async def _budget(self, app: str) -> None:
        made = await self._client.create(
            POD_DISRUPTION_BUDGETS, shapes.budget(self._name("b"), app), "default"
        )
        await self._allow(made)

    async def _allow(self, budget: Obj) -> None:
        """What the disruption controller would work out, drawn by lot."""
        allowed = self._chance.choice((0, 0, 1, 2))
        meta = budget["metadata"]
        status = {
            "disruptionsAllowed": allowed,
            "currentHealthy": 2,
            "desiredHealthy": 1,
            "expectedPods": 2,
            "observedGeneration": meta["generation"],
        }
        await self._client.patch(
            POD_DISRUPTION_BUDGETS,
            meta["name"],
            {"status": status},
            meta["namespace"],
            subresource="status",
        )

    async def _change_budget(self) -> None:
        budget = self._some("poddisruptionbudgets")
        if budget is not None:
            await self._allow(budget)


_DEEDS: dict[Callable[[Churn], Awaitable[None]], float] = {
    Churn._add_node: 4,
    Churn._remove_node: 2,
    Churn._cordon: 2,
    Churn._taint: 3,
    Churn._resize: 3,
    Churn._label: 3,
    Churn._add_pod: 30,
    Churn._bound_pod: 1,
    Churn._delete_pod: 9,
    Churn._finish_pod: 3,
    Churn._relabel_pod: 3,
    Churn._tolerate: 2,
    Churn._ungate: 2,
    Churn._gang: 3,
    Churn._delete_claim: 1,
    Churn._make_claim: 1,
    Churn._change_budget: 1,
}
