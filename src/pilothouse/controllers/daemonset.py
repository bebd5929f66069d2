"""DaemonSet controller: a pod on every node that wants one (k8s.io/kubernetes/pkg/controller/daemon).

    history: the revision of the present template ─▶ missing and surplus pods ─▶ rolling update ─▶ status

What to do is decided in `daemonset_rules`. The scheduler places the pods: each is bound to its node by affinity.
"""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import CONTROLLER_REVISIONS, DAEMON_SETS, NODES, PODS, Resource
from pilothouse.api.types import Obj
from pilothouse.client.informer import key_of
from pilothouse.client.reconciler import (
    Environment,
    Failure,
    controller_of,
    controller_ref,
    is_terminating_namespace,
)
from pilothouse.controllers import adoption, revisions
from pilothouse.controllers import daemonset_rules as rules
from pilothouse.controllers.deployment_rules import template_hash
from pilothouse.controllers.pods import is_ready, is_terminating, template_pod
from pilothouse.controllers.pods_owner import PodsOwner, controller_uid
from pilothouse.kit.backoff import KeyedBackoff

BURST_REPLICAS = 250
"""The most pods made or deleted in one go."""
_FAILED_BACKOFF_S = (1.0, 900.0)


class DaemonSetController(PodsOwner):
    name: ClassVar[str] = "daemonset-controller"
    queue_name: ClassVar[str] = "daemonset"
    workers: ClassVar[int] = 2
    resource: ClassVar[Resource] = DAEMON_SETS

    def __init__(self, env: Environment) -> None:
        super().__init__(env)
        self._failed = KeyedBackoff(*_FAILED_BACKOFF_S)

    def setup(self) -> None:
        super().setup()
        self._revisions = self.informer(CONTROLLER_REVISIONS)
        self._revisions.add_handler(_RevisionHandler(self))
        self._revisions.add_index("controller", controller_uid)
        self._nodes = self.informer(NODES)
        self._nodes.add_handler(_NodeHandler(self))

    async def reconcile(self, key: str) -> float | None:
        ds = self._owners.get(key)
        if ds is None:
            self._expectations.forget(key)
            return None
        if self._selects_everything(ds) or is_terminating(ds):
            return None
        current, old = await self._history(ds)
        digest = current["metadata"]["labels"][revisions.NAME_LABEL]
        satisfied = self._expectations.satisfied(key)
        failure: Failure | None = None
        again_s: float | None = None
        if satisfied:
            failure, again_s = await self._manage(key, ds, digest)
            if failure is None and self._expectations.satisfied(key):
                failure = await self._roll(key, ds, digest)
            await self._clean_up(ds, old)
        waiting = await self._update_status(ds, digest, observed=satisfied)
        if failure is not None:
            raise failure
        return _sooner(again_s, waiting)

    def _selects_everything(self, ds: Obj) -> bool:
        if not self.selector(ds).empty:
            return False
        message = "This daemon set is selecting all pods. A non-empty selector is required."
        self.recorder.event(self.reference(ds), "Warning", "SelectingAll", message)
        return True

    # -- history ----------------------------------------------------------------------------------------

    async def _history(self, ds: Obj) -> tuple[Obj, list[Obj]]:
        """The revision of the present template, made or renumbered when it must be, and the others."""
        meta = ds["metadata"]
        candidates = [
            *self._revisions.by_index("controller", meta["uid"]),
            *self._revisions.by_index("controller", f"orphan/{meta['namespace']}"),
        ]
        claim = adoption.Claim(self.client, ds, DAEMON_SETS, CONTROLLER_REVISIONS, self.selector(ds))
        mine = [await self._labelled(r) for r in await claim.all(candidates)]
        data = revisions.template_patch(ds["spec"]["template"])
        same = [r for r in mine if r.get("data") == data]
        old = [r for r in mine if r.get("data") != data]
        number = revisions.next_number(old)
        if not same:
            return await self._snapshot(ds, number), old
        current = await self._without_doubles(ds, same)
        if current["revision"] < number:
            current = await revisions.renumber(self.client, current, number)
        return current, old

    async def _labelled(self, revision: Obj) -> Obj:
        """An adopted revision may lack the label that its pods are known by."""
        meta = revision["metadata"]
        labels = meta.get("labels") or {}
        if revisions.NAME_LABEL in labels:
            return revision
        patch = {"metadata": {"labels": {revisions.NAME_LABEL: meta["name"]}}}
        return await self.client.patch(CONTROLLER_REVISIONS, meta["name"], patch, meta["namespace"])

    async def _snapshot(self, ds: Obj, number: int) -> Obj:
        template = ds["spec"]["template"]
        collisions = (ds.get("status") or {}).get("collisionCount") or 0
        digest = template_hash(template, collisions)
        labels = {**((template.get("metadata") or {}).get("labels") or {}), revisions.NAME_LABEL: digest}
        made = await revisions.create(self.client, revisions.new(ds, DAEMON_SETS, digest, labels, number))
        if made is None:
            await self.write_status(ds, {**(ds.get("status") or {}), "collisionCount": collisions + 1})
            why = f'the revision "{ds["metadata"]["name"]}-{digest}" has other data'
            raise ApiError(409, "AlreadyExists", why)
        return made

    async def _without_doubles(self, ds: Obj, same: list[Obj]) -> Obj:
        """The newest of several revisions with one template; pods of the others are given its label."""
        kept = max(same, key=lambda r: r["revision"])
        digest = kept["metadata"]["labels"][revisions.NAME_LABEL]
        for double in same:
            if double is kept:
                continue
            for pod in await self.claim(ds):
                meta = pod["metadata"]
                if (meta.get("labels") or {}).get(revisions.NAME_LABEL) != digest:
                    patch = {"metadata": {"labels": {revisions.NAME_LABEL: digest}}}
                    answer = await self.client.patch(PODS, meta["name"], patch, meta["namespace"])
                    self.wrote(ds, PODS, answer)
            await revisions.delete(self.client, double)
        return kept

    async def _clean_up(self, ds: Obj, old: list[Obj]) -> None:
        pods = [p for pods in rules.pods_by_node(await self.claim(ds)).values() for p in pods]
        for revision in rules.expendable(old, pods, ds["spec"].get("revisionHistoryLimit", 10)):
            await revisions.delete(self.client, revision)

    # -- pods -------------------------------------------------------------------------------------------

    async def _manage(self, key: str, ds: Obj, digest: str) -> tuple[Failure | None, float | None]:
        """Make what is missing and delete what is too much; the failure, and when a back-off ends."""
        by_node = rules.pods_by_node(await self.claim(ds))
        plan = rules.plan(ds, self._nodes.list(), by_node, digest, self.world.now())
        again_s = self._ended(ds, plan)
        return await self._apply(key, ds, plan, digest), again_s

    def _ended(self, ds: Obj, plan: rules.Plan) -> float | None:
        """Pods that ended are deleted and told of, failed ones with back-off: the kubelet may refuse every one."""
        now = self.world.clock.monotonic()
        again_s: float | None = None
        for node, pod in plan.failed:
            backoff = (ds["metadata"]["uid"], ds["metadata"].get("generation", 0), node)
            if self._failed.waits_since_update(backoff, now):
                again_s = _sooner(again_s, self._failed.get(backoff))
                continue
            self._failed.next(backoff, now)
            message = f"Found failed daemon pod {key_of(pod)} on node {node}, will try to kill it"
            self.recorder.event(self.reference(ds), "Warning", "FailedDaemonPod", message)
            plan.delete.append(pod)
        for pod in plan.succeeded:
            node = rules.target_node(pod)
            message = f"Found succeeded daemon pod {key_of(pod)} on node {node}, will try to delete it"
            self.recorder.event(self.reference(ds), "Normal", "SucceededDaemonPod", message)
            plan.delete.append(pod)
        return again_s

    async def _roll(self, key: str, ds: Obj, digest: str) -> Failure | None:
        if (ds["spec"].get("updateStrategy") or {}).get("type") != "RollingUpdate":
            return None
        by_node = rules.pods_by_node(await self.claim(ds))
        nodes = {n["metadata"]["name"]: n for n in self._nodes.list()}
        plan = rules.rolling_plan(ds, nodes, by_node, digest, self.world.now())
        return await self._apply(key, ds, plan, digest)

    async def _apply(self, key: str, ds: Obj, plan: rules.Plan, digest: str) -> Failure | None:
        create, delete = plan.create[:BURST_REPLICAS], plan.delete[:BURST_REPLICAS]
        if not create and not delete:
            return None

        async def make(node: str) -> Failure | None:
            ref = controller_ref(ds, DAEMON_SETS)
            template = rules.template_for(ds, digest, node)
            return await self.create_pod(ds, template_pod(template, ref, ds["metadata"]["name"], ds))

        self._expectations.expect(key, len(create), {p["metadata"]["uid"] for p in delete})
        failure = await self.create_slowly(key, create, make)
        refused = await self.delete_all(key, ds, delete)
        if failure is not None and is_terminating_namespace(failure):
            failure = None
        return failure or refused

    # -- status -----------------------------------------------------------------------------------------

    async def _update_status(self, ds: Obj, digest: str, *, observed: bool) -> float | None:
        """Write the numbers; when to look again for pods that are ready but not available yet."""
        by_node = rules.pods_by_node(await self.claim(ds))
        numbers = rules.counts(ds, self._nodes.list(), by_node, digest, self.world.now())
        old = ds.get("status") or {}
        status = {**old, **numbers}
        if observed:
            status["observedGeneration"] = ds["metadata"].get("generation", 0)
        if any(status.get(name, 0) != old.get(name, 0) for name in status if name != "conditions"):
            await self.write_status(ds, status)
        min_ready_s = ds["spec"].get("minReadySeconds", 0)
        waits = min_ready_s > 0 and numbers["numberReady"] != numbers["numberAvailable"]
        return float(min_ready_s) if waits else None

    def own_pod_changed(self, key: str, old: Obj, pod: Obj) -> None:
        """A pod that turned ready becomes available later; a second more, as readiness has whole seconds."""
        ds = self._owners.get(key)
        min_ready_s = ds["spec"].get("minReadySeconds", 0) if ds is not None else 0
        if min_ready_s and is_ready(pod) and not is_ready(old):
            self.queue.add_after(key, min_ready_s + 1)

    def wake_owner(self, revision: Obj) -> None:
        key = self.owner_key(revision)
        if key is not None:
            self.queue.add(key)

    def wake_adopters(self, revision: Obj) -> None:
        for key in self.wants(revision):
            self.queue.add(key)

    def node_changed(self, old: Obj | None, new: Obj | None) -> None:
        """Queue the sets that want or leave a node."""
        for ds in self._owners.list():
            before = rules.fit(ds, old) if old is not None else rules.NOWHERE
            after = rules.fit(ds, new) if new is not None else rules.NOWHERE
            if before != after:
                self.queue.add(key_of(ds))


