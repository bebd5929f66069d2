"""StatefulSet controller: pods with names and storage of their own, in order
(k8s.io/kubernetes/pkg/controller/statefulset).

    revisions ─▶ each pod of the row: made, repaired ─▶ pods beyond the row deleted ─▶ one outdated pod replaced
                                                                                            └─▶ status

In order (OrderedReady) a step ends at the first pod that is not available; in Parallel nothing waits. What to do is
decided in `statefulset_rules`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import ClassVar

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import (
    CONTROLLER_REVISIONS,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    STATEFUL_SETS,
    Resource,
)
from pilothouse.api.types import Obj
from pilothouse.controllers import adoption, revisions
from pilothouse.controllers import statefulset_rules as rules
from pilothouse.controllers.pods import is_ready, is_terminating
from pilothouse.controllers.pods_owner import PodsOwner, controller_uid
from pilothouse.controllers.statefulset_claims import Claims


class StatefulSetController(PodsOwner):
    name: ClassVar[str] = "statefulset-controller"
    queue_name: ClassVar[str] = "statefulset"
    resource: ClassVar[Resource] = STATEFUL_SETS

    def setup(self) -> None:
        super().setup()
        self._revisions = self.owned(CONTROLLER_REVISIONS, owner=STATEFUL_SETS)
        self._revisions.add_index("controller", controller_uid)
        self.claims = Claims(self.client, self.informer(PERSISTENT_VOLUME_CLAIMS), self.recorder)

    async def reconcile(self, key: str) -> float | None:
        found = self._owners.get(key)
        if found is None:
            return None
        st = {**found, "apiVersion": "apps/v1", "kind": "StatefulSet"}
        return await _Sync(self, st, await self.claim(st)).run()

    async def claim(self, owner: Obj) -> list[Obj]:
        """Pods that match but have another set's name are nobody's here."""
        return [p for p in await super().claim(owner) if _is_member(owner, p)]

    def wants(self, pod: Obj) -> list[str]:
        candidates = super().wants(pod)
        sets = [(key, self._owners.get(key)) for key in candidates]
        return [key for key, st in sets if st is not None and _is_member(st, pod)]

    async def revisions_of(self, st: Obj) -> list[Obj]:
        meta = st["metadata"]
        candidates = [
            *self._revisions.by_index("controller", meta["uid"]),
            *self._revisions.by_index("controller", f"orphan/{meta['namespace']}"),
        ]
        claim = adoption.Claim(self.client, st, STATEFUL_SETS, CONTROLLER_REVISIONS, self.selector(st))
        return revisions.in_order(await claim.all(candidates))

    def own_pod_changed(self, key: str, old: Obj, pod: Obj) -> None:
        """A pod that turned ready becomes available later; a second more, as readiness has whole seconds."""
        st = self._owners.get(key)
        min_ready_s = st["spec"].get("minReadySeconds", 0) if st is not None else 0
        if min_ready_s and is_ready(pod) and not is_ready(old):
            self.queue.add_after(key, min_ready_s + 1)


def _is_member(st: Obj, pod: Obj) -> bool:
    return rules.ordinal_of(st, pod["metadata"]["name"]) >= 0


class _Sync:
    """One set at one moment (UpdateStatefulSet)."""

    def __init__(self, controller: StatefulSetController, st: Obj, pods: list[Obj]) -> None:
        self._c = controller
        self._st = st
        self._pods = pods
        self._current: Obj = {}
        self._update: Obj = {}
        self._collisions: int = (st.get("status") or {}).get("collisionCount") or 0

    async def run(self) -> float | None:
        known = await self._c.revisions_of(self._st)
        await self._choose_revisions(known)
        row = rules.row(self._st, self._pods, self._current, self._update)
        failure: ApiError | None = None
        replaced = 0
        if not is_terminating(self._st):
            try:
                replaced = await self._step(row)
            except ApiError as error:
                failure = error
        status = self._status(replaced)
        await self._write(status)
        await self._truncate(known)
        if failure is not None:
            raise failure
        min_ready_s = self._st["spec"].get("minReadySeconds", 0)
        waits = min_ready_s > 0 and status["availableReplicas"] != rules.replicas(self._st)
        return float(min_ready_s) if waits else None

    # -- revisions --------------------------------------------------------------------------------------

    async def _choose_revisions(self, known: list[Obj]) -> None:
        """The revision of the present template, made or renumbered when it must be, and the one that pods have."""
        data = revisions.template_patch(self._st["spec"]["template"])
        same = [r for r in known if r.get("data") == data]
        number = revisions.next_number(known)
        if not same:
            self._update = await self._make_revision(data, number)
        elif same[-1] is known[-1]:
            self._update = known[-1]
        else:
            self._update = await revisions.renumber(self._c.client, same[-1], number)
        current = (self._st.get("status") or {}).get("currentRevision")
        self._current = next((r for r in known if r["metadata"]["name"] == current), self._update)

    async def _make_revision(self, data: Obj, number: int) -> Obj:
        template = self._st["spec"]["template"]
        own = (template.get("metadata") or {}).get("labels") or {}
        while True:
            digest = revisions.data_hash(data, self._collisions)
            labels = {**own, revisions.HASH_LABEL: digest}
            wanted = revisions.new(self._st, STATEFUL_SETS, digest, labels, number)
            made = await revisions.create(self._c.client, wanted)
            if made is not None:
                return made
            self._collisions += 1

    async def _truncate(self, known: list[Obj]) -> None:
        live = {r["metadata"]["name"] for r in (self._current, self._update)}
        live |= {rules.revision_of(p) for p in self._pods}
        keep = self._st["spec"].get("revisionHistoryLimit", 10)
        for revision in rules.expendable(known, live, keep) if keep >= 0 else ():
            await revisions.delete(self._c.client, revision)

    # -- pods -------------------------------------------------------------------------------------------

    async def _step(self, row: rules.Row) -> int:
        """Go as far as the order allows; how many pods of the present revision were taken for replacement."""
        if rules.allows_burst(self._st):
            await self._all(self._replica(pod) for pod in row.replicas)
            await self._all(self._c.claims.own(self._st, pod) for pod in row.condemned)
            await self._all(self._condemned(pod, row) for pod in row.condemned)
        elif not await self._in_order(row):
            return 0
        if not rules.rolls(self._st):
            return 0
        old = rules.outdated(self._st, row.replicas, self._update["metadata"]["name"])
        if old is None or not rules.is_created(old):
            return 0
        await self._delete(old)
        return int(rules.revision_of(old) == self._current["metadata"]["name"])

    async def _in_order(self, row: rules.Row) -> bool:
        """One pod after the other; False when one must be waited for."""
        for pod in row.replicas:
            if await self._replica(pod):
                return False
        for pod in row.condemned:
            await self._c.claims.own(self._st, pod)
        for pod in row.condemned:
            await self._condemned(pod, row)
            return False
        return True

    async def _all(self, work: Iterable[Awaitable[object]]) -> None:
        """Side by side; the first failure is raised when all are through."""
        results = await asyncio.gather(*work, return_exceptions=True)
        for error in results:
            if isinstance(error, BaseException):
                raise error

    async def _replica(self, pod: Obj) -> bool:
        """Bring one pod of the row about; True when its successors must wait."""
        st, name = self._st, pod["metadata"]["name"]
        if rules.has_ended(pod):
            if not is_terminating(pod):
                await self._delete(pod)
            return True
        if not rules.is_created(pod):
            if not self._c.claims.are_stale(st, name):
                await self._create(pod)
            return True
        if rules.phase(pod) == "Pending":
            await self._c.claims.make(st, self._c.reference(st), name)
        if not rules.allows_burst(st) and rules.is_blocking(st, pod, self._c.world.now()):
            return True
        await self._repair(pod)
        return False

    async def _repair(self, pod: Obj) -> None:
        """Labels and claims that have changed under the pod."""
        meta = pod["metadata"]
        await self._c.claims.own(self._st, pod)
        if rules.lacks_identity(self._st, pod):
            labels = rules.identity_labels(meta["name"], rules.ordinal_of(self._st, meta["name"]))
            wanted = {**meta, "labels": {**(meta.get("labels") or {}), **labels}}
            await self._c.client.update(PODS, {**pod, "apiVersion": "v1", "kind": "Pod", "metadata": wanted})
            self._tell("Update", meta["name"])

    async def _create(self, pod: Obj) -> None:
        meta = pod["metadata"]
        try:
            await self._c.claims.make(self._st, self._c.reference(self._st), meta["name"])
            made = await self._c.client.create(PODS, pod, meta["namespace"])
        except ApiError as error:
            if error.reason != "AlreadyExists":
                self._tell("Create", meta["name"], error)
            raise
        await self._c.claims.own(self._st, made)
        self._tell("Create", meta["name"])

    async def _condemned(self, pod: Obj, row: rules.Row) -> None:
        if is_terminating(pod):
            return
        if rules.may_go(self._st, pod, row.first_unhealthy, self._c.world.now()):
            await self._delete(pod)

    async def _delete(self, pod: Obj) -> None:
        meta = pod["metadata"]
        try:
            await self._c.client.delete(PODS, meta["name"], meta["namespace"])
        except ApiError as error:
            if error.code != 404:
                self._tell("Delete", meta["name"], error)
                raise
        self._tell("Delete", meta["name"])

    def _tell(self, verb: str, pod: str, error: ApiError | None = None) -> None:
        subject = f"{verb} Pod {pod} in StatefulSet {self._st['metadata']['name']}"
        kind, reason, outcome = "Normal", f"Successful{verb}", "successful"
        if error is not None:
            kind, reason, outcome = "Warning", f"Failed{verb}", f"failed error: {error}"
        self._c.recorder.event(self._c.reference(self._st), kind, reason, f"{subject} {outcome}")

    # -- status -----------------------------------------------------------------------------------------

    def _status(self, replaced: int) -> Obj:
        current, update = self._current["metadata"]["name"], self._update["metadata"]["name"]
        numbers = rules.counts(self._st, self._pods, current, update, self._c.world.now())
        numbers["currentReplicas"] -= replaced
        status: Obj = {
            **(self._st.get("status") or {}),
            **numbers,
            "observedGeneration": self._st["metadata"].get("generation", 0),
            "currentRevision": current,
            "updateRevision": update,
            "collisionCount": self._collisions,
        }
        return rules.completed(self._st, status)

    async def _write(self, status: Obj) -> None:
        old = self._st.get("status") or {}
        if rules.significant(status) != rules.significant(old) or "collisionCount" not in old:
            await self._c.write_status(self._st, status)
