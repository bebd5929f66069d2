"""People who edit a cluster at random, and machines that fail: what happens between the start and the verdict.

Everything comes from one seed. Edits are what users do: they know the API and nothing of the controllers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import (
    CONFIG_MAPS,
    CRON_JOBS,
    CUSTOM_RESOURCE_DEFINITIONS,
    DAEMON_SETS,
    DEPLOYMENTS,
    JOBS,
    NAMESPACES,
    NODES,
    POD_DISRUPTION_BUDGETS,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    SERVICES,
    STATEFUL_SETS,
    Resource,
)
from pilothouse.api.types import Obj
from pilothouse.client.resource_client import ResourceClient
from tests.simulation.controllers_cluster import Party

SPACES = ("red", "blue")
DOOMED = "doomed"
WIDGETS = Resource("example.com", "v1", "widgets", "Widget")
NODE_COUNT = 4
STOPPED = "pilothouse.dev/stopped"
_APPS = ("ant", "bee", "cat")
_IMAGES = ("app:1", "app:2", "app:3")
_WORKLOADS = (
    DEPLOYMENTS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
    DAEMON_SETS,
    JOBS,
    CRON_JOBS,
)
_POLICIES = ("Background", "Foreground", "Orphan")
_MERGE = "merge"

Action = Callable[[], Awaitable[None]]


class Storm:
    """`run` for so many seconds, then `calm`."""

    def __init__(self, party: Party, random: Random, *, faults: bool, unknown: bool) -> None:
        self._party = party
        self._client: ResourceClient = party.client
        self._random = random
        self._faults = faults
        self._unknown = unknown
        self._numbers = iter(range(10**6))
        self._tasks: set[asyncio.Task[None]] = set()
        self.told: list[str] = []
        """What was done, for whoever reads a failure."""

    async def run(self, seconds: float) -> None:
        await self._prepare()
        loop = asyncio.get_running_loop()
        until_s = loop.time() + seconds
        actions = self._actions()
        while loop.time() < until_s:
            action = self._random.choices([a for a, _ in actions], [w for _, w in actions])[0]
            await self._try(action)
            await asyncio.sleep(self._random.choice((0.0, 0.0, 0.05, 0.5, 3.0, 8.0)))

    async def calm(self) -> None:
        """The weather clears, machines come back, schedules end."""
        self._party.weather.clear()
        self._party.mild.clear()
        await asyncio.gather(*self._tasks)
        for index in range(NODE_COUNT):
            await self._node(f"node-{index}", {"metadata": {"annotations": {STOPPED: None}}})
        await self._node("node-0", {"spec": {"unschedulable": None, "taints": None}})
        for job in (await self._client.list(CRON_JOBS))["items"]:
            await self._patch(CRON_JOBS, job, {"spec": {"suspend": True}})

    def _actions(self) -> list[tuple[Action, float]]:
        found: list[tuple[Action, float]] = [
            (self._create, 16),
            (self._edit, 40),
            (self._delete, 6),
            (self._meddle, 12),
            (self._node_trouble, 5),
            (self._dependents, 5),
        ]
        if self._faults:
            found += [(self._turn_weather, 4), (self._manager_trouble, 1)]
        return found

    async def _try(self, action: Action) -> None:
        try:
            await action()
        except ApiError as error:
            self._say(f"refused: {error}")

    def _say(self, text: str) -> None:
        self.told.append(f"{asyncio.get_running_loop().time():8.2f} {text}")

    async def _prepare(self) -> None:
        for name in (*SPACES, DOOMED):
            await self._client.create(NAMESPACES, {"metadata": {"name": name}})
        await self._client.create(CUSTOM_RESOURCE_DEFINITIONS, _definition())
        await asyncio.sleep(3)
        await self._populate(DOOMED)
        self._later(self._random.uniform(10, 100), self._doom)

    def _later(self, seconds: float, action: Action) -> None:
        async def run() -> None:
            await asyncio.sleep(seconds)
            await self._try(action)

        task = asyncio.ensure_future(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _populate(self, space: str) -> None:
        for resource in _WORKLOADS:
            with contextlib.suppress(ApiError):
                await self._make(resource, space)

    async def _doom(self) -> None:
        self._say(f"delete namespace {DOOMED}")
        await self._client.delete(NAMESPACES, DOOMED)

    # -- objects ----------------------------------------------------------------------------------------

    async def _create(self) -> None:
        resource = self._random.choice((*_WORKLOADS, SERVICES, POD_DISRUPTION_BUDGETS, JOBS, DEPLOYMENTS))
        await self._make(resource, self._random.choice(SPACES))

    async def _make(self, resource: Resource, space: str) -> None:
        r, number = self._random, next(self._numbers)
        name, app = f"{resource.kind.lower()[:6]}-{number}", f"{r.choice(_APPS)}-{number}"
        spec = _MAKERS[resource](self, app)
        obj = {
            "apiVersion": resource.group_version,
            "kind": resource.kind,
            "metadata": {"name": name, "labels": {"app": app}},
            "spec": spec,
        }
        self._say(f"create {resource.plural} {space}/{name} {spec}")
        await self._client.create(resource, obj, space)

    def _template(self, app: str, **more: Any) -> Obj:
        r = self._random
        annotations = {
            "pilothouse.dev/start-seconds": str(r.choice((0, 0, 1, 5))),
            "pilothouse.dev/ready-after-seconds": str(r.choice((0, 0, 2, 10))),
            "pilothouse.dev/stop-seconds": str(r.choice((0, 0, 3, 20))),
        }
        spec: Obj = {"containers": [{"name": "c", "image": r.choice(_IMAGES)}]}
        if r.random() < 0.3:
            spec["tolerations"] = [
                {
                    "key": "node.kubernetes.io/unreachable",
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": 20,
                }
            ]
        return {"metadata": {"labels": {"app": app}, "annotations": annotations}, "spec": {**spec, **more}}

    def _deployment(self, app: str) -> Obj:
        r = self._random
        spec: Obj = {
            "replicas": r.randint(0, 6),
            "selector": {"matchLabels": {"app": app}},
            "template": self._template(app),
            "revisionHistoryLimit": r.choice((0, 1, 10)),
            "progressDeadlineSeconds": r.choice((30, 60, 600)),
            "minReadySeconds": r.choice((0, 0, 0, 4)),
        }
        if spec["progressDeadlineSeconds"] <= spec["minReadySeconds"]:
            spec["minReadySeconds"] = 0
        spec["strategy"] = r.choice(
            (
                {"type": "Recreate"},
                {"type": "RollingUpdate"},
                {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
                {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": "50%"}},
            )
        )
        return spec

    def _replica_set(self, app: str) -> Obj:
        return {
            "replicas": self._random.randint(0, 6),
            "selector": {"matchLabels": {"app": app}},
            "template": self._template(app),
            "minReadySeconds": self._random.choice((0, 0, 3)),
        }

    def _replication_controller(self, app: str) -> Obj:
        return {**self._replica_set(app), "selector": {"app": app}}

    def _stateful_set(self, app: str) -> Obj:
        r = self._random
        spec: Obj = {
            "replicas": r.randint(0, 4),
            "serviceName": "x",
            "selector": {"matchLabels": {"app": app}},
            "template": self._template(app),
            "podManagementPolicy": r.choice(("OrderedReady", "Parallel")),
            "minReadySeconds": r.choice((0, 0, 3)),
            "updateStrategy": r.choice(
                (
                    {"type": "OnDelete"},
                    {"type": "RollingUpdate"},
                    {"type": "RollingUpdate", "rollingUpdate": {"partition": r.randint(0, 3)}},
                )
            ),
            "ordinals": {"start": r.choice((0, 0, 3))},
        }
        if r.random() < 0.4:
            request = {"resources": {"requests": {"storage": "1Gi"}}, "accessModes": ["ReadWriteOnce"]}
            spec["volumeClaimTemplates"] = [{"metadata": {"name": "data"}, "spec": request}]
            keep = ("Retain", "Delete")
            spec["persistentVolumeClaimRetentionPolicy"] = {
                "whenDeleted": r.choice(keep),
                "whenScaled": r.choice(keep),
            }
        return spec

    def _daemon_set(self, app: str) -> Obj:
        r = self._random
        return {
            "selector": {"matchLabels": {"app": app}},
            "template": self._template(app, **r.choice(({}, {"nodeSelector": {"disk": "fast"}}))),
            "minReadySeconds": r.choice((0, 0, 3)),
            "updateStrategy": r.choice(
                (
                    {"type": "OnDelete"},
                    {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": r.choice((1, 2))}},
                    {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
                )
            ),
        }

    def _job(self, app: str) -> Obj:
        r = self._random
        indexed = r.random() < 0.5
        script = f"sleep {r.choice((0, 1, 4, 30))}; exit {r.choice(('0', '0', '0', '1'))}"
        if indexed and r.random() < 0.5:
            script = f"sleep {r.choice((0, 2))}; exit $((JOB_COMPLETION_INDEX % {r.choice((2, 3))}))"
        container = {"name": "c", "image": "app:1", "command": ["sh", "-c", script]}
        template: Obj = {
            "metadata": {"labels": {"job": app}},
            "spec": {"restartPolicy": "Never", "containers": [container]},
        }
        spec: Obj = {
            "parallelism": r.randint(0, 4),
            "template": template,
            "backoffLimit": r.choice((0, 1, 2, 3)),
            "suspend": r.random() < 0.15,
        }
        if indexed or r.random() < 0.7:
            spec["completions"] = r.randint(1, 6)
        if indexed:
            spec["completionMode"] = "Indexed"
            if r.random() < 0.4:
                spec["backoffLimitPerIndex"] = r.choice((0, 1))
                if r.random() < 0.5:
                    spec["maxFailedIndexes"] = r.randint(0, spec["completions"])
            elif r.random() < 0.3:
                spec["successPolicy"] = {"rules": [{"succeededCount": 1}]}
        if r.random() < 0.2:
            spec["activeDeadlineSeconds"] = r.choice((10, 60))
        if r.random() < 0.2:
            spec["podReplacementPolicy"] = "Failed"
        if r.random() < 0.2:
            spec["podFailurePolicy"] = {"rules": [r.choice(_FAILURE_RULES)]}
            spec["podReplacementPolicy"] = "Failed"
        if r.random() < 0.1:
            spec["ttlSecondsAfterFinished"] = r.choice((0, 30))
        return spec

    def _cron_job(self, app: str) -> Obj:
        r = self._random
        spec = self._job(app)
        return {
            "schedule": r.choice(("* * * * *", "*/2 * * * *")),
            "concurrencyPolicy": r.choice(("Allow", "Forbid", "Replace")),
            "successfulJobsHistoryLimit": r.choice((0, 1, 3)),
            "failedJobsHistoryLimit": r.choice((0, 1)),
            "jobTemplate": {"spec": {k: v for k, v in spec.items() if k != "suspend"}},
        }

    def _service(self, app: str) -> Obj:
        return {"selector": {"app": self._some_app()}, "ports": [{"port": 80}]}

    def _budget(self, app: str) -> Obj:
        bound = self._random.choice(({"minAvailable": 2}, {"maxUnavailable": "30%"}, {"minAvailable": "50%"}))
        return {"selector": {"matchLabels": {"app": self._some_app()}}, **bound}

    def _some_app(self) -> str:
        number = self._random.randint(0, next(self._numbers))
        return f"{self._random.choice(_APPS)}-{number}"

    # -- edits ------------------------------------------------------------------------------------------

    async def _pick(self, *resources: Resource) -> tuple[Resource, Obj] | None:
        resource = self._random.choice(resources)
        items = [
            o for o in (await self._client.list(resource))["items"] if o["metadata"]["namespace"] in SPACES
        ]
        return (resource, self._random.choice(items)) if items else None

    async def _patch(self, resource: Resource, obj: Obj, body: Obj, **more: Any) -> None:
        meta = obj["metadata"]
        self._say(f"patch {resource.plural} {meta.get('namespace')}/{meta['name']} {body}")
        await self._client.patch(resource, meta["name"], body, meta.get("namespace", ""), **more)

    async def _edit(self) -> None:
        found = await self._pick(*_WORKLOADS, DEPLOYMENTS, STATEFUL_SETS)
        if found is None:
            return
        resource, obj = found
        edit = self._random.choice(_EDITS[resource])(self, obj)
        if edit:
            await self._patch(resource, obj, {"spec": edit})

    def _scale(self, obj: Obj) -> Obj:
        return {"replicas": self._random.randint(0, 6)}

    def _roll(self, obj: Obj) -> Obj:
        """A new image, sometimes one that nobody has; a merge patch replaces the list of containers."""
        image = self._random.choice((*_IMAGES, *_IMAGES, "app:non-existent"))
        return {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}

    def _scale_and_roll(self, obj: Obj) -> Obj:
        return {**self._scale(obj), **self._roll(obj)}

    def _pause(self, obj: Obj) -> Obj:
        return {"paused": not obj["spec"].get("paused", False)}

    def _strategy(self, obj: Obj) -> Obj:
        kind = self._random.choice(("Recreate", "RollingUpdate"))
        return {"strategy": {"type": kind, **({"rollingUpdate": None} if kind == "Recreate" else {})}}

    def _min_ready(self, obj: Obj) -> Obj:
        return {"minReadySeconds": self._random.choice((0, 2, 5))}

    def _partition(self, obj: Obj) -> Obj:
        rolling = {"partition": self._random.randint(0, 3)}
        return {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling}}

    def _ordinals(self, obj: Obj) -> Obj:
        return {"ordinals": {"start": self._random.choice((0, 1, 3))}}

    def _retention(self, obj: Obj) -> Obj:
        keep = ("Retain", "Delete")
        policy = {"whenDeleted": self._random.choice(keep), "whenScaled": self._random.choice(keep)}
        return {"persistentVolumeClaimRetentionPolicy": policy}

    def _node_choice(self, obj: Obj) -> Obj:
        wanted = self._random.choice((None, "fast", "slow"))
        return {"template": {"spec": {"nodeSelector": {"disk": wanted}}}}

    def _parallelism(self, obj: Obj) -> Obj:
        return {"parallelism": self._random.randint(0, 5)}

    def _suspend(self, obj: Obj) -> Obj:
        return {"suspend": not obj["spec"].get("suspend", False)}

    def _completions(self, obj: Obj) -> Obj:
        """Elastic indexed jobs: both numbers together."""
        if obj["spec"].get("completionMode") != "Indexed":
            return {}
        count = self._random.randint(1, 6)
        return {"completions": count, "parallelism": count}

    async def _delete(self) -> None:
        found = await self._pick(
            *_WORKLOADS, SERVICES, POD_DISRUPTION_BUDGETS, REPLICA_SETS, CONFIG_MAPS, WIDGETS
        )
        if found is None:
            return
        resource, obj = found
        meta, policy = obj["metadata"], self._random.choice(_POLICIES)
        self._say(f"delete {resource.plural} {meta['namespace']}/{meta['name']} {policy}")
        await self._client.delete(resource, meta["name"], meta["namespace"], {"propagationPolicy": policy})
        if self._random.random() < 0.3 and resource in _MAKERS and meta["name"] != "kube-root-ca.crt":
            again = {
                "apiVersion": resource.group_version,
                "kind": resource.kind,
                "metadata": {"name": meta["name"], "labels": meta.get("labels") or {}},
                "spec": {k: v for k, v in obj["spec"].items() if k != "clusterIP" and k != "clusterIPs"},
            }
            if resource is not JOBS:
                self._later(self._random.choice((0.0, 1.0, 5.0)), lambda: self._again(resource, again, meta))

    async def _again(self, resource: Resource, obj: Obj, meta: Obj) -> None:
        self._say(f"create again {resource.plural} {meta['namespace']}/{meta['name']}")
        await self._client.create(resource, obj, meta["namespace"])

    # -- pods -------------------------------------------------------------------------------------------

    async def _meddle(self) -> None:
        found = await self._pick(PODS)
        if found is None:
            return
        _, pod = found
        await self._random.choice((self._release, self._kill, self._kill, self._cost, self._stray))(pod)

    async def _release(self, pod: Obj) -> None:
        labels = pod["metadata"].get("labels") or {}
        if "app" not in labels:
            return
        original = labels["app"]
        await self._patch(PODS, pod, {"metadata": {"labels": {"app": "released"}}})
        if self._random.random() < 0.6:
            back = {"metadata": {"labels": {"app": original}}}
            self._later(self._random.choice((0.0, 0.5, 5.0)), lambda: self._patch(PODS, pod, back))

    async def _kill(self, pod: Obj) -> None:
        meta, grace_s = pod["metadata"], self._random.choice((None, 0, 1))
        self._say(f"delete pods {meta['namespace']}/{meta['name']} grace {grace_s}")
        options = {} if grace_s is None else {"gracePeriodSeconds": grace_s}
        await self._client.delete(PODS, meta["name"], meta["namespace"], options)

    async def _cost(self, pod: Obj) -> None:
        cost = {"controller.kubernetes.io/pod-deletion-cost": str(self._random.randint(-5, 5))}
        await self._patch(PODS, pod, {"metadata": {"annotations": cost}})

    async def _stray(self, like: Obj) -> None:
        """A pod by hand that somebody's selector may match."""
        labels = {
            k: v
            for k, v in (like["metadata"].get("labels") or {}).items()
            if k in ("app", "pod-template-hash")
        }
        pod = {
            "metadata": {"name": f"stray-{next(self._numbers)}", "labels": labels},
            "spec": {"containers": [{"name": "c", "image": "app:1"}]},
        }
        self._say(f"create pods {like['metadata']['namespace']}/{pod['metadata']}")
        await self._client.create(PODS, pod, like["metadata"]["namespace"])

    # -- nodes ------------------------------------------------------------------------------------------

    async def _node(self, name: str, body: Obj) -> None:
        self._say(f"patch node {name} {body}")
        await self._client.patch(NODES, name, body)

    async def _node_trouble(self) -> None:
        r = self._random
        name = f"node-{r.randrange(NODE_COUNT)}"
        taint = {"key": "storm", "value": "x", "effect": r.choice(("NoSchedule", "NoExecute"))}
        body: Obj = r.choice(
            (
                {"metadata": {"annotations": {STOPPED: "true"}}},
                {"metadata": {"annotations": {STOPPED: None}}},
                {"metadata": {"annotations": {STOPPED: None}}},
                {"spec": {"unschedulable": True}},
                {"spec": {"unschedulable": None}},
                {"spec": {"taints": [taint]}},
                {"spec": {"taints": None}},
                {"metadata": {"labels": {"disk": r.choice(("fast", "slow"))}}},
            )
        )
        if name != "node-0" or "spec" not in body:
            await self._node(name, body)

    # -- dependents that no controller knows --------------------------------------------------------------

    async def _dependents(self) -> None:
        """A thing with owners: some there, some not."""
        r = self._random
        resource = r.choice((CONFIG_MAPS, WIDGETS))
        space = r.choice(SPACES)
        owners: list[Obj] = []
        for _ in range(r.randint(0, 2)):
            found = await self._pick(CONFIG_MAPS, WIDGETS, WIDGETS, DEPLOYMENTS, JOBS)
            if found is None or found[1]["metadata"]["namespace"] != space:
                continue
            kind, owner = found
            ref = {
                "apiVersion": kind.group_version,
                "kind": kind.kind,
                "name": owner["metadata"]["name"],
                "uid": owner["metadata"]["uid"],
                "blockOwnerDeletion": r.random() < 0.5,
            }
            if r.random() < 0.15:
                ref = {**ref, "name": "nobody", "uid": self._party.world.uid()}
            if ref["uid"] not in [o["uid"] for o in owners]:
                owners.append(ref)
        obj = {
            "apiVersion": resource.group_version,
            "kind": resource.kind,
            "metadata": {"name": f"thing-{next(self._numbers)}", "ownerReferences": owners},
        }
        self._say(f"create {resource.plural} {space}/{obj['metadata']}")
        await self._client.create(resource, obj, space)

    # -- weather ----------------------------------------------------------------------------------------

    async def _turn_weather(self) -> None:
        r, weather = self._random, self._party.weather
        weather.late = r.choice((0.0, 0.3, 1.0))
        weather.dropped = r.choice((0.0, 0.5, 2.0))
        weather.refused = r.choice((0.0, 0.05, 0.3))
        if self._unknown:
            weather.unknown = r.choice((0.0, 0.05, 0.2))
            self._party.mild.unknown = r.choice((0.0, 0.0, 0.05))
        self._party.mild.refused = r.choice((0.0, 0.0, 0.1))
        self._party.mild.dropped = r.choice((0.0, 0.5))
        self._say(f"weather {weather.late} {weather.dropped} {weather.refused} {weather.unknown}")

    async def _manager_trouble(self) -> None:
        index = self._random.randrange(self._party.manager_count)
        if self._random.random() < 0.5:
            self._say(f"restart manager {index}")
            await self._party.restart_manager(index)
        else:
            self._say(f"cut manager {index}")
            seconds = self._random.choice((1.0, 20.0, 40.0))
            self._later(0.0, lambda: self._party.cut_manager(index, seconds))