class _RevisionHandler:
    """A revision that changes or goes wakes its set, an orphan the sets that might adopt it. One that comes with an
    owner wakes nobody: of two with one template the older would be deleted."""

    def __init__(self, controller: DaemonSetController) -> None:
        self._controller = controller

    def on_add(self, obj: Obj) -> None:
        if controller_of(obj) is None:
            self._controller.wake_adopters(obj)

    def on_update(self, old: Obj, new: Obj) -> None:
        before, now = controller_of(old), controller_of(new)
        if before != now:
            self._controller.wake_owner(old)
        if now is not None:
            self._controller.wake_owner(new)
        elif before is not None or old["metadata"].get("labels") != new["metadata"].get("labels"):
            self._controller.wake_adopters(new)

    def on_delete(self, obj: Obj) -> None:
        self._controller.wake_owner(obj)


class _NodeHandler:
    def __init__(self, controller: DaemonSetController) -> None:
        self._controller = controller

    def on_add(self, obj: Obj) -> None:
        self._controller.node_changed(None, obj)

    def on_update(self, old: Obj, new: Obj) -> None:
        if _matters(old, new):
            self._controller.node_changed(old, new)

    def on_delete(self, obj: Obj) -> None:
        self._controller.node_changed(obj, None)


def _matters(old: Obj, new: Obj) -> bool:
    """Heartbeats move nothing."""
    before, now = old.get("spec") or {}, new.get("spec") or {}
    return bool(
        before.get("taints") != now.get("taints")
        or old["metadata"].get("labels") != new["metadata"].get("labels")
    )


def _sooner(*delays_s: float | None) -> float | None:
    return min((d for d in delays_s if d is not None), default=None)
