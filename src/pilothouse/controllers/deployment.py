"""Deployment controller: rolls pods from one template to the next (k8s.io/kubernetes/pkg/controller/deployment).

One step per reconcile, each followed by a status: make the new replica set, grow it, shrink the old ones. The
sets' controllers do the rest and wake this one. What to do is decided in `deployment_rules`.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pilothouse.api import labels
from pilothouse.api.errors import ApiError
from pilothouse.api.resources import DEPLOYMENTS, PODS, REPLICA_SETS
from pilothouse.api.types import Obj
from pilothouse.client.informer import key_of
from pilothouse.client.reconciler import (
    Controller,
    controller_of,
    controller_ref,
    is_terminating_namespace,
)
from pilothouse.controllers import adoption
from pilothouse.controllers import deployment_rules as rules
from pilothouse.controllers.pods import condition, is_terminal, is_terminating
from pilothouse.kit.world import parse_timestamp


class DeploymentController(Controller):
    name: ClassVar[str] = "deployment-controller"
    queue_name: ClassVar[str] = "deployment"

    def setup(self) -> None:
        self._deployments = self.watch(DEPLOYMENTS)
        self._sets = self.owned(REPLICA_SETS, owner=DEPLOYMENTS)
        self._sets.add_index("controller", _controller_uid)
        self._sets.add_handler(_OrphanHandler(self))
        self._pods = self.informer(PODS)
        self._pods.add_index("controller", _controller_uid)
        self._pods.add_handler(_RecreateHandler(self))

    async def reconcile(self, key: str) -> float | None:
        found = self._deployments.get(key)
        if found is None:
            return None
        d = {**found, "apiVersion": "apps/v1", "kind": "Deployment"}
        sets = await self._claim(d)
        rollout = _Rollout(self, d, sets)
        await self._step(rollout)
        return rollout.recheck_s()

    async def _step(self, rollout: _Rollout) -> None:
        if is_terminating(rollout.d):
            await rollout.sync_status_only()
            return
        await rollout.check_paused()
        if rollout.d["spec"].get("paused"):
            await rollout.scale()
        elif rules.rollback_to(rollout.d) is not None:
            await rollout.roll_back()
        elif await rollout.is_scaling():
            await rollout.scale()
        elif (rollout.d["spec"].get("strategy") or {}).get("type") == "Recreate":
            await rollout.recreate()
        else:
            await rollout.roll()

    async def _claim(self, d: Obj) -> list[Obj]:
        meta = d["metadata"]
        candidates = [
            *self._sets.by_index("controller", meta["uid"]),
            *self._sets.by_index("controller", f"orphan/{meta['namespace']}"),
        ]
        selector = labels.from_label_selector(d["spec"].get("selector"))
        claim = adoption.Claim(self.client, d, DEPLOYMENTS, REPLICA_SETS, selector)
        return await claim.all(candidates)

    def pods_of(self, rs: Obj) -> list[Obj]:
        return self._pods.by_index("controller", rs["metadata"]["uid"])

    def wants(self, rs: Obj) -> list[str]:
        """Keys of deployments that might adopt an orphaned replica set."""
        namespace, set_labels = rs["metadata"]["namespace"], rs["metadata"].get("labels") or {}
        return [
            key_of(d)
            for d in self._deployments.list()
            if d["metadata"]["namespace"] == namespace
            and labels.from_label_selector(d["spec"].get("selector")).matches(set_labels)
        ]

    def key_of_pod(self, pod: Obj) -> str | None:
        """The Recreate deployment that waits for its old pods to go."""
        ref = controller_of(pod)
        if ref is None or ref["kind"] != "ReplicaSet":
            return None
        rs = self._sets.get(f"{pod['metadata']['namespace']}/{ref['name']}")
        owner = controller_of(rs) if rs is not None else None
        if owner is None or owner["kind"] != "Deployment":
            return None
        key = f"{pod['metadata']['namespace']}/{owner['name']}"
        d = self._deployments.get(key)
        recreate = d is not None and (d["spec"].get("strategy") or {}).get("type") == "Recreate"
        return key if recreate else None


class _Rollout:
    """One deployment at one moment. `d` is replaced by what the API server answers."""

    def __init__(self, controller: DeploymentController, d: Obj, sets: list[Obj]) -> None:
        self._controller = controller
        self._client = controller.client
        self._world = controller.world
        self.d = d
        self.sets = sets

    def _split(self) -> tuple[Obj | None, list[Obj]]:
        new = rules.find_new(self.d, self.sets)
        return new, [rs for rs in self.sets if rs is not new]

    # -- the ways to step -------------------------------------------------------------------------------

    async def roll(self) -> None:
        new, old = await self._new_set()
        if new is None:
            return
        if not await self._grow_new(new, [*old, new]) and not await self._shrink_old(new, old):
            await self._clean_up_if_complete(old)
        await self._sync_rollout(new, old)

    async def _grow_new(self, new: Obj, sets: list[Obj]) -> bool:
        """The new set shrinks at once when it is larger than the deployment, and grows as there is room."""
        wanted = rules.replicas(self.d)
        if rules.replicas(new) > wanted:
            return await self._resize(new, wanted)
        return await self._resize(new, rules.new_set_size(self.d, sets, new))

    async def recreate(self) -> None:
        new, old = await self._new_set(create=False)
        shrunk = False
        for rs in rules.active(old):
            shrunk |= await self._resize(rs, 0)
        if shrunk or self._old_pods_run(old):
            await self._sync_rollout(new, old)
            return
        if new is None:
            new, old = await self._new_set()
        if new is None:
            return
        await self._resize(new, rules.replicas(self.d))
        await self._clean_up_if_complete(old)
        await self._sync_rollout(new, old)

    async def is_scaling(self) -> bool:
        new, old = await self._new_set(create=False)
        return rules.is_scaling(self.d, [*old, *([new] if new else [])])

    async def scale(self) -> None:
        """Resize without rolling: paused, or the deployment's size changed."""
        new, old = await self._new_set(create=False)
        await self._scale(new, old)
        if self.d["spec"].get("paused") and rules.rollback_to(self.d) is None:
            await self._clean_up(old)
        await self._sync_status(new, old)

    async def _scale(self, new: Obj | None, old: list[Obj]) -> None:
        sole = _active_or_latest(new, old)
        if sole is not None:
            await self._resize(sole, rules.replicas(self.d))
        elif rules.is_saturated(self.d, new):
            for rs in rules.active(old):
                await self._resize(rs, 0)
        elif rules.is_rolling(self.d):
            running = rules.active([*old, *([new] if new else [])])
            sizes = rules.proportional(self.d, running)
            for rs in running:
                await self._write_size(rs, sizes[rs["metadata"]["name"]])

    async def sync_status_only(self) -> None:
        """For a deployment that is going."""
        await self._sync_status(*await self._new_set(create=False))

    def _old_pods_run(self, old: list[Obj]) -> bool:
        return rules.status_sum(old, "replicas") > 0 or any(
            not is_terminal(pod) for rs in old for pod in self._controller.pods_of(rs)
        )

    async def _shrink_old(self, new: Obj, old: list[Obj]) -> bool:
        """Make room: unhealthy old pods first, then healthy ones as availability allows."""
        running = rules.active(old)
        if not running:
            return False
        minimum = rules.replicas(self.d) - rules.max_unavailable(self.d)
        room = rules.total([*old, new]) - minimum - rules.unavailable(new)
        if room <= 0:
            return False
        changed = await self._resize_all(rules.without_unhealthy(running, room))
        running = self._current(running)
        spare = rules.status_sum([*running, new], "availableReplicas") - minimum
        return await self._resize_all(rules.without(running, spare)) or changed

    async def _resize_all(self, sizes: list[tuple[Obj, int]]) -> bool:
        changed = False
        for rs, size in sizes:
            changed |= await self._resize(rs, size)
        return changed

    async def roll_back(self) -> None:
        """The template of an earlier revision, asked for by an annotation that extensions/v1beta1 left behind."""
        new, old = await self._new_set()
        if new is None:
            return
        sets = [*old, new]
        revision = rules.rollback_to(self.d) or rules.last_revision(sets)
        if not revision:
            self._event("Warning", "DeploymentRollbackRevisionNotFound", "Unable to find last revision.")
            await self._forget_rollback(self.d)
            return
        target = next((rs for rs in sets if rules.revision(rs) == revision), None)
        name = self.d["metadata"]["name"]
        if target is None:
            message = "Unable to find the revision to rollback to."
            self._event("Warning", "DeploymentRollbackRevisionNotFound", message)
            await self._forget_rollback(self.d)
        elif rules.same_template(target["spec"]["template"], self.d["spec"]["template"]):
            message = f'The rollback revision contains the same template as current deployment "{name}"'
            self._event("Warning", "DeploymentRollbackTemplateUnchanged", message)
            await self._forget_rollback(self.d)
        else:
            await self._forget_rollback(rules.rolled_back(self.d, target))
            message = f'Rolled back deployment "{name}" to revision {revision}'
            self._event("Normal", "DeploymentRollback", message)

    async def _forget_rollback(self, wanted: Obj) -> None:
        meta = wanted["metadata"]
        kept = {k: v for k, v in (meta.get("annotations") or {}).items() if k != rules.ROLLBACK_TO}
        await self._client.update(DEPLOYMENTS, {**wanted, "metadata": {**meta, "annotations": kept}})

    # -- effects ----------------------------------------------------------------------------------------

    async def _new_set(self, *, create: bool = True) -> tuple[Obj | None, list[Obj]]:
        """The replica set of the present template, and all others. It is made if it is missing and `create`; None
        when it is not there and cannot be had now (getAllReplicaSetsAndSyncRevision)."""
        new, old = self._split()
        revision = max((rules.revision(rs) for rs in old), default=0) + 1
        if new is not None:
            return await self._update_set(new, revision), old
        return (await self._create_set(old, revision) if create else None), old

    async def _update_set(self, new: Obj, revision: int) -> Obj:
        meta = new["metadata"]
        current = meta.get("annotations") or {}
        wanted = rules.new_annotations(self.d, current, revision, exists=True)
        min_ready_s = self.d["spec"].get("minReadySeconds", 0)
        if wanted != current or new["spec"].get("minReadySeconds", 0) != min_ready_s:
            spec = {**new["spec"], "minReadySeconds": min_ready_s}
            new = await self._client.update(
                REPLICA_SETS, _set({**new, "metadata": {**meta, "annotations": wanted}, "spec": spec})
            )
            self._replace(new)
            return new  # its change wakes this deployment, which takes the revision over then
        message = f'Found new replica set "{meta["name"]}"'
        await self._note_revision(
            wanted.get(rules.REVISION, ""), "FoundNewReplicaSet", message, only_if_absent=True
        )
        return new

    async def _create_set(self, old: list[Obj], revision: int) -> Obj | None:
        collisions = (self.d.get("status") or {}).get("collisionCount", 0)
        digest = rules.template_hash(self.d["spec"]["template"], collisions)
        wanted = self._new_set_object(digest, old, revision)
        namespace, name = self.d["metadata"]["namespace"], wanted["metadata"]["name"]
        try:
            made = await self._client.create(REPLICA_SETS, wanted, namespace)
        except ApiError as error:
            if error.reason == "AlreadyExists":
                return await self._resolve_collision(name, namespace, collisions, revision)
            if is_terminating_namespace(error):
                return None  # so would be all that follow
            await self._report_failure(name, error)
            raise
        size = rules.replicas(made)
        self.sets.append(made)
        if size > 0:
            self._scaled_event("up", name, 0, size)
        await self._note_revision(str(revision), "NewReplicaSetCreated", f'Created new replica set "{name}"')
        return made

    def _new_set_object(self, digest: str, old: list[Obj], revision: int) -> Obj:
        d = self.d
        template = d["spec"]["template"]
        meta = template.get("metadata") or {}
        set_labels = {**(meta.get("labels") or {}), rules.HASH_LABEL: digest}
        selector = d["spec"]["selector"]
        return {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": f"{d['metadata']['name']}-{digest}",
                "namespace": d["metadata"]["namespace"],
                "labels": set_labels,
                "annotations": rules.new_annotations(d, {}, revision, exists=False),
                "ownerReferences": [controller_ref(d, DEPLOYMENTS)],
            },
            "spec": {
                "replicas": rules.new_set_size(d, old, None),
                "minReadySeconds": d["spec"].get("minReadySeconds", 0),
                "selector": {
                    **selector,
                    "matchLabels": {**(selector.get("matchLabels") or {}), rules.HASH_LABEL: digest},
                },
                "template": {**template, "metadata": {**meta, "labels": set_labels}},
            },
        }

    async def _resolve_collision(
        self, name: str, namespace: str, collisions: int, revision: int
    ) -> Obj | None:
        """The name is taken: by our own set that the informer does not show yet, or by a hash collision."""
        present = await self._client.get(REPLICA_SETS, name, namespace)
        ref = controller_of(present)
        ours = ref is not None and ref["uid"] == self.d["metadata"]["uid"]
        if ours and rules.same_template(present["spec"]["template"], self.d["spec"]["template"]):
            self.sets.append(present)
            await self._note_revision(str(revision))
            return present
        await self._write_status({**(self.d.get("status") or {}), "collisionCount": collisions + 1})
        self._controller.queue.add_rate_limited(key_of(self.d))
        return None

    async def _report_failure(self, name: str, error: ApiError) -> None:
        message = f'Failed to create new replica set "{name}": {error}'
        if rules.deadline_s(self.d) is not None:
            await self._set_progress("False", "ReplicaSetCreateError", message)
        self._event("Warning", "ReplicaSetCreateError", message)

    async def _resize(self, rs: Obj, size: int) -> bool:
        """True when the size changed; a set that has it already is left alone, its annotations too."""
        return size != rules.replicas(rs) and await self._write_size(rs, size)

    async def _write_size(self, rs: Obj, size: int) -> bool:
        """Set a set's size and what it was computed from; True when the size changed."""
        before = rules.replicas(rs)
        annotations = rs["metadata"].get("annotations") or {}
        wanted = {**annotations, **rules.replica_annotations(self.d)}
        if size == before and wanted == annotations:
            return False
        meta = {**rs["metadata"], "annotations": wanted}
        spec = {**rs["spec"], "replicas": size}
        updated = await self._client.update(REPLICA_SETS, _set({**rs, "metadata": meta, "spec": spec}))
        self._replace(updated)
        if size == before:
            return False
        self._scaled_event("up" if size > before else "down", rs["metadata"]["name"], before, size)
        return True

    def _current(self, sets: list[Obj]) -> list[Obj]:
        """The same sets as the API server last answered."""
        by_uid = {rs["metadata"]["uid"]: rs for rs in self.sets}
        return [by_uid.get(rs["metadata"]["uid"], rs) for rs in sets]

    def _replace(self, updated: Obj) -> None:
        uid = updated["metadata"]["uid"]
        self.sets = [updated if rs["metadata"]["uid"] == uid else rs for rs in self.sets]

    async def _clean_up_if_complete(self, old: list[Obj]) -> None:
        if rules.is_complete(self.d, self.d.get("status") or {}):
            await self._clean_up(old)

    async def _clean_up(self, old: list[Obj]) -> None:
        limit = self.d["spec"].get("revisionHistoryLimit")
        if limit is None or limit == rules.UNLIMITED:
            return
        for rs in rules.expendable(self._current(old), limit):
            try:
                await self._client.delete(REPLICA_SETS, rs["metadata"]["name"], rs["metadata"]["namespace"])
            except ApiError as error:
                if error.code != 404:
                    raise

    # -- status -----------------------------------------------------------------------------------------

    async def check_paused(self) -> None:
        if rules.deadline_s(self.d) is None:
            return
        found = condition(self.d, "Progressing")
        if found is not None and found.get("reason") == "ProgressDeadlineExceeded":
            return
        noted = found is not None and found.get("reason") == "DeploymentPaused"
        paused = bool(self.d["spec"].get("paused"))
        if paused and not noted:
            await self._set_progress("Unknown", "DeploymentPaused", "Deployment is paused")
        elif noted and not paused:
            await self._set_progress("Unknown", "DeploymentResumed", "Deployment is resumed")

    async def _note_revision(
        self, revision: str, reason: str = "", message: str = "", *, only_if_absent: bool = False
    ) -> None:
        """Write the revision annotation and, with a reason, the Progressing condition, both by the status
        subresource: an annotation written by the main one would count as a new generation."""
        annotations = self.d["metadata"].get("annotations") or {}
        status = self.d.get("status") or {}
        wanted = status
        if revision and annotations.get(rules.REVISION) != revision:
            annotations = {**annotations, rules.REVISION: revision}
            self.d = {**self.d, "metadata": {**self.d["metadata"], "annotations": annotations}}
            wanted = {**status}
        if (
            reason
            and rules.deadline_s(self.d) is not None
            and not (only_if_absent and condition(self.d, "Progressing") is not None)
        ):
            wanted = self._with_progress(wanted, "True", reason, message)
        if wanted is not status:
            await self._write_status(wanted)

    def _with_progress(self, status: Obj, state: str, reason: str, message: str) -> Obj:
        """The status with this Progressing condition; itself when it has it already."""
        new = rules.make_condition("Progressing", state, reason, message, self._world.timestamp())
        conditions = rules.set_condition(list(status.get("conditions") or []), new)
        return status if conditions == status.get("conditions") else {**status, "conditions": conditions}

    async def _set_progress(self, state: str, reason: str, message: str) -> None:
        old = self.d.get("status") or {}
        wanted = self._with_progress(old, state, reason, message)
        if wanted is not old:
            await self._write_status(wanted)

    async def _sync_status(self, new: Obj | None, old: list[Obj]) -> None:
        """The counts and the Available condition alone (syncDeploymentStatus)."""
        await self._write_if_changed(rules.calculate_status(self.d, *self._all(new, old), self._now()))

    async def _sync_rollout(self, new: Obj | None, old: list[Obj]) -> None:
        """With what is known of the rollout's progress and of failures (syncRolloutStatus)."""
        sets, new = self._all(new, old)
        status = rules.calculate_status(self.d, sets, new, self._now())
        self._progress(status, sets, new, self._now())
        await self._write_if_changed(status)

    def _all(self, new: Obj | None, old: list[Obj]) -> tuple[list[Obj], Obj | None]:
        present = self._current([new]) if new is not None else []
        return [*self._current(old), *present], present[0] if present else None

    def _now(self) -> str:
        return self._world.timestamp()

    async def _write_if_changed(self, status: Obj) -> None:
        if _significant(status) != _significant(self.d.get("status") or {}):
            await self._write_status(status)

    def _progress(self, status: Obj, sets: list[Obj], new: Obj | None, now: str) -> None:
        conditions = status["conditions"]
        found = condition({"status": status}, "Progressing")
        if rules.deadline_s(self.d) is None:
            conditions = [c for c in conditions if c["type"] != "Progressing"]
        elif not _is_settled(status, found):
            update = rules.progress_condition(self.d, status, new, now, self._world.now())
            if update is not None and update["reason"] == "ReplicaSetUpdated" and found is not None:
                if found["status"] == "True":
                    update["lastTransitionTime"] = found["lastTransitionTime"]
                conditions = [*(c for c in conditions if c["type"] != "Progressing"), update]
            elif update is not None:
                conditions = rules.set_condition(conditions, update)
        failure = rules.replica_failure(sets, new, now)
        if failure is not None:
            conditions = rules.set_condition(conditions, failure)
        else:
            conditions = [c for c in conditions if c["type"] != "ReplicaFailure"]
        status["conditions"] = conditions

    async def _write_status(self, status: Obj) -> None:
        self.d = await self._client.update(DEPLOYMENTS, {**self.d, "status": status}, subresource="status")
        self.d = {**self.d, "apiVersion": "apps/v1", "kind": "Deployment"}

    def recheck_s(self) -> float | None:
        """When the progress deadline may have passed."""
        found = condition(self.d, "Progressing")
        limit = rules.deadline_s(self.d)
        status = self.d.get("status") or {}
        if (
            found is None
            or limit is None
            or rules.is_complete(self.d, status)
            or self.d["spec"].get("paused")
        ):
            return None
        if found.get("reason") in ("NewReplicaSetAvailable", "ProgressDeadlineExceeded"):
            return None
        since = parse_timestamp(found["lastUpdateTime"])
        return max(since + limit - self._world.now(), 0) + 1

    def _scaled_event(self, direction: str, name: str, before: int, after: int) -> None:
        message = f"Scaled {direction} replica set {name} from {before} to {after}"
        self._event("Normal", "ScalingReplicaSet", message)

    def _event(self, kind: str, reason: str, message: str) -> None:
        self._controller.recorder.event(self.d, kind, reason, message)


