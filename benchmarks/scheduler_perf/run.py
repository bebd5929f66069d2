"""The operations of one workload, performed in order on a cluster (executor.go, operations.go, dra.go).

Each opcode is one method of `Run`, found in the table at the end. What an operation leaves running (churn, deletions
at a rate) goes on beside the others and ends with the workload.
"""

from __future__ import annotations

import asyncio
import copy
import cProfile
import fnmatch
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from benchmarks.scheduler_perf import claims, objects
from benchmarks.scheduler_perf.cluster import BenchmarkCluster, NotServed
from benchmarks.scheduler_perf.read import Case, Operation, WorkloadError
from benchmarks.scheduler_perf.templates import Template
from benchmarks.scheduler_perf.throughput import Throughput
from benchmarks.scheduler_perf.watching import PodWatch, Stage
from pilothouse.api.errors import ApiError
from pilothouse.api.resources import (
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    POD_GROUPS,
    PODS,
    RESOURCE_CLAIMS,
    RESOURCE_SLICES,
    Resource,
)
from pilothouse.api.types import Obj
from pilothouse.kit.tasks import Tasks

WORKERS = 30
"""Creations at a time, as upstream's."""
_NODE_TRIES = 5
_POLL_S = 1.0
_PATIENCE_S = 600.0
_CREATION_PATIENCE_S = 20.0
_FINAL = (400, 403, 422)
"""Answers that no further try changes; upstream tries again after any, for a kind may not be served yet."""
_STRICT = {"fieldValidation": "Strict"}

Values = Mapping[str, Any]


class Window:
    """One collection of figures; `name` tells it from others of the same workload."""

    def __init__(self, name: str, throughput: Throughput) -> None:
        self.name = name
        self.throughput = throughput
        self.cpu_s = -time.process_time()

    @property
    def cpu_us(self) -> float:
        """Processor time of the whole process for each pod: server, scheduler, creation; other load does not show."""
        return self.cpu_s * 1e6 / max(self.throughput.scheduled, 1)