_FAILURE_RULES: tuple[Obj, ...] = (
    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1]}},
    {"action": "Count", "onExitCodes": {"operator": "In", "values": [1]}},
)

_MAKERS: dict[Resource, Callable[[Storm, str], Obj]] = {
    DEPLOYMENTS: Storm._deployment,
    REPLICA_SETS: Storm._replica_set,
    REPLICATION_CONTROLLERS: Storm._replication_controller,
    STATEFUL_SETS: Storm._stateful_set,
    DAEMON_SETS: Storm._daemon_set,
    JOBS: Storm._job,
    CRON_JOBS: Storm._cron_job,
    SERVICES: Storm._service,
    POD_DISRUPTION_BUDGETS: Storm._budget,
}

_EDITS: dict[Resource, tuple[Callable[[Storm, Obj], Obj], ...]] = {
    DEPLOYMENTS: (
        Storm._scale,
        Storm._roll,
        Storm._roll,
        Storm._scale_and_roll,
        Storm._pause,
        Storm._strategy,
        Storm._min_ready,
    ),
    REPLICA_SETS: (Storm._scale, Storm._scale, Storm._roll, Storm._min_ready),
    REPLICATION_CONTROLLERS: (Storm._scale, Storm._scale, Storm._roll),
    STATEFUL_SETS: (
        Storm._scale,
        Storm._roll,
        Storm._roll,
        Storm._partition,
        Storm._ordinals,
        Storm._min_ready,
        Storm._retention,
    ),
    DAEMON_SETS: (Storm._roll, Storm._roll, Storm._node_choice, Storm._min_ready),
    JOBS: (Storm._parallelism, Storm._parallelism, Storm._suspend, Storm._completions),
    CRON_JOBS: (Storm._suspend,),
}


def _definition() -> Obj:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [version],
        },
    }