def _is_settled(status: Obj, progressing: Obj | None) -> bool:
    """A rollout that was complete stays so while only its size changes."""
    done = progressing is not None and progressing.get("reason") == "NewReplicaSetAvailable"
    return done and status["replicas"] == status["updatedReplicas"]


def _significant(status: Obj) -> dict[str, Any]:
    return {k: v for k, v in status.items() if v or k == "terminatingReplicas"}


def _set(rs: Obj) -> Obj:
    return {**rs, "apiVersion": "apps/v1", "kind": "ReplicaSet"}


def _active_or_latest(new: Obj | None, old: list[Obj]) -> Obj | None:
    """The only set that runs pods, or when none does the newest; None when several do."""
    running = rules.active([*old, *([new] if new else [])])
    if len(running) == 1:
        return running[0]
    if running:
        return None
    if new is not None:
        return new
    return max(old, key=rules.by_age) if old else None


def _controller_uid(obj: Obj) -> tuple[str, ...]:
    ref = controller_of(obj)
    return (ref["uid"],) if ref is not None else (f"orphan/{obj['metadata']['namespace']}",)


class _OrphanHandler:
    """An orphaned replica set wakes the deployments that might adopt it."""

    def __init__(self, controller: DeploymentController) -> None:
        self._controller = controller

    def on_add(self, obj: Obj) -> None:
        if controller_of(obj) is None:
            for key in self._controller.wants(obj):
                self._controller.queue.add(key)

    def on_update(self, old: Obj, new: Obj) -> None:
        if controller_of(new) is None and (
            controller_of(old) is not None or old["metadata"].get("labels") != new["metadata"].get("labels")
        ):
            self.on_add(new)

    def on_delete(self, obj: Obj) -> None:
        """The owner was told by `owned`."""


class _RecreateHandler:
    """A pod that went away may be the last one that a Recreate deployment waited for."""

    def __init__(self, controller: DeploymentController) -> None:
        self._controller = controller

    def on_add(self, obj: Obj) -> None:
        """New pods matter to nobody here."""

    def on_update(self, old: Obj, new: Obj) -> None:
        if is_terminal(new) and not is_terminal(old):
            self.on_delete(new)

    def on_delete(self, obj: Obj) -> None:
        key = self._controller.key_of_pod(obj)
        if key is not None:
            self._controller.queue.add(key)