class Run:
    """`windows` has what was collected, in order. WorkloadError for what the workload asks in vain."""

    def __init__(self, cluster: BenchmarkCluster, case: Case) -> None:
        self._cluster = cluster
        self._client = cluster.client
        self._world = cluster.world
        self._case = case
        self._tasks = Tasks("workload")
        self._watch = PodWatch(cluster.pods)
        self._awaited: dict[str, int] = {}
        """By namespace that was made here, the pods that a barrier waits for."""
        self._nodes = 0
        self._window: Window | None = None
        self._sampler: asyncio.Task[None] | None = None
        self._profile: tuple[cProfile.Profile, str] | None = None
        self.windows: list[Window] = []

    async def perform(self, operations: list[Operation]) -> None:
        try:
            for number, operation in enumerate(operations):
                work = asyncio.ensure_future(self._perform(number, operation))
                crash = asyncio.ensure_future(self._cluster.tasks.wait())
                await asyncio.wait((work, crash), return_when=asyncio.FIRST_COMPLETED)
                if not work.done():
                    work.cancel()
                crash.cancel()
                await asyncio.gather(work, crash, return_exceptions=True)
                if not crash.cancelled():
                    crash.result()
                work.result()
        finally:
            await self._tasks.stop()

    async def _perform(self, number: int, operation: Operation) -> None:
        self._say(f"operation {number}: {operation.opcode} {_brief(operation.values)}")
        await OPERATIONS[operation.opcode](self, operation.values, number)

    def _say(self, text: str) -> None:
        print(f"  {text}", file=sys.stderr, flush=True)

    def _now(self) -> float:
        return self._world.clock.monotonic()

    # -- nodes, namespaces, any objects -----------------------------------------------------------------

    async def create_nodes(self, values: Values, number: int) -> None:
        count = values.get("count", 0)
        path = values.get("nodeTemplatePath")
        template = Template(path, values.get("templateParams"), NODES) if path is not None else None
        prefix = f"node-{number}-"
        preparation = objects.Preparation(values, self._world)

        async def one(index: int) -> None:
            made = template or objects.BaseNode(prefix)
            name = await self._create_node(made, index, count, preparation)
            csi_node = preparation.csi_node(name)
            if csi_node is not None:
                await self._client.create(self._cluster.resource(csi_node), csi_node)

        await self._in_parallel(count, one)
        self._nodes += count
        await self._until(lambda: len(self._cluster.table) >= self._nodes, "the scheduler to see all nodes")

    async def _create_node(
        self, template: Template | objects.BaseNode, index: int, count: int, preparation: objects.Preparation
    ) -> str:
        """Its name. Five random letters are soon taken twice; upstream tries five times as well."""
        for left in reversed(range(_NODE_TRIES)):
            node = template.object(index, count)
            preparation.prepare(node, index)
            name: str = node["metadata"]["name"]
            try:
                await self._client.create(NODES, node)
            except ApiError as error:
                if error.code != 409 or not left:
                    raise
            else:
                return name
        raise AssertionError("the last try returns or raises")

    async def create_namespaces(self, values: Values, number: int) -> None:
        path = values.get("namespaceTemplatePath")
        template = Template(path, kind=NAMESPACES) if path is not None else None
        for index in range(values.get("count", 0)):
            obj: Obj = template.object() if template is not None else {}
            name = f"{values['prefix']}-{index}"
            obj["metadata"] = {**(obj.get("metadata") or {}), "name": name}
            await self._make_namespace(name, obj)

    async def _make_namespace(self, name: str, obj: Obj | None = None) -> None:
        if name in self._awaited:
            return
        try:
            await self._client.create(NAMESPACES, obj or {"metadata": {"name": name}})
        except ApiError as error:
            if error.code != 409:
                raise
        self._awaited[name] = 0

    async def create_any(self, values: Values, number: int) -> None:
        await self._make_required(values)
        count = values.get("count", 1)
        template = Template(values["templatePath"], values.get("templateParams"))
        for index in range(count):
            await self._create(template.object(index, count), values)

    async def _create(self, obj: Obj, values: Values) -> None:
        """Tried for 20 s: a definition may have been created just now, and its kind not be served yet."""
        until_s = self._now() + _CREATION_PATIENCE_S
        while True:
            try:
                resource = self._placed(obj, values)
                await self._client.create(resource, own_copy(obj), values.get("namespace", ""), **_STRICT)
            except NotServed:
                if self._now() > until_s:
                    raise
            except ApiError as error:
                if error.code in _FINAL or self._now() > until_s:
                    raise WorkloadError(f"{values['templatePath']}: {error}") from None
            else:
                return
            await self._world.clock.sleep(_POLL_S)

    async def update_any(self, values: Values, number: int) -> None:
        """An update of the object, or of the subresources that are named, and one of its status."""
        await self._make_required(values)
        count = values.get("count", 1)
        template = Template(values["templatePath"], values.get("templateParams"))
        pace = _Pace(self, values.get("updatePerSecond", 0))
        for index in range(count):
            await pace.next()
            obj = template.object(index, count)
            resource = self._placed(obj, values)
            obj["metadata"]["namespace"] = values.get("namespace", "")
            part = "/".join(values.get("subresources") or ())
            for subresource in (part, "status"):
                await self._client.update(resource, own_copy(obj), subresource=subresource, **_STRICT)

    def _placed(self, obj: Obj, values: Values) -> Resource:
        """WorkloadError when a namespace is named for what has none, or lacks where one is needed."""
        resource = self._cluster.resource(obj)
        if resource.group == RESOURCE_CLAIMS.group:
            self._cluster.run_claim_controller()
        if resource.namespaced != bool(values.get("namespace")):
            what = "needs a namespace" if resource.namespaced else "cannot be in a namespace"
            raise WorkloadError(f"{values['templatePath']}: a {resource.kind} {what}")
        return resource

    async def _make_required(self, values: Values) -> None:
        if values.get("namespace"):
            await self._make_namespace(values["namespace"])

    # -- pods -------------------------------------------------------------------------------------------

    async def create_pods(self, values: Values, number: int) -> None:
        namespace = values.get("namespace") or f"namespace-{number}"
        await self._make_namespace(namespace)
        count = values.get("count", 0)
        if values.get("collectMetrics"):
            self._start_collecting(namespace, (namespace,), {})
        make = self._pod_maker(values, namespace, count)
        if values.get("steadyState"):
            await self._steadily(make, namespace, count, values["duration"])
        else:
            await self._in_parallel(count, make)
            if values.get("skipWaitToCompletion"):
                self._awaited[namespace] += count
            else:
                await self._reached(namespace, count, ("scheduled",), {})
        if values.get("collectMetrics"):
            await self._stop_collecting()

    def _pod_maker(self, values: Values, namespace: str, count: int) -> Callable[[int], Awaitable[None]]:
        pod = self._pod_template(values, count)
        claim_path = values.get("persistentVolumeClaimTemplatePath")
        if claim_path is None:

            async def plain(index: int) -> None:
                await self._client.create(PODS, pod(index), namespace)

            return plain
        if values.get("persistentVolumeTemplatePath") is None:
            raise WorkloadError("createPods: persistentVolumeTemplatePath must be set beside the claim's")
        claims = Template(claim_path, kind=PERSISTENT_VOLUME_CLAIMS)
        volumes = Template(values["persistentVolumeTemplatePath"], kind=PERSISTENT_VOLUMES)

        async def with_volume(index: int) -> None:
            claim, volume = objects.bound_volume(claims.object(), volumes.object(), namespace, index)
            await self._client.create(PERSISTENT_VOLUME_CLAIMS, own_copy(claim), namespace)
            await self._client.update(PERSISTENT_VOLUME_CLAIMS, claim, subresource="status")
            await self._client.create(PERSISTENT_VOLUMES, own_copy(volume))
            await self._client.update(PERSISTENT_VOLUMES, volume, subresource="status")
            await self._client.create(PODS, objects.with_claim(pod(index), index), namespace)

        return with_volume

    def _pod_template(self, values: Values, count: int) -> Callable[[int], Obj]:
        path = values.get("podTemplatePath") or self._case.default_pod_template
        if path is None:
            return lambda index: objects.base_pod()
        template = Template(path, values.get("templateParams"), PODS)
        batch = values.get("signatureBatchSize", 0)
        if not batch:
            return lambda index: template.object(index, count)

        def signed(index: int) -> Obj:
            pod = template.object(index, count)
            labels = pod["metadata"].setdefault("labels", {})
            labels["signature"] = f"signature-label-{index // batch}"
            return pod

        return signed

    async def _steadily(
        self, make: Callable[[int], Awaitable[None]], namespace: str, count: int, duration_s: float
    ) -> None:
        """A new pod for each that gets a node, which is deleted; for some time."""
        scheduled: asyncio.Queue[Obj] = asyncio.Queue()

        def listen(pod: Obj) -> None:
            if pod["metadata"]["namespace"] == namespace:
                scheduled.put_nowait(pod)

        self._watch.listeners.append(listen)
        index, until_s = count, self._now() + duration_s
        try:
            await self._in_parallel(count, make)
            while (left_s := until_s - self._now()) > 0:
                try:
                    pod = await self._world.within(left_s, scheduled.get())
                except TimeoutError:
                    break
                await self._client.delete(PODS, pod["metadata"]["name"], namespace, {"gracePeriodSeconds": 0})
                await make(index)
                index += 1
        finally:
            self._watch.listeners.remove(listen)
        if index == count:
            raise WorkloadError(
                "no pod at all got scheduled: there is a problem, or the duration is too short"
            )

    async def delete_pods(self, values: Values, number: int) -> None:
        namespace, selector = values["namespace"], values.get("labelSelector") or {}
        pods = self._watch.pods(namespace, selector)
        rate = values.get("deletePodsPerSecond", 0)
        work = self._delete(pods, namespace, selector, rate)
        if values.get("skipWaitToCompletion"):
            self._beside("deletePods", work)
        else:
            await work

    async def _delete(self, pods: list[Obj], namespace: str, selector: Mapping[str, str], rate: int) -> None:
        if not rate:
            text = ",".join(f"{key}={value}" for key, value in selector.items())
            await self._client.delete_collection(PODS, namespace, labelSelector=text)
            return
        pace = _Pace(self, rate)
        for pod in pods:
            await pace.next()
            try:
                await self._client.delete(PODS, pod["metadata"]["name"], namespace)
            except ApiError as error:
                self._say(f"deletePods: {error}")

    async def barrier(self, values: Values, number: int) -> None:
        namespaces = values.get("namespaces") or list(self._awaited)
        selector = values.get("labelSelector") or {}
        attempted = values.get("stageRequirement") == "Attempted"
        stages: tuple[Stage, ...] = ("attempted", "scheduled") if attempted else ("scheduled",)
        for namespace in namespaces:
            if namespace not in self._awaited:
                raise WorkloadError(f"barrier: unknown namespace {namespace}")
            await self._reached(namespace, self._awaited[namespace], stages, selector)
            if not attempted:
                self._awaited[namespace] = 0

    async def _reached(
        self, namespace: str, count: int, stages: tuple[Stage, ...], selector: Mapping[str, str]
    ) -> None:
        """Looks once a second, as upstream does: the sampling of throughput ends with it."""
        told_s = began_s = self._now()
        while (found := self._watch.count(namespace, stages, selector)) < count:
            if self._now() - began_s > _PATIENCE_S:
                raise WorkloadError(f"namespace {namespace}: {found} of {count} pods are {stages[0]}")
            if self._now() - told_s >= 5:
                told_s = self._now()
                self._say(f"namespace {namespace}: {found} of {count} pods are {stages[0]}")
            await self._world.clock.sleep(_POLL_S)

    # -- churn and time ---------------------------------------------------------------------------------

    async def churn(self, values: Values, number: int) -> None:
        namespace = values.get("namespace") or f"namespace-{number}"
        await self._make_namespace(namespace)
        templates = [Template(path) for path in values["templatePaths"]]
        interval_s = (values.get("intervalMilliseconds") or 500) / 1000
        limit = values.get("number", 0)
        if values["mode"] == "create":
            self._beside("churn", self._create_on(templates, namespace, interval_s, limit))
        else:
            self._beside("churn", self._recreate(templates, namespace, interval_s, limit))

    async def _create_on(
        self, templates: list[Template], namespace: str, interval_s: float, limit: int
    ) -> None:
        count = 0
        pace = _Pace(self, 1 / interval_s)
        while not limit or count < limit:
            await pace.next()
            for template in templates:
                await self._churned(template, namespace)
            count += 1

    async def _recreate(
        self, templates: list[Template], namespace: str, interval_s: float, limit: int
    ) -> None:
        names = [[""] * limit for _ in templates]
        count = 0
        pace = _Pace(self, 1 / interval_s)
        while True:
            await pace.next()
            for template, made in zip(templates, names, strict=True):
                slot = count % limit
                if made[slot]:
                    await self._remove(template, made[slot], namespace)
                    made[slot] = ""
                else:
                    made[slot] = await self._churned(template, namespace)
            count += 1

    async def _churned(self, template: Template, namespace: str) -> str:
        """The new object's name; "" when it was refused, which upstream passes over."""
        obj = template.object()
        resource = self._cluster.resource(obj)
        try:
            made = await self._client.create(resource, obj, namespace if resource.namespaced else "")
        except ApiError as error:
            self._say(f"churn: {error}")
            return ""
        return str(made["metadata"]["name"])

    async def _remove(self, template: Template, name: str, namespace: str) -> None:
        resource = self._cluster.resource(template.object())
        try:
            await self._client.delete(resource, name, namespace if resource.namespaced else "")
        except ApiError as error:
            self._say(f"churn: {error}")

    async def sleep(self, values: Values, number: int) -> None:
        await self._world.clock.sleep(values.get("duration", 0.0))

    # -- pod groups and devices -------------------------------------------------------------------------

    async def create_pod_groups(self, values: Values, number: int) -> None:
        await self._make_namespace(values["namespace"])
        count = values.get("count", 0)
        template = Template(values["templatePath"], values.get("templateParams"), POD_GROUPS)
        for index in range(count):
            await self._create(template.object(index, count), values)
        await self.wait_for_pod_groups(values, number)

    async def wait_for_pod_groups(self, values: Values, number: int) -> None:
        """Upstream looks at the scheduler's informer; one that lags here meets a group's pods before the group, and
        waits for it."""
        until_s = self._now() + 10
        while True:
            found = await self._client.list(POD_GROUPS, values["namespace"])
            if len(found["items"]) >= values.get("count", 0):
                return
            if self._now() > until_s:
                raise WorkloadError(
                    f"namespace {values['namespace']}: {len(found['items'])} pod groups after 10 s"
                )
            await self._world.clock.sleep(0.1)

    async def create_resource_claims(self, values: Values, number: int) -> None:
        await self._make_namespace(values["namespace"])
        template = Template(values["templatePath"], kind=RESOURCE_CLAIMS)
        count = values.get("count", 0)

        async def one(index: int) -> None:
            obj = template.object(index, count)
            await self._client.create(self._placed(obj, values), obj, values["namespace"])

        await self._in_parallel(count, one)

    async def create_resource_driver(self, values: Values, number: int) -> None:
        self._cluster.run_claim_controller()
        nodes = await self._client.list(NODES)
        for node in nodes["items"]:
            name = node["metadata"]["name"]
            if fnmatch.fnmatchcase(name, values["nodes"]):
                made = objects.resource_slice(values["driverName"], name, values.get("maxClaimsPerNode", 0))
                await self._client.create(RESOURCE_SLICES, made)

    async def alloc_resource_claims(self, values: Values, number: int) -> None:
        await claims.allocate_all(self._client, self._world, values.get("namespace", ""))

    async def update_device_conditions(self, values: Values, number: int) -> None:
        """Report one condition on every device of a namespace's claims that waits for some."""
        condition = {
            "type": values.get("conditionType", ""),
            "status": values.get("conditionStatus", ""),
            "reason": "Test",
            "message": "Test",
            "lastTransitionTime": self._world.timestamp(),
        }
        conditions = values.get("conditions") or [condition]
        for claim in (await self._client.list(RESOURCE_CLAIMS, values["namespace"]))["items"]:
            status = claim.get("status") or {}
            results = ((status.get("allocation") or {}).get("devices") or {}).get("results") or ()
            devices = [
                {**{k: device[k] for k in ("driver", "pool", "device")}, "conditions": conditions}
                for device in results
                if device.get("bindingConditions") or device.get("bindingFailureConditions")
            ]
            changed = {**claim, "status": {**status, "devices": [*(status.get("devices") or ()), *devices]}}
            await self._client.update(RESOURCE_CLAIMS, changed, subresource="status")

    async def check_pod_scheduled(self, values: Values, number: int) -> None:
        """All pods of a namespace have a node, or (for 5 s on end) none has."""
        wanted, namespace = values.get("expectedScheduled", False), values["namespace"]
        until_s = self._now() + values.get("duration", 0.0)
        stable_s: float | None = None
        while True:
            pods = self._watch.pods(namespace, {})
            fine = all(bool(pod["spec"].get("nodeName")) == wanted for pod in pods)
            stable_s = (stable_s or self._now()) if fine else None
            if stable_s is not None and (wanted or self._now() - stable_s >= 5):
                return
            if self._now() > until_s:
                what = "not all have a node" if wanted else "some have a node"
                raise WorkloadError(f"checkPodScheduled: of the pods in namespace {namespace} {what}")
            await self._world.clock.sleep(_POLL_S)

    # -- figures ----------------------------------------------------------------------------------------

    async def start_collecting(self, values: Values, number: int) -> None:
        name = values.get("name") or "+".join(values["namespaces"])
        self._start_collecting(name, tuple(values["namespaces"]), values.get("labelSelector") or {})

    async def stop_collecting(self, values: Values, number: int) -> None:
        await self._stop_collecting()

    def _start_collecting(self, name: str, namespaces: tuple[str, ...], selector: Mapping[str, str]) -> None:
        if self._window is not None:
            raise WorkloadError(f"collecting {name} begins before collecting {self._window.name} has ended")
        throughput = Throughput(frozenset(namespaces), selector, self._now())
        self._window = Window(name, throughput)
        self._listener = lambda pod: throughput.note(pod, self._now())
        self._watch.listeners.append(self._listener)
        self._sampler = self._beside("sampling", self._sample(throughput))

    async def _sample(self, throughput: Throughput) -> None:
        pace = _Pace(self, 1)
        while True:
            await pace.next()
            throughput.sample(self._now())

    async def _stop_collecting(self) -> None:
        if self._window is None or self._sampler is None:
            raise WorkloadError("stopCollectingMetrics without a startCollectingMetrics before it")
        self._sampler.cancel()
        self._window.cpu_s += time.process_time()
        self._watch.listeners.remove(self._listener)
        self.windows.append(self._window)
        self._window = None

    async def start_profile(self, values: Values, number: int) -> None:
        if self._profile is not None:
            raise WorkloadError("startCollectingProfile: a profile is being collected already")
        self._profile = cProfile.Profile(), values["filePath"]
        self._profile[0].enable()

    async def stop_profile(self, values: Values, number: int) -> None:
        """What Python's cProfile has; its file is for the module pstats."""
        if self._profile is None:
            raise WorkloadError("stopCollectingProfile without a startCollectingProfile before it")
        profile, name = self._profile
        profile.disable()
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        profile.dump_stats(name)
        self._profile = None

    # -- doing ------------------------------------------------------------------------------------------

    def _beside(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self._tasks.start(name, work)

    async def _in_parallel(self, count: int, one: Callable[[int], Awaitable[None]]) -> None:
        """`one` for every number, a few at a time; the first failure ends it."""
        numbers = iter(range(count))

        async def worker() -> None:
            for number in numbers:
                await one(number)

        workers = [asyncio.ensure_future(worker()) for _ in range(min(WORKERS, count))]
        try:
            await asyncio.gather(*workers)
        finally:
            for task in workers:
                task.cancel()

    async def _until(self, holds: Callable[[], bool], what: str) -> None:
        until_s = self._now() + _PATIENCE_S
        while not holds():
            if self._now() > until_s:
                raise WorkloadError(f"waited {_PATIENCE_S:g} s in vain for {what}")
            await self._world.clock.sleep(0.05)


class _Pace:
    """`next` returns so many times a second, at once for 0; what was late is not made up for (Go's Ticker)."""

    def __init__(self, run: Run, per_second: float) -> None:
        self._run = run
        self._interval_s = 1 / per_second if per_second else 0.0
        self._due_s = run._now() + self._interval_s

    async def next(self) -> None:
        if not self._interval_s:
            return
        await self._run._world.clock.sleep(max(self._due_s - self._run._now(), 0.0))
        self._due_s = max(self._due_s + self._interval_s, self._run._now())


def own_copy(obj: Obj) -> Obj:
    """A body belongs to the server from the request on."""
    return copy.deepcopy(obj)


def _brief(values: Values) -> str:
    shown = {
        k: v.name if isinstance(v, Path) else v for k, v in values.items() if not isinstance(v, (dict, list))
    }
    return " ".join(f"{key}={value}" for key, value in shown.items())


OPERATIONS: Mapping[str, Callable[[Run, Values, int], Awaitable[None]]] = {
    "createNodes": Run.create_nodes,
    "createNamespaces": Run.create_namespaces,
    "createPods": Run.create_pods,
    "createAny": Run.create_any,
    "updateAny": Run.update_any,
    "deletePods": Run.delete_pods,
    "churn": Run.churn,
    "barrier": Run.barrier,
    "sleep": Run.sleep,
    "createPodGroups": Run.create_pod_groups,
    "waitForPodGroups": Run.wait_for_pod_groups,
    "createResourceClaims": Run.create_resource_claims,
    "createResourceDriver": Run.create_resource_driver,
    "allocResourceClaims": Run.alloc_resource_claims,
    "updateDeviceConditions": Run.update_device_conditions,
    "checkPodScheduled": Run.check_pod_scheduled,
    "startCollectingMetrics": Run.start_collecting,
    "stopCollectingMetrics": Run.stop_collecting,
    "startCollectingProfile": Run.start_profile,
    "stopCollectingProfile": Run.stop_profile,
}
